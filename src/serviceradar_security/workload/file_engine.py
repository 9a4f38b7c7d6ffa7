"""What runs behind an open source of files in one process: watch, thread and listeners."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from serviceradar_security.workload.file_reading import FileProblem, FilesReader
from serviceradar_security.workload.file_watch import FileWatch
from serviceradar_security.workload.reading import say
from serviceradar_security.workload.source_engine import SourceEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.file_reading import FileReader, FileSet, FileSnapshot
    from serviceradar_security.workload.status import Instant, SourceStatus

__all__ = ["FileEngine"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_PAUSE: Final = 1.0
_LONGEST_WAIT: Final = 60.0  # the wall clock may be set meanwhile
_MAX_TOLD: Final = 20  # different warnings, and causes while one state lasts, that are logged

SnapshotT = TypeVar("SnapshotT")


class FileEngine(SourceEngine[FileWatch[SnapshotT], SnapshotT]):
    """Keep one set of files in view, whatever they make: it is passed on and not looked at."""

    name = "identity source of files"

    def __init__(
        self,
        files: FileSet[SnapshotT],
        *,
        reader: FileReader,
        poll_interval: float,
        clock: Callable[[], Instant],
        observer: SourceObserver | None = None,
    ) -> None:
        """Prepare the machine; `start` starts the thread."""
        watch: FileWatch[SnapshotT] = FileWatch(files, poll_interval=poll_interval, now=clock())
        super().__init__(watch, clock=clock, observer=observer)
        self._reader = FilesReader(files, reader)
        self._warned: set[str] = set()
        self._stopping = False
        # No lock is held here, since a signal handler may wake the thread that it interrupts.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run,
            name="serviceradar-security-workload",
            daemon=True,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the files now; returns at once."""
        self._wake.put(None)

    def stop(self, *, timeout: float) -> None:
        """Stop the thread and wait for it; may be called twice."""
        self._stopping = True
        self._wake.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def news_of(self, status: SourceStatus) -> Hashable:
        """Give that of a record whose change is heard: a look that finds nothing new is not."""
        return (status.state, status.updates, status.cause)

    def abandon(self) -> None:
        """Let go of what a forked child has of it: there is nothing."""

    def poll(self) -> None:
        """Read the files and report what they hold; called in the thread."""
        try:
            outcome = self._reader.look(at=self._clock().wall)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not freeze an identity in silence
            say(
                _LOG,
                logging.ERROR,
                "the files could not be read for an unexpected reason",
                trace=True,
            )
            outcome = FileProblem(
                f"unexpected {type(error).__name__} as the files were read",
                "please report it",
            )
        if not isinstance(outcome, FileProblem):
            self._warn(outcome.warnings)
        self._take(outcome)

    def _take(self, outcome: FileSnapshot[Any] | FileProblem) -> None:
        new = self.report(lambda now: self.watch.looked(outcome, now), quiet=True)
        if new and not isinstance(outcome, FileProblem):
            self.offer(outcome.context)

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._step()
                except Exception:  # noqa: BLE001 - a defect, or a handler of the user's log
                    # The thread outlives it: a source that nobody closed does not end.
                    say(_LOG, logging.ERROR, "the watch of files failed and goes on", trace=True)
                    self._wake_after(_PAUSE)
        finally:
            self.report(self.watch.closed, quiet=True)
            self._reader.forget()
            self.tell(last=True)

    def _step(self) -> None:
        self.tell()
        if self._wait():
            self.poll()
        else:
            self.report(self.watch.ticked, quiet=True)

    def _wake_after(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=seconds)

    def _wait(self) -> bool:
        """Wait for the next event; tell whether it is time to look at the files."""
        now = self._clock()
        with self.changed:
            look, tick = self.watch.next_look, self.watch.next_tick(now)
        left = _LONGEST_WAIT if look is None else look - now.monotonic
        if left <= 0:
            return not self._stopping
        try:
            self._wake.get(timeout=min(left, _LONGEST_WAIT, *(() if tick is None else (tick,))))
            while not self._wake.empty():  # asked several times, looked at once
                self._wake.get()
        except queue.Empty:
            return False
        return not self._stopping

    def _warn(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            if warning not in self._warned and len(self._warned) < _MAX_TOLD:
                self._warned.add(warning)
                _LOG.warning("an identity of files: %s", warning)
