"""The source of files: a process's identity, followed as others write it to the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.context import X509Context
from serviceradar_security.workload.file_live import LiveFiles, check_poll_interval
from serviceradar_security.workload.files import IdentityFiles
from serviceradar_security.workload.live import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from serviceradar_security.identity.spiffe_id import TrustDomain
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.file_reading import FileReader
    from serviceradar_security.workload.files import FilePath
    from serviceradar_security.workload.watch import Instant

__all__ = ["FileSource"]


class FileSource(LiveFiles[X509Context]):
    """Follow the identity that PEM files hold: an X.509-SVID, its key and its bundles.

    The files are looked at in turns and taken over when their bytes changed, all of them together
    or none: a set that is half written, broken or expired leaves the last good one in force until
    that expires, and `status` names the file. Opening returns at once; the files may come later.

    The states are those of any source: `NO_AGENT` while a file is not there or cannot be read,
    `NO_IDENTITY` while what they hold cannot be used. In both, `current` raises a `SourceError` and
    no `WorkloadApiError`, which speaks of an exchange with an agent: ask `retryable` and the state.
    An identity that its bundle does not prove serves in `DEGRADED`: peers decide (R-X509-29).
    """

    def __init__(
        self,
        *,
        cert_file: FilePath,
        key_file: FilePath,
        bundle_file: FilePath | None = None,
        bundle_files: Mapping[TrustDomain | str, FilePath] | None = None,
        trust_domain: TrustDomain | str | None = None,
        poll_interval: float = 5.0,
        hint: str = "",
        reader: FileReader | None = None,
        observer: SourceObserver | None = None,
        clock: Callable[[], Instant] = system_clock,
    ) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            cert_file: The certificate chain in PEM, leaf first.
            key_file: Its unencrypted private key in PEM; may be the same file.
            bundle_file: The authorities of the identity's own trust domain: PEM, or a SPIFFE
                bundle document; or a SPIFFE bundle map, which names the domain of each bundle.
            bundle_files: The bundles of further trust domains, by trust domain.
            trust_domain: The trust domain that the identity must be of; None for any.
            poll_interval: Seconds from one look at the files to the next.
            hint: The hint that the identity gets.
            reader: Reads the files; None for the disk.
            observer: Is told of each event, in a thread of its own.
            clock: Reads the clocks.

        Raises:
            ConfigError: An argument cannot be used; every problem of the files is told.
        """
        check_poll_interval(poll_interval)
        files = IdentityFiles.of(
            cert_file=cert_file,
            key_file=key_file,
            bundle_file=bundle_file,
            bundle_files=bundle_files,
            trust_domain=trust_domain,
            hint=hint,
        )
        super().__init__(
            files,
            poll_interval=poll_interval,
            reader=reader,
            observer=observer,
            clock=clock,
        )

    @classmethod
    def spiffe_helper(
        cls,
        folder: FilePath,
        *,
        svid_file_name: str = "svid.pem",
        svid_key_file_name: str = "svid_key.pem",
        svid_bundle_file_name: str = "svid_bundle.pem",
        bundle_files: Mapping[TrustDomain | str, FilePath] | None = None,
        trust_domain: TrustDomain | str | None = None,
        poll_interval: float = 5.0,
        hint: str = "",
    ) -> Self:
        """Follow what spiffe-helper writes; the names are those of its configuration.

        With its ``renew_signal``, call `reload` in the handler. Its ``include_federated_domains``
        must be off: it mixes the authorities of all trust domains, and such a bundle is refused.

        Args:
            folder: Its ``cert_dir``.
            svid_file_name: As there.
            svid_key_file_name: As there.
            svid_bundle_file_name: As there.
            bundle_files: As for the class, like the rest.
            trust_domain: The trust domain that the identity must be of; None for any.
            poll_interval: Seconds from one look at the files to the next.
            hint: The hint that the identity gets.

        Raises:
            ConfigError: An argument cannot be used.
        """
        return cls(
            cert_file=_inside(folder, svid_file_name),
            key_file=_inside(folder, svid_key_file_name),
            bundle_file=_inside(folder, svid_bundle_file_name),
            bundle_files=bundle_files,
            trust_domain=trust_domain,
            poll_interval=poll_interval,
            hint=hint,
        )

    @classmethod
    def csi_driver_spiffe(
        cls,
        folder: FilePath,
        *,
        bundle_files: Mapping[TrustDomain | str, FilePath] | None = None,
        trust_domain: TrustDomain | str | None = None,
        poll_interval: float = 5.0,
        hint: str = "",
    ) -> Self:
        """Follow a volume of cert-manager's csi-driver-spiffe.

        That is ``tls.crt``, ``tls.key`` and ``ca.crt``, the last only where the driver's option
        ``source-ca-bundle`` is set.

        Args:
            folder: Where the volume is mounted.
            bundle_files: As for the class, like the rest.
            trust_domain: The trust domain that the identity must be of; None for any.
            poll_interval: Seconds from one look at the files to the next.
            hint: The hint that the identity gets.

        Raises:
            ConfigError: An argument cannot be used.
        """
        return cls(
            cert_file=_inside(folder, "tls.crt"),
            key_file=_inside(folder, "tls.key"),
            bundle_file=_inside(folder, "ca.crt"),
            bundle_files=bundle_files,
            trust_domain=trust_domain,
            poll_interval=poll_interval,
            hint=hint,
        )


def _inside(folder: FilePath, name: str) -> str:
    try:
        return str(Path(folder) / name)
    except TypeError as error:
        raise ConfigError(f"{name!r} in {folder!r} is no path: give texts") from error
