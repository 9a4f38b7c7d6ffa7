"""Files read as one set: what they held together at one moment, or why there is nothing to be had.

No disk is touched here: a reader is given.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from serviceradar_security.workload.file_access import access_warnings
from serviceradar_security.workload.file_material import UnusableFileError
from serviceradar_security.workload.reading import READING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from serviceradar_security.workload.file_material import FileMaterial, Held
    from serviceradar_security.workload.files import IdentityFile

__all__ = [
    "FileContent",
    "FileProblem",
    "FileReader",
    "FileRefusedError",
    "FileSet",
    "FileSnapshot",
    "FilesReader",
]

_TRIES: Final = 10  # of one reading, while the files change under it

SnapshotT = TypeVar("SnapshotT")


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Why a reading gave no identity.

    Attributes:
        text: Which file, and what is wrong.
        advice: What a person can do.
        unreadable: Whether a file is not there or cannot be read; else what it holds is unusable.
    """

    text: str
    advice: str
    unreadable: bool = False


class FileRefusedError(Exception):
    """A file that a reader does not read, such as a pipe; with what to do instead."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


@dataclass(frozen=True, slots=True, repr=False)
class FileContent:
    """A file as it was read; it may hold a key.

    Attributes:
        path: Where it was found.
        data: Its bytes.
        stamp: Changes when the file does, as far as the system tells.
        mode: Who may read and write it.
        folder_mode: Who may put another file in its place.
    """

    path: str
    data: bytes
    stamp: tuple[int, ...]
    mode: int
    folder_mode: int = 0


class FileReader(Protocol):
    """The disk, or what stands for it in a test."""

    def link(self, path: str) -> str | None:
        """Give what a symbolic link says; None for anything else."""
        ...

    def resolve(self, folder: str) -> str:
        """Give the folder behind all symbolic links."""
        ...

    def read(self, path: str, limit: int) -> FileContent:
        """Read a regular file; never wait for one that is none.

        Raises:
            OSError: The system does not let us.
            FileRefusedError: It is no regular file, or has more bytes than the limit.
        """
        ...


class FileSet(Protocol[SnapshotT]):
    """Which files belong together, and what they make."""

    @property
    def certificate(self) -> IdentityFile:
        """The chain, leaf first."""
        ...

    @property
    def key(self) -> IdentityFile:
        """Its key."""
        ...

    def __iter__(self) -> Iterator[IdentityFile]: ...

    def read(
        self,
        contents: Sequence[bytes],
        *,
        at: datetime,
        held: SnapshotT | None,
    ) -> FileMaterial[SnapshotT]:
        """Make a snapshot of what they hold, given the last good one.

        Raises:
            UnusableFileError: They hold none.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSnapshot(Generic[SnapshotT]):
    """What the files held together at one moment.

    Attributes:
        context: The material.
        held: The identity in it.
        warnings: What is dubious about the files.
        doubt: Why peers may refuse the identity all the same; None if nothing is known.
    """

    context: SnapshotT
    held: Held
    warnings: tuple[str, ...] = ()
    doubt: FileProblem | None = None


