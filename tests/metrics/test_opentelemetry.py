"""The observable instruments, on a meter that keeps them and reads them as an SDK does."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import (
    CallbackOptions,
    NoOpMeter,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    Observation,
)

from serviceradar_security import ConfigError, SourceClosedError, SourceError, X509Source
from serviceradar_security.metrics.opentelemetry import observe, unobserve
from serviceradar_security.metrics.samples import FAMILIES, STATES
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State
from tests.metrics.records import END, ID, SOON, START, Told, record
from tests.workload.peers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    Callback = Callable[[CallbackOptions], Iterable[Observation]]


@dataclass
class Instrument:
    """What was created, and how."""

    kind: type
    callbacks: Sequence[Callback]
    unit: str
    description: str


class KeepingMeter(NoOpMeter):
    """A meter of the API that keeps its observable instruments, the first of each name."""

    def __init__(self) -> None:
        super().__init__("tests")
        self.kept: dict[str, Instrument] = {}

    def _keep(self, kind: type, name: str, callbacks: Any, unit: str, description: str) -> None:
        self.kept.setdefault(name, Instrument(kind, tuple(callbacks or ()), unit, description))

    def create_observable_counter(
        self,
        name: str,
        callbacks: Sequence[Any] | None = None,
        unit: str = "",
        description: str = "",
    ) -> ObservableCounter:
        self._keep(ObservableCounter, name, callbacks, unit, description)
        return super().create_observable_counter(name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Sequence[Any] | None = None,
        unit: str = "",
        description: str = "",
    ) -> ObservableUpDownCounter:
        self._keep(ObservableUpDownCounter, name, callbacks, unit, description)
        return super().create_observable_up_down_counter(name, callbacks, unit, description)

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Sequence[Any] | None = None,
        unit: str = "",
        description: str = "",
    ) -> ObservableGauge:
        self._keep(ObservableGauge, name, callbacks, unit, description)
        return super().create_observable_gauge(name, callbacks, unit, description)

    def collect(self, name: str) -> list[Observation]:
        """Ask the callbacks of an instrument."""
        return [
            each for callback in self.kept[name].callbacks for each in callback(CallbackOptions())
        ]

    def value(self, name: str, source: str = "default") -> float | None:
        """Give the one value of an instrument for a source; None if it has none."""
        wanted = {"spiffe.source.name": source}
        found = [each.value for each in self.collect(name) if each.attributes == wanted]
        assert len(found) <= 1
        return found[0] if found else None

    def state(self, source: str = "default") -> list[Any]:
        """Give the states that are 1, of a source."""
        found = {
            each.attributes["spiffe.source.state"]: each.value
            for each in self.collect("spiffe.source.state")
            if each.attributes and each.attributes["spiffe.source.name"] == source
        }
        assert not found or tuple(found) == STATES
        return [state for state, value in found.items() if value]


def test_the_instruments() -> None:
    """Each metric has one instrument of the fitting kind, with unit and description."""
    meter = KeepingMeter()
    observe(Told(), meter)

    kinds = {"counter": ObservableCounter, "states": ObservableUpDownCounter}
    assert {
        name: (each.kind, each.unit, each.description) for name, each in meter.kept.items()
    } == {
        family.name: (kinds.get(family.kind, ObservableGauge), family.unit, family.help)
        for family in FAMILIES
    }


def test_the_values() -> None:
    """What is observed is the record, under namespaced attributes; counts are whole numbers."""
    meter = KeepingMeter()
    observe(Told(record(next_attempt=SOON)), meter, name="main")
    name = {"spiffe.source.name": "main"}

    assert {each: meter.collect(each) for each in meter.kept} == {
        "spiffe.source.state": [
            Observation(int(state == "READY"), {**name, "spiffe.source.state": state})
            for state in STATES
        ],
        "spiffe.source.state_since_timestamp": [Observation(START.timestamp(), name)],
        "spiffe.source.svid.not_after_timestamp": [Observation(END.timestamp(), name)],
        "spiffe.source.svid.info": [Observation(1, {**name, "spiffe.id": str(ID)})],
        "spiffe.source.next_attempt_timestamp": [Observation(SOON.timestamp(), name)],
        "spiffe.source.last_update_timestamp": [Observation(START.timestamp() + 2, name)],
        "spiffe.source.failures": [
            Observation(4, {**name, "spiffe.source.failure": "ended"}),
            Observation(1, {**name, "spiffe.source.failure": "denied"}),
        ],
        "spiffe.source.updates": [Observation(3, name)],
        "spiffe.source.rejected_updates": [Observation(2, name)],
    }
    assert isinstance(meter.value("spiffe.source.updates", "main"), int)


def test_observing_reads_nothing() -> None:
    """A source is read when the meter collects, each time anew."""
    source, meter = Told(), KeepingMeter()
    observe(source, meter)
    assert source.reads == 0
    assert meter.state() == ["READY"]
    source.answer = record(state=State.DEGRADED)
    assert meter.state() == ["DEGRADED"]
    assert source.reads == 2


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SourceError("not open"), []),
        (SourceClosedError("closed"), ["CLOSED"]),
        (ZeroDivisionError("broken"), []),
    ],
)
def test_a_source_without_a_record(error: Exception, state: list[str]) -> None:
    """A callback never raises; without a record there are states only."""
    meter = KeepingMeter()
    observe(Told(error), meter)
    assert meter.state() == state
    assert [name for name in meter.kept if meter.collect(name)] == ["spiffe.source.state"]


def test_several_sources() -> None:
    """Sources share the instruments of a meter, each under its own name, until taken away."""
    meter, other = KeepingMeter(), KeepingMeter()
    observe(Told(), meter)
    observe(Told(record(state=State.EXPIRED)), meter, name="two")
    observe(Told(record(state=State.NO_AGENT)), other)

    assert [meter.state(), meter.state("two"), other.state()] == [
        ["READY"],
        ["EXPIRED"],
        ["NO_AGENT"],
    ]
    with pytest.raises(ConfigError, match="'two' is taken"):
        observe(Told(), meter, name="two")
    unobserve(meter)
    unobserve(meter)
    assert [meter.state(), meter.state("two"), other.state()] == [[], ["EXPIRED"], ["NO_AGENT"]]
    observe(Told(), meter)
    assert meter.state() == ["READY"]


def test_a_meter_that_was_never_used() -> None:
    """Taking a source from a meter that has none does nothing, and creates nothing."""
    meter = KeepingMeter()
    unobserve(meter)
    assert meter.kept == {}


def test_a_name_that_is_none() -> None:
    """A name that is none is refused before anything is created."""
    meter = KeepingMeter()
    with pytest.raises(ConfigError, match="give a text that is not empty"):
        observe(Told(), meter, name="")
    assert meter.kept == {}


def test_a_meter_is_let_go() -> None:
    """Observing keeps no meter alive, nor the source behind it."""
    meter, source = KeepingMeter(), Told()
    observe(source, meter)
    meters, sources = weakref.ref(meter), weakref.ref(source)
    del meter, source
    gc.collect()
    assert (meters(), sources()) == (None, None)


def test_a_live_source(tmp_path: Path) -> None:
    """Collections follow a source through its life: identity, rotation, refusal, outage, end."""
    meter = KeepingMeter()
    with FakeWorkloadApi([ID], socket_path=tmp_path / "a.sock") as api:
        source = X509Source(api.endpoint)
        observe(source, meter)
        assert meter.state() == []
        with source:
            first = source.wait_ready(timeout=15)
            assert meter.state() == ["READY"]
            assert (
                meter.value("spiffe.source.svid.not_after_timestamp")
                == first.default.not_after.timestamp()
            )
            api.rotate()
            until(lambda: meter.value("spiffe.source.updates") == 2)
            api.send(b"\xff")
            until(lambda: meter.value("spiffe.source.rejected_updates") == 1)
            api.stop()
            until(lambda: meter.value("spiffe.source.next_attempt_timestamp") is not None)
            assert meter.state() == ["DEGRADED"]
        assert meter.state() == ["CLOSED"]
        assert meter.value("spiffe.source.updates") is None
