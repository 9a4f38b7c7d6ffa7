"""The numbers that a record stands for, and the names that they have."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security import ConfigError, PeerError, SourceClosedError, SourceError
from serviceradar_security.metrics.samples import (
    FAMILIES,
    STATES,
    Family,
    Sample,
    SourceSet,
    samples,
)
from serviceradar_security.workload.watch import SourceStatus, State
from tests.metrics.records import END, ID, READY, SOON, START, Told, record

ONLY_STATES = {"spiffe_source_state"}
TIMES = st.none() | st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis wants it so, and adds the zone
    timezones=st.just(UTC),
)
RECORDS = st.builds(
    SourceStatus,
    state=st.sampled_from(State),
    since=TIMES.filter(lambda each: each is not None),
    cause=st.text(),
    advice=st.text(),
    next_attempt=TIMES,
    spiffe_id=st.none() | st.just(ID),
    not_after=TIMES,
    updates=st.integers(0, 2**40),
    rejected=st.integers(0, 2**40),
)


def names(found: tuple[Sample, ...]) -> set[str]:
    """Give the names that occur."""
    return {sample.family.prometheus_name for sample in found}


def state_of(found: tuple[Sample, ...]) -> list[str]:
    """Give the states that are 1; all the others must be there and 0."""
    values = {s.label: s.value for s in found if s.family.kind == "states"}
    assert tuple(values) == STATES
    assert set(values.values()) <= {0.0, 1.0}
    return [label for label, value in values.items() if value]


def test_states_are_those_of_sources() -> None:
    """The states of the metrics are the states of sources, in their order."""
    assert tuple(state.value for state in State) == STATES


@pytest.mark.parametrize("state", State)
def test_one_state(state: State) -> None:
    """A source is in exactly one state, and the others are shown as 0."""
    assert state_of(samples(record(state=state))) == [state.value]


def test_no_state() -> None:
    """A source without a record is in none of the states, and nothing else is known."""
    assert state_of(samples(None)) == []
    assert names(samples(None)) == ONLY_STATES


def test_closed() -> None:
    """A closed source shows its state alone."""
    assert names(samples(record(state=State.CLOSED))) == ONLY_STATES


def test_values() -> None:
    """What a record holds is shown: moments in seconds since the epoch, counts as they are."""
    found = samples(record(next_attempt=SOON))

    assert {(s.family.prometheus_name, s.label): s.value for s in found if s.value} == {
        ("spiffe_source_state", "READY"): 1.0,
        ("spiffe_source_state_since_timestamp_seconds", ""): START.timestamp(),
        ("spiffe_source_svid_not_after_timestamp_seconds", ""): END.timestamp(),
        ("spiffe_source_svid_info", str(ID)): 1.0,
        ("spiffe_source_next_attempt_timestamp_seconds", ""): SOON.timestamp(),
        ("spiffe_source_last_update_timestamp_seconds", ""): START.timestamp() + 2,
        ("spiffe_source_failures_total", "ended"): 4.0,
        ("spiffe_source_failures_total", "denied"): 1.0,
        ("spiffe_source_updates_total", ""): 3.0,
        ("spiffe_source_rejected_updates_total", ""): 2.0,
    }


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("not_after", "spiffe_source_svid_not_after_timestamp_seconds"),
        ("spiffe_id", "spiffe_source_svid_info"),
        ("next_attempt", "spiffe_source_next_attempt_timestamp_seconds"),
        ("last_update", "spiffe_source_last_update_timestamp_seconds"),
    ],
)
def test_what_is_not_known_has_no_sample(field: str, name: str) -> None:
    """A value that the record does not hold is absent rather than 0."""
    whole = record(next_attempt=SOON)
    assert names(samples(whole)) - names(
        samples(record(**{"next_attempt": SOON, field: None}))
    ) == {name}


@given(RECORDS)
def test_any_record(status: SourceStatus) -> None:
    """Every record gives finite numbers, each series once, and the SPIFFE ID in one of them."""
    found = samples(status)

    assert all(math.isfinite(sample.value) for sample in found)
    assert max(Counter((s.family, s.label) for s in found).values()) == 1
    assert {s.family for s in found} <= set(FAMILIES)
    assert all(bool(s.label) == bool(s.family.label) for s in found)
    assert {s.family.kind for s in found if str(ID) in s.label} <= {"info"}
    assert state_of(found) == [status.state.value]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name(family: Family) -> None:
    """Names keep to both conventions: form, unit, and the suffix of the kind."""
    name = family.prometheus_name
    assert re.fullmatch(r"spiffe\.source(\.[a-z][a-z_]*)+", family.name)
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", name)
    assert name.endswith("_total") == (family.kind == "counter")
    assert name.endswith("_info") == (family.kind == "info")
    assert name.endswith("_seconds") == (family.unit == "s")
    assert family.help.endswith(".")


def test_names_are_no_namespaces() -> None:
    """Each name is used once, and none is the namespace of another."""
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a in names for b in names if b.startswith(a + ".")]


# ---- sources by name ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (READY, ["READY"]),
        (SourceError("the source is not open"), []),
        (SourceClosedError("the source is closed"), ["CLOSED"]),
        (PeerError("any other of ours"), []),
    ],
    ids=["record", "never opened", "closed before it was opened", "other"],
)
def test_reading(answer: SourceStatus | Exception, state: list[str]) -> None:
    """Reading never raises for a source that has no record, and does not guess its state."""
    sources = SourceSet()
    sources.add(Told(answer), "one")

    ((name, found),) = sources.read()

    assert name == "one"
    assert state_of(found) == state
    assert (names(found) == ONLY_STATES) == (answer is not READY)


def test_a_foreign_error(caplog: pytest.LogCaptureFixture) -> None:
    """A source that raises anything shows no state; it is logged once until it recovers."""
    sources = SourceSet()
    broken = Told(ZeroDivisionError("broken"))
    sources.add(broken, "broken")
    sources.add(Told(), "good")
    caplog.set_level(logging.INFO, "serviceradar_security.metrics")

    def read() -> list[list[str]]:
        return [state_of(found) for _, found in sources.read()]

    assert [read(), read()] == [[[], ["READY"]]] * 2
    assert len(caplog.records) == 1
    assert "'broken'" in caplog.text
    broken.answer = READY
    assert read() == [["READY"], ["READY"]]
    broken.answer = ZeroDivisionError("again")
    assert [read(), read()] == [[[], ["READY"]]] * 2
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", ["", "\ud800", None, 7, b"one"])
def test_a_name_that_is_none(name: object) -> None:
    """A name that cannot be a label value is refused, and nothing is added."""
    sources = SourceSet()
    with pytest.raises(ConfigError, match=r"the name of a source is .*: give a text"):
        sources.add(Told(), name)  # type: ignore[arg-type] # on purpose
    assert sources.read() == []


def test_names_are_told_apart() -> None:
    """A name is given once; after its removal it is free."""
    sources = SourceSet()
    sources.add(Told(), "one")
    with pytest.raises(ConfigError, match="the name 'one' is taken by another source"):
        sources.add(Told(SourceError("not open")), "one")
    ((_, found),) = sources.read()
    assert state_of(found) == ["READY"]
    sources.remove("one")
    sources.remove("one")
    assert sources.read() == []
    sources.add(Told(), "one")
    assert len(sources.read()) == 1