class FilesReader(Generic[SnapshotT]):
    """Read a set of files; bytes that did not change are not parsed again.

    Where the files share a folder, the links to it (as ``..data`` of a Kubernetes volume) are
    resolved once for all of them, so that a swap in between cannot mix two sets. Then everything is
    read twice: what is the same both times was there, all of it, in between.
    """

    def __init__(
        self,
        files: FileSet[SnapshotT],
        reader: FileReader,
        *,
        tries: int = _TRIES,
    ) -> None:
        """Prepare.

        Args:
            files: Which files.
            reader: Reads them.
            tries: How often they are read anew when they change meanwhile.
        """
        self._files = tuple(files)
        self._set = files
        self._reader = reader
        self._tries = tries
        self._digests: tuple[bytes, ...] = ()
        self._outcome: FileSnapshot[SnapshotT] | FileProblem | None = None
        self._good: SnapshotT | None = None

    def look(self, *, at: datetime) -> FileSnapshot[SnapshotT] | FileProblem:
        """Read the files.

        Args:
            at: The time at which the chain is held against its own bundle, for a warning.
        """
        for _ in range(self._tries):
            paths, shared = self._paths()
            first = self._read(paths)
            if isinstance(first, tuple) and self._outcome is not None:
                if _digests(first) == self._digests:
                    return self._outcome
            elif isinstance(first, FileProblem):
                shared = False  # the folder may have gone: resolve it anew
            again = self._read(paths if shared else self._paths()[0])
            if first == again:
                return first if isinstance(first, FileProblem) else self._understand(first, at)
        return FileProblem(
            f"the files changed each time while they were read, {self._tries} times over",
            "let what writes them replace all of them at once, by a rename",
            unreadable=True,
        )

    def forget(self) -> None:
        """Let go of the keys."""
        self._outcome = self._good = None
        self._digests = ()

    def _understand(
        self,
        contents: tuple[FileContent, ...],
        at: datetime,
    ) -> FileSnapshot[SnapshotT] | FileProblem:
        self._digests, self._outcome = _digests(contents), self._material(contents, at)
        if isinstance(self._outcome, FileSnapshot):
            self._good = self._outcome.context
        return self._outcome

    def _material(
        self,
        contents: tuple[FileContent, ...],
        at: datetime,
    ) -> FileSnapshot[SnapshotT] | FileProblem:
        try:
            with READING:
                data = [each.data for each in contents]
                made = self._set.read(data, at=at, held=self._good)
        except UnusableFileError as error:
            return FileProblem(str(error), error.advice)
        doubt = FileProblem(made.doubt, made.advice) if made.doubt else None
        warnings = tuple(access_warnings(self._set, contents))
        return FileSnapshot(made.context, made.held, warnings, doubt)

    def _paths(self) -> tuple[tuple[str, ...], bool]:
        """Resolve the folder of each file, each once; tell whether it is one for all of them."""
        places = [self._place(PurePosixPath(file.path)) for file in self._files]
        folders = {
            folder: PurePosixPath(self._reader.resolve(str(folder)))
            for folder in dict.fromkeys(folder for folder, _ in places)
        }
        return tuple(str(folders[each] / name) for each, name in places), len(folders) == 1

    def _place(self, path: PurePosixPath) -> tuple[PurePosixPath, str]:
        """Give folder and name, behind the link that the file itself may be."""
        target = PurePosixPath(self._reader.link(str(path)) or "")
        if target.name in ("", ".."):
            return path.parent, path.name
        return path.parent / target.parent, target.name

    def _read(self, paths: tuple[str, ...]) -> tuple[FileContent, ...] | FileProblem:
        contents: list[FileContent] = []
        for file, path in zip(self._files, paths, strict=True):
            try:
                contents.append(self._reader.read(path, file.limit))
            except FileRefusedError as error:
                return FileProblem(f"the {file.name}: {error}", error.advice, unreadable=True)
            except OSError as error:
                return _unreadable(file, error)
        return tuple(contents)


def _digests(contents: tuple[FileContent, ...]) -> tuple[bytes, ...]:
    return tuple(sha256(each.data).digest() for each in contents)


def _unreadable(file: IdentityFile, error: OSError) -> FileProblem:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        advice = "correct the path, or start what writes the file"
        return FileProblem(f"the {file.name} is not there", advice, unreadable=True)
    if isinstance(error, PermissionError):
        advice = "let the user of this process read the file and enter its folders"
        return FileProblem(f"the {file.name} may not be read", advice, unreadable=True)
    text = os.strerror(error.errno) if error.errno is not None else type(error).__name__
    advice = "look at the file system that holds the file"
    return FileProblem(f"the {file.name} cannot be read: {text}", advice, unreadable=True)
