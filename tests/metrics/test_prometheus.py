"""The collector, in the registries of prometheus-client and on its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY

from serviceradar_security import ConfigError, StaticSource, X509Source
from serviceradar_security.metrics.prometheus import SourceCollector
from serviceradar_security.metrics.samples import FAMILIES, STATES
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State
from tests.metrics.records import END, ID, SOON, START, Told, record
from tests.workload.material import context_until
from tests.workload.peers import source_threads, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def text_page(registry: CollectorRegistry) -> list[Metric]:
    """Scrape in the text format."""
    page = generate_latest(registry).decode()
    return list(text_string_to_metric_families(page))


def openmetrics_page(registry: CollectorRegistry) -> list[Metric]:
    """Scrape in the format of OpenMetrics, whose parser is strict."""
    page = exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call] # it ships no types here
    return list(openmetrics.text_string_to_metric_families(page))  # type: ignore[no-untyped-call] # likewise


PAGES: dict[str, Callable[[CollectorRegistry], list[Metric]]] = {
    "text": text_page,
    "openmetrics": openmetrics_page,
}


def registered(collector: SourceCollector, *, describe: bool = False) -> CollectorRegistry:
    """Make a registry with a collector."""
    registry = CollectorRegistry(auto_describe=describe)
    registry.register(collector)
    return registry


def series(metrics: list[Metric]) -> Series:
    """Give each series once, with its value."""
    found: Series = {}
    for metric in metrics:
        for sample in metric.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def state_now(registry: CollectorRegistry, name: str = "default") -> list[str]:
    """Give the states that are 1, of a source."""

    def value(state: str) -> float | None:
        return registry.get_sample_value("spiffe_source_state", {"source": name, "state": state})

    values = {value(state) for state in STATES}
    assert values <= {0.0, 1.0} or values == {None}  # no such source
    return [state for state in STATES if value(state)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page(page: str) -> None:
    """A scrape holds the record: every metric, its help, and its value under its labels."""
    metrics = PAGES[page](registered(SourceCollector(Told(record(next_attempt=SOON)), name="main")))

    def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
        return name, frozenset({"source": "main", **labels}.items())

    assert series(metrics) == {
        **{key("spiffe_source_state", state=state): float(state == "READY") for state in STATES},
        key("spiffe_source_state_since_timestamp_seconds"): START.timestamp(),
        key("spiffe_source_svid_not_after_timestamp_seconds"): END.timestamp(),
        key("spiffe_source_svid_info", spiffe_id=str(ID)): 1.0,
        key("spiffe_source_next_attempt_timestamp_seconds"): SOON.timestamp(),
        key("spiffe_source_last_update_timestamp_seconds"): START.timestamp() + 2,
        key("spiffe_source_failures_total", kind="ended"): 4.0,
        key("spiffe_source_failures_total", kind="denied"): 1.0,
        key("spiffe_source_updates_total"): 3.0,
        key("spiffe_source_rejected_updates_total"): 2.0,
    }
    assert [each.documentation for each in metrics] == [family.help for family in FAMILIES]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spiffe_source_state", "gauge"),
        ("spiffe_source_svid_not_after_timestamp_seconds", "gauge"),
        ("spiffe_source_updates", "counter"),
        ("spiffe_source_rejected_updates", "counter"),
        ("spiffe_source_svid", "info"),
    ],
)
def test_types(name: str, kind: str) -> None:
    """The types are those that Prometheus knows for counts, values and facts."""
    metrics = openmetrics_page(registered(SourceCollector(Told())))
    assert {metric.name: metric.type for metric in metrics}[name] == kind


@pytest.mark.parametrize("describe", [False, True])
def test_registering_reads_nothing(describe: bool) -> None:
    """A source is read by scrapes alone, once by each, and never kept."""
    source = Told()
    collector = SourceCollector(source)
    before = REGISTRY._collector_to_names.copy()
    registry = registered(collector, describe=describe)
    assert source.reads == 0

    assert state_now(registry) == ["READY"]
    reads = source.reads
    source.answer = record(state=State.DEGRADED)
    generate_latest(registry)

    assert source.reads == reads + 1
    assert state_now(registry) == ["DEGRADED"]
    assert REGISTRY._collector_to_names == before


def test_several_sources() -> None:
    """Sources share the metrics, each under its own name, until they are removed."""
    collector = SourceCollector(Told(), name="one")
    registry = registered(collector)
    collector.add(Told(record(state=State.EXPIRED)), name="two")

    assert [state_now(registry, name) for name in ("one", "two")] == [["READY"], ["EXPIRED"]]
    for page in PAGES.values():
        assert len(page(registry)) == len(FAMILIES) - 1  # no attempt is planned
    with pytest.raises(ConfigError, match="'two' is taken"):
        collector.add(Told(), name="two")
    collector.remove("one")
    assert state_now(registry, "one") == []
    assert state_now(registry, "two") == ["EXPIRED"]
    collector.remove("two")
    assert text_page(registry) == []


def test_a_name_that_is_none() -> None:
    """A name that cannot be written is refused at once, and not by the first scrape."""
    with pytest.raises(ConfigError, match="give a text that is not empty"):
        SourceCollector(Told(), name="")


def test_a_source_that_raises_does_not_spoil_the_page() -> None:
    """The other metrics of the registry are scraped, whatever a source does."""
    registry = registered(SourceCollector(Told(ZeroDivisionError("broken"))))
    Counter("other", "Another metric.", registry=registry).inc()
    found = {name for name, _ in series(text_page(registry))}
    assert {"spiffe_source_state", "other_total"} <= found
    assert state_now(registry) == []


def test_one_metric_of_many() -> None:
    """A scrape may ask for one metric by its name."""
    registry = registered(SourceCollector(Told()))
    page = generate_latest(
        registry.restricted_registry(["spiffe_source_svid_not_after_timestamp_seconds"]),
    )
    assert [each.name for each in text_string_to_metric_families(page.decode())] == [
        "spiffe_source_svid_not_after_timestamp_seconds",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_before_and_after(page: str) -> None:
    """A source that was not opened yet or is closed shows states only, and starts no thread."""
    source = X509Source("unix:///nowhere/agent.sock")
    registry = registered(SourceCollector(source))
    before = source_threads()

    assert state_now(registry) == []
    assert [each.name for each in PAGES[page](registry)] == ["spiffe_source_state"]
    source.close()
    assert state_now(registry) == ["CLOSED"]
    assert [each.name for each in PAGES[page](registry)] == ["spiffe_source_state"]
    assert source_threads() == before


def test_a_fixed_source() -> None:
    """Any source will do."""
    context = context_until(100)
    with StaticSource(context, now=lambda: START) as source:
        registry = registered(SourceCollector(source))
        end = registry.get_sample_value(
            "spiffe_source_svid_not_after_timestamp_seconds",
            {"source": "default"},
        )
        assert end == context.default.not_after.timestamp()
        assert state_now(registry) == ["READY"]
    assert state_now(registry) == ["CLOSED"]


def test_a_live_source(tmp_path: Path) -> None:
    """Scrapes follow a source through its life: identity, rotation, refusal, outage, end."""
    with FakeWorkloadApi([ID], socket_path=tmp_path / "a.sock") as api:
        source = X509Source(api.endpoint)
        registry = registered(SourceCollector(source))

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, {"source": "default", **labels})

        with source:
            first = source.wait_ready(timeout=15)
            assert state_now(registry) == ["READY"]
            assert value("spiffe_source_updates_total") == 1
            assert value("spiffe_source_svid_info", spiffe_id=str(ID)) == 1
            assert (
                value("spiffe_source_svid_not_after_timestamp_seconds")
                == first.default.not_after.timestamp()
            )
            api.rotate()
            until(lambda: value("spiffe_source_updates_total") == 2)
            api.send(b"\xff")
            until(lambda: value("spiffe_source_rejected_updates_total") == 1)
            api.stop()
            until(lambda: value("spiffe_source_next_attempt_timestamp_seconds") is not None)
            assert state_now(registry) == ["DEGRADED"]
        assert state_now(registry) == ["CLOSED"]
        assert value("spiffe_source_updates_total") is None
