"""A process that uses the harness, watched from outside: for the tests of the harness itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# In the background of a shell Ctrl-C is ignored, and that is inherited.
CTRL_C: Final = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


class Runner:
    """A process that uses the harness, and all that it has started."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CTRL_C + script],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the traceback of KeyboardInterrupt
            start_new_session=True,
        )
        assert self.process.stdout
        self.supervisor, folders = json.loads(self.process.stdout.readline())
        self.folders = [Path(folder) for folder in folders]
        self.started = [self.supervisor, *descendants(self.supervisor)]
        self._ends = [os.pidfd_open(pid) for pid in self.started]

    def survivors(self, *, timeout: float) -> list[int]:
        """Process IDs of what still runs when the time is up."""
        deadline = time.monotonic() + timeout
        return [
            pid
            for pid, end in zip(self.started, self._ends, strict=True)
            if not select.select([end], [], [], max(0.0, deadline - time.monotonic()))[0]
        ]

    def close(self) -> None:
        """End whatever is left."""
        for end in self._ends:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(end, signal.SIGKILL)
            os.close(end)
        with self.process:
            self.process.kill()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> list[int]:
    """Process IDs of all children of a process, and of theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found
