"""Trust bundles: the authorities of one trust domain, and nothing of any other.

Standard: SPIFFE Trust Domain and Bundle section 4, X509-SVID section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Self, final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from serviceradar_security.errors import SpiffeIdError, TrustBundleError
from serviceradar_security.identity.bundle_document import (
    DocumentError,
    load_object,
    read_document,
)
from serviceradar_security.identity.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    load_der,
    load_pem,
)
from serviceradar_security.identity.der import DerError, split_sequences
from serviceradar_security.identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

__all__ = [
    "MAX_AUTHORITIES",
    "MAX_BUNDLE_BYTES",
    "MAX_CERTIFICATE_BYTES",
    "TrustBundle",
    "check_row",
    "read_bundle_map",
]

MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024
MAX_AUTHORITIES: Final = 20_000
_DEFAULT_REFRESH: Final = 300.0  # seconds, Trust Domain and Bundle section 6.1
_SHORTEST_REFRESH: Final = 60.0
_PEM_BEGIN: Final = b"-----BEGIN "
_set = object.__setattr__


@final
class TrustBundle:
    """The X.509 authorities of one trust domain.

    Build one with `from_der`, `from_pem` or `from_jwks`. Equality and hash come from the trust
    domain and the certificates' bytes. An empty bundle is valid and trusts nobody (R-BUNDLE-02). It
    proves X.509-SVIDs and nothing else (R-WLAPI-21).
    """

    __slots__ = ("_authorities", "_der", "_refresh_hint", "_sequence", "_store", "_trust_domain")
    _authorities: tuple[x509.Certificate, ...]
    _der: tuple[bytes, ...]
    _refresh_hint: int | None
    _sequence: int | None
    _store: Store | None
    _trust_domain: TrustDomain

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: a bundle is read from bytes."""
        raise TypeError("a TrustBundle is made by from_der, from_pem or from_jwks")

    @classmethod
    def from_der(cls, trust_domain: TrustDomain, der: bytes) -> TrustBundle:
        """Read concatenated DER certificates.

        Args:
            trust_domain: Whose authorities these are; the bytes do not say (R-BUNDLE-12).
            der: Certificates with nothing between or after; empty gives an empty bundle.

        Raises:
            TrustBundleError: The bytes are anything but certificates (R-BUNDLE-15).
        """
        parts = check_row(trust_domain, der)
        try:
            # A certificate is kept with its bytes; duplicates count once (R-BUNDLE-08).
            by_der = {part: load_der(part) for part in parts}
        except CertificateError as error:
            raise TrustBundleError(
                f"the bundle of {trust_domain} has an element that is not a certificate",
            ) from error
        return _made(trust_domain, tuple(by_der), tuple(by_der.values()))

    @classmethod
    def from_pem(cls, trust_domain: TrustDomain, pem: bytes | str) -> TrustBundle:
        """Read PEM certificates; text between the blocks is passed over (RFC 7468 section 2).

        Raises:
            TrustBundleError: There is a block of another kind in it, a certificate that cannot be
                read or is cut off, or text and no certificate (R-BUNDLE-15).
        """
        data = pem.encode("utf-8", "surrogatepass") if isinstance(pem, str) else pem
        _check_arguments(trust_domain, data)
        if data.count(_PEM_BEGIN) != data.count(b"-----BEGIN CERTIFICATE-----"):
            raise TrustBundleError(
                f"the PEM bundle of {trust_domain} has a block that is not a CERTIFICATE: "
                "a bundle holds authorities only",
            )
        if data.count(_PEM_BEGIN) > MAX_AUTHORITIES:
            raise _too_many(trust_domain, data.count(_PEM_BEGIN))
        if _PEM_BEGIN not in data:
            if data.strip():
                raise TrustBundleError(f"the PEM bundle of {trust_domain} has no certificate in it")
            return _bundle(trust_domain, ())
        try:
            certificates = load_pem(data)
        except CertificateError as error:
            raise TrustBundleError(
                f"the PEM bundle of {trust_domain} has a certificate that cannot be read: {error}",
            ) from error
        return _bundle(trust_domain, certificates)

    @classmethod
    def from_jwks(cls, trust_domain: TrustDomain, document: bytes) -> TrustBundle:
        """Read a SPIFFE bundle document (a JWK set) and keep its X.509 authorities.

        An entry that this library cannot use costs only itself: unknown ``kty`` or ``use``, no
        ``x5c``, or a first ``x5c`` value that is no CA certificate (R-BUNDLE-03 to -07).

        Raises:
            TrustBundleError: The document is no JSON object with an array ``keys``, or names a
                member twice (R-BUNDLE-01).
        """
        _check_arguments(trust_domain, document)
        try:
            return _from_members(trust_domain, load_object(document))
        except DocumentError as error:
            raise TrustBundleError(
                f"the bundle document of {trust_domain} cannot be used: {error}",
            ) from error

    @property
    def trust_domain(self) -> TrustDomain:
        """Whose authorities these are."""
        return self._trust_domain

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The authorities, each once, in the order given (R-BUNDLE-08)."""
        return self._authorities

    @property
    def der(self) -> tuple[bytes, ...]:
        """The authorities as DER."""
        return self._der

    @property
    def sequence(self) -> int | None:
        """The ``spiffe_sequence`` of a bundle document; None if there was none."""
        return self._sequence

    @property
    def refresh_hint(self) -> float | None:
        """The ``spiffe_refresh_hint`` of a bundle document in seconds; None if there was none."""
        return None if self._refresh_hint is None else float(min(self._refresh_hint, 2**53))

    @property
    def refresh_interval(self) -> float:
        """How often its publisher should be asked, in seconds.

        The refresh hint, but no less than a minute; five minutes without one (Trust Domain and
        Bundle section 6.1; R-BUNDLE-10).
        """
        hint = self.refresh_hint
        return _DEFAULT_REFRESH if hint is None else max(hint, _SHORTEST_REFRESH)

    def supersedes(self, other: TrustBundle) -> bool:
        """Tell whether this bundle, fetched later, takes the other's place.

        It does unless both have a sequence number and this one's is the lower (Federation
        section 4.2; R-BUNDLE-09). Bundles of two trust domains never replace each other.
        """
        if not isinstance(other, TrustBundle) or self._trust_domain != other._trust_domain:
            return False
        if self._sequence is None or other._sequence is None:
            return True
        return self._sequence >= other._sequence

    def to_pem(self) -> bytes:
        """Write the authorities as PEM."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self._authorities)

    def verification_store(self) -> Store:
        """Give the trust anchors to the path validator; every authority is one (R-X509-19).

        Raises:
            TrustBundleError: The bundle is empty.
        """
        store = self._store
        if store is None:
            if not self._authorities:
                raise TrustBundleError(f"the bundle of {self._trust_domain} has no authority")
            # Made once and shared: the store is immutable, and two threads make equal ones.
            store = Store(list(self._authorities))
            _set(self, "_store", store)
        return store

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, TrustBundle)
            and self._trust_domain == other._trust_domain
            and self._der == other._der
        )

    def __hash__(self) -> int:
        return hash((self._trust_domain, self._der))

    def __repr__(self) -> str:
        return f"TrustBundle({self._trust_domain.name!r}, {len(self._der)} authorities)"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a TrustBundle does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a TrustBundle does not change: {name!r} cannot be deleted")

    def __copy__(self) -> TrustBundle:
        return self

    def __deepcopy__(self, _memo: object) -> TrustBundle:
        return self

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        content = (self._trust_domain, self._der, self._sequence, self._refresh_hint)
        return (_unpickled, content)


