"""Files that exist only in this process's memory, for the certificate providers of gRPC core.

Core reads files by path. A key must never reach a disk, so the path leads to a memory file through
``/proc/self/fd``. A new content is a new file that takes over the number of the old one in one
step: a reader has the old or the new one, never a mixture.

After a fork the child has its own table of numbers; whatever it does there, the parent's files
stay as they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from serviceradar_security.errors import SecurityError

__all__ = ["WITHDRAWN", "MemoryFile"]

WITHDRAWN: Final = b"withdrawn\n"
"""Content that no parser accepts. An empty identity file would connect without a certificate."""
_NO_EXEC: Final = 0x0008  # MFD_NOEXEC_SEAL; Linux 6.3 and later know it, some demand it


class MemoryFile:
    """A file without a name that core can read; it is written by one thread only.

    Attributes:
        path: Where core reads it.
    """

    def __init__(self, label: str) -> None:
        """Make a file that holds nothing usable.

        Raises:
            SecurityError: The system has no memory files.
        """
        self._label = label
        self._generation = 0
        self._fd = self._new(WITHDRAWN)
        self._mark = _mark(self._fd)
        self.path: str = f"/proc/self/fd/{self._fd}"
        if not Path(self.path).exists():
            self.close()
            raise SecurityError(
                "gRPC channels need /proc to be mounted: gRPC core reads our identity through it",
            )

    def replace(self, content: bytes) -> None:
        """Put another content in the place of the present one, in one step.

        Raises:
            SecurityError: Somebody closed our descriptor; its number may be another file's now.
        """
        if not content:
            raise ValueError("an empty file is never written: use withdraw()")
        fresh = self._new(content)
        try:
            if not self._is_ours():
                raise SecurityError(
                    f"the memory file {self._label} was closed by another part of the program: "
                    "gRPC channels cannot follow their identity any more; do not close "
                    "descriptors that you did not open",
                )
            self._mark = _mark(fresh)
            os.dup2(fresh, self._fd, inheritable=False)
        finally:
            os.close(fresh)

    def withdraw(self) -> None:
        """Leave nothing usable in the file."""
        self.replace(WITHDRAWN)

    def was_read(self) -> bool:
        """Tell whether somebody has read the present content; where times are not kept, no."""
        return os.fstat(self._fd).st_atime_ns != 0

    def close(self) -> None:
        """Give the descriptor back, if it is still ours."""
        if self._is_ours():
            os.close(self._fd)

    def __repr__(self) -> str:
        return f"MemoryFile({self._label!r}, generation {self._generation})"

    def _is_ours(self) -> bool:
        with contextlib.suppress(OSError):
            return _mark(self._fd) == self._mark
        return False

    def _new(self, content: bytes) -> int:
        fd = _memfd(self._label)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        # Core compares whole seconds of the modification time before and after it reads twice:
        # each generation gets its own, and never 0, which core takes for a failure.
        self._generation += 1
        # An access time before that of modification is set anew by the first read.
        os.utime(fd, (0, self._generation))
        return fd


def _mark(fd: int) -> tuple[int, int]:
    """Tell one file from every other."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _memfd(label: str) -> int:
    make = getattr(os, "memfd_create", None)
    if make is None:
        raise SecurityError(
            "gRPC channels need memory files (memfd_create), which this system does not have: "
            "they run on Linux",
        )
    try:
        fd: int = make(label, os.MFD_CLOEXEC | _NO_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise SecurityError(f"no memory file could be made for {label}: {error}") from error
        fd = make(label, os.MFD_CLOEXEC)
    return fd
