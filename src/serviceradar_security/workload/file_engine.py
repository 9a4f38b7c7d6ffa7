"""What runs behind an open source of files in one process: watch, thread and listeners."""

from __future__ import annotations

import copy
import logging
import queue
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from serviceradar_security.workload.file_reading import FileProblem, FilesReader
from serviceradar_security.workload.file_watch import FileWatch
from serviceradar_security.workload.watch import SourceStatus, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.workload.file_reading import FileReader, FileSnapshot
    from serviceradar_security.workload.files import IdentityFiles
    from serviceradar_security.workload.watch import Instant

__all__ = ["FileEngine"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")
_T = TypeVar("_T")
_WELL: Final = frozenset((State.STARTING, State.READY, State.CLOSED))
_PATIENCE: Final = 0.2  # for the lock, which is held for microseconds
_LONGEST_WAIT: Final = 60.0  # the wall clock may be set meanwhile
_MAX_TOLD: Final = 20  # different warnings, and causes while one state lasts, that are logged


class FileEngine:
    """Keep one set of files in view; belongs to the process that made it.

    Attributes:
        changed: Guards the watch; notified after every change of it.
        watch: The state machine; touched only under `changed`.
        version: Counts the events that the machine took.
    """

    def __init__(
        self,
        files: IdentityFiles,
        *,
        reader: FileReader,
        poll_interval: float,
        clock: Callable[[], Instant],
    ) -> None:
        """Prepare the machine; `start` starts the thread."""
        self.version: int = 0
        self.changed: threading.Condition = threading.Condition(threading.Lock())
        self.listeners: list[Callable[[], None]] = []
        self.publish: list[Callable[[X509Context], None]] = []
        self._clock = clock
        self._reader = FilesReader(files, reader)
        self.watch: FileWatch = FileWatch(files, poll_interval=poll_interval, now=clock())
        self._shown = copy.copy(self.watch)
        self._cause = ""
        self._causes = {""}
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

    def close(self, *, timeout: float) -> None:
        """End the watch, wake everybody, stop the thread; may be called twice."""
        # In a signal handler, the lock may be held by the very frame that was interrupted. Then
        # the thread reports the end, as soon as that frame goes on, and waiting for it is futile.
        free = self.changed.acquire(timeout=_PATIENCE)
        if free:
            self.changed.release()
            self._report(self.watch.closed)
        self._stopping = True
        self._wake.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout if free else 0.0)

    def abandon(self) -> None:
        """Let go of what a forked child has of it: there is nothing."""

    def look(self) -> FileWatch:
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

    def poll(self) -> None:
        """Read the files and report what they hold; called in the thread."""
        try:
            outcome = self._reader.look(at=self._clock().wall)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not freeze an identity in silence
            _LOG.exception("the files of an identity could not be read for an unexpected reason")
            outcome = FileProblem(
                f"unexpected {type(error).__name__} as the files were read",
                "please report it",
            )
        if not isinstance(outcome, FileProblem):
            self._warn(outcome.warnings)
        self._take(outcome)

    def _take(self, outcome: FileSnapshot | FileProblem) -> None:
        new = self._report(lambda now: self.watch.looked(outcome, now), quiet=True)
        if new and not isinstance(outcome, FileProblem):
            for publish in tuple(self.publish):
                publish(outcome.context)

    def _run(self) -> None:
        try:
            while not self._stopping:
                if self._wait():
                    self.poll()
                else:
                    self._report(self.watch.ticked, quiet=True)
        finally:
            self._report(self.watch.closed, quiet=True)
            self._reader.forget()

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

    def _report(self, event: Callable[[Instant], _T], *, quiet: bool = False) -> _T:
        """Pass an event to the machine, wake and log; if `quiet`, only for what users see."""
        now = self._clock()
        with self.changed:
            before, updates = self.watch.state, self.watch.updates
            result = event(now)
            status = self.watch.status(now)
            self._shown = copy.copy(self.watch)
            told, self._cause = self._cause, status.cause
            changed = (before, updates, told) != (status.state, status.updates, status.cause)
            if changed or not quiet:
                self.version += 1
                self.changed.notify_all()
                for listener in self.listeners:
                    listener()
        if changed:
            self._announce(before, status)
        return result

    def _announce(self, before: State, status: SourceStatus) -> None:
        """Log each transition, and each cause once while a state lasts; not each look."""
        if status.state is not before:
            self._causes = {""}
        elif status.cause in self._causes or len(self._causes) >= _MAX_TOLD:
            return
        self._causes.add(status.cause)
        _log(status)

    def _warn(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            if warning not in self._warned and len(self._warned) < _MAX_TOLD:
                self._warned.add(warning)
                _LOG.warning("an identity of files: %s", warning)


def _log(status: SourceStatus) -> None:
    level = logging.INFO if status.state in _WELL else logging.WARNING
    who = f" as {status.spiffe_id}" if status.spiffe_id else ""
    end = f" until {status.not_after:%FT%TZ}" if status.not_after else ""
    why = f": {status.cause}: {status.advice}" if status.cause else ""
    _LOG.log(level, "identity source of files is %s%s%s%s", status.state.value, who, end, why)
