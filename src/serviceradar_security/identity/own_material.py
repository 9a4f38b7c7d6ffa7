"""Our own chain and key: read and held against each other, before they become an identity.

Used for X.509-SVIDs and for certificates of plain TLS alike. No message holds key bytes.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from serviceradar_security.errors import X509SvidError
from serviceradar_security.identity.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    load_der,
    load_pem,
    read_extensions,
)
from serviceradar_security.identity.leaf import MAX_RSA_BITS, MIN_RSA_BITS
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_PEM_BYTES",
    "OwnMaterial",
    "PrivateKey",
    "check_bytes",
    "check_intermediate",
    "check_length",
    "check_possession",
    "load_chain",
    "load_key",
    "split_pem",
]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""The kinds of key that an identity of ours may have (R-X509-30)."""

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)  # TLS stacks do not offer P-521 by default
MAX_KEY_BYTES: Final = 8 * 1024  # of DER; an RSA key of 8,192 bits has under 5 KiB
MAX_PEM_BYTES: Final = 2 * MAX_CHAIN_LENGTH * MAX_CERTIFICATE_BYTES
_PEM_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_KEY_BEGIN: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_PROBE: Final = b"does this key sign for this certificate?"
_NOT_FITTING: Final = "the private key does not belong to the certificate of"


class OwnMaterial:
    """Chain and key of ours, checked; what `X509Svid` and `TlsCredentials` have in common."""

    __slots__ = ("_certificates", "_chain_der", "_private_key")
    _certificates: tuple[x509.Certificate, ...]
    _chain_der: tuple[bytes, ...]
    _private_key: PrivateKey

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The chain, leaf first, without a root."""
        return self._certificates

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """The chain as DER, leaf first."""
        return self._chain_der

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf certificate."""
        return self._certificates[0]

    @property
    def private_key(self) -> PrivateKey:
        """The private key; it fits the leaf."""
        return self._private_key

    @property
    def not_before(self) -> datetime:
        """Begin of the leaf's validity, timezone-aware."""
        return self.leaf.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """End of the leaf's validity, timezone-aware."""
        return self.leaf.not_valid_after_utc

    def to_pem(self) -> tuple[bytes, bytes]:
        """Write chain and key as PEM, the key as unencrypted PKCS#8.

        Returns:
            ``(chain, key)``. The second is a secret.
        """
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in self._certificates)
        return chain, self._private_key.private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            NoEncryption(),
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


def split_pem(chain: bytes | str, key: bytes | str) -> tuple[tuple[bytes, ...], PrivateKey]:
    """Read a chain and an unencrypted key from PEM.

    Returns:
        The DER certificates, leaf first, and the key; not yet held against each other.

    Raises:
        X509SvidError: One of them cannot be read.
    """
    # An encoding error would carry the text, and so the key.
    chain_pem = chain.encode(errors="replace") if isinstance(chain, str) else chain
    key_pem = key.encode(errors="replace") if isinstance(key, str) else key
    check_bytes("certificate chain", chain_pem)
    check_bytes("private key", key_pem)
    check_length(chain_pem.count(_PEM_BEGIN))
    if len(chain_pem) > MAX_PEM_BYTES:
        raise X509SvidError(f"the chain has {len(chain_pem)} bytes: at most {MAX_PEM_BYTES}")
    if len(_KEY_BEGIN.findall(key_pem)) > 1:
        raise X509SvidError("there is more than one private key: an SVID has one")
    try:
        certificates = load_pem(chain_pem)
    except CertificateError as error:
        raise X509SvidError(f"the certificate chain cannot be read: {error}") from error
    parts = tuple(each.public_bytes(Encoding.DER) for each in certificates)
    return parts, load_key(key_pem, pem=True)


