"""No program and no folder outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from tests.realparts import process
from tests.realparts.runner import Runner

if TYPE_CHECKING:
    from pathlib import Path

RUN_PROGRAM = """
import json, os, time
from tests.realparts import process
folder = process.temp_folder("small")
log = folder / "log"
program = process.start(["sh", "-c", "sleep 60 & echo up; exec sleep 60"], log=log, cwd=folder)
process.wait_until(lambda: log.read_text() == "up\\n", timeout=10, process=program, what="up")
# fork here
print(json.dumps([process.supervisor_pid(), [str(folder)]]), flush=True)
time.sleep(60)
"""
# A child that the runner forks holds the runner's end of the supervisor's socket.
RUN_FORKED = RUN_PROGRAM.replace("# fork here", "if not os.fork(): time.sleep(12), os._exit(0)")
EXIT_HARD = RUN_PROGRAM.replace("60)", "1)\nos._exit(0)")  # as pytest-timeout does


@pytest.mark.parametrize(
    ("script", "number"),
    [
        (RUN_PROGRAM, signal.SIGINT),
        (RUN_PROGRAM, signal.SIGTERM),
        (RUN_PROGRAM, signal.SIGKILL),
        (RUN_FORKED, signal.SIGKILL),
        (EXIT_HARD, None),
    ],
    ids=["SIGINT", "SIGTERM", "SIGKILL", "SIGKILL after a fork", "os._exit"],
)
def test_programs_end_with_their_runner(script: str, number: signal.Signals | None) -> None:
    """However a runner ends, its programs and their children end, and its folders go."""
    with contextlib.closing(Runner(script)) as runner:
        if number is not None:
            runner.process.send_signal(number)
        assert runner.survivors(timeout=8) == []
        assert [folder for folder in runner.folders if folder.exists()] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_programs_end_with_their_supervisor(number: signal.Signals) -> None:
    """If somebody kills the supervisor, the kernel kills the programs."""
    with contextlib.closing(Runner(RUN_PROGRAM.replace("sleep 60 & ", ""))) as runner:
        assert len(runner.started) == 2
        os.kill(runner.supervisor, number)
        assert runner.survivors(timeout=10) == []


def test_a_stubborn_program_is_killed_with_its_children(tmp_path: Path) -> None:
    """A program that ignores SIGTERM ends after the timeout, paused or not, with its children."""
    script = "trap '' TERM; sleep 60 & echo $!; wait; wait"
    log = tmp_path / "log"
    stubborn = process.start(["sh", "-c", script], log=log, cwd=tmp_path)
    process.wait_until(
        lambda: log.exists() and log.read_text().endswith("\n"),
        timeout=10,
        process=stubborn,
        what="its child runs",
    )
    child = os.pidfd_open(int(log.read_text()))
    stubborn.send(signal.SIGSTOP)
    assert stubborn.stop(timeout=0.2) == -signal.SIGKILL
    assert select.select([child], [], [], 10)[0]
    os.close(child)
