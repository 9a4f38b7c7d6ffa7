"""What runs behind one open source in one process: the watch, its thread and its listeners."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

# Loaded here, since cryptography loads it in the thread that verifies first: a process that forks
# in that moment leaves the child an import that never ends (D11).
import cryptography.hazmat.backends.openssl.backend  # noqa: F401

from serviceradar_security.errors import WorkloadApiError
from serviceradar_security.identity.context import X509Context
from serviceradar_security.workload.reading import READING
from serviceradar_security.workload.receiver import Receiver
from serviceradar_security.workload.snapshot import Picker, Snapshot, SnapshotReader
from serviceradar_security.workload.source_engine import SourceEngine
from serviceradar_security.workload.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.endpoint import WorkloadEndpoint
    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.limits import Limits
    from serviceradar_security.workload.status import Instant

__all__ = ["Engine"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_MAX_WARNINGS: Final = 10  # of one message that are logged


class Engine(SourceEngine[Watch, X509Context]):
    """Keep the watch on a Workload API going."""

    def __init__(
        self,
        endpoint: WorkloadEndpoint,
        *,
        pick: Picker | None,
        limits: Limits,
        redaction_grace: float,
        connect_timeout: float,
        answer_timeout: float,
        clock: Callable[[], Instant],
        observer: SourceObserver | None = None,
    ) -> None:
        """Prepare the machine; `start` starts the thread."""
        watch = Watch(
            endpoint=str(endpoint),
            redaction_grace=redaction_grace,
            random=random.random,
            now=clock(),
        )
        super().__init__(watch, clock=clock, observer=observer)
        self._reader = SnapshotReader(pick=pick, limits=limits)
        self._warnings: tuple[str, ...] = ()
        self._receiver = Receiver(
            endpoint,
            self,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
            max_message_bytes=limits.message_bytes,
        )
        self._offered: X509Context | None = None
        self._told_of: Snapshot | None = None

    def start(self) -> None:
        """Start the thread."""
        try:
            self._receiver.start()
        except BaseException:
            self._receiver.abandon()
            raise

    def stop(self, *, timeout: float) -> None:
        """Stop the thread and wait for it; may be called twice."""
        self._receiver.stop(timeout=timeout)

    def abandon(self) -> None:
        """Let go of what a forked child has of it."""
        self._receiver.abandon()

    # ---- the receiver's handler, in its thread --------------------------------------------------

    def waits(self) -> tuple[float | None, float | None]:
        """Seconds until the next attempt and until the next tick; None for never."""
        self.tell()
        now = self._clock()
        with self.changed:
            attempt = self.watch.next_attempt
            tick = self.watch.next_tick(now)
        return (None if attempt is None else attempt - now.monotonic), tick

    def opened(self) -> None:
        """Take note that a stream is open."""
        self.report(self.watch.opened, quiet=True)

    def message(self, data: bytes) -> None:
        """Take a message, or count it as refused."""
        try:
            with READING:
                snapshot = self._reader.read(data, at=self._clock().wall)
        except WorkloadApiError as error:
            text = str(error)
            self.report(lambda now: self.watch.rejected(text, now))
            return
        self.report(lambda now: self.watch.delivered(snapshot.context, now))
        self._offer()
        if snapshot is self._told_of:
            return
        # After publishing: users need not wait for bundles that they never ask for.
        with READING:
            warnings = snapshot.warnings
        self._told_of = snapshot
        if warnings != self._warnings:  # once, not with each message
            self._warnings = warnings
            for warning in warnings[:_MAX_WARNINGS]:
                _LOG.warning("the Workload API's message: %s", warning)
            if len(warnings) > _MAX_WARNINGS:
                _LOG.warning("the Workload API's message: %d such in all", len(warnings))

    def failed(self, failure: Failure) -> None:
        """Take the end of the stream, or of the attempt to open one."""
        _LOG.debug("the Workload API stream is over: %s: %s", failure.kind.value, failure.text)
        self.report(lambda now: self.watch.failed(failure, now), failure=failure)

    def ticked(self) -> None:
        """Let time pass."""
        self.report(self.watch.ticked, quiet=True)
        self._offer()  # a secondary identity may have ended

    def stopped(self) -> None:
        """Take note that the thread ends, and let go of the keys."""
        self.report(self.watch.closed, quiet=True)
        self._reader = SnapshotReader()
        self._offered = self._told_of = None
        self.tell(last=True)

    def _offer(self) -> None:
        """Hand a snapshot that is new to the subscribers."""
        with self.changed:
            held, before = self.watch.held, self._offered
        self._offered = held
        if held is None and before is not None:
            self._reader.forget()  # what was withdrawn or has expired is not kept here either
            self._told_of = None
        if held is not None and held is not before:
            self.offer(held)
