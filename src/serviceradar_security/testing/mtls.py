"""Files for plain mutual TLS, by host name: certificate, key and authority from trustme's roots."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from serviceradar_security.errors import ConfigError, SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.testing.arguments import check
from serviceradar_security.testing.certificates import (
    extended_usage,
    key_usage,
    leaf_subject,
    make_key,
    sign_certificate,
)
from serviceradar_security.workload.live import check_seconds

if TYPE_CHECKING:
    import trustme

    from serviceradar_security.testing.certificates import SigningKey

__all__ = ["MtlsFiles"]

_ROOT: Final = "root"  # what the file of authorities is called


@dataclass(slots=True)
class _Authority:
    """The authority of parties that belong together: all follow when it is replaced."""

    root: trustme.CA


@dataclass(frozen=True, slots=True)
class MtlsFiles:
    """Files of one party of mutual TLS, for the mode ``mtls`` and other software that reads files.

    Made by `write` and `peer`.

    Attributes:
        cert_file: Its certificate chain, in PEM.
        key_file: Its private key, in PEM.
        ca_file: The authority of it and its peers, in PEM.
        names: Host names and addresses that the certificate is for.
        spiffe_id: The SPIFFE ID that it names as well; empty for none.
    """

    cert_file: Path
    key_file: Path
    ca_file: Path
    names: tuple[str, ...]
    _authority: _Authority = field(repr=False, compare=False)
    spiffe_id: str = ""

    def __post_init__(self) -> None:
        check(cert_file=self.cert_file, key_file=self.key_file, ca_file=self.ca_file)
        check(names=self.names, spiffe_id=self.spiffe_id)
        given: object = self._authority
        if not isinstance(given, _Authority):
            raise ConfigError("MtlsFiles are made by MtlsFiles.write(...) and peer(...)")

    @classmethod
    def write(
        cls,
        folder: str | Path,
        *names: str,
        name: str = "service",
        spiffe_id: SpiffeId | str = "",
        ttl: float | None = None,
    ) -> Self:
        """Make an authority and a certificate, and write them.

        Args:
            folder: Where to; it must exist.
            *names: Host names and addresses; none stands for ``localhost`` and ``127.0.0.1``.
            name: What the files of this party are called; not ``root``.
            spiffe_id: A SPIFFE ID that the certificate names as well.
            ttl: Life of the certificate in seconds from now; None for years.

        Raises:
            ConfigError: trustme is not installed, a name is none, an argument is of the wrong
                kind, or the files cannot be written.
        """
        check(folder=folder)
        try:
            import trustme  # noqa: PLC0415 - of the extra, and only here
        except ImportError as error:
            raise ConfigError(
                "files for mutual TLS need trustme: pip install 'serviceradar-security[testing]'",
            ) from error
        authority = _Authority(trustme.CA())
        hosts = names or ("localhost", "127.0.0.1")
        return cls._written(authority, Path(folder), hosts, name=name, spiffe_id=spiffe_id, ttl=ttl)

    def peer(
        self,
        *names: str,
        name: str = "peer",
        spiffe_id: SpiffeId | str = "",
        ttl: float | None = None,
    ) -> Self:
        """Write the files of another party of the same authority, beside these.

        Args:
            *names: Its host names and addresses; none takes those of this one.
            name: What its files are called; not ``root``.
            spiffe_id: A SPIFFE ID that its certificate names as well.
            ttl: Life of its certificate in seconds from now; None for years.

        Raises:
            ConfigError: As for `write`.
        """
        folder, hosts = self.cert_file.parent, names or self.names
        return self._written(
            self._authority, folder, hosts, name=name, spiffe_id=spiffe_id, ttl=ttl
        )

    def renew(self, *, ttl: float | None = None) -> None:
        """Write a new certificate and key into the same files, for the same names.

        Args:
            ttl: Its life in seconds from now; None for years, negative for one that has expired.

        Raises:
            ConfigError: That is no life, or the files cannot be written.
        """
        folder, name = self.cert_file.parent, self.cert_file.stem
        self._written(
            self._authority, folder, self.names, name=name, spiffe_id=self.spiffe_id, ttl=ttl
        )

    def replace_authority(self, *, keep_old: bool = False) -> None:
        """Let a new authority take over: its certificate goes into the file of authorities.

        Certificates stay as they are; each party calls `renew` when it should have one of the new
        authority.

        Args:
            keep_old: Leave the old authority in the file, before the new one is alone in it.

        Raises:
            ConfigError: An argument is of the wrong kind, or the file cannot be written.
        """
        check(keep_old=keep_old)
        import trustme  # noqa: PLC0415 - of the extra, and it was there when the files were made

        old = self._authority.root.cert_pem.bytes() if keep_old else b""
        self._authority.root = trustme.CA()
        try:
            _replace(self.ca_file, self._authority.root.cert_pem.bytes() + old)
        except OSError as error:
            raise ConfigError(f"the file of authorities cannot be written: {error}") from error

    def block(self, **members: Any) -> dict[str, Any]:
        """Give the security block of the party.

        Args:
            **members: More members of it, as ``server_name`` or ``trust_domain``.
        """
        files = {
            "cert_file": str(self.cert_file),
            "key_file": str(self.key_file),
            "ca_file": str(self.ca_file),
        }
        return {"mode": "mtls", "tls": files, **members}

    @classmethod
    def _written(
        cls,
        authority: _Authority,
        folder: Path,
        names: tuple[str, ...],
        *,
        name: str,
        spiffe_id: SpiffeId | str,
        ttl: float | None,
    ) -> Self:
        check(name=name, spiffe_id=spiffe_id)
        for each in names:
            check(host=each)
        if name == _ROOT:
            raise ConfigError(f"{_ROOT}.pem is the file of authorities: take another name")
        if ttl is not None:
            check_seconds("ttl", ttl)
        files = cls(
            cert_file=folder / f"{name}.pem",
            key_file=folder / f"{name}-key.pem",
            ca_file=folder / f"{_ROOT}.pem",
            names=names,
            _authority=authority,
            spiffe_id=str(spiffe_id),
        )
        end = None if ttl is None else datetime.now(UTC) + timedelta(seconds=ttl)
        chain, key = _issue(authority.root, names, files.spiffe_id, end)
        try:
            if not files.ca_file.exists():
                _replace(files.ca_file, authority.root.cert_pem.bytes())
            _replace(files.cert_file, chain)
            _replace(files.key_file, key)
        except (OSError, ValueError) as error:  # a NUL in the path
            raise ConfigError(f"the files for mutual TLS cannot be written: {error}") from error
        return files


def _issue(
    root: trustme.CA,
    names: tuple[str, ...],
    spiffe_id: str,
    end: datetime | None,
) -> tuple[bytes, bytes]:
    """Give chain and key in PEM."""
    try:
        issued = root.issue_cert(*names, not_after=end)
        if spiffe_id:
            return _issue_with_id(root, names, SpiffeId.parse(spiffe_id), end)
    except (ValueError, TypeError, OverflowError, SpiffeIdError) as error:
        raise ConfigError(f"no certificate for the names {list(names)}: {error}") from error
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return chain, issued.private_key_pem.bytes()


def _issue_with_id(
    root: trustme.CA,
    names: tuple[str, ...],
    spiffe_id: SpiffeId,
    end: datetime | None,
) -> tuple[bytes, bytes]:
    """Issue what trustme has no names for."""
    issuer = x509.load_pem_x509_certificate(root.cert_pem.bytes())
    signer = cast("SigningKey", load_pem_private_key(root.private_key_pem.bytes(), None))
    key = make_key("p256")
    made = sign_certificate(
        leaf_subject(""),
        key,
        (issuer.subject, signer),
        validity=(issuer.not_valid_before_utc, end or issuer.not_valid_after_utc),
        extensions=[
            (_alternative_names(names, spiffe_id), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (key_usage(["digital_signature"]), True),
            (extended_usage(["client", "server"]), False),
        ],
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), pem


def _alternative_names(
    names: tuple[str, ...],
    spiffe_id: SpiffeId,
) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


def _replace(path: Path, data: bytes) -> None:
    """Write whole, so that nobody reads a half; readable by the owner alone."""
    new = path.with_name(f".{path.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)
