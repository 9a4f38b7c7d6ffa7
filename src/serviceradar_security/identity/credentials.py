"""Our own certificate of plain mutual TLS, with the authorities that its peers are held against.

For where a party is known by its host name. The certificate may claim a SPIFFE ID as well: it has
one only where somebody says of which trust domain the authorities are.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, final, runtime_checkable

from serviceradar_security.errors import PeerVerificationError, X509SvidError
from serviceradar_security.identity.own_material import (
    OwnMaterial,
    check_possession,
    load_chain,
    split_pem,
)
from serviceradar_security.identity.own_tls import judge_own_chain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from serviceradar_security.identity.authorities import Authorities
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

__all__ = ["TlsCredentials", "TlsCredentialsSource"]

_set = object.__setattr__


@final
class TlsCredentials(OwnMaterial):
    """A frozen snapshot: our chain and key, and whom we trust; replaced whole, never edited.

    Build one with `from_pem`. Equality comes from the certificates; `repr` shows no key.
    """

    __slots__ = (
        "_authorities",
        "_bundles",
        "_client_authorities",
        "_doubt",
        "_spiffe_id",
        "_why_no_id",
    )
    _authorities: Authorities
    _bundles: Mapping[TrustDomain, TrustBundle]
    _client_authorities: Authorities
    _doubt: str
    _spiffe_id: SpiffeId | None
    _why_no_id: str

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: credentials are read from bytes, which are checked."""
        raise TypeError("TlsCredentials are made by TlsCredentials.from_pem")

    @classmethod
    def from_pem(
        cls,
        chain: bytes,
        key: bytes,
        *,
        authorities: Authorities,
        at: datetime,
        client_authorities: Authorities | None = None,
        trust_domain: TrustDomain | None = None,
    ) -> TlsCredentials:
        """Read a chain and an unencrypted key from PEM, and hold them against each other.

        Args:
            chain: Certificates, leaf first; text between them is passed over.
            key: One private key, in PKCS#8 or the older forms of its kind.
            authorities: Whom servers are held against.
            at: The time at which the chain is held against the authorities, timezone-aware.
            client_authorities: Whom clients are held against; None for the same.
            trust_domain: The trust domain that the authorities of clients stand for; None for
                none, and then nobody has a SPIFFE ID.

        Raises:
            X509SvidError: Chain or key cannot be read, or they do not belong together.
        """
        parts, private_key = split_pem(chain, key)
        certificates = load_chain(parts)
        leaf = certificates[0]
        try:
            _ = (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        except Exception as error:
            raise X509SvidError("our certificate has a validity that cannot be read") from error
        check_possession(private_key, leaf, "the first one of the chain")
        for_clients = client_authorities or authorities
        bundles = (
            {} if trust_domain is None else {trust_domain: for_clients.bundle_of(trust_domain)}
        )
        known = tuple(dict.fromkeys((for_clients, authorities)))
        try:
            verdict = judge_own_chain(certificates, parts, known, bundles, at=at)
        except PeerVerificationError as error:
            raise X509SvidError(f"our own certificate is unusable: {error}") from error
        made = object.__new__(cls)
        _set(made, "_authorities", authorities)
        _set(made, "_bundles", MappingProxyType(bundles))
        _set(made, "_certificates", certificates)
        _set(made, "_chain_der", parts)
        _set(made, "_client_authorities", for_clients)
        _set(made, "_doubt", verdict.doubt)
        _set(made, "_private_key", private_key)
        _set(made, "_spiffe_id", verdict.spiffe_id)
        _set(made, "_why_no_id", verdict.why_none)
        return made

    @property
    def default(self) -> TlsCredentials:
        """The identity to present: these very credentials, as an `X509Context` has its default."""
        return self

    @property
    def authorities(self) -> Authorities:
        """Whom servers are held against."""
        return self._authorities

    @property
    def client_authorities(self) -> Authorities:
        """Whom clients are held against."""
        return self._client_authorities

    @property
    def bundles(self) -> Mapping[TrustDomain, TrustBundle]:
        """The trust domain whose SPIFFE IDs are taken from clients, if one is set; read-only."""
        return self._bundles

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The SPIFFE ID that our certificate proves to the authorities of clients, or None."""
        return self._spiffe_id

    @property
    def why_no_id(self) -> str:
        """Why our certificate has no SPIFFE ID; empty if it has one."""
        return self._why_no_id

    @property
    def doubt(self) -> str:
        """Why peers may refuse our certificate; empty if nothing is known."""
        return self._doubt

    @property
    def title(self) -> str:
        """What to call it in a message: by its SPIFFE ID, or by its serial number."""
        if self._spiffe_id is not None:
            return str(self._spiffe_id)
        return f"the certificate with serial number {self.leaf.serial_number:x}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TlsCredentials) and (
            self._chain_der == other._chain_der
            and self._authorities == other._authorities
            and self._client_authorities == other._client_authorities
            and self._bundles == other._bundles
            and self._spiffe_id == other._spiffe_id
        )

    def __hash__(self) -> int:
        return hash((self._chain_der, self._authorities))

    def __repr__(self) -> str:
        return f"TlsCredentials({self.title!r}, not_after={self.not_after:%FT%TZ})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"TlsCredentials do not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"TlsCredentials do not change: {name!r} cannot be deleted")

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the key (read the files where they are needed)."""
        raise TypeError(
            "TlsCredentials are not pickled: read the files in the process that uses them"
        )


@runtime_checkable
class TlsCredentialsSource(Protocol):
    """What a transport of plain mutual TLS asks for material."""

    def current(self) -> TlsCredentials:
        """Give the newest snapshot, or raise the error that says why there is none."""
        ...
