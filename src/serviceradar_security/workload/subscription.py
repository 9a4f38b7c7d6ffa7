"""A subscriber with a thread of its own: slow or failing ones harm nobody else."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from serviceradar_security.errors import ConfigError, SecurityError, SourceError
from serviceradar_security.workload.reading import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Subscription"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")

SnapshotT = TypeVar("SnapshotT")


class Subscription(Generic[SnapshotT]):
    """Call a function with each new snapshot, until closed.

    A slow function misses what came in between and sees the newest one next. If it raises, that
    is logged and the next snapshot is delivered all the same (R-WLAPI-34).
    """

    def __init__(
        self,
        callback: Callable[[SnapshotT], object],
        *,
        on_close: Callable[[Subscription[SnapshotT]], None],
        in_force: Callable[[], SnapshotT] | None = None,
        start: bool = True,
    ) -> None:
        """Start the thread; made by ``source.subscribe``.

        Args:
            callback: The function.
            on_close: Is told of the end.
            in_force: Gives what is in force when the function is called, or raises; a slow
                function must not be handed what expired or was withdrawn meanwhile.
            start: Whether to start it; where nothing is ever new there is no need of one.

        Raises:
            ConfigError: The function is none.
            SourceError: The process has no thread left for it.
        """
        if not callable(callback):
            raise ConfigError(f"a subscriber is a function, not {type(callback).__name__}")
        self._callback = callback
        self._in_force = in_force
        self._on_close = on_close
        # No lock is held here, since a signal handler may close what it interrupts: both are safe
        # to use from one.
        self._newest: deque[SnapshotT] = deque(maxlen=1)
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        if start:
            self._thread = threading.Thread(
                target=self._run,
                name="serviceradar-security-subscriber",
                daemon=True,
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                raise SourceError(f"a subscriber's thread cannot be started: {error}") from error

    def offer(self, context: SnapshotT) -> None:
        """Hand over a new snapshot; returns at once."""
        self._newest.append(context)
        if self._wake.empty():
            self._wake.put(None)

    def close(self, *, timeout: float = 5.0) -> None:
        """End the subscription; may be called twice.

        Args:
            timeout: Seconds to wait for a call that runs, unless that is the caller.
        """
        if self._pid != os.getpid():
            return  # the thread stayed with the parent of the fork
        self._closed = True
        self._wake.put(None)
        self._on_close(self)
        thread = self._thread
        if thread is not None and threading.current_thread() is not thread:
            thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._wake.get()
            if self._closed:
                return
            try:
                context = self._newest.pop()
                if self._in_force is not None:
                    context = self._in_force()
            except (IndexError, SecurityError):
                continue  # it was taken as the one before was to be, or nothing is in force
            try:
                self._callback(context)
            except (Exception, SystemExit):  # noqa: BLE001 - a user's function may raise anything
                say(
                    _LOG,
                    logging.ERROR,
                    "a subscriber of the identity source failed; the next call follows",
                    trace=True,
                )
