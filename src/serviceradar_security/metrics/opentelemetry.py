"""OpenTelemetry: observable instruments that read a source when asked (extra ``otel``)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

try:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.metrics.opentelemetry needs opentelemetry-api: "
        "pip install 'serviceradar-security[otel]'",
    ) from _missing

from serviceradar_security.metrics.samples import FAMILIES, Family, Sample, SourceSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from serviceradar_security.metrics.samples import StatusSource

__all__ = ["observe", "unobserve"]

_ATTRIBUTES: Final = {
    "state": "spiffe.source.state",
    "spiffe_id": "spiffe.id",
    "kind": "spiffe.source.failure",
}
_NAME: Final = "spiffe.source.name"

# An instrument belongs to its meter for good, and a second one of the same name is not asked. So
# each meter has one set of instruments, and sources come and go behind them.
_SETS: Final[WeakKeyDictionary[Meter, SourceSet]] = WeakKeyDictionary()
_LOCK: Final = threading.Lock()


def observe(source: StatusSource, meter: Meter, *, name: str = "default") -> None:
    """Give the metrics of a source to a meter, which reads ``source.status()`` when it collects.

    Args:
        source: Any source; it may be opened later, or be closed.
        meter: The meter. Sources of one process share it, each under its own name.
        name: Value of the attribute ``spiffe.source.name``.

    Raises:
        ConfigError: The name is taken, no text, or empty.
    """
    with _LOCK:
        known = _SETS.get(meter)
        sources = SourceSet() if known is None else known
        sources.add(source, name)
        if known is None:
            for family in FAMILIES:
                _create(meter, family, _reader(family, sources))
            _SETS[meter] = sources


def unobserve(meter: Meter, *, name: str = "default") -> None:
    """Take the source of this name from a meter; nothing happens if there is none."""
    with _LOCK:
        sources = _SETS.get(meter)
    if sources is not None:
        sources.remove(name)


def _create(
    meter: Meter,
    family: Family,
    read: Callable[[CallbackOptions], Iterable[Observation]],
) -> None:
    create = {
        "counter": meter.create_observable_counter,
        "states": meter.create_observable_up_down_counter,  # their sum counts sources
    }.get(family.kind, meter.create_observable_gauge)
    create(family.name, callbacks=[read], unit=family.unit, description=family.help)


def _reader(
    family: Family,
    sources: SourceSet,
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_options: CallbackOptions) -> Iterable[Observation]:
        return [
            _observation(name, sample)
            for name, found in sources.read()
            for sample in found
            if sample.family is family
        ]

    return read


def _observation(name: str, sample: Sample) -> Observation:
    label = sample.family.label
    attributes = {_NAME: name} | ({_ATTRIBUTES[label]: sample.label} if label else {})
    # Counts are whole numbers, also on the wire.
    value = int(sample.value) if sample.family.kind in ("counter", "states") else sample.value
    return Observation(value, attributes)
