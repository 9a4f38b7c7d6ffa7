"""Run a program in a process of its own, with a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serviceradar_security import X509Source

if TYPE_CHECKING:
    from multiprocessing import Queue

ROOT: Final = Path(__file__).parents[2]
PRELUDE: Final = """
import asyncio, atexit, multiprocessing, os, signal, sys, threading, time
from serviceradar_security import SecurityError, SourceClosedError, SourceError, X509Source
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State

ID = "spiffe://a.test/web"


def until(holds, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.002)


def in_child(work):
    '''Fork, do some work in the child, and give its exit code; a hang is ended and told.'''
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.alarm(30)
            work()
            code = 0
        except BaseException as error:
            print("child:", type(error).__name__, error, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

"""


def run(script: str, *arguments: str, measured: bool = True) -> str:
    """Run a script behind the prelude; as `run_alone`.

    One that forks is not measured: the measurement of coverage has a lock, which a fork beside
    busy threads may leave locked in the child for ever.
    """
    measured = measured and not any(each in script for each in ("fork", "in_child"))
    return run_alone(PRELUDE + textwrap.dedent(script), *arguments, measured=measured)


def run_alone(script: str, *arguments: str, measured: bool = True) -> str:
    """Run a script; it must end well and complain of nothing.

    Args:
        script: The program.
        arguments: Its arguments.
        measured: Whether a measurement of coverage goes on in it.

    Returns:
        What it printed.
    """
    environ = {k: v for k, v in os.environ.items() if measured or not k.startswith("COVERAGE_")}
    # Python 3.12 warns of a fork beside threads: that is what is tested here.
    warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *warnings, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


def put_identity(given: X509Source | str, results: Queue[str]) -> None:
    """Be a worker: tell the identity that this process gets."""
    source = given if isinstance(given, X509Source) else X509Source(given).open()
    with source:
        results.put(str(source.wait_ready(timeout=20).default.spiffe_id))
