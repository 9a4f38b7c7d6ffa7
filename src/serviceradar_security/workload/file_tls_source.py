"""The source of plain mutual TLS: certificate, key and authorities, followed on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serviceradar_security.identity.credentials import TlsCredentials
from serviceradar_security.workload.file_credentials import CredentialFiles
from serviceradar_security.workload.file_live import LiveFiles, check_poll_interval
from serviceradar_security.workload.live import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.spiffe_id import TrustDomain
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.file_reading import FileReader
    from serviceradar_security.workload.files import FilePath
    from serviceradar_security.workload.status import Instant

__all__ = ["TlsFileSource"]


class TlsFileSource(LiveFiles[TlsCredentials]):
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
        check_poll_interval(poll_interval)
        files = CredentialFiles.of(
            cert_file=cert_file,
            key_file=key_file,
            ca_file=ca_file,
            client_ca_file=client_ca_file,
            trust_domain=trust_domain,
        )
        self._trust_domain = files.trust_domain
        super().__init__(
            files,
            poll_interval=poll_interval,
            reader=reader,
            observer=observer,
            clock=clock,
        )

    @property
    def trust_domain(self) -> TrustDomain | None:
        """The trust domain that the authorities of clients stand for."""
        return self._trust_domain
