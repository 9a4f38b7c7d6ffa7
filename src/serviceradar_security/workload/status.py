"""The record that a source keeps of itself, and the moments that it is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = ["Instant", "SourceStatus", "State", "utc_instant"]


class State(Enum):
    """What a source can do for its users now."""

    STARTING = "STARTING"
    """No identity yet, and no failure either."""
    NO_AGENT = "NO_AGENT"
    """No identity, since the Workload API does not answer as it should."""
    NO_IDENTITY = "NO_IDENTITY"
    """The Workload API answers, and has no identity for this workload."""
    READY = "READY"
    """A valid identity, and a stream that brings the next one."""
    DEGRADED = "DEGRADED"
    """A valid identity, and something wrong that will end it if it lasts."""
    EXPIRED = "EXPIRED"
    """The last identity is past its end."""
    CLOSED = "CLOSED"
    """Closed by its owner."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on both clocks: the wall clock for validity, the other one for waiting."""

    monotonic: float
    wall: datetime


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What a source knows of itself, whole and of one moment.

    Attributes:
        state: What it can do for its users.
        since: When it came into this state.
        cause: Why; empty while all is well.
        advice: What a person can do about it; empty while all is well.
        next_attempt: When the Workload API is asked again; None while the stream is open.
        spiffe_id: The SPIFFE ID of the default identity, as long as it is held.
        not_after: The end of its life.
        updates: How many different snapshots were taken over.
        rejected: How many messages were refused.
        failures: How many streams and attempts ended in failure, by the kind of failure.
        last_update: When the last different snapshot was taken over.
    """

    state: State
    since: datetime
    cause: str
    advice: str
    next_attempt: datetime | None
    spiffe_id: SpiffeId | None
    not_after: datetime | None
    updates: int
    rejected: int
    failures: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({}),
        hash=False,
    )
    last_update: datetime | None = None


def utc_instant(monotonic: float, timestamp: float) -> Instant:
    """Make an `Instant` from the readings of both clocks, in seconds."""
    return Instant(monotonic, datetime.fromtimestamp(timestamp, UTC))