def load_chain(parts: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a chain, at least one.

    Raises:
        X509SvidError: There is none, there are too many, or one cannot be read.
    """
    if not parts:
        raise X509SvidError("the certificate chain is empty (Workload API section 5.1)")
    check_length(len(parts))
    for number, part in enumerate(parts, 1):
        if len(part) > MAX_CERTIFICATE_BYTES:
            raise X509SvidError(
                f"certificate {number} of the chain has {len(part)} bytes: at most "
                f"{MAX_CERTIFICATE_BYTES}",
            )
    try:
        return tuple(load_der(part) for part in parts)
    except CertificateError as error:
        raise X509SvidError("the chain has an element that is not a certificate") from error


def check_length(count: int) -> None:
    """Refuse a chain that is too long (R-X509-25)."""
    if count > MAX_CHAIN_LENGTH:
        raise X509SvidError(f"the chain has {count} certificates: at most {MAX_CHAIN_LENGTH}")


def check_bytes(what: str, data: object) -> None:
    """Refuse what is no bytes, without showing it."""
    if not isinstance(data, bytes):
        raise X509SvidError(f"the {what} is given as bytes, not {type(data).__name__}")


def load_key(data: bytes, *, pem: bool) -> PrivateKey:
    """Read one unencrypted private key of a kind that is used.

    Raises:
        X509SvidError: It is anything else; the message shows nothing of it.
    """
    size = len(data)
    if size > MAX_KEY_BYTES * (2 if pem else 1):
        raise X509SvidError(f"the private key has {size} bytes: at most {MAX_KEY_BYTES} of DER")
    load = load_pem_private_key if pem else load_der_private_key
    loaded: object = None
    with contextlib.suppress(Exception):
        # The parser would test the primes of an RSA key, whatever their size, for minutes if it
        # must. Whether the key belongs to the leaf is found out by signing with it, below.
        loaded = load(data, password=None, unsafe_skip_rsa_key_validation=True)
    # Whatever the parser raised is dropped, cause and context: it may quote what it read.
    if loaded is None:
        raise X509SvidError(
            "the private key cannot be read: it must be one unencrypted PKCS#8 key",
        )
    if isinstance(loaded, rsa.RSAPrivateKey) and MIN_RSA_BITS <= loaded.key_size <= MAX_RSA_BITS:
        return loaded
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and isinstance(loaded.curve, _CURVES):
        return loaded
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return loaded
    raise X509SvidError(
        "the private key is of a kind that is not used for SVIDs: it must be RSA of 2048 to 8192 "
        "bits, ECDSA on P-256 or P-384, or Ed25519",
    )


def check_possession(key: PrivateKey, leaf: x509.Certificate, owner: object) -> None:
    """Compare public keys: a key of somebody else must not be published (R-X509-28)."""
    ours = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        theirs = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:
        raise X509SvidError(f"{_NOT_FITTING} {owner}: its public key is unreadable") from error
    if ours != theirs or (isinstance(key, rsa.RSAPrivateKey) and not _signs(key)):
        raise X509SvidError(f"{_NOT_FITTING} {owner}")


def _signs(key: rsa.RSAPrivateKey) -> bool:
    """Tell whether the private numbers of a key fit its public ones."""
    padding, algorithm = PKCS1v15(), SHA256()
    try:
        key.public_key().verify(key.sign(_PROBE, padding, algorithm), _PROBE, padding, algorithm)
    except Exception:  # noqa: BLE001 - numbers that are no key fail in many ways
        return False
    return True


def check_intermediate(number: int, certificate: x509.Certificate) -> None:
    """R-X509-12: an intermediate is a CA that may sign."""
    try:
        extensions = read_extensions(certificate)
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        signs = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except (CertificateError, x509.ExtensionNotFound) as error:
        raise X509SvidError(
            f"certificate {number} of the chain is no usable intermediate: it needs cA and "
            "keyCertSign (X509-SVID section 4)",
        ) from error
    if not (is_ca and signs):
        raise X509SvidError(
            f"certificate {number} of the chain is no intermediate: it needs cA and keyCertSign "
            "(X509-SVID section 4)",
        )
