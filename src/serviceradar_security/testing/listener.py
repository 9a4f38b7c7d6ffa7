"""A thread with a loop that listens on a socket, for tests; every wait on it has a deadline."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import secrets
import shutil
import socket
import stat
import struct
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from serviceradar_security.errors import ConfigError, WorkloadApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Listener", "TcpAddress", "UnixAddress"]

_BACKLOG: Final = 100
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid and gid, as SO_PEERCRED gives them
_T = TypeVar("_T")


class UnixAddress:
    """A Unix socket; without a path of its own, in a private folder that lives while it listens."""

    def __init__(self, path: str | Path | None) -> None:
        """Choose the path; nothing is made yet."""
        self._folder: Path | None = None
        self._bound: tuple[int, int] | None = None  # the file that is ours
        self._forgotten: weakref.finalize[..., UnixAddress] | None = None
        if path is None:
            name = f"spiffe-{secrets.token_hex(8)}"
            self._folder = Path(tempfile.gettempdir()).absolute() / name
            path = self._folder / "agent.sock"
        self.path: Path = Path(path).absolute()

    @property
    def endpoint(self) -> str:
        """The address as a URI, whose path is escaped (R-EP-08)."""
        return "unix:///" + quote(os.fsencode(self.path).lstrip(b"/"))

    def __str__(self) -> str:
        return str(self.path)

    def bind(self) -> socket.socket:
        """Listen; a socket where nobody listens any more is replaced, any other file is not.

        Raises:
            ConfigError: Somebody listens there.
        """
        self._bound = None  # what there was before may be somebody else's now
        if self._folder is not None and not self._folder.exists():
            self._folder.mkdir(mode=0o700)
            # Whoever forgets to stop it leaves no folder either.
            self._forgotten = weakref.finalize(self, _remove, self._folder, os.getpid())
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self.path.lstat().st_mode):
                _check_dead(self.path)
                self.path.unlink()
        made = socket.socket(socket.AF_UNIX)
        try:
            made.bind(str(self.path))
            self.path.chmod(0o777)
            self._bound = _file(self.path)
            made.listen(_BACKLOG)
        except BaseException:
            made.close()
            raise
        return made

    def release(self) -> None:
        """Remove what `bind` made, and nothing that others put there."""
        with contextlib.suppress(OSError):
            if self._bound is not None and _file(self.path) == self._bound:
                self.path.unlink()
        self._bound = None
        if self._folder is not None and self._forgotten is not None:
            self._forgotten()
            self._forgotten = None


class TcpAddress:
    """A port of the loopback address; the first `bind` finds a free one, and later ones keep it."""

    def __init__(self) -> None:
        """Choose nothing yet."""
        self.port: int = 0

    @property
    def endpoint(self) -> str:
        """The address as a URI.

        Raises:
            ConfigError: It never listened: there is no port yet.
        """
        if not self.port:
            raise ConfigError("the fake Workload API has no port yet: start it first")
        return f"tcp://{self}"

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def bind(self) -> socket.socket:
        """Listen."""
        made = socket.socket(socket.AF_INET)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("127.0.0.1", self.port))
            made.listen(_BACKLOG)
        except BaseException:
            made.close()
            raise
        self.port = int(made.getsockname()[1])
        return made

    def release(self) -> None:
        """Do nothing: a port leaves nothing behind."""


class Listener:
    """Serve connections in a thread with a loop of its own."""

    def __init__(
        self,
        address: UnixAddress | TcpAddress,
        connect: Callable[[], asyncio.Protocol],
        *,
        abort: Callable[[], bool],
        timeout: float,
    ) -> None:
        """Prepare.

        Args:
            address: Where to listen.
            connect: Makes the protocol of each connection.
            abort: Drops every connection, and tells whether there were any.
            timeout: Seconds for each wait.
        """
        self.address: UnixAddress | TcpAddress = address
        self._connect = connect
        self._abort = abort
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._pid = os.getpid()

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._thread is not None

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        if self._thread is not None:
            return
        self._pid = os.getpid()
        try:
            bound = self.address.bind()
        except ConfigError:
            self.address.release()
            raise
        except (OSError, ValueError) as error:
            self.address.release()
            raise ConfigError(
                f"the fake Workload API cannot listen on {self.address}: {error}",
            ) from error
        started = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(bound, started)),
            name="fake-workload-api",
            daemon=True,
        )
        thread.start()
        if not started.wait(self._timeout):
            raise _late("begin to listen", self._timeout)
        self._thread = thread

    def stop(self, *, leave_socket: bool = False) -> None:
        """Stop listening, and drop every connection.

        Args:
            leave_socket: Whether the socket's file stays.
        """
        thread, self._thread = self._thread, None
        if os.getpid() != self._pid:
            return  # it goes on in the process that started it
        if thread is not None:

            async def shut() -> None:
                if self._ended is not None:
                    self._ended.set()

            self.run(shut())
            thread.join(self._timeout)
        if not leave_socket:
            self.address.release()

    def run(self, coroutine: Coroutine[object, object, _T]) -> _T:
        """Run in the thread, and wait.

        Raises:
            WorkloadApiError: It is not done in time.
        """
        loop = self._loop
        if os.getpid() != self._pid:
            coroutine.close()
            raise ConfigError(
                "the fake Workload API runs in the process that started it, and this one was "
                "forked from it: command it there",
            )
        if loop is None or loop.is_closed():
            coroutine.close()
            raise ConfigError("the fake Workload API does not run: start it first")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(self._timeout)
        except (TimeoutError, concurrent.futures.CancelledError) as error:
            future.cancel()
            raise _late("send all it has to say: the client does not read", self._timeout) from (
                error
            )

    async def _serve(self, bound: socket.socket, started: threading.Event) -> None:
        # Not asyncio's server: closed while it accepts, it leaves a connection open.
        self._loop = loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        welcomes: set[asyncio.Task[object]] = set()

        def accept() -> None:
            with contextlib.suppress(OSError):  # it has gone again
                connection, _ = bound.accept()
                connection.settimeout(0.0)
                welcome = loop.create_task(
                    loop.connect_accepted_socket(self._connect, connection),
                )
                welcomes.add(welcome)
                welcome.add_done_callback(welcomes.discard)

        with bound:
            bound.settimeout(0.0)
            loop.add_reader(bound, accept)
            started.set()
            await self._ended.wait()
            loop.remove_reader(bound)
            with contextlib.suppress(OSError):  # a forked child has it too, and must not keep it
                bound.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(*welcomes, return_exceptions=True)
        while self._abort():  # noqa: ASYNC110 - protocols are told in the next turn of the loop
            await asyncio.sleep(0)


def _check_dead(path: Path) -> None:
    """Find out whether a socket is only what somebody left behind.

    Raises:
        ConfigError: Somebody listens there, or it cannot be found out.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except FileNotFoundError:
            return  # it was removed meanwhile
        except BlockingIOError:
            who = "somebody, who does not accept connections"
        except OSError as error:
            who = f"perhaps somebody ({error.strerror or error})"
        else:
            who = _listener_of(probe)
    raise ConfigError(
        f"the fake Workload API cannot listen on {path}: {who} listens there, whose socket is not "
        "taken over: stop that one, or give another socket_path",
    )


def _listener_of(connected: socket.socket) -> str:
    given = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(given)
    if pid == os.getpid():
        return "another socket of this process"
    return f"the process {pid}" if pid > 0 else "another process"


def _late(what: str, timeout: float) -> WorkloadApiError:
    return WorkloadApiError(
        f"the fake Workload API could not {what} (within {timeout:g} s)",
        code="DEADLINE_EXCEEDED",
    )


def _file(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in the child of a fork
        shutil.rmtree(folder, ignore_errors=True)
