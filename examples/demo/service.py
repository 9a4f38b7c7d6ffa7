"""A service process under observation: its events are read as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]

Event = dict[str, Any]


class DemoError(Exception):
    """Something did not go as told."""


class Service:
    """Run ``python -m MODULE …`` and keep what it says."""

    def __init__(self, name: str, argv: list[str], *, log: Path) -> None:
        """Start the process; its standard error goes to a file."""
        self.name = name
        self._log = log
        self._changed = threading.Condition()
        self._events: list[Event] = []
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        output = self._process.stdout
        for line in output or ():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "unreadable", "text": line.decode(errors="replace")}
            with self._changed:
                self._events.append(event)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def mark(self) -> int:
        """Remember this moment, for ``since``."""
        with self._changed:
            return len(self._events)

    def events(self, name: str, *, since: int = 0) -> list[Event]:
        """Give the events of a name."""
        with self._changed:
            return [each for each in self._events[since:] if each["event"] == name]

    def wait_for(
        self,
        name: str,
        *,
        count: int = 1,
        since: int = 0,
        timeout: float = 30.0,
        where: Callable[[Event], bool] = lambda _: True,
    ) -> list[Event]:
        """Wait until this many events of a name came.

        Raises:
            DemoError: They did not come in time, or the process ended.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [e for e in self._events[since:] if e["event"] == name and where(e)]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and not self._reader.is_alive()):
                    raise DemoError(self._explain(name, count, len(found), timeout))
                self._changed.wait(min(left, 0.2))

    def _explain(self, name: str, count: int, found: int, timeout: float) -> str:
        code = self._process.poll()
        how = f"it ended with code {code}" if code is not None else f"{timeout:g} s went by"
        last = "\n".join(json.dumps(each) for each in self._events[-5:])
        errors = self._log.read_text(errors="replace")[-2000:]
        return (
            f"{self.name}: {found} of {count} events {name!r} came, then {how}. "
            f"It said last:\n{last}\n{errors}"
        )

    def reread(self) -> None:
        """Tell it to look at its overlay again."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """End it and give its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