def read_bundle_map(document: bytes) -> dict[TrustDomain, TrustBundle]:
    """Read a SPIFFE bundle map: the bundle documents of several trust domains, in one step.

    Refresh hints of its members do not steer the map (Trust Domain and Bundle section 5;
    R-BUNDLE-14).

    Raises:
        TrustBundleError: It is no JSON object with an object ``trust_domains``, a name is invalid
            or there twice, or a member is no bundle document. Nothing of it is used then.
    """
    if not isinstance(document, bytes) or len(document) > MAX_BUNDLE_BYTES:
        raise TrustBundleError(f"a bundle map is given as at most {MAX_BUNDLE_BYTES} bytes")
    try:
        members = load_object(document).get("trust_domains")
        if not isinstance(members, dict):
            raise DocumentError(  # noqa: TRY301 - one remedy for all that is wrong
                "it has no object 'trust_domains', or one that names a trust domain twice "
                "(Trust Domain and Bundle section 5.1.1)",
            )
        named = ((_name(text), value) for text, value in members.items())
        return {each: _from_members(each, value) for each, value in named}
    except (DocumentError, SpiffeIdError) as error:
        raise TrustBundleError(f"the bundle map cannot be used: {error}") from error


def _name(text: str) -> TrustDomain:
    """Read a key of a bundle map, which is the name of a trust domain and never an ID."""
    if "/" in text:
        raise SpiffeIdError(f"{text[:200]!a} is no trust domain name, as 'example.org'")
    return TrustDomain.parse(text)


