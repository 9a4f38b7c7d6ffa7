"""Metrics of identity sources: observers, and adapters for Prometheus and OpenTelemetry.

For: seeing from outside what `source.status()` says inside. `prometheus` (extra ``prometheus``)
and `opentelemetry` (extra ``otel``) read the record when they are asked; an observer is told of
events. Must not touch transports or configuration, nor change what a source does: a metric that
fails is logged, and the source goes on.
"""

from __future__ import annotations

from serviceradar_security.metrics.observer import (
    NullObserver,
    ObserverGroup,
    Relay,
    SourceObserver,
)

__all__ = ["NullObserver", "ObserverGroup", "Relay", "SourceObserver"]
