"""A private PostgreSQL cluster: a temporary folder, a Unix socket, no TCP, no durability."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import signal
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Final

from tests.realparts import process
from tests.realparts.errors import RealPartError
from tests.realparts.part import Part

__all__ = ["Postgres", "find_postgres"]

DEBIAN_ROOT: Final = Path("/usr/lib/postgresql")
_PROGRAMS: Final = ("initdb", "pg_isready", "postgres")
_TIMEOUT: Final = 60.0
_INSTALL_TIMEOUT: Final = 600.0
_NEW_CLUSTER: Final = ("-U", "spire", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
# A throwaway cluster need not survive a power failure, and leaves nothing in /dev/shm.
_SETTINGS: Final = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "dynamic_shared_memory_type=mmap",
)


class Postgres(Part):
    """A PostgreSQL cluster of one's own, run by a user who is not root.

    `start` and `stop` may alternate; the data stays until `close`.

    Args:
        user: Who runs it when the caller is root; ``postgres`` if there is such a user, else
            ``nobody``. Otherwise the caller runs it.
    """

    def __init__(self, *, user: str | None = None) -> None:
        self._user = _unprivileged(user)
        self.folder = process.temp_folder("pg")
        self.log = self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._process: process.Process | None = None

    @cached_property
    def _programs(self) -> Path:
        return find_postgres()

    @property
    def connection_string(self) -> str:
        """What a libpq client takes to connect."""
        return f"host={self.folder}/socket user=spire dbname=postgres sslmode=disable"

    @property
    def running(self) -> bool:
        """Whether the cluster is up."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """Process ID of the postmaster."""
        if self._process is None:
            raise RealPartError("this Postgres was never started")
        return self._process.pid

    def _initialise(self) -> None:
        for name in ("data", "socket"):
            own = self.folder / name
            own.mkdir(mode=0o700 if name == "data" else 0o755)
            if self._user:
                os.chown(own, *self._user)
        process.run(
            [self._programs / "initdb", "-D", self._data, *_NEW_CLUSTER],
            cwd=self.folder,
            timeout=_TIMEOUT,
            user=self._user,
        )

    def start(self) -> None:
        """Start the cluster and wait until it answers; nothing happens if it runs.

        Raises:
            RealPartError: It ended or did not answer in time; the message shows its log.
        """
        if self.running:
            return
        if not self._data.exists():
            self._initialise()
        settings = [f"-c{setting}" for setting in _SETTINGS]
        self._process = process.start(
            [
                self._programs / "postgres",
                "-D",
                self._data,
                "-k",
                self.folder / "socket",
                *settings,
            ],
            log=self.log,
            cwd=self.folder,
            user=self._user,
            stop_signal=signal.SIGINT,
        )
        process.wait_until(
            self._answers, timeout=_TIMEOUT, process=self._process, what="Postgres answers"
        )

    def _answers(self) -> bool:
        return process.succeeds(
            [self._programs / "pg_isready", "-q", "-h", self.folder / "socket"],
            cwd=self.folder,
            timeout=_TIMEOUT,
        )

    def stop(self) -> None:
        """Stop the cluster, cutting off its clients; nothing happens if it is down."""
        if self._process:
            self._process.stop(signal.SIGINT)  # a "fast" shutdown: SIGTERM waits for clients

    def close(self) -> None:
        """Stop the cluster and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _unprivileged(name: str | None) -> tuple[int, int] | None:
    """Return whom to run Postgres as, which refuses to run as root; ``None`` means as we are."""
    if os.geteuid() != 0:
        return None
    for candidate in (name,) if name else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise RealPartError(
        f"Postgres refuses to run as root, and there is no user {name or 'postgres or nobody'}:"
        " add one with `useradd --system postgres`"
    )


def find_postgres(*, search_path: str | None = None, debian_root: Path = DEBIAN_ROOT) -> Path:
    """Return the folder with PostgreSQL's programs; as root on Debian, install them if need be.

    Args:
        search_path: Where to look for programs; ``PATH`` if none is given.
        debian_root: Where Debian keeps them, a folder for each version.

    Raises:
        RealPartError: They are missing and cannot be installed from here.
    """
    found = _installed(search_path, debian_root)
    apt_get = shutil.which("apt-get", path=search_path)
    if found is None and apt_get and os.geteuid() == 0:
        _install(apt_get, search_path, debian_root)
        found = _installed(search_path, debian_root)
    if found is None:
        raise RealPartError(
            f"{', '.join(_PROGRAMS)} are neither on PATH nor in {debian_root}/*/bin."
            " Install the package postgresql: `sudo apt-get install -y postgresql`"
            " (elsewhere `sudo dnf install -y postgresql-server`)"
        )
    return found


def _installed(search_path: str | None, debian_root: Path) -> Path | None:
    versions = sorted(
        debian_root.glob("*/bin"),
        key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)],
    )
    on_path = shutil.which("initdb", path=search_path)
    folders = [*([Path(on_path).resolve().parent] if on_path else []), *reversed(versions)]
    for folder in folders:
        if all((folder / program).exists() for program in _PROGRAMS):
            return folder
    return None


def _install(apt_get: str, search_path: str | None, debian_root: Path) -> None:
    with Path(tempfile.gettempdir(), "install-postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test workers find themselves here at the same time
        if _installed(search_path, debian_root):
            return
        sys.stderr.write("Postgres is missing: installing the Debian package postgresql\n")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            process.run(
                [apt_get, *arguments], cwd=Path("/"), timeout=_INSTALL_TIMEOUT, env=environment
            )