def _from_members(trust_domain: TrustDomain, members: object) -> TrustBundle:
    document = read_document(trust_domain, members)
    return _bundle(
        trust_domain,
        document.authorities,
        sequence=document.sequence,
        refresh_hint=document.refresh_hint,
    )


def _bundle(
    trust_domain: TrustDomain,
    certificates: Iterable[x509.Certificate],
    *,
    sequence: int | None = None,
    refresh_hint: int | None = None,
) -> TrustBundle:
    """Make a bundle of certificates that were read; duplicates count once (R-BUNDLE-08)."""
    by_der = {each.public_bytes(Encoding.DER): each for each in certificates}
    _check_elements(trust_domain, tuple(by_der))
    authorities = tuple(by_der.values())
    return _made(trust_domain, tuple(by_der), authorities, sequence, refresh_hint)


def _made(
    trust_domain: TrustDomain,
    der: tuple[bytes, ...],
    authorities: tuple[x509.Certificate, ...],
    sequence: int | None = None,
    refresh_hint: int | None = None,
) -> TrustBundle:
    made = object.__new__(TrustBundle)
    _set(made, "_trust_domain", trust_domain)
    _set(made, "_der", der)
    _set(made, "_authorities", authorities)
    _set(made, "_store", None)
    _set(made, "_sequence", sequence)
    _set(made, "_refresh_hint", refresh_hint)
    return made


def _unpickled(
    trust_domain: TrustDomain,
    der: tuple[bytes, ...],
    sequence: int | None,
    refresh_hint: int | None,
) -> TrustBundle:
    read = TrustBundle.from_der(trust_domain, b"".join(der))
    for number in (sequence, refresh_hint):
        if number is not None and (type(number) is not int or number < 0):
            raise TrustBundleError("a bundle's sequence and refresh hint are whole numbers")
    return _made(trust_domain, read.der, read.authorities, sequence, refresh_hint)


def _check_arguments(trust_domain: object, data: object) -> None:
    if not isinstance(trust_domain, TrustDomain):
        raise TrustBundleError("a bundle needs its TrustDomain: use TrustDomain.parse(text)")
    if not isinstance(data, bytes):
        raise TrustBundleError(
            f"the bundle of {trust_domain} is given as bytes, not {type(data).__name__}",
        )
    if len(data) > MAX_BUNDLE_BYTES:
        raise TrustBundleError(
            f"the bundle of {trust_domain} has {len(data)} bytes: at most {MAX_BUNDLE_BYTES}",
        )


def check_row(trust_domain: TrustDomain, der: bytes) -> tuple[bytes, ...]:
    """Take a row of DER elements apart, which may be certificates, within the limits.

    Raises:
        TrustBundleError: It is no such row.
    """
    _check_arguments(trust_domain, der)
    try:
        parts = split_sequences(der, limit=MAX_AUTHORITIES)
    except DerError as error:
        raise TrustBundleError(
            f"the bundle of {trust_domain} is not a row of DER certificates: {error}",
        ) from error
    _check_elements(trust_domain, parts)
    return parts


def _check_elements(trust_domain: TrustDomain, parts: tuple[bytes, ...]) -> None:
    if len(parts) > MAX_AUTHORITIES:
        raise _too_many(trust_domain, len(parts))
    for part in parts:
        if len(part) > MAX_CERTIFICATE_BYTES:
            raise TrustBundleError(
                f"the bundle of {trust_domain} has a certificate of {len(part)} bytes: at most "
                f"{MAX_CERTIFICATE_BYTES}",
            )


def _too_many(trust_domain: TrustDomain, count: int) -> TrustBundleError:
    return TrustBundleError(
        f"the bundle of {trust_domain} has {count} authorities: at most {MAX_AUTHORITIES}",
    )
