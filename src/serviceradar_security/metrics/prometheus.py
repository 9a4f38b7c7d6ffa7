"""Prometheus: a collector that reads a source when it is scraped (extra ``prometheus``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.metrics.prometheus needs prometheus-client: "
        "pip install 'serviceradar-security[prometheus]'",
    ) from _missing

from serviceradar_security.metrics.samples import FAMILIES, Family, Sample, SourceSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serviceradar_security.metrics.samples import StatusSource

__all__ = ["SourceCollector"]


class SourceCollector(Collector):
    """Give the metrics of sources to a registry; it registers itself nowhere.

    A scrape reads ``source.status()``: nothing is counted, cached or awaited in between.
    """

    def __init__(self, source: StatusSource, *, name: str = "default") -> None:
        """Hold a source.

        Args:
            source: Any source; it may be opened later, or be closed.
            name: Value of the label ``source``.

        Raises:
            ConfigError: The name is no text, or empty.
        """
        self._sources = SourceSet()
        self._sources.add(source, name)

    def add(self, source: StatusSource, *, name: str) -> None:
        """Give the metrics of one more source; a registry takes only one collector of a metric.

        Raises:
            ConfigError: The name is taken, no text, or empty.
        """
        self._sources.add(source, name)

    def remove(self, name: str) -> None:
        """Forget the source of this name; nothing happens if there is none."""
        self._sources.remove(name)

    def describe(self) -> Iterable[Metric]:
        """Give the metrics without a sample, so that registering reads no source."""
        return [_metric(family) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """Give the metrics of all sources as they are now; never raises."""
        metrics = {family: _metric(family) for family in FAMILIES}
        for name, found in self._sources.read():
            for sample in found:
                _put(metrics[sample.family], name, sample)
        return [metric for metric in metrics.values() if metric.samples]


def _metric(family: Family) -> Metric:
    name = family.prometheus_name
    labels = ("source", family.label) if family.label else ("source",)
    match family.kind:
        case "counter":
            return CounterMetricFamily(name, family.help, labels=labels)
        case "info":  # which adds its suffix and its label by itself
            return InfoMetricFamily(name.removesuffix("_info"), family.help, labels=("source",))
        case _:
            return GaugeMetricFamily(name, family.help, labels=labels)


def _put(metric: Metric, name: str, sample: Sample) -> None:
    label = sample.family.label
    labels = {"source": name, label: sample.label} if label else {"source": name}
    metric.add_sample(sample.family.prometheus_name, labels, sample.value)
