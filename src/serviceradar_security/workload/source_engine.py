"""What runs behind a live source in one process: a watch, its record, its listeners, its log."""

from __future__ import annotations

import copy
import logging
import re
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from serviceradar_security.metrics.observer import Relay
from serviceradar_security.workload.status import State
from serviceradar_security.workload.telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from serviceradar_security.errors import SecurityError
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.status import Instant, SourceStatus

__all__ = ["SourceEngine", "SourceWatch"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_T = TypeVar("_T")
SnapshotT = TypeVar("SnapshotT")
SnapshotT_co = TypeVar("SnapshotT_co", covariant=True)
_WELL: Final = frozenset((State.STARTING, State.READY, State.CLOSED))
_PATIENCE: Final = 0.2  # for the lock, which is held for microseconds
_MAX_CAUSES: Final = 20  # that are logged while one state lasts
_SECONDS: Final = re.compile(r"\b\d+ s\b")


class SourceWatch(Protocol[SnapshotT_co]):
    """A state machine, as far as its engine and its users see it."""

    @property
    def state(self) -> State:
        """The state that was last settled."""
        ...

    @property
    def updates(self) -> int:
        """How many different snapshots were taken over."""
        ...

    @property
    def fatal(self) -> SecurityError | None:
        """The error after which nothing is tried any more."""
        ...

    def context(self, now: Instant) -> SnapshotT_co:
        """Give the snapshot in force, or raise why there is none."""
        ...

    def status(self, now: Instant) -> SourceStatus:
        """Give the record."""
        ...

    def closed(self, now: Instant) -> None:
        """End the watch."""
        ...


WatchT = TypeVar("WatchT", bound=SourceWatch[Any])


class SourceEngine(ABC, Generic[WatchT, SnapshotT]):
    """Keep one watch going; belongs to the process that made it.

    Attributes:
        watch: The state machine; touched only under `changed`.
        changed: Guards the watch; notified after every event that is heard.
        version: Counts these events.
        listeners: Called after every one of them, under `changed`.
        publish: Called with each new snapshot.
    """

    name: str = "identity source"  # in logs

    def __init__(
        self,
        watch: WatchT,
        *,
        clock: Callable[[], Instant],
        observer: SourceObserver | None,
    ) -> None:
        """Prepare the machine; `start` starts the thread."""
        self.version: int = 0
        self.changed: threading.Condition = threading.Condition(threading.Lock())
        self.listeners: list[Callable[[], None]] = []
        self.publish: list[Callable[[SnapshotT], None]] = []
        self.watch: WatchT = watch
        self._clock = clock
        self._shown = copy.copy(watch)
        self._causes = {""}
        status = watch.status(clock())
        self._seen = self.news_of(status)
        self._relay = None if observer is None else Relay(observer, status)
        self._teller: Teller | None = None
        self._mute = False  # for want of a thread, which was said

    @abstractmethod
    def start(self) -> None:
        """Start the thread."""

    @abstractmethod
    def stop(self, *, timeout: float) -> None:
        """Stop the thread and wait for it; may be called twice."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of what a forked child has of it."""

    def news_of(self, status: SourceStatus) -> Hashable:
        """Give that of a record whose change is heard even of a quiet event."""
        return status.state

    def close(self, *, timeout: float) -> None:
        """End the watch, wake everybody, stop the thread; may be called twice."""
        # In a signal handler, the lock may be held by the very frame that was interrupted. Then
        # the thread reports the end, as soon as that frame goes on, and waiting for it is futile.
        free = self.changed.acquire(timeout=_PATIENCE)
        if free:
            self.changed.release()
            self.report(self.watch.closed)
        self.stop(timeout=timeout if free else 0.0)

    def look(self) -> WatchT:
        """Give a copy of the machine, to read; takes no lock, so that a signal handler may."""
        return copy.copy(self._shown)

    def now(self) -> Instant:
        """Read the clocks."""
        return self._clock()

    def context(self) -> SnapshotT:
        """Give the newest snapshot, or raise why there is none."""
        newest: SnapshotT = self.look().context(self._clock())
        return newest

    def status(self) -> SourceStatus:
        """Give the record."""
        return self.look().status(self._clock())

    def offer(self, context: SnapshotT) -> None:
        """Hand a new snapshot to the subscribers."""
        for publish in tuple(self.publish):
            publish(context)

    def tell(self, *, last: bool = False) -> None:
        """Have the observer told of what happened; in the engine's thread.

        Not where a source is closed, which a signal handler may do: it starts no thread.
        """
        if self._relay is None:
            return
        if self._teller is None:
            try:
                self._teller = Teller(self._relay)
            except RuntimeError:  # no thread is left: an identity must not wait for an observer
                if not self._mute:
                    self._mute = True
                    _LOG.warning("no thread can be started for an observer: it is tried again")
                return
        self._mute = False
        self._teller.wake(last=last)

    def report(
        self,
        event: Callable[[Instant], _T],
        *,
        quiet: bool = False,
        failure: Failure | None = None,
    ) -> _T:
        """Pass an event to the machine, wake and log; if `quiet`, only for news."""
        now = self._clock()
        with self.changed:
            before = self.watch.state
            result = event(now)
            status = self.watch.status(now)
            self._shown = copy.copy(self.watch)  # in one step for all readers (R-WLAPI-06)
            if self._relay is not None:
                self._relay.note(status, failure=failure)
            seen, self._seen = self._seen, self.news_of(status)
            heard = not quiet or seen != self._seen
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
        cause = _SECONDS.sub("", status.cause)  # "expired 1 s before it came", then "2 s"
        if status.state is not before:
            self._causes = {""}
        elif cause in self._causes or len(self._causes) >= _MAX_CAUSES:
            return
        self._causes.add(cause)
        level = logging.INFO if status.state in _WELL else logging.WARNING
        who = f" as {status.spiffe_id}" if status.spiffe_id else ""
        end = f" until {status.not_after:%FT%TZ}" if status.not_after else ""
        why = f": {status.cause}: {status.advice}" if status.cause else ""
        _LOG.log(level, "%s is %s%s%s%s", self.name, status.state.value, who, end, why)
