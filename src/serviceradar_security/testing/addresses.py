"""Where a fake listens: the file of a Unix socket, which may be ours or somebody's, or a port."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import stat
import struct
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TcpAddress", "UnixAddress"]

_BACKLOG: Final = 100
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid and gid, as SO_PEERCRED gives them
_LOCK_PAUSE: Final = 0.002  # seconds between two attempts to lock a folder


class UnixAddress:
    """A Unix socket; without a path of its own, in a private folder that lives while it listens."""

    def __init__(self, path: str | Path | None, *, timeout: float) -> None:
        """Choose the path; nothing is made yet.

        Args:
            path: The socket; None takes a new one in a private folder.
            timeout: Seconds to wait for others that start or stop in the same folder.
        """
        self._timeout = timeout
        self._folder: Path | None = None
        self._forgotten: weakref.finalize[..., UnixAddress] | None = None
        if path is None:
            name = f"spiffe-{secrets.token_hex(8)}"
            self._folder = Path(tempfile.gettempdir()).absolute() / name
            path = self._folder / "agent.sock"
        self.path: Path = Path(path).absolute()
        self._ours = _Ours(self.path, timeout)

    @property
    def endpoint(self) -> str:
        """The address as a URI, whose path is escaped (R-EP-08)."""
        return "unix:///" + quote(os.fsencode(self.path).lstrip(b"/"))

    def __str__(self) -> str:
        return str(self.path)

    def bind(self) -> socket.socket:
        """Listen; a socket where nobody listens any more is replaced, any other file is not.

        Raises:
            ConfigError: Somebody listens there, or others keep the folder locked.
        """
        self._ours.forget()  # what there was before may be somebody else's now
        if self._folder is not None and not self._folder.exists():
            self._folder.mkdir(mode=0o700)
            # Whoever forgets to stop it leaves no folder either.
            self._forgotten = weakref.finalize(
                self, _remove_forgotten, self._ours, self._folder, os.getpid()
            )
        # Whoever looks must not find a socket that is bound and does not listen yet.
        with _locked(self.path.parent, self._timeout):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(self.path.lstat().st_mode):
                    _check_dead(self.path)
                    self.path.unlink()
            made = socket.socket(socket.AF_UNIX)
            try:
                made.bind(str(self.path))
                self._ours.keep(made)
                self.path.chmod(0o777)
                made.listen(_BACKLOG)
            except BaseException:
                self._ours.remove()
                made.close()
                raise
        return made

    def release(self) -> None:
        """Remove what `bind` made, and nothing that others put there."""
        self._ours.remove()
        if self._folder is not None and self._forgotten is not None:
            with contextlib.suppress(OSError):
                _remove_empty(self._folder)
                self._forgotten.detach()
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


class _Ours:
    """The file of a socket that we bound."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Own nothing yet."""
        self._path = path
        self._timeout = timeout
        self._bound: socket.socket | None = None
        self._file: tuple[int, int, int] | None = None

    def keep(self, bound: socket.socket) -> None:
        """Own the file of a socket that was just bound."""
        self._bound = bound
        now = time.time_ns()
        os.utime(
            self._path, ns=(now, now)
        )  # finer than the clock of files, so that none has it too
        self._file = _file(self._path)

    def forget(self) -> None:
        """Own nothing."""
        self._bound = self._file = None

    def remove(self) -> None:
        """Remove the file, if it is there and still ours."""
        with contextlib.suppress(OSError, ConfigError):
            if self._bound is not None and self._bound.fileno() >= 0:
                self._unlink()  # while the socket is open nobody replaces it
            elif self._file is not None:
                # Somebody may have replaced it, and got a file of the same number.
                with _locked(self._path.parent, self._timeout):
                    if _file(self._path) == self._file:
                        _check_dead(self._path)
                        self._unlink()
        self.forget()

    def _unlink(self) -> None:
        if _file(self._path) == self._file:
            self._path.unlink()


@contextlib.contextmanager
def _locked(folder: Path, timeout: float) -> Iterator[None]:
    """Keep others of this room from starting and stopping in a folder; no file is made for it.

    Raises:
        ConfigError: Others keep it locked.
        OSError: There is no such folder.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + timeout
        while not _lock(held):
            if time.monotonic() >= end:
                raise ConfigError(
                    f"the fake Workload API cannot listen in {folder}: others keep the folder "
                    f"locked (for {timeout:g} s): end them, or give a socket_path elsewhere",
                )
            time.sleep(_LOCK_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
    finally:
        os.close(held)


def _lock(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def _file(path: Path) -> tuple[int, int, int]:
    """Tell a file from others: numbers are used again, and then the time differs."""
    status = path.lstat()
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _remove_forgotten(ours: _Ours, folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in the child of a fork
        ours.remove()
        with contextlib.suppress(OSError):  # others have put something there
            _remove_empty(folder)
