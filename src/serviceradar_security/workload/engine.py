"""What runs behind one open source in one process: the watch, its thread and its listeners."""

from __future__ import annotations

import copy
import logging
import random
import re
import threading
from typing import TYPE_CHECKING, Final, TypeVar

# Loaded here, since cryptography loads it in the thread that verifies first: a process that forks
# in that moment leaves the child an import that never ends (D11).
import cryptography.hazmat.backends.openssl.backend  # noqa: F401

from serviceradar_security.errors import WorkloadApiError
from serviceradar_security.metrics.observer import Relay
from serviceradar_security.workload.receiver import Receiver
from serviceradar_security.workload.snapshot import Picker, SnapshotReader
from serviceradar_security.workload.watch import Instant, SourceStatus, State, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.endpoint import WorkloadEndpoint
    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.limits import Limits

__all__ = ["Engine"]

_NUMBER: Final = re.compile(r"\d+")

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_T = TypeVar("_T")
_WELL: Final = frozenset((State.STARTING, State.READY, State.CLOSED))
_PATIENCE: Final = 0.2  # for the lock, which is held for microseconds
_MAX_WARNINGS: Final = 10  # of one message that are logged
_MAX_CAUSES: Final = 20  # that are logged while one state lasts


class Engine:
    """Keep one watch going; belongs to the process that made it.

    Attributes:
        changed: Guards the watch; notified after every change of it.
        watch: The state machine; touched only under `changed`.
        version: Counts the events that the machine took.
    """

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
        self.version: int = 0
        self.changed: threading.Condition = threading.Condition(threading.Lock())
        self.listeners: list[Callable[[], None]] = []
        self.publish: list[Callable[[X509Context], None]] = []
        self._clock = clock
        self._reader = SnapshotReader(pick=pick, limits=limits)
        self._warnings: tuple[str, ...] = ()
        self._receiver = Receiver(
            endpoint,
            self,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
            max_message_bytes=limits.message_bytes,
        )
        self.watch: Watch = Watch(
            endpoint=str(endpoint),
            redaction_grace=redaction_grace,
            random=random.random,
            now=clock(),
        )
        self._shown = copy.copy(self.watch)
        self._causes = {""}
        self._offered: X509Context | None = None
        self._relay = None if observer is None else Relay(observer, self.watch.status(clock()))

    def start(self) -> None:
        """Start the thread."""
        try:
            self._receiver.start()
        except BaseException:
            self._receiver.abandon()
            raise

    def close(self, *, timeout: float) -> None:
        """End the watch, wake everybody, stop the thread; may be called twice."""
        # In a signal handler, the lock may be held by the very frame that was interrupted. Then
        # the thread reports the end, as soon as that frame goes on, and waiting for it is futile.
        free = self.changed.acquire(timeout=_PATIENCE)
        if free:
            self.changed.release()
            self._report(self.watch.closed)
        self._receiver.stop(timeout=timeout if free else 0.0)

    def abandon(self) -> None:
        """Let go of what a forked child has of it."""
        self._receiver.abandon()

    def look(self) -> Watch:
        """Give a copy of the machine, to read; takes no lock, so that a signal handler may."""
        return copy.copy(self._shown)

    def now(self) -> Instant:
        """Read the clocks."""
        return self._clock()

    def context(self) -> X509Context:
        """Give the newest snapshot, or raise why there is none."""
        return self.look().context(self._clock())

    def status(self) -> SourceStatus:
        """Give the record."""
        return self.look().status(self._clock())

    # ---- the receiver's handler, in its thread --------------------------------------------------

    def waits(self) -> tuple[float | None, float | None]:
        """Seconds until the next attempt and until the next tick; None for never."""
        self._tell()
        now = self._clock()
        with self.changed:
            attempt = self.watch.next_attempt
            tick = self.watch.next_tick(now)
        return (None if attempt is None else attempt - now.monotonic), tick

    def opened(self) -> None:
        """Take note that a stream is open."""
        self._report(self.watch.opened, quiet=True)

    def message(self, data: bytes) -> None:
        """Take a message, or count it as refused."""
        try:
            snapshot = self._reader.read(data, at=self._clock().wall)
        except WorkloadApiError as error:
            text = str(error)
            self._report(lambda now: self.watch.rejected(text, now))
            return
        self._report(lambda now: self.watch.delivered(snapshot.context, now))
        self._offer()
        # After publishing: users need not wait for bundles that they never ask for.
        warnings = snapshot.warnings
        if warnings != self._warnings:  # once, not with each message
            self._warnings = warnings
            for warning in warnings[:_MAX_WARNINGS]:
                _LOG.warning("the Workload API's message: %s", warning)
            if len(warnings) > _MAX_WARNINGS:
                _LOG.warning("the Workload API's message: %d such in all", len(warnings))

    def failed(self, failure: Failure) -> None:
        """Take the end of the stream, or of the attempt to open one."""
        _LOG.debug("the Workload API stream is over: %s: %s", failure.kind.value, failure.text)
        self._report(lambda now: self.watch.failed(failure, now), failure=failure)

    def ticked(self) -> None:
        """Let time pass."""
        self._report(self.watch.ticked, quiet=True)
        self._offer()  # a secondary identity may have ended

    def stopped(self) -> None:
        """Take note that the thread ends, and let go of the keys."""
        self._report(self.watch.closed, quiet=True)
        self._reader = SnapshotReader()
        self._offered = None
        self._tell()

    def _offer(self) -> None:
        """Hand a snapshot that is new to the subscribers."""
        held, before = self.watch.held, self._offered
        self._offered = held
        if held is not None and held is not before:
            for publish in tuple(self.publish):
                publish(held)

    def _tell(self) -> None:
        """Tell the observer what happened: in this thread alone, and outside of the lock.

        Not where a source is closed, which a signal handler may do: what an observer holds then
        may be held by the very frame that was interrupted.
        """
        if self._relay is not None:
            self._relay.deliver()

    def _report(
        self,
        event: Callable[[Instant], _T],
        *,
        quiet: bool = False,
        failure: Failure | None = None,
    ) -> _T:
        """Pass an event to the machine, wake and log; if `quiet`, only for a new state."""
        now = self._clock()
        with self.changed:
            before = self.watch.state
            result = event(now)
            status = self.watch.status(now)
            self._shown = copy.copy(self.watch)  # in one step for all readers (R-WLAPI-06)
            if self._relay is not None:
                self._relay.note(status, failure=failure)
            heard = not quiet or status.state is not before
            if heard:
                self.version += 1
                self.changed.notify_all()
                for listener in self.listeners:
                    listener()
        if heard:
            self._announce(before, status)
        return result

    def _announce(self, before: State, status: SourceStatus) -> None:
        """Log each transition, and each cause once while a state lasts; not each attempt."""
        if status.state is not before:
            self._causes.clear()
        cause = _NUMBER.sub("", status.cause)  # "expired 1 s before it came", then "2 s"
        if status.state is before and (cause in self._causes or len(self._causes) >= _MAX_CAUSES):
            return
        self._causes.add(cause)
        _log(status)


def _log(status: SourceStatus) -> None:
    level = logging.INFO if status.state in _WELL else logging.WARNING
    who = f" as {status.spiffe_id}" if status.spiffe_id else ""
    end = f" until {status.not_after:%FT%TZ}" if status.not_after else ""
    why = f": {status.cause}: {status.advice}" if status.cause else ""
    _LOG.log(level, "identity source is %s%s%s%s", status.state.value, who, end, why)
