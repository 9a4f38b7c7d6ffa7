"""The state of the watch under a clock we control: every state meets every event."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from serviceradar_security import (
    NoIdentityIssuedError,
    SecurityError,
    SourceClosedError,
    SourceError,
    WorkloadApiError,
)
from serviceradar_security.workload.failure import Kind
from serviceradar_security.workload.watch import SourceStatus, State
from tests.workload.bench import (
    ENDPOINT,
    EVENTS,
    LIFE,
    SHORT,
    SITUATIONS,
    Bench,
    degraded,
    lasting,
    ready,
)
from tests.workload.clock import START
from tests.workload.material import ID

TABLE: Final = """
situation       nothing tick opened valid stale refused unreach ended denied fatal failed grace life close
starting              S    S      S     R    NA      NA      NA    NA     NI    NA     NA     S    S     C
connected             S    S      S     R    NA      NA      NA    NA     NI    NA     NA     S    S     C
no agent             NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
garbage              NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
fatal                NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
no identity          NI   NI     NI     R    NA      NA      NA    NA     NI    NA     NA    NI   NI     C
ready                 R    R      R     R     D       D       D     D      D     D      D     R    E     C
degraded              D    D      D     R     D       D       D     D      D     D      D     D    E     C
refusing              D    D      D     R     D       D       D     D      D     D      D     D    E     C
fatal later           D    D      D     R     D       D       D     D      D     D      D     D    E     C
taken back            D    D      D     R     D       D       D     D      D     D      D    NI   NI     C
taken, gone           D    D      D     R     D       D       D     D      D     D      D    NA   NA     C
expired               E    E      E     R     E       E       E     E      E     E      E     E    E     C
expired, taken        E    E      E     R     E       E       E     E      E     E      E    NI   NI     C
closed                C    C      C     C     C       C       C     C      C     C      C     C    C     C
"""


def _cells() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    events = head.split()[1:]
    return [
        (row[:15].strip(), event, expected)
        for row in rows
        for event, expected in zip(events, row[15:].split(), strict=True)
    ]


def test_table_is_complete() -> None:
    """Every state is met by every event."""
    assert {(cell[0], cell[1]) for cell in _cells()} == {(s, e) for s in SITUATIONS for e in EVENTS}
    assert {SHORT[cell[2]] for cell in _cells() if cell[1] == "nothing"} == set(State)


@pytest.mark.parametrize(("situation", "event", "expected"), _cells())
def test_transition(situation: str, event: str, expected: str) -> None:
    """The state after an event is that of the table, whoever asks, and the record agrees."""
    bench = Bench()
    SITUATIONS[situation](bench)
    EVENTS[event](bench)
    state = SHORT[expected]
    status = bench.status()
    assert status.state is state
    assert bench.watch.state is state
    assert bool(status.cause) == bool(status.advice)  # advice whenever there is a cause
    assert bool(status.cause) == (state not in {State.STARTING, State.READY, State.CLOSED})
    assert (status.cause + status.advice).isprintable()
    if state in {State.READY, State.DEGRADED}:
        assert bench.context().default.not_after > bench.clock.wall
    else:
        with pytest.raises(SecurityError):
            bench.context()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "kind", "code", "words"),
    [
        ("starting", SourceError, None, ["no identity yet", ENDPOINT, "not connected yet"]),
        (
            "connected",
            SourceError,
            None,
            ["connected, and no answer yet", "log of the SPIRE agent"],
        ),
        ("no agent", WorkloadApiError, "", ["does not answer", ENDPOINT, "start the SPIRE agent"]),
        ("garbage", WorkloadApiError, "", ["it has no SVID", "this host's clock"]),
        ("fatal", WorkloadApiError, "INVALID_ARGUMENT", ["check that the address"]),
        (
            "no identity",
            NoIdentityIssuedError,
            "PERMISSION_DENIED",
            ["no identity is issued", "create a registration entry"],
        ),
        ("expired", SourceError, None, [ID, "expired at 2030-01-01T00:00:10Z", "clock"]),
        ("expired, taken", SourceError, None, ["expired", "create a registration entry"]),
        ("closed", SourceClosedError, None, ["the source is closed", "open a new one"]),
    ],
)
def test_error_says_why(
    situation: str,
    kind: type[SecurityError],
    code: str | None,
    words: list[str],
) -> None:
    """What is raised instead of a snapshot names the cause and what to do, in one line."""
    bench = Bench()
    SITUATIONS[situation](bench)
    with pytest.raises(kind) as caught:
        bench.context()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert [word for word in words if word not in message] == []
    assert message.isprintable()
    if isinstance(caught.value, WorkloadApiError):
        assert caught.value.code == code


# ---- the record ----------------------------------------------------------------------------------


def test_status_when_ready() -> None:
    """The record of a healthy source names the identity and its end, and nothing to do."""
    bench = Bench()
    bench.clock.advance(5)
    bench.opened()
    bench.deliver(lasting(LIFE))
    bench.clock.advance(5)
    assert bench.status() == SourceStatus(
        state=State.READY,
        since=START + timedelta(seconds=5),
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=lasting(LIFE).default.spiffe_id,
        not_after=START + timedelta(seconds=LIFE),
        updates=1,
        rejected=0,
        failures={},
        last_update=START + timedelta(seconds=5),
    )


def test_status_when_degraded() -> None:
    """The record of a troubled source says what, since when, what to do and when we do."""
    bench = Bench()
    ready(bench)
    bench.clock.advance(7)
    bench.fail(Kind.UNREACHABLE)
    bench.clock.advance(7)
    bench.fail(Kind.UNREACHABLE)
    assert bench.status() == SourceStatus(
        state=State.DEGRADED,
        since=START + timedelta(seconds=7),
        cause=f"{ENDPOINT}: told so (unreachable)",
        advice="start the SPIRE agent, or correct the address of its socket",
        next_attempt=START + timedelta(seconds=14.2),
        spiffe_id=lasting(LIFE).default.spiffe_id,
        not_after=START + timedelta(seconds=LIFE),
        updates=1,
        rejected=0,
        failures={"unreachable": 2},
        last_update=START,
    )


def test_status_when_closed() -> None:
    """The record of a closed source holds no identity; closing twice changes nothing."""
    bench = Bench()
    degraded(bench)
    bench.clock.advance(5)
    bench.close()
    first = bench.status()
    bench.clock.advance(5)
    bench.close()
    assert bench.status() == first
    assert first == SourceStatus(
        state=State.CLOSED,
        since=START + timedelta(seconds=5),
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=None,
        not_after=None,
        updates=1,
        rejected=0,
        failures={"unreachable": 1},
        last_update=START,
    )
    assert bench.watch.next_tick(bench.clock()) is None


def test_closed_is_final() -> None:
    """After closing, no event and no time changes anything."""
    bench = Bench()
    ready(bench)
    bench.close()
    before = bench.status()
    for event in EVENTS.values():
        event(bench)
    assert bench.status() == before
    assert bench.watch.next_attempt is None
    with pytest.raises(SourceClosedError):
        bench.context()


def test_reading_moves_nothing_on() -> None:
    """Asking early and often gives what asking once does."""
    one, other = Bench(), Bench()
    for bench in (one, other):
        bench.opened()
        bench.deliver(lasting(30))
        bench.fail(Kind.DENIED)
    for _ in range(30):
        one.clock.advance(1)
        one.status()
    other.clock.advance(30)
    assert one.status() == other.status()
