"""Which files hold the certificate of plain mutual TLS, and what they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import (
    ConfigError,
    ConfigProblem,
    TrustBundleError,
    X509SvidError,
)
from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.credentials import TlsCredentials
from serviceradar_security.workload.file_material import (
    FileMaterial,
    Held,
    UnusableFileError,
    check_not_empty,
)
from serviceradar_security.workload.files import name_file, name_trust_domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from serviceradar_security.identity.spiffe_id import TrustDomain
    from serviceradar_security.workload.files import FilePath, IdentityFile

__all__ = ["CredentialFiles"]

_ANEW: Final = "write a certificate and its key of one issue, as PEM, the leaf first"
_AUTHORITIES: Final = "write the certificates of the authorities, as PEM, and nothing else"
_PROVE: Final = (
    "have a certificate issued that keeps this rule, by an authority of these files, or write the "
    "authorities that vouch for it; peers with the same authorities refuse it"
)


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Which files belong together; made by `of`, which checks them.

    Attributes:
        certificate: The chain, leaf first.
        key: Its key.
        authorities: The authorities of servers.
        client_authorities: Those of clients; None if they are the same.
        trust_domain: The trust domain that the authorities of clients stand for; None for none.
    """

    certificate: IdentityFile
    key: IdentityFile
    authorities: IdentityFile
    client_authorities: IdentityFile | None
    trust_domain: TrustDomain | None

    @classmethod
    def of(
        cls,
        *,
        cert_file: FilePath,
        key_file: FilePath,
        ca_file: FilePath,
        client_ca_file: FilePath | None = None,
        trust_domain: TrustDomain | str | None = None,
    ) -> CredentialFiles:
        """Check what a user gave; relative paths are taken from the folder of now.

        Raises:
            ConfigError: Something of it cannot be used; every problem is told.
        """
        problems: list[ConfigProblem] = []
        authorities = name_file("ca_file", ca_file, problems)
        for_clients = None
        if client_ca_file is not None:
            for_clients = name_file("client_ca_file", client_ca_file, problems)
            if for_clients.path == authorities.path:
                for_clients = None
        files = cls(
            certificate=name_file("cert_file", cert_file, problems),
            key=name_file("key_file", key_file, problems),
            authorities=authorities,
            client_authorities=for_clients,
            trust_domain=name_trust_domain("trust_domain", trust_domain, problems),
        )
        if problems:
            told = "; ".join(str(each) for each in problems)
            raise ConfigError(f"the files of mutual TLS cannot be used: {told}", problems=problems)
        return files

    def read(
        self,
        contents: Sequence[bytes],
        *,
        at: datetime,
        held: TlsCredentials | None,  # noqa: ARG002 - authorities have no sequence
    ) -> FileMaterial[TlsCredentials]:
        """Make credentials of what the files hold.

        Raises:
            UnusableFileError: They hold none: nothing of any is used.
        """
        by_file = dict(zip(self, contents, strict=True))
        check_not_empty(by_file)
        authorities = _authorities(self.authorities, by_file[self.authorities])
        for_clients = authorities
        if self.client_authorities is not None:
            for_clients = _authorities(self.client_authorities, by_file[self.client_authorities])
        try:
            made = TlsCredentials.from_pem(
                by_file[self.certificate],
                by_file[self.key],
                authorities=authorities,
                at=at,
                client_authorities=for_clients,
                trust_domain=self.trust_domain,
            )
        except X509SvidError as error:
            raise UnusableFileError(
                f"the {self.key.name} with the {self.certificate.name}: {error}",
                _ANEW,
            ) from error
        facts = Held(made.title, made.spiffe_id, made.not_before, made.not_after)
        doubt = f"the {self.certificate.name}: {made.doubt}" if made.doubt else ""
        return FileMaterial(made, facts, doubt, _PROVE if doubt else "")

    def __iter__(self) -> Iterator[IdentityFile]:
        yield self.certificate
        yield self.key
        yield self.authorities
        if self.client_authorities is not None:
            yield self.client_authorities


def _authorities(file: IdentityFile, data: bytes) -> Authorities:
    try:
        return Authorities.from_pem(data, name=f"the {file.name}")
    except TrustBundleError as error:
        raise UnusableFileError(str(error), _AUTHORITIES) from error
