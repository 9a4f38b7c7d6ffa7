"""What the targets know of the seeds: the authorities, and the leaves they signed.

The keys of the authorities were thrown away when the seeds were written. So a chain that is
accepted and is none of the known ones is a forgery.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from serviceradar_security.identity.bundle import TrustBundle
from tests.fuzz.layout import KNOWN, LOCAL, PARTNER, SEPARATOR

__all__ = ["BUNDLES", "GOOD_CHAIN", "KNOWN_LEAVES", "ROOT_KEYS", "public_key"]


def public_key(certificate: x509.Certificate) -> bytes:
    """Give the public key of a certificate as DER."""
    key = certificate.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(name: str) -> tuple[bytes, ...]:
    return tuple((KNOWN / name).read_bytes().split(SEPARATOR))


def _identity(der: bytes) -> tuple[bytes, str]:
    leaf = x509.load_der_x509_certificate(der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return leaf.tbs_certificate_bytes, names.get_values_for_type(x509.UniformResourceIdentifier)[0]


BUNDLES: Final = {
    each: TrustBundle.from_der(each, b"".join(_read(f"{each}.der"))) for each in (LOCAL, PARTNER)
}
KNOWN_LEAVES: Final = dict(_identity(der) for der in _read("leaves.der"))
GOOD_CHAIN: Final = _read("leaves.der")[:1]
ROOT_KEYS: Final = frozenset(
    public_key(x509.load_der_x509_certificate(der)) for der in _read(f"{LOCAL}.der")
)
