"""What every source of files is, whatever its files make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_engine import FileEngine
from serviceradar_security.workload.live import LiveSource, check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.file_reading import FileReader, FileSet
    from serviceradar_security.workload.status import Instant

__all__ = ["LiveFiles", "check_poll_interval"]

_SHORTEST: Final = 0.01

SnapshotT = TypeVar("SnapshotT")


class LiveFiles(LiveSource[FileEngine[SnapshotT], SnapshotT]):
    """Follow one set of files."""

    def __init__(
        self,
        files: FileSet[SnapshotT],
        *,
        poll_interval: float,
        reader: FileReader | None,
        observer: SourceObserver | None,
        clock: Callable[[], Instant],
    ) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            files: What is followed.
            poll_interval: Seconds from one look at the files to the next.
            reader: Reads the files; None for the disk.
            observer: Is told of each event, in a thread of its own.
            clock: Reads the clocks.
        """
        used = DiskReader() if reader is None else reader
        self._files = files
        super().__init__(
            lambda: FileEngine(
                files,
                reader=used,
                poll_interval=poll_interval,
                clock=clock,
                observer=observer,
            ),
            origin=files.certificate.path,
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files, the certificate's first."""
        return tuple(each.path for each in self._files)

    def reload(self) -> None:
        """Look at the files now, and not only at the next turn; may be called in a signal handler.

        Raises:
            SourceError: The source was never opened; or a `SourceClosedError`.
        """
        self._running().wake()


def check_poll_interval(seconds: float) -> None:
    """Refuse what is no pace to look at files in.

    Raises:
        ConfigError: It is no number of seconds, or too short.
    """
    check_seconds("poll_interval", seconds, least=_SHORTEST, finite=True)
