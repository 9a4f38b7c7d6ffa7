"""The source of plain mutual TLS: certificate, key and authorities, followed on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from serviceradar_security.workload.file_credentials import CredentialFiles
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_engine import FileEngine
from serviceradar_security.workload.file_source import SHORTEST_POLL
from serviceradar_security.workload.live import LiveSource, check_seconds, system_clock
from serviceradar_security.workload.managed import ManagedSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from serviceradar_security.identity.credentials import TlsCredentials
    from serviceradar_security.identity.spiffe_id import TrustDomain
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.file_reading import FileReader
    from serviceradar_security.workload.files import FilePath
    from serviceradar_security.workload.status import Instant, SourceStatus
    from serviceradar_security.workload.subscription import Subscription

__all__ = ["TlsFileSource"]


class _Live(LiveSource[FileEngine]):
    """What a live source does, over files that hold `TlsCredentials`."""

    def reload(self) -> None:
        """Look at the files now."""
        self._running().wake()


class TlsFileSource(ManagedSource):
    """Follow the certificate, key and authorities of mutual TLS that PEM files hold.

    It works as a `FileSource` does, with the same states and the same record: the files are taken
    over together or not at all, and a set that is half written, broken or expired leaves the last
    good one in force until that expires. What it gives is `TlsCredentials`; a record has a SPIFFE
    ID only where `trust_domain` is given and the certificate names one of it.
    """

    def __init__(
        self,
        *,
        cert_file: FilePath,
        key_file: FilePath,
        ca_file: FilePath,
        client_ca_file: FilePath | None = None,
        trust_domain: TrustDomain | str | None = None,
        poll_interval: float = 5.0,
        reader: FileReader | None = None,
        observer: SourceObserver | None = None,
        clock: Callable[[], Instant] = system_clock,
    ) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            cert_file: The certificate chain in PEM, leaf first.
            key_file: Its unencrypted private key in PEM; may be the same file.
            ca_file: The authorities of servers in PEM.
            client_ca_file: The authorities of clients; None for the same.
            trust_domain: The trust domain that the authorities of clients stand for; None for
                none, and then nobody has a SPIFFE ID.
            poll_interval: Seconds from one look at the files to the next.
            reader: Reads the files; None for the disk.
            observer: Is told of each event, in a thread of its own.
            clock: Reads the clocks.

        Raises:
            ConfigError: An argument cannot be used; every problem of the files is told.
        """
        check_seconds("poll_interval", poll_interval, least=SHORTEST_POLL, finite=True)
        files = CredentialFiles.of(
            cert_file=cert_file,
            key_file=key_file,
            ca_file=ca_file,
            client_ca_file=client_ca_file,
            trust_domain=trust_domain,
        )
        used = DiskReader() if reader is None else reader
        self._files = files
        # It passes on what its engine holds and looks at none of it, so that the credentials take
        # the place of the snapshot of SVIDs for which its types are written.
        self._live = _Live(
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

    @property
    def trust_domain(self) -> TrustDomain | None:
        """The trust domain that the authorities of clients stand for."""
        return self._files.trust_domain

    def open(self) -> Self:
        """Start following; returns at once, and does nothing if it is open.

        Raises:
            SourceClosedError: The source was closed: open a new one.
            SourceError: The process has no thread left for it.
        """
        self._live.open()
        return self

    def close(self, *, timeout: float = 5.0) -> None:
        """Stop following, wake every waiter and drop the credentials; may be called twice.

        Args:
            timeout: Seconds to wait for the threads.
        """
        self._live.close(timeout=timeout)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._live.__aexit__(kind, error, trace)

    def current(self) -> TlsCredentials:
        """Give the newest credentials; expired ones are never given.

        Raises:
            SourceError: There are none now; the message says why.
        """
        return _own(self._live.current())

    def status(self) -> SourceStatus:
        """Give the state with its cause and advice.

        Raises:
            SourceError: The source was never opened; or a `SourceClosedError` if only then closed.
        """
        return self._live.status()

    def wait_ready(self, *, timeout: float = 30.0) -> TlsCredentials:
        """Wait for credentials.

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names cause and advice.
            SourceClosedError: The source was closed meanwhile.
            ConfigError: The timeout is no finite number.
        """
        return _own(self._live.wait_ready(timeout=timeout))

    async def wait_ready_async(self, *, timeout: float = 30.0) -> TlsCredentials:  # noqa: ASYNC109 - as in the sync twin
        """Wait for credentials in asyncio; as `wait_ready`."""
        return _own(await self._live.wait_ready_async(timeout=timeout))

    def subscribe(self, callback: Callable[[TlsCredentials], object]) -> Subscription:
        """Call a function with credentials that are new from now on, in a thread of its own.

        Returns:
            A context manager; leaving it, or its ``close()``, ends the subscription.
        """
        return self._live.subscribe(cast("Any", callback))

    async def updates(self) -> AsyncIterator[TlsCredentials]:
        """Iterate in asyncio over the newest credentials and all new ones, until closed."""
        async for each in self._live.updates():
            yield _own(each)

    def reload(self) -> None:
        """Look at the files now, and not only at the next turn; may be called in a signal handler.

        Raises:
            SourceError: The source was never opened; or a `SourceClosedError`.
        """
        self._live.reload()

    def __repr__(self) -> str:
        return repr(self._live).replace(type(self._live).__name__, type(self).__name__, 1)


def _own(found: object) -> TlsCredentials:
    return cast("TlsCredentials", found)
