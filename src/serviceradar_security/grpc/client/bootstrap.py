"""gRPC core's xDS bootstrap: ours beside the application's, in the environment for a moment only.

Core reads the bootstrap from the environment when the first xDS client of the process is made,
and keeps it while any lives. What belongs to the application is left as it is; our resources have
an authority of their own, and our certificate providers a prefix of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.grpc.client.materials import PROVIDER_PREFIX
from serviceradar_security.grpc.client.resources import LISTENER, XDS_AUTHORITY, resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

__all__ = ["PrivateFolder", "exported", "merge_bootstrap"]

_FILE: Final = "GRPC_XDS_BOOTSTRAP"
_CONFIG: Final = "GRPC_XDS_BOOTSTRAP_CONFIG"
# Without it core does not know bundle maps and refuses our bootstrap: nothing is left open.
_BUNDLE_MAPS: Final = "GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE"
_LONGEST_SOCKET_PATH: Final = 107  # sockaddr_un, less its final zero
_PREFIX: Final = "serviceradar-grpc-"
_SETTLED: Final = 60.0  # seconds after which a folder has surely been locked by its owner


class PrivateFolder:
    """A folder that only this user can enter, for the control plane's socket."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Make it under ``XDG_RUNTIME_DIR``, or else in the folder for temporary files.

        Raises:
            SecurityError: None of them can be written, or their paths are too long.
        """
        path, self._lock = _make_folder(_parents(environ))
        self.path: Path = path
        self.socket: str = str(self.path / "ads.sock")

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        os.close(self._lock)
        shutil.rmtree(self.path, ignore_errors=True)


def merge_bootstrap(
    environ: Mapping[str, str],
    socket: str,
    providers: Mapping[str, Any],
) -> dict[str, Any]:
    """Give the application's bootstrap with our authority and providers in it, or ours alone.

    Args:
        environ: The environment, whose ``GRPC_XDS_BOOTSTRAP`` (a file) goes before
            ``GRPC_XDS_BOOTSTRAP_CONFIG``, as in core.
        socket: Path of the control plane's socket.
        providers: Our certificate providers by name.

    Raises:
        ConfigError: The application's bootstrap cannot be read.
    """
    ours = [
        {
            "server_uri": f"unix:{socket}",
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        },
    ]
    document = _applications_bootstrap(environ)
    document.setdefault("xds_servers", ours)
    document.setdefault("node", {"id": XDS_AUTHORITY})
    document["authorities"] = _table(document, "authorities") | {
        XDS_AUTHORITY: {
            "xds_servers": ours,
            "client_listener_resource_name_template": resource_name(LISTENER, "%s"),
        },
    }
    # Those with our prefix were inherited from a parent process, whose files are not ours.
    foreign = {
        name: each
        for name, each in _table(document, "certificate_providers").items()
        if not name.startswith(PROVIDER_PREFIX)
    }
    document["certificate_providers"] = foreign | dict(providers)
    return document


@contextlib.contextmanager
def exported(document: Mapping[str, Any], environ: MutableMapping[str, str]) -> Iterator[None]:
    """Show a bootstrap to core, and restore the environment afterwards exactly as it was."""
    before = {name: environ.get(name) for name in (_FILE, _CONFIG, _BUNDLE_MAPS)}
    try:
        environ.pop(_FILE, None)  # it would go first
        environ[_CONFIG] = json.dumps(document)
        environ[_BUNDLE_MAPS] = "true"
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value


def _applications_bootstrap(environ: Mapping[str, str]) -> dict[str, Any]:
    origin = next((name for name in (_FILE, _CONFIG) if name in environ), None)
    if origin is None:
        return {}
    try:
        value = environ[origin]
        text = Path(value).read_text(encoding="utf-8") if origin == _FILE else value
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{origin} is set, and the xDS bootstrap that it gives cannot be read: {error}; "
            "correct it or unset it",
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f"{origin} gives an xDS bootstrap that is no JSON object: correct it")
    return document


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"the xDS bootstrap's {name!r} is no JSON object: correct it")
    return table


def _parents(environ: Mapping[str, str]) -> list[Path]:
    found = [Path(environ["XDG_RUNTIME_DIR"])] if environ.get("XDG_RUNTIME_DIR") else []
    with contextlib.suppress(OSError):  # none is writable
        found.append(Path(tempfile.gettempdir()))
    return found


def _make_folder(parents: list[Path]) -> tuple[Path, int]:
    reasons = []
    for parent in parents:
        try:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        if len(os.fsencode(path / "ads.sock")) <= _LONGEST_SOCKET_PATH:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            # While the lock is held, cleaners of temporary folders leave the folder alone.
            fcntl.flock(lock, fcntl.LOCK_SH)
            _remove_orphans(parent)
            return path, lock
        path.rmdir()
        reasons.append(f"{parent}: the path is too long for a socket")
    raise SecurityError(
        "gRPC channels need a folder for a private socket, and none can be used "
        f"({'; '.join(reasons) or 'there is no folder for temporary files'}): set XDG_RUNTIME_DIR "
        "or TMPDIR to a short path that can be written, such as a tmpfs",
    )


def _remove_orphans(parent: Path) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks any more."""
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, in use, or just gone
            status = path.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _SETTLED:
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)
