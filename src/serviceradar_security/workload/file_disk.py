"""Read files from the disk, and from nothing that is none: a pipe or a device never holds us up."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from serviceradar_security.workload.file_reading import FileContent, FileRefusedError

__all__ = ["DiskReader"]

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CHUNK: Final = 256 * 1024
_REGULAR: Final = "give the path of a regular file"
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class DiskReader:
    """The disk, as a `FileReader`."""

    def link(self, path: str) -> str | None:
        """Give what a symbolic link says; None for anything else."""
        try:
            return str(Path(path).readlink())
        except OSError:
            return None  # no link, or nothing at all: reading tells which

    def resolve(self, folder: str) -> str:
        """Give the folder behind all symbolic links."""
        return os.path.realpath(folder)

    def read(self, path: str, limit: int) -> FileContent:
        """Read a regular file.

        Raises:
            OSError: The system does not let us.
            FileRefusedError: It is no regular file, or has more bytes than the limit.
        """
        _check(Path(path).stat(), limit)  # first: to open a pipe or a device alone may do something
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            _check(status, limit)
            data = _read(descriptor, limit + 1)
        finally:
            os.close(descriptor)
        if len(data) > limit:
            raise _too_large(len(data), limit)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        folder_mode = Path(path).parent.stat().st_mode
        return FileContent(path, data, (*stamp, status.st_ctime_ns), status.st_mode, folder_mode)


def _check(status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = [name for test, name in _KINDS if test(status.st_mode)]
        raise FileRefusedError(f"it is {kinds[0] if kinds else 'no file'}", _REGULAR)
    if status.st_size > limit:
        raise _too_large(status.st_size, limit)


def _read(descriptor: int, most: int) -> bytes:
    data = b""
    while len(data) < most:
        part = os.read(descriptor, min(_CHUNK, most - len(data)))
        if not part:
            break
        data += part
    return data


def _too_large(size: int, limit: int) -> FileRefusedError:
    return FileRefusedError(f"it has {size} bytes or more: at most {limit}", "give the right file")
