"""Who may read and write the files of an identity; modes in, warnings out.

Nothing is refused: volumes of Kubernetes are often open inside their container alone.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serviceradar_security.workload.file_reading import FileContent, FileSet

__all__ = ["access_warnings"]

_READ: Final = (stat.S_IROTH, stat.S_IRGRP)
_WRITE: Final = (stat.S_IWOTH, stat.S_IWGRP)
_CONTAINER: Final = "unless that is so inside its container alone"


def access_warnings(files: FileSet[Any], contents: Sequence[FileContent]) -> Iterator[str]:
    """Warn of a key that others may read, and of files and folders that others may write.

    Who writes an authority decides whom we trust, and who writes a folder can replace its files.
    In a folder with the sticky bit only owners can.

    Args:
        files: Which files.
        contents: What was read of them, in the same order.
    """
    folders: set[PurePosixPath] = set()
    for file, content in zip(files, contents, strict=True):
        readers, writers = _who(content.mode, _READ), _who(content.mode, _WRITE)
        if readers and file == files.key:
            yield (
                f"the {file.name} may be read by {readers} on this host ({_mode(content.mode)}): "
                f"let only the user of this process read it, {_CONTAINER}"
            )
        if writers:
            yield (
                f"the {file.name} may be written by {writers} on this host "
                f"({_mode(content.mode)}): take that away (chmod go-w), {_CONTAINER}"
            )
        folder = PurePosixPath(content.path).parent
        writers = _who(content.folder_mode, _WRITE)
        if writers and not content.folder_mode & stat.S_ISVTX and folder not in folders:
            folders.add(folder)
            yield (
                f"the folder of the {file.name} may be written by {writers} on this host "
                f"({_mode(content.folder_mode)}), who can put other files there: take that away "
                f"(chmod go-w), {_CONTAINER}"
            )


def _who(mode: int, bits: tuple[int, int]) -> str:
    everybody, group = bits
    return "everybody" if mode & everybody else "its group" if mode & group else ""


def _mode(mode: int) -> str:
    return f"mode {stat.S_IMODE(mode):04o}"
