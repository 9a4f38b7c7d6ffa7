"""Programs and folders that never outlive the process that started them.

`start` runs a program in the background, `run` runs one to its end, `temp_folder` makes a folder.
All three go through the `supervisor`, which is started on first use, one for each process.
Programs have a session of their own and write to log files, never to the terminal.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tests.realparts import supervisor
from tests.realparts.errors import RealPartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Process",
    "clean_environment",
    "run",
    "start",
    "succeeds",
    "supervisor_pid",
    "tail",
    "temp_folder",
    "wait_until",
]

_REPLY_TIMEOUT: Final = 30.0
_TAIL_LINES: Final = 25
_MAX_BASE: Final = 40  # of the 107 bytes that the path of a Unix socket may have


class _Supervisor:
    """The runner's end of its supervisor."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_REPLY_TIMEOUT)
        self._last_id = 0
        self.owner = os.getpid()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(fd), str(self.owner)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[fd],
                start_new_session=True,  # Ctrl-C is for the runner, which then takes its time
            )
        atexit.register(self.close)

    def ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Send one request and wait for its reply and the descriptors that come with it."""
        self._last_id += 1
        try:
            self._channel.send(json.dumps({**request, "id": self._last_id}).encode())
            reply, fds = self._receive()
            while reply["id"] != self._last_id:  # Ctrl-C came between a request and its reply
                for fd in fds:
                    os.close(fd)
                reply, fds = self._receive()
        except OSError as error:
            raise RealPartError(f"this process's supervisor does not answer: {error}") from error
        if "error" in reply:
            raise RealPartError(f"{request['do']}: {reply['error']}")
        return reply, fds

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        message, fds, _, _ = socket.recv_fds(self._channel, supervisor.MAX_MESSAGE, 1)
        if not message:
            raise ConnectionResetError("it has ended")
        return json.loads(message), fds

    def close(self) -> None:
        """Let the supervisor stop everything, and wait for it."""
        if os.getpid() == self.owner:
            self._channel.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=_REPLY_TIMEOUT)


_lock: Final = threading.Lock()
_supervisor: _Supervisor | None = None


def _current() -> _Supervisor:
    global _supervisor  # noqa: PLW0603  # one for each process, made on first use
    if _supervisor is None or _supervisor.owner != os.getpid():
        _supervisor = _Supervisor()
    return _supervisor


def _ask(request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    with _lock:
        return _current().ask(request)


def supervisor_pid() -> int:
    """Return the process ID of this process's supervisor."""
    with _lock:
        return _current().process.pid


class Process:
    """A program in the background. Made by `start`."""

    def __init__(self, *, name: str, pid: int, pidfd: int, log: Path) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self.code: int | None = None
        self._pidfd = pidfd

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return self.code is None and not self._ended(0)

    def _ended(self, timeout: float) -> bool:
        return bool(select.select([self._pidfd], [], [], timeout)[0])

    def wait(self, *, timeout: float) -> int:
        """Wait for the end of the program.

        Returns:
            The exit code, negative for a signal.

        Raises:
            RealPartError: It has not ended in time.
        """
        if self.code is None:
            if not self._ended(timeout):
                raise self.failure(f"has not ended after {timeout:g} s")
            reply, _ = _ask({"do": "reap", "pid": self.pid})
            self.code = int(reply["code"])
            os.close(self._pidfd)
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program, unless it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Kill the program (SIGKILL) and wait for its end."""
        self.send(signal.SIGKILL)
        self.wait(timeout=_REPLY_TIMEOUT)

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM, *, timeout: float = 10.0) -> int:
        """Ask the program to end, insist after the timeout, and return its exit code."""
        self.send(stop_signal)
        self.send(signal.SIGCONT)  # a paused program hears nothing else
        if self.code is None and not self._ended(timeout):
            self.send(signal.SIGKILL)
        return self.wait(timeout=_REPLY_TIMEOUT)

    def failure(self, what: str) -> RealPartError:
        """Return an error that shows the end of the log."""
        return RealPartError(f"{self.name} {what}\n{tail(self.log)}")


def start(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    output: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Process:
    """Start a program in the background.

    Args:
        argv: The program and its arguments.
        log: The file that standard error is appended to.
        cwd: The folder that it starts in.
        output: The file that standard output is appended to, if not the log as well.
        env: Its whole environment; `clean_environment` if none is given.
        user: The user ID and group ID to run it as, as root only.
        stop_signal: What the supervisor sends first if this process ends before the program.

    Raises:
        RealPartError: It could not be started.
    """
    command = [str(part) for part in argv]
    reply, fds = _ask(
        {
            "do": "start",
            "argv": command,
            "cwd": str(cwd),
            "env": dict(clean_environment() if env is None else env),
            "output": str(output or log),
            "errors": str(log),
            "user": user,
            "stop_signal": int(stop_signal),
        }
    )
    return Process(name=Path(command[0]).name, pid=reply["pid"], pidfd=fds[0], log=log)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        RealPartError: It failed or took too long; the message holds all that it printed.
    """
    # Memory files: nothing to remove, and keys that a program prints reach no disk.
    with _memory_file("output") as output, _memory_file("errors") as errors:
        process = start(argv, log=_path(errors), output=_path(output), cwd=cwd, env=env, user=user)
        how = "failed"
        try:
            process.wait(timeout=timeout)
        except RealPartError:
            how = f"took longer than {timeout:g} s"
        finally:
            code = process.stop(signal.SIGKILL)
        printed = _path(output).read_text(errors="replace")
        if code:
            command = " ".join(str(part) for part in argv)
            printed = (printed + _path(errors).read_text(errors="replace")).strip()
            raise RealPartError(f"`{command}` {how}, exit code {code}:\n{printed}")
        return printed


def succeeds(argv: Sequence[str | Path], *, cwd: Path, timeout: float) -> bool:
    """Run a program to its end and return whether it succeeded."""
    try:
        run(argv, cwd=cwd, timeout=timeout)
    except RealPartError:
        return False
    return True


def _memory_file(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "r+b")


def _path(file: BinaryIO) -> Path:
    return Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def clean_environment() -> dict[str, str]:
    """Return an environment without the settings of the caller's shell.

    ``PGHOST``, ``SPIFFE_ENDPOINT_SOCKET`` or ``HTTPS_PROXY`` would change what the parts do.
    """
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def temp_folder(prefix: str) -> Path:
    """Make a folder that other users may pass through; the supervisor removes it in the end.

    Its path is short, since Unix sockets are bound in it.
    """
    base = Path(tempfile.gettempdir())
    passable = all(step.stat().st_mode & 0o001 for step in (base, *base.parents))
    if len(str(base)) > _MAX_BASE or not passable:
        base = Path("/tmp")  # noqa: S108  # mkdtemp makes a name of its own below it
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=base))
    _ask({"do": "keep", "folder": str(folder)})
    folder.chmod(0o711)
    return folder


def tail(log: Path) -> str:
    """Return the last lines of a log, with its name."""
    if not log.exists():
        return f"({log} was not written)"
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([f"--- the end of {log.name}:", *lines])


def wait_until(
    condition: Callable[[], bool], *, timeout: float, process: Process, what: str
) -> None:
    """Wait until a condition holds while a program runs.

    Raises:
        RealPartError: The program ended, or the time is up; the message shows the end of its log.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if not process.running:
            raise process.failure(f"ended while this was awaited: {what}")
        if time.monotonic() > deadline:
            raise process.failure(f"did not get there within {timeout:g} s: {what}")
        time.sleep(0.02)
