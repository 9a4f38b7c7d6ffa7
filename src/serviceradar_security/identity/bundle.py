"""Trust bundles: the authorities of one trust domain, and nothing of any other.

Standard: SPIFFE Trust Domain and Bundle section 4, X509-SVID section 6.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Final, NoReturn, Self, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity.certificate import (
    CertificateError,
    load_der,
    load_pem,
    read_extensions,
)
from serviceradar_security.identity.der import DerError, split_sequences
from serviceradar_security.identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_AUTHORITIES", "MAX_BUNDLE_BYTES", "MAX_CERTIFICATE_BYTES", "TrustBundle"]

_LOG: Final = logging.getLogger("serviceradar_security.identity")

MAX_CERTIFICATE_BYTES: Final = 64 * 1024
MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024
MAX_AUTHORITIES: Final = 20_000
_PEM_BEGIN: Final = b"-----BEGIN "


@final
class TrustBundle:
    """The X.509 authorities of one trust domain.

    Build one with `from_der`, `from_pem` or `from_jwks`. Equality and hash come from the trust
    domain and the certificates' bytes. An empty bundle is valid and trusts nobody (R-BUNDLE-02).
    """

    __slots__ = ("_authorities", "_der", "_store", "_trust_domain")
    _authorities: tuple[x509.Certificate, ...]
    _der: tuple[bytes, ...]
    _store: Store | None
    _trust_domain: TrustDomain

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: a bundle is read from bytes."""
        raise TypeError("a TrustBundle is made by from_der, from_pem or from_jwks")

    @classmethod
    def from_der(cls, trust_domain: TrustDomain, der: bytes) -> TrustBundle:
        """Read concatenated DER certificates, as the Workload API sends them.

        Args:
            trust_domain: Whose authorities these are; the bytes do not say (R-BUNDLE-12).
            der: Certificates with nothing between or after; empty gives an empty bundle.

        Raises:
            TrustBundleError: The bytes are anything but certificates (R-BUNDLE-15).
        """
        _check_arguments(trust_domain, der)
        try:
            parts = split_sequences(der, limit=MAX_AUTHORITIES)
        except DerError as error:
            raise TrustBundleError(
                f"the bundle of {trust_domain} is not a row of DER certificates: {error}",
            ) from error
        return _bundle(trust_domain, (_certificate(trust_domain, part) for part in parts))

    @classmethod
    def from_pem(cls, trust_domain: TrustDomain, pem: bytes | str) -> TrustBundle:
        """Read PEM certificates.

        Raises:
            TrustBundleError: There is something other than certificates in it (R-BUNDLE-15).
        """
        data = pem.encode("utf-8", "surrogatepass") if isinstance(pem, str) else pem
        _check_arguments(trust_domain, data)
        if data.count(_PEM_BEGIN) != data.count(b"-----BEGIN CERTIFICATE-----"):
            raise TrustBundleError(
                f"the PEM bundle of {trust_domain} has a block that is not a CERTIFICATE: "
                "a bundle holds authorities only",
            )
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
            TrustBundleError: The document is no JSON object with an array ``keys`` (R-BUNDLE-01).
        """
        _check_arguments(trust_domain, document)
        try:
            parsed = json.loads(document.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise TrustBundleError(
                f"the bundle document of {trust_domain} is not JSON in UTF-8",
            ) from error
        keys = parsed.get("keys") if isinstance(parsed, dict) else None
        if not isinstance(keys, list):
            raise TrustBundleError(
                f"the bundle document of {trust_domain} has no array 'keys' "
                "(Trust Domain and Bundle section 4.1.3)",
            )
        found = (_jwk_authority(trust_domain, entry) for entry in keys)
        return _bundle(trust_domain, (each for each in found if each is not None))

    @property
    def trust_domain(self) -> TrustDomain:
        """Whose authorities these are."""
        return self._trust_domain

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The authorities, each once, in the order given."""
        return self._authorities

    @property
    def der(self) -> tuple[bytes, ...]:
        """The authorities as DER."""
        return self._der

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
            object.__setattr__(self, "_store", store)
        return store

    def __eq__(self, other: object) -> bool:
        return (
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

    def __reduce__(self) -> tuple[object, tuple[TrustDomain, bytes]]:
        return (TrustBundle.from_der, (self._trust_domain, b"".join(self._der)))


def _bundle(trust_domain: TrustDomain, certificates: Iterable[x509.Certificate]) -> TrustBundle:
    by_der = {each.public_bytes(Encoding.DER): each for each in certificates}  # R-BUNDLE-08
    if len(by_der) > MAX_AUTHORITIES:
        raise TrustBundleError(
            f"the bundle of {trust_domain} has {len(by_der)} authorities: at most "
            f"{MAX_AUTHORITIES}",
        )
    for der in by_der:
        _check_size(trust_domain, der)
    made = object.__new__(TrustBundle)
    object.__setattr__(made, "_trust_domain", trust_domain)
    object.__setattr__(made, "_der", tuple(by_der))
    object.__setattr__(made, "_authorities", tuple(by_der.values()))
    object.__setattr__(made, "_store", None)
    return made


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


def _check_size(trust_domain: TrustDomain, der: bytes) -> None:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise TrustBundleError(
            f"the bundle of {trust_domain} has a certificate of {len(der)} bytes: at most "
            f"{MAX_CERTIFICATE_BYTES}",
        )


def _certificate(trust_domain: TrustDomain, der: bytes) -> x509.Certificate:
    _check_size(trust_domain, der)
    try:
        return load_der(der)
    except CertificateError as error:
        raise TrustBundleError(
            f"the bundle of {trust_domain} has an element that is not a certificate",
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _jwk_authority(trust_domain: TrustDomain, entry: object) -> x509.Certificate | None:
    """Read one JWK, or give None for what this library does not use."""
    if not isinstance(entry, dict) or entry.get("use") != "x509-svid":  # R-BUNDLE-04, -08
        return None
    if entry.get("kty") not in ("EC", "RSA", "OKP"):  # R-BUNDLE-03
        return None
    chain = entry.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):  # R-BUNDLE-05
        return None
    certificate = _ca_certificate(chain[0])  # R-BUNDLE-06: the others are not even parsed
    if certificate is None:
        _LOG.warning(  # R-BUNDLE-07
            "an entry of the bundle document of %s is left out: its first x5c value is not the "
            "base64 of a CA certificate",
            trust_domain,
        )
    return certificate


def _ca_certificate(text: str) -> x509.Certificate | None:
    try:
        der = base64.b64decode(text, validate=True)
        certificate = load_der(der)
        constraints = read_extensions(certificate).get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound):
        return None
    return certificate if constraints.value.ca and len(der) <= MAX_CERTIFICATE_BYTES else None
