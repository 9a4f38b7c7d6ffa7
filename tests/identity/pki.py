"""Certificates of every kind, under a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.testing.authority import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOW = datetime(2031, 5, 6, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOCAL = TrustDomain.parse("example.org")
PARTNER = TrustDomain.parse("partner.example")
WORKLOAD = SpiffeId.parse("spiffe://example.org/ns/demo/sa/core")
SIGNER = ("key_cert_sign", "crl_sign")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def authority(trust_domain: TrustDomain = LOCAL) -> FakeAuthority:
    """Make an authority that lives at NOW."""
    return FakeAuthority(trust_domain, now=lambda: NOW)


@dataclass
class Party:
    """A name and a key that sign, or are signed for; text becomes a CN."""

    name: str | x509.Name
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def subject(self) -> x509.Name:
        """The distinguished name."""
        if isinstance(self.name, x509.Name):
            return self.name
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])


def certificate(
    subject: Party,
    issuer: Party,
    *,
    uris: Sequence[str] = (str(WORKLOAD),),
    usage: Iterable[str] | None = ("digital_signature",),
    ca: bool | None = False,
    path_length: int | None = None,
    begin: datetime = NOW - HOUR,
    end: datetime = NOW + HOUR,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Sign a certificate, a workload's unless told otherwise; None leaves an extension out."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.subject)
        .issuer_name(issuer.subject)
        .public_key(subject.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage(*usage), critical=True)
    if uris:
        names = [x509.UniformResourceIdentifier(each) for each in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    own_hash = isinstance(issuer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(issuer.key, None if own_hash else hashes.SHA256())


def signer(subject: Party, issuer: Party, **changes: Any) -> x509.Certificate:
    """Sign a certificate that may sign others."""
    return certificate(subject, issuer, **{"uris": (), "usage": SIGNER, "ca": True, **changes})


def key_usage(*chosen: str) -> x509.KeyUsage:
    """Make a key usage, by the names of `cryptography`."""
    return x509.KeyUsage(**{each: each in chosen for each in _USAGES})


def key_ids(subject: Party, issuer: Party) -> list[tuple[x509.ExtensionType, bool]]:
    """Make both key identifiers, from the keys."""
    own = x509.SubjectKeyIdentifier.from_public_key(subject.key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return [(own, False), (above, False)]


def raw_extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    """Make an extension whose content is these bytes, be they what they may."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def der(*certificates: x509.Certificate) -> list[bytes]:
    """Give certificates as DER."""
    return [each.public_bytes(Encoding.DER) for each in certificates]


def bundle(*certificates: x509.Certificate, of: TrustDomain = LOCAL) -> TrustBundle:
    """Make a bundle."""
    return TrustBundle.from_der(of, b"".join(der(*certificates)))


def patched(source: x509.Certificate, signed_by: Party, old: bytes, new: bytes) -> bytes:
    """Change bytes that no builder would write, and sign the result; sizes stay."""
    if len(old) != len(new) or source.tbs_certificate_bytes.count(old) != 1:
        raise AssertionError("the patch does not fit")
    content = source.tbs_certificate_bytes.replace(old, new)
    return signed(
        content, _ECDSA_WITH_SHA256, signed_by.key.sign(content, ec.ECDSA(hashes.SHA256()))
    )


def signed(content: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Put a certificate together from its signed content, the name of an algorithm and a signature."""
    bits = b"\x03" + _length(len(signature) + 1) + b"\0" + signature
    body = content + algorithm + bits
    return b"\x30" + _length(len(body)) + body


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    count = (size.bit_length() + 7) // 8
    return bytes((0x80 | count,)) + size.to_bytes(count)
