"""What a live source needs of what runs behind it in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from serviceradar_security.errors import SecurityError
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.workload.status import Instant, SourceStatus

__all__ = ["SourceEngine", "SourceWatch"]


class SourceWatch(Protocol):
    """A state machine, as far as its users see it."""

    @property
    def updates(self) -> int:
        """How many different snapshots were taken over."""
        ...

    @property
    def fatal(self) -> SecurityError | None:
        """The error after which nothing is tried any more."""
        ...

    def context(self, now: Instant) -> X509Context:
        """Give the snapshot in force, or raise why there is none."""
        ...


class SourceEngine(Protocol):
    """What runs behind an open source in one process.

    Attributes:
        version: Counts the events.
        changed: Notified after every event.
        listeners: Called after every event, under `changed`.
        publish: Called with each new snapshot.
    """

    version: int
    changed: threading.Condition
    listeners: list[Callable[[], None]]
    publish: list[Callable[[X509Context], None]]

    def start(self) -> None:
        """Start the thread."""
        ...

    def close(self, *, timeout: float) -> None:
        """End the watch, wake everybody, stop the thread; may be called twice."""
        ...

    def abandon(self) -> None:
        """Let go of what a forked child has of it."""
        ...

    def look(self) -> SourceWatch:
        """Give a copy of the machine, to read; takes no lock."""
        ...

    def now(self) -> Instant:
        """Read the clocks."""
        ...

    def context(self) -> X509Context:
        """Give the newest snapshot, or raise why there is none."""
        ...

    def status(self) -> SourceStatus:
        """Give the record."""
        ...
