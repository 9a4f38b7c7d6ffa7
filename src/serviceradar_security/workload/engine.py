"""What runs behind one open source in one process: the watch, its thread and its listeners."""

from __future__ import annotations

import logging
import os
import random
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from serviceradar_security.errors import WorkloadApiError
from serviceradar_security.workload.receiver import Receiver
from serviceradar_security.workload.snapshot import Picker, SnapshotReader
from serviceradar_security.workload.watch import Failure, Instant, SourceStatus, State, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.workload.endpoint import WorkloadEndpoint

__all__ = ["Engine"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_T = TypeVar("_T")
_WELL: Final = frozenset((State.STARTING, State.READY, State.CLOSED))


class Engine:
    """Keep one watch going; belongs to the process that made it.

    Attributes:
        changed: Guards the watch; notified after every change of it.
        watch: The state machine; touched only under `changed`.
        version: Counts the events that the machine took.
        pid: The process that made the engine.
    """

    def __init__(
        self,
        endpoint: WorkloadEndpoint,
        *,
        pick: Picker | None,
        redaction_grace: float,
        connect_timeout: float,
        answer_timeout: float,
        clock: Callable[[], Instant],
    ) -> None:
        """Prepare the machine; `start` starts the thread."""
        self.pid = os.getpid()
        self.version = 0
        self.changed = threading.Condition(threading.Lock())
        self.listeners: list[Callable[[], None]] = []
        self.publish: list[Callable[[X509Context], None]] = []
        self._clock = clock
        self._reader = SnapshotReader(pick=pick)
        self._warnings: tuple[str, ...] = ()
        self._receiver = Receiver(
            endpoint,
            self,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
        )
        self.watch = Watch(
            endpoint=str(endpoint),
            redaction_grace=redaction_grace,
            random=random.random,
            now=clock(),
        )

    def start(self) -> None:
        """Start the thread."""
        self._receiver.start()

    def close(self, *, timeout: float) -> None:
        """End the watch, wake everybody, stop the thread."""
        self._report(self.watch.closed)
        self._receiver.stop(timeout=timeout)

    def abandon(self) -> None:
        """Let go of what a forked child has of it."""
        self._receiver.abandon()

    def context(self) -> X509Context:
        """Give the newest snapshot, or raise why there is none."""
        with self.changed:
            return self.watch.context(self._clock())

    def status(self) -> SourceStatus:
        """Give the record."""
        with self.changed:
            return self.watch.status(self._clock())

    # ---- the receiver's handler, in its thread --------------------------------------------------

    def waits(self) -> tuple[float | None, float | None]:
        """Seconds until the next attempt and until the next tick; None for never."""
        now = self._clock()
        with self.changed:
            attempt = self.watch.next_attempt
            tick = self.watch.next_tick(now)
        return (None if attempt is None else attempt - now.monotonic), tick

    def opened(self) -> None:
        """Take note that a stream is open."""
        self._report(self.watch.opened)

    def message(self, data: bytes) -> None:
        """Take a message, or count it as refused."""
        try:
            snapshot = self._reader.read(data)
        except WorkloadApiError as error:
            text = str(error)
            _LOG.warning("%s", text)
            self._report(lambda now: self.watch.rejected(text, now))
            return
        if snapshot.warnings != self._warnings:  # once, not with each message
            self._warnings = snapshot.warnings
            for warning in snapshot.warnings:
                _LOG.warning("the Workload API's message: %s", warning)
        if self._report(lambda now: self.watch.delivered(snapshot.context, now)):
            for publish in tuple(self.publish):
                publish(snapshot.context)

    def failed(self, failure: Failure) -> None:
        """Take the end of the stream, or of the attempt to open one."""
        self._report(lambda now: self.watch.failed(failure, now))

    def ticked(self) -> None:
        """Let time pass."""
        now = self._clock()
        with self.changed:
            before = self.watch.state
            self.watch.ticked(now)
        self._announce(before, now)

    def _report(self, event: Callable[[Instant], _T]) -> _T:
        """Pass an event to the machine, and wake who waits."""
        now = self._clock()
        with self.changed:
            before = self.watch.state
            result = event(now)
            self.version += 1
            self.changed.notify_all()
            for listener in self.listeners:
                listener()
        self._announce(before, now)
        return result

    def _announce(self, before: State, now: Instant) -> None:
        """Log a transition, once."""
        with self.changed:
            status = self.watch.status(now)
        if status.state is not before:
            _log(status)


def _log(status: SourceStatus) -> None:
    level = logging.INFO if status.state in _WELL else logging.WARNING
    who = f" as {status.spiffe_id}" if status.spiffe_id else ""
    end = f" until {status.not_after:%FT%TZ}" if status.not_after else ""
    why = f": {status.cause}: {status.advice}" if status.cause else ""
    _LOG.log(level, "identity source is %s%s%s%s", status.state.value, who, end, why)
