"""Files for plain mutual TLS, by host name: certificate, key and authority from trustme's roots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

__all__ = ["MtlsFiles"]


@dataclass(frozen=True, slots=True)
class MtlsFiles:
    """Files of one party of mutual TLS, for the mode ``mtls`` and other software that reads files.

    Attributes:
        cert_file: Its certificate chain, in PEM.
        key_file: Its private key, in PEM.
        ca_file: The authority of it and its peers, in PEM.
        names: Host names and addresses that the certificate is for.
    """

    cert_file: Path
    key_file: Path
    ca_file: Path
    names: tuple[str, ...]
    _authority: trustme.CA = field(repr=False, compare=False)

    @classmethod
    def write(
        cls,
        folder: Path,
        *names: str,
        name: str = "service",
    ) -> Self:
        """Make an authority and a certificate, and write them.

        Args:
            folder: Where to; it must exist.
            *names: Host names and addresses; none stands for ``localhost`` and ``127.0.0.1``.
            name: What the files of this party are called.

        Raises:
            ConfigError: trustme is not installed, a name is none, or the files cannot be written.
        """
        try:
            import trustme  # noqa: PLC0415 - of the extra, and only here
        except ImportError as error:
            raise ConfigError(
                "files for mutual TLS need trustme: pip install 'serviceradar-security[testing]'",
            ) from error
        return cls._written(trustme.CA(), folder, names or ("localhost", "127.0.0.1"), name)

    def peer(self, *names: str, name: str = "peer") -> Self:
        """Write the files of another party of the same authority, beside these.

        Args:
            *names: Its host names and addresses; none takes those of this one.
            name: What its files are called.
        """
        return self._written(self._authority, self.cert_file.parent, names or self.names, name)

    def renew(self) -> None:
        """Write a new certificate and key into the same files, for the same names."""
        self._written(self._authority, self.cert_file.parent, self.names, self.cert_file.stem)

    @classmethod
    def _written(
        cls,
        authority: trustme.CA,
        folder: Path,
        names: tuple[str, ...],
        name: str,
    ) -> Self:
        files = cls(
            cert_file=folder / f"{name}.pem",
            key_file=folder / f"{name}-key.pem",
            ca_file=folder / "root.pem",
            names=names,
            _authority=authority,
        )
        try:
            issued = authority.issue_cert(*names)
        except ValueError as error:
            raise ConfigError(f"no certificate for the names {list(names)}: {error}") from error
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        try:
            for path, data in (
                (files.ca_file, authority.cert_pem.bytes()),
                (files.cert_file, chain),
                (files.key_file, issued.private_key_pem.bytes()),
            ):
                _replace(path, data)
        except OSError as error:
            raise ConfigError(f"the files for mutual TLS cannot be written: {error}") from error
        return files


def _replace(path: Path, data: bytes) -> None:
    """Write whole, so that nobody reads a half; readable by the owner alone."""
    new = path.with_name(f".{path.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)
