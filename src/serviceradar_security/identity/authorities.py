"""Authorities of plain TLS: trust anchors that belong to no trust domain.

Standard: RFC 5280 section 6. What they sign has host names; it has a SPIFFE ID only where somebody
says of which trust domain they are the authorities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Self, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity.bundle import MAX_AUTHORITIES, MAX_BUNDLE_BYTES, TrustBundle
from serviceradar_security.identity.certificate import CertificateError, load_pem, read_extensions

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = ["Authorities", "whose"]

_PEM_BEGIN: Final = b"-----BEGIN "
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_set = object.__setattr__


@final
class Authorities:
    """Trust anchors, at least one, with a name for messages. Equality is that of the certificates.

    Build one with `from_pem`.
    """

    __slots__ = ("_authorities", "_der", "_name", "_store")
    _authorities: tuple[x509.Certificate, ...]
    _der: tuple[bytes, ...]
    _name: str
    _store: Store

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: authorities are read from bytes."""
        raise TypeError("Authorities are made by from_pem")

    @classmethod
    def from_pem(cls, pem: bytes, *, name: str) -> Authorities:
        """Read PEM certificates; text between the blocks is passed over.

        Args:
            pem: At least one certificate, and no block of another kind.
            name: What they are, for messages, as ``the client_ca_file``.

        Raises:
            TrustBundleError: It is anything else, or one of them is no CA certificate; nothing of
                it is used then.
        """
        if not isinstance(pem, bytes) or len(pem) > MAX_BUNDLE_BYTES:
            raise TrustBundleError(f"{name} is given as at most {MAX_BUNDLE_BYTES} bytes")
        count = pem.count(_PEM_BEGIN)
        if count != pem.count(_CERTIFICATE):
            raise TrustBundleError(
                f"{name} has a block that is not a CERTIFICATE: it holds authorities only",
            )
        if not 0 < count <= MAX_AUTHORITIES:
            raise TrustBundleError(
                f"{name} has {count or 'no'} certificates in it: it holds 1 to {MAX_AUTHORITIES}",
            )
        try:
            by_der = {each.public_bytes(Encoding.DER): each for each in load_pem(pem)}
            for number, each in enumerate(by_der.values(), 1):
                _check_is_authority(each, f"certificate {number} of {name}")
            store = Store(list(by_der.values()))
        except CertificateError as error:
            raise TrustBundleError(
                f"{name} has a certificate that cannot be read: {error}",
            ) from error
        made = object.__new__(cls)
        _set(made, "_authorities", tuple(by_der.values()))
        _set(made, "_der", tuple(by_der))
        _set(made, "_name", name)
        _set(made, "_store", store)
        return made

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The authorities, each once, in the order given."""
        return self._authorities

    @property
    def der(self) -> tuple[bytes, ...]:
        """The authorities as DER."""
        return self._der

    @property
    def name(self) -> str:
        """What they are, for messages."""
        return self._name

    def to_pem(self) -> bytes:
        """Write the authorities as PEM."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self._authorities)

    def verification_store(self) -> Store:
        """Give the trust anchors to the path validator."""
        return self._store

    def bundle_of(self, trust_domain: TrustDomain) -> TrustBundle:
        """Take them as the authorities of a trust domain, and of no other."""
        return TrustBundle.from_der(trust_domain, b"".join(self._der))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authorities) and self._der == other._der

    def __hash__(self) -> int:
        return hash(self._der)

    def __repr__(self) -> str:
        return f"Authorities({self._name!r}, {len(self._der)} of them)"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Authorities do not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Authorities do not change: {name!r} cannot be deleted")

    def __copy__(self) -> Authorities:
        return self

    def __deepcopy__(self, _memo: object) -> Authorities:
        return self

    def __reduce__(self) -> tuple[object, tuple[bytes, str]]:
        return (_unpickled, (self.to_pem(), self._name))


def _check_is_authority(certificate: x509.Certificate, what: str) -> None:
    """Refuse a certificate without cA: as an anchor a leaf would stand for itself.

    gRPC core takes any certificate as one. RFC 5280 section 4.2.1.9: without cA it signs nobody.
    """
    constraints = [
        each.value
        for each in read_extensions(certificate)
        if isinstance(each.value, x509.BasicConstraints)
    ]
    if not any(each.ca for each in constraints):
        serial = certificate.serial_number
        raise TrustBundleError(
            f"{what}, with serial number {serial:x}, is no authority: its basic constraints lack "
            "cA (RFC 5280 section 4.2.1.9); put the CA certificate there that signs the "
            "certificates of peers, and never one of a workload",
        )


def _unpickled(pem: bytes, name: str) -> Authorities:
    return Authorities.from_pem(pem, name=name)


def whose(anchors: TrustBundle | Authorities) -> str:
    """Say whose the anchors are, for a message."""
    return anchors.name if isinstance(anchors, Authorities) else anchors.trust_domain.name
