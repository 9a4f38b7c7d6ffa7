"""The supervisor: parent of every program that one runner starts, and the last one to leave.

A runner (pytest, the demo) can end in ways that leave it no time to clean up: SIGKILL, a crash, a
timeout that calls ``os._exit``. So it starts nothing itself. It starts this file, which starts the
programs, and which stops them and removes their folders as soon as the runner is gone, however
that came about. It lives in a session of its own, so Ctrl-C reaches the runner alone.

Requests and replies are JSON, one datagram each, on an inherited socket. This file runs isolated
(``python -I -S``) and imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

MAX_MESSAGE: Final = 128 * 1024  # below the kernel's default limit for one datagram
GRACE: Final = 5.0  # seconds for a program to obey its stop signal once the runner is gone

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_libc: Final = ctypes.CDLL(None)


def main(channel_fd: int, runner_pid: int) -> None:
    """Serve requests until the runner is gone, then stop the programs and remove the folders."""
    signal.signal(signal.SIGTERM, _leave)
    channel = socket.socket(fileno=channel_fd)
    supervisor = Supervisor()
    try:
        # The socket alone is not enough: a child that the runner forked keeps it open.
        runner = os.pidfd_open(runner_pid)
        while os.getppid() == runner_pid:
            readable, _, _ = select.select([channel_fd, runner], [], [])
            message = channel.recv(MAX_MESSAGE) if channel_fd in readable else b""
            if not message:
                break
            supervisor.answer(channel, json.loads(message))
    except (OSError, SystemExit):
        pass  # the runner is gone, or somebody asked us to end: either way, clean up
    finally:
        supervisor.close()


def _leave(_signal: int, _frame: object) -> NoReturn:
    sys.exit(0)


class Supervisor:
    """The programs and folders of one runner, in the order in which they came."""

    def __init__(self) -> None:
        self._programs: dict[int, tuple[subprocess.Popen[bytes], int]] = {}
        self._folders: list[str] = []

    def answer(self, channel: socket.socket, request: dict[str, Any]) -> None:
        """Do what one request asks and reply; a failure is a reply too."""
        fds: list[int] = []
        try:
            match request["do"]:
                case "start":
                    pid = self._start(request)
                    # The runner gets a descriptor of the process: unlike a number it cannot come
                    # to mean another process, since the program is not reaped before "reap".
                    fds.append(os.pidfd_open(pid))
                    reply: dict[str, Any] = {"pid": pid}
                case "reap":
                    reply = {"code": self._reap(request["pid"])}
                case _:
                    self._folders.append(request["folder"])
                    reply = {}
        except (OSError, subprocess.SubprocessError) as error:
            reply = {"error": str(error)}
        socket.send_fds(channel, [json.dumps(reply | {"id": request["id"]}).encode()], fds)
        for fd in fds:
            os.close(fd)

    def _start(self, request: dict[str, Any]) -> int:
        identity: dict[str, Any] = {}
        if request["user"] is not None:
            uid, gid = request["user"]
            identity = {"user": uid, "group": gid, "extra_groups": []}
        with (
            Path(request["output"]).open("ab") as output,
            Path(request["errors"]).open("ab") as errors,
        ):
            program = subprocess.Popen(
                request["argv"],
                cwd=request["cwd"],
                env=request["env"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # a process group of its own, to be killed as one
                preexec_fn=_prepare_program,  # noqa: PLW1509  # this process has one thread
                **identity,
            )
        self._programs[program.pid] = (program, request["stop_signal"])
        return program.pid

    def _reap(self, pid: int) -> int:
        """Take the exit code of a program that has ended, and end what is left of its group."""
        program, _ = self._programs.pop(pid)
        # Before the wait: until then the number of the group cannot be given away again.
        _kill_group(pid)
        return program.wait()

    def close(self) -> None:
        """Stop every program, the youngest first, and remove the folders."""
        for pid, (program, stop_signal) in reversed(self._programs.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
                os.kill(pid, signal.SIGCONT)  # a paused program hears nothing else
            _await_end(pid, GRACE)
            _kill_group(pid)
            program.wait()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def _await_end(pid: int, seconds: float) -> None:
    """Wait for a child to end without reaping it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.01)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _prepare_program() -> None:
    """Ask the kernel to kill this program when the supervisor dies: its own last line of defence.

    The kernel means the parent's thread, not its process; the supervisor has only one.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A shell makes what it starts in the background ignore Ctrl-C, and that is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
