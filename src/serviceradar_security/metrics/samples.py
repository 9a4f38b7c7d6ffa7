"""What a record means in numbers: one table of names, one pure function, for every adapter."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from serviceradar_security.errors import ConfigError, SecurityError, SourceClosedError

if TYPE_CHECKING:
    from datetime import datetime

    from serviceradar_security.workload.status import SourceStatus

__all__ = ["FAMILIES", "STATES", "Family", "Sample", "SourceSet", "StatusSource", "samples"]

_LOG: Final = logging.getLogger("serviceradar_security.metrics")

STATES: Final = (
    "STARTING",
    "NO_AGENT",
    "NO_IDENTITY",
    "READY",
    "DEGRADED",
    "EXPIRED",
    "CLOSED",
)
"""The names of all states; spelled out, since this room loads nothing of the source's."""


class StatusSource(Protocol):
    """Anything that gives a record of itself."""

    def status(self) -> SourceStatus:
        """Give the record."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """A metric.

    Attributes:
        name: In OpenTelemetry's form; `prometheus_name` is derived from it.
        kind: ``states`` is 1 for one label value and 0 for the others; ``info`` is always 1.
        unit: As OpenTelemetry writes it; braces hold what is counted.
        help: What it means.
        label: The label that it has beside the name of the source; empty for none.
    """

    name: str
    kind: Literal["states", "gauge", "counter", "info"]
    unit: str
    help: str
    label: str = ""

    @property
    def prometheus_name(self) -> str:
        """The name of the samples in Prometheus.

        An exporter from OpenTelemetry to Prometheus translates `name` to the same.
        """
        suffix = {"s": "_seconds"}.get(self.unit, "")
        return self.name.replace(".", "_") + suffix + ("_total" if self.kind == "counter" else "")


_STATE: Final = Family(
    "spiffe.source.state",
    "states",
    "{source}",
    "State of the source: 1 for the one it is in, 0 for the others.",
    "state",
)
_SINCE: Final = Family(
    "spiffe.source.state_since_timestamp",
    "gauge",
    "s",
    "Time at which the source came into its state, since the epoch.",
)
_NOT_AFTER: Final = Family(
    "spiffe.source.svid.not_after_timestamp",
    "gauge",
    "s",
    "Time at which the default X.509-SVID ends, since the epoch.",
)
_INFO: Final = Family(
    "spiffe.source.svid.info",
    "info",
    "",
    "The SPIFFE ID of the default X.509-SVID.",
    "spiffe_id",
)
_NEXT_ATTEMPT: Final = Family(
    "spiffe.source.next_attempt_timestamp",
    "gauge",
    "s",
    "Time at which the Workload API is asked again, since the epoch.",
)
_UPDATES: Final = Family(
    "spiffe.source.updates",
    "counter",
    "{update}",
    "Different snapshots that were taken over.",
)
_REJECTED: Final = Family(
    "spiffe.source.rejected_updates",
    "counter",
    "{update}",
    "Messages that were refused.",
)

_LAST_UPDATE: Final = Family(
    "spiffe.source.last_update_timestamp",
    "gauge",
    "s",
    "Time at which the last different snapshot was taken over, since the epoch.",
)
_FAILURES: Final = Family(
    "spiffe.source.failures",
    "counter",
    "{failure}",
    "Streams and attempts to open one that ended in failure, by its kind.",
    "kind",
)

FAMILIES: Final = (
    _STATE,
    _SINCE,
    _NOT_AFTER,
    _INFO,
    _NEXT_ATTEMPT,
    _LAST_UPDATE,
    _UPDATES,
    _REJECTED,
    _FAILURES,
)
"""All metrics, in the order of the documentation."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number.

    Attributes:
        family: The metric.
        value: The number.
        label: Value of the family's label; empty if it has none.
    """

    family: Family
    value: float
    label: str = ""


def samples(status: SourceStatus | None) -> tuple[Sample, ...]:
    """Give the numbers of a record.

    Args:
        status: The record; None for a source that is in no state, since it was never opened.

    Returns:
        The states; and unless it is closed or None, all that the record holds. What it does not
        hold has no sample: an identity that is gone has no end, and not the end 0.
    """
    if status is None:
        return _states("")
    state = status.state.value
    if state == "CLOSED":
        return _states(state)
    found = [
        *_states(state),
        *_moment(_SINCE, status.since),
        *_moment(_NOT_AFTER, status.not_after),
        *_moment(_NEXT_ATTEMPT, status.next_attempt),
        *_moment(_LAST_UPDATE, status.last_update),
        Sample(_UPDATES, float(status.updates)),
        Sample(_REJECTED, float(status.rejected)),
        *(Sample(_FAILURES, float(count), kind) for kind, count in status.failures.items()),
    ]
    if status.spiffe_id is not None:
        found.append(Sample(_INFO, 1.0, str(status.spiffe_id)))
    return tuple(found)


class SourceSet:
    """Sources by the name that tells them apart in metrics; read by adapters, never blocking."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._sources: dict[str, StatusSource] = {}
        self._failing: set[str] = set()

    def add(self, source: StatusSource, name: str) -> None:
        """Add a source.

        Raises:
            ConfigError: The name is taken, or is no text that can be written.
        """
        if not isinstance(name, str) or not name or not _writable(name):
            raise ConfigError(f"the name of a source is {name!r}: give a text that is not empty")
        with self._lock:
            if name in self._sources:
                raise ConfigError(
                    f"the name {name!r} is taken by another source: give each its own `name`",
                )
            self._sources = {**self._sources, name: source}

    def remove(self, name: str) -> None:
        """Forget a source; nothing happens if there is none of this name."""
        with self._lock:
            self._sources = {key: each for key, each in self._sources.items() if key != name}
            self._failing.discard(name)

    def read(self) -> list[tuple[str, tuple[Sample, ...]]]:
        """Give the names and numbers of all sources; takes no lock and never raises."""
        return [(name, self._read_one(name, each)) for name, each in self._sources.items()]

    def _read_one(self, name: str, source: StatusSource) -> tuple[Sample, ...]:
        try:
            found = samples(source.status())
        except SourceClosedError:  # closed and never opened: there is no record
            return _states("CLOSED")
        except SecurityError:
            return samples(None)
        except Exception:  # noqa: BLE001 - a scrape shows the other metrics, whatever this one does
            level = logging.DEBUG if name in self._failing else logging.ERROR
            self._failing.add(name)
            _LOG.log(level, "the source %r gives no status for its metrics", name, exc_info=True)
            return samples(None)
        self._failing.discard(name)
        return found


def _states(current: str) -> tuple[Sample, ...]:
    return tuple(Sample(_STATE, float(each == current), each) for each in STATES)


def _moment(family: Family, at: datetime | None) -> tuple[Sample, ...]:
    return () if at is None else (Sample(family, at.timestamp()),)


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate would break the whole page of metrics
        return False
    return True
