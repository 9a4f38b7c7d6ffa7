"""Observers of a source: told of what happens, after it happened and outside of every lock.

No clock, thread or metrics library is touched here. What an observer hears is the difference
between two records of the source, so it can say nothing that `status()` does not.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.status import SourceStatus, State

__all__ = ["NullObserver", "ObserverGroup", "Relay", "SourceObserver"]

_LOG: Final = logging.getLogger("serviceradar_security.metrics")
_MOST_HELD: Final = 1000  # events that wait for their delivery; older ones are dropped


class SourceObserver(Protocol):
    """What is told of a source's events.

    Each method gets the record as it was right after the event. The calls come in the order of
    the events, one at a time, from a thread that does nothing else. A slow observer hears late,
    and of too many events only the last thousand. What a method raises is logged and changes
    nothing.
    """

    def transition(self, before: State, status: SourceStatus) -> None:
        """Hear that the state changed, from `before` to `status.state`."""
        ...

    def update(self, status: SourceStatus) -> None:
        """Hear that a different snapshot was taken over."""
        ...

    def rejection(self, status: SourceStatus) -> None:
        """Hear that a message was refused; `status.cause` says why."""
        ...

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        """Hear that a stream ended, or the attempt to open one: each time, also of retries."""
        ...


class NullObserver:
    """Ignore every event; a base for observers that care for some."""

    def transition(self, before: State, status: SourceStatus) -> None:
        """Ignore it."""

    def update(self, status: SourceStatus) -> None:
        """Ignore it."""

    def rejection(self, status: SourceStatus) -> None:
        """Ignore it."""

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        """Ignore it."""


class ObserverGroup:
    """Tell several observers; one that raises harms neither the others nor the caller.

    The first failure of each method of each observer is logged with its traceback, later ones
    only at the level DEBUG: an agent that is away makes several events a second.
    """

    def __init__(self, *observers: SourceObserver) -> None:
        """Hold the observers, in the order in which they are told."""
        self._observers = observers
        self._failed: set[tuple[int, str]] = set()

    def __repr__(self) -> str:
        return f"ObserverGroup({', '.join(map(repr, self._observers))})"

    def transition(self, before: State, status: SourceStatus) -> None:
        """Pass it on."""
        self._tell("transition", lambda observer: observer.transition(before, status))

    def update(self, status: SourceStatus) -> None:
        """Pass it on."""
        self._tell("update", lambda observer: observer.update(status))

    def rejection(self, status: SourceStatus) -> None:
        """Pass it on."""
        self._tell("rejection", lambda observer: observer.rejection(status))

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        """Pass it on."""
        self._tell("failure", lambda observer: observer.failure(failure, status))

    def _tell(self, method: str, call: Callable[[SourceObserver], None]) -> None:
        for number, observer in enumerate(self._observers):
            try:
                call(observer)
            except (Exception, SystemExit):  # noqa: BLE001 - a user's observer may raise anything
                level = logging.DEBUG if (number, method) in self._failed else logging.ERROR
                self._failed.add((number, method))
                _LOG.log(
                    level,
                    "an observer of the identity source failed in %s; the next event follows",
                    method,
                    exc_info=True,
                )


class Relay:
    """Carry events from where they happen to where observers may be called.

    `note` is cheap, calls nobody and may be used under the lock of a source and in a signal
    handler. `deliver` calls the observer, and belongs to one thread that holds no lock: a counter
    of a metrics library has a lock of its own, on which a signal handler would wait for ever.
    """

    def __init__(self, observer: SourceObserver, status: SourceStatus) -> None:
        """Begin.

        Args:
            observer: Whom to tell.
            status: The record before the first event.
        """
        self._observer = ObserverGroup(observer)
        self._last = status
        self._held: deque[Callable[[], None]] = deque(maxlen=_MOST_HELD)

    def note(self, status: SourceStatus, *, failure: Failure | None = None) -> None:
        """Hold what is new in a record.

        Args:
            status: The record after an event.
            failure: What ended, if the event was that.
        """
        last, self._last = self._last, status
        observer, hold = self._observer, self._held.append
        if failure is not None:
            hold(lambda: observer.failure(failure, status))
        if status.rejected > last.rejected:
            hold(lambda: observer.rejection(status))
        if status.updates > last.updates:
            hold(lambda: observer.update(status))
        if status.state is not last.state:
            hold(lambda: observer.transition(last.state, status))

    @property
    def pending(self) -> bool:
        """Whether something is held."""
        return bool(self._held)

    def deliver(self) -> None:
        """Tell the observer all that is held."""
        while self._held:
            self._held.popleft()()
