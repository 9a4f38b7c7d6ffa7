"""Certificates for tests: each part of one can be wrong on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serviceradar_security.errors import ConfigError
from serviceradar_security.testing.arguments import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = [
    "UNKNOWN_EXTENSION",
    "IssuedCertificate",
    "KeyType",
    "Signer",
    "SigningKey",
    "extended_usage",
    "key_usage",
    "leaf_subject",
    "make_key",
    "sign_certificate",
    "tamper",
]

KeyType = Literal["p256", "p384", "p521", "rsa1024", "rsa2048", "rsa4096", "ed25519", "ed448"]
"""The kinds of key that a test can ask for; SVIDs may have P-256, P-384, RSA from 2048, Ed25519."""
SigningKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

UNKNOWN_EXTENSION: Final = "1.3.6.1.4.1.32473.1"  # of the arc for documentation (RFC 5612)
_CURVES: Final = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
_ROLES: Final = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}
_USAGES: Final = (
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


class IssuedCertificate:
    """A certificate with its key that may break every rule: what a hostile peer presents.

    Made by `FakeAuthority.issue_certificate`.
    """

    def __init__(
        self,
        chain: Sequence[x509.Certificate],
        key: SigningKey,
        *,
        spiffe_id: SpiffeId | str | None = None,
    ) -> None:
        """Hold a chain, leaf first, its key, and the ID that was asked for.

        Raises:
            ConfigError: It is no chain of certificates, or no key.
        """
        check(chain=chain, key=key)
        if not chain:
            raise ConfigError("a chain has at least one certificate")
        if spiffe_id is not None:
            check(spiffe_id=spiffe_id)
        self.chain: tuple[x509.Certificate, ...] = tuple(chain)
        self.key: SigningKey = key
        self.spiffe_id: str = "" if spiffe_id is None else str(spiffe_id)

    def __repr__(self) -> str:
        return f"IssuedCertificate({self.spiffe_id!r}, {len(self.chain)} certificates)"

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf certificate."""
        return self.chain[0]

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """The chain as DER, leaf first."""
        return tuple(each.public_bytes(Encoding.DER) for each in self.chain)

    @property
    def key_der(self) -> bytes:
        """The key as unencrypted PKCS#8."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def to_pem(self) -> tuple[bytes, bytes]:
        """Write ``(chain, key)`` as PEM."""
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)
        return chain, self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Signer(NamedTuple):
    """A certificate with its key, which signs others."""

    certificate: x509.Certificate
    key: SigningKey


def make_key(key_type: KeyType) -> SigningKey:
    """Make a key.

    Raises:
        ConfigError: There is no such kind.
    """
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type])
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if key_type == "ed448":
        return ed448.Ed448PrivateKey.generate()
    if key_type in ("rsa1024", "rsa2048", "rsa4096"):
        return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa")))
    raise ConfigError(f"there is no key type {key_type!r}: take {_listed(get_args(KeyType))}")


def key_usage(chosen: Iterable[str]) -> x509.KeyUsage:
    """Make a key usage, by the names of `cryptography`.

    Raises:
        ConfigError: There is no such usage.
    """
    names = tuple(chosen)
    for name in names:
        if name not in _USAGES:
            raise ConfigError(f"there is no key usage {name!r}: take {_listed(_USAGES)}")
    # Only with key_agreement can a certificate have the last two, says `cryptography`.
    return x509.KeyUsage(**{each: each in names for each in _USAGES})


def extended_usage(roles: Iterable[str]) -> x509.ExtendedKeyUsage:
    """Make an extended key usage of ``client``, ``server`` and dotted object identifiers.

    Raises:
        ConfigError: A role is neither.
    """
    try:
        return x509.ExtendedKeyUsage(
            [_ROLES.get(role) or x509.ObjectIdentifier(role) for role in roles],
        )
    except ValueError as error:
        raise ConfigError(
            f"{list(roles)} are no roles: take client, server or a dotted object identifier",
        ) from error


def leaf_subject(common_name: str) -> x509.Name:
    """Make the subject that SPIRE gives to an SVID, with a CN if it is not empty."""
    attributes = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FAKE"),
    ]
    if common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def sign_certificate(
    subject: x509.Name,
    key: SigningKey,
    signed_by: tuple[x509.Name, SigningKey],
    *,
    validity: tuple[datetime, datetime],
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """Sign a certificate with these extensions and both key identifiers.

    Args:
        subject: Its name.
        key: Its key.
        signed_by: Name and key of who signs.
        validity: Begin and end.
        extensions: Each with whether it is critical.
    """
    issuer, issuer_key = signed_by
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    for extension, critical in (*extensions, (own_id, False), (issuer_id, False)):
        builder = builder.add_extension(extension, critical=critical)
    own_hash = isinstance(issuer_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(issuer_key, None if own_hash else hashes.SHA256())


def tamper(certificate: x509.Certificate) -> x509.Certificate:
    """Change the serial number after signing: the signature fits no more, all else reads well."""
    old = certificate.public_bytes(Encoding.DER)
    serial = certificate.serial_number.to_bytes((certificate.serial_number.bit_length() + 8) // 8)
    changed = serial[:-1] + bytes([serial[-1] ^ 1])
    return x509.load_der_x509_certificate(old.replace(serial, changed, 1))


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))
