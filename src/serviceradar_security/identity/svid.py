"""Our own X.509-SVID: certificate chain and key, checked before anybody uses them.

Standard: X509-SVID section 4, Workload API section 5.1.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final, NoReturn, Self, final

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

from serviceradar_security.errors import PeerVerificationError, X509SvidError
from serviceradar_security.identity.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    load_der,
    load_pem,
    read_extensions,
)
from serviceradar_security.identity.der import DerError, is_pkcs8, split_sequences
from serviceradar_security.identity.leaf import MAX_RSA_BITS, MIN_RSA_BITS, check_leaf
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = ["PrivateKey", "X509Svid"]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""The kinds of key that an SVID may have (R-X509-30)."""

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)  # TLS stacks do not offer P-521 by default
MAX_KEY_BYTES: Final = 8 * 1024  # of DER; an RSA key of 8,192 bits has under 5 KiB
MAX_PEM_BYTES: Final = 2 * MAX_CHAIN_LENGTH * MAX_CERTIFICATE_BYTES
_PEM_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_KEY_BEGIN: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_PROBE: Final = b"does this key sign for this certificate?"
_NOT_FITTING: Final = "the private key does not belong to the certificate of"


@final
class X509Svid:
    """An X.509-SVID of our own.

    Build one with `parse` or `from_pem`. Equality and hash come from the certificates, the key
    that fits them and the hint; `repr` shows no key. A pickle holds the key, as `to_pem` does, and
    is checked like any other input when it is read.
    """

    __slots__ = ("_certificates", "_chain_der", "_hint", "_private_key", "_spiffe_id")
    _certificates: tuple[x509.Certificate, ...]
    _chain_der: tuple[bytes, ...]
    _hint: str
    _private_key: PrivateKey
    _spiffe_id: SpiffeId

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: an SVID is read from bytes, which are checked."""
        raise TypeError("an X509Svid is made by X509Svid.parse or X509Svid.from_pem")

    @classmethod
    def parse(cls, chain_der: bytes, key_der: bytes, *, hint: str = "") -> X509Svid:
        """Read a chain and a key as the Workload API sends them.

        Args:
            chain_der: Concatenated DER certificates, leaf first (R-X509-26).
            key_der: Unencrypted PKCS#8 DER (R-X509-27).
            hint: The operator's hint for choosing among several identities.

        Raises:
            X509SvidError: Chain or key cannot be read, the leaf breaks a leaf rule, an
                intermediate is none, or the key does not fit the leaf (R-X509-28 to -30).
        """
        _check_bytes("certificate chain", chain_der)
        _check_bytes("private key", key_der)
        try:
            parts = split_sequences(chain_der, limit=MAX_CHAIN_LENGTH)  # R-X509-25
        except DerError as error:
            raise X509SvidError(
                f"the certificate chain is not a row of DER certificates: {error}",
            ) from error
        if not is_pkcs8(key_der):
            raise X509SvidError(
                "the private key is not one unencrypted PKCS#8 key in DER "
                "(Workload API section 5.1)",
            )
        return _svid(parts, _load_key(key_der, pem=False), hint)

    @classmethod
    def from_pem(cls, chain: bytes | str, key: bytes | str, *, hint: str = "") -> X509Svid:
        """Read a chain and an unencrypted key from PEM.

        Args:
            chain: Certificates, leaf first; text between them is passed over.
            key: One private key, in PKCS#8 or the older forms of its kind.
            hint: The operator's hint for choosing among several identities.

        Raises:
            X509SvidError: As for `parse`.
        """
        # An encoding error would carry the text, and so the key.
        chain_pem = chain.encode(errors="replace") if isinstance(chain, str) else chain
        key_pem = key.encode(errors="replace") if isinstance(key, str) else key
        _check_bytes("certificate chain", chain_pem)
        _check_bytes("private key", key_pem)
        _check_length(chain_pem.count(_PEM_BEGIN))
        if len(chain_pem) > MAX_PEM_BYTES:
            raise X509SvidError(f"the chain has {len(chain_pem)} bytes: at most {MAX_PEM_BYTES}")
        if len(_KEY_BEGIN.findall(key_pem)) > 1:
            raise X509SvidError("there is more than one private key: an SVID has one")
        try:
            certificates = load_pem(chain_pem)
        except CertificateError as error:
            raise X509SvidError(f"the certificate chain cannot be read: {error}") from error
        parts = tuple(each.public_bytes(Encoding.DER) for each in certificates)
        return _svid(parts, _load_key(key_pem, pem=True), hint)

    @property
    def spiffe_id(self) -> SpiffeId:
        """Our SPIFFE ID."""
        return self._spiffe_id

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

    @property
    def hint(self) -> str:
        """The operator's hint; empty if there is none."""
        return self._hint

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

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, X509Svid)
            and self._chain_der == other._chain_der
            and self._hint == other._hint
        )

    def __hash__(self) -> int:
        return hash((self._chain_der, self._hint))

    def __repr__(self) -> str:
        hint = f", hint={self._hint!r}" if self._hint else ""
        return f"X509Svid({str(self._spiffe_id)!r}, not_after={self.not_after:%FT%TZ}{hint})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an X509Svid does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an X509Svid does not change: {name!r} cannot be deleted")

    def __copy__(self) -> X509Svid:
        return self

    def __deepcopy__(self, _memo: object) -> X509Svid:
        return self

    def __reduce__(self) -> tuple[object, tuple[bytes, bytes, str]]:
        key = self._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return (_unpickled, (b"".join(self._chain_der), key, self._hint))


def _unpickled(chain_der: bytes, key_der: bytes, hint: str) -> X509Svid:
    return X509Svid.parse(chain_der, key_der, hint=hint)


def _svid(parts: tuple[bytes, ...], key: PrivateKey, hint: str) -> X509Svid:
    if not isinstance(hint, str):
        raise X509SvidError(f"a hint is text, not {type(hint).__name__}")
    certificates = _load_chain(parts)
    leaf, *intermediates = certificates
    try:
        spiffe_id = check_leaf(leaf)  # R-X509-29: the same rules as for a peer
    except PeerVerificationError as error:
        raise X509SvidError(f"our own SVID is unusable: {error}") from error
    for number, certificate in enumerate(intermediates, 2):
        _check_intermediate(number, certificate)
    _check_possession(key, leaf, spiffe_id)
    made = object.__new__(X509Svid)
    object.__setattr__(made, "_certificates", certificates)
    object.__setattr__(made, "_chain_der", parts)
    object.__setattr__(made, "_hint", hint)
    object.__setattr__(made, "_private_key", key)
    object.__setattr__(made, "_spiffe_id", spiffe_id)
    return made


def _load_chain(parts: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    if not parts:
        raise X509SvidError("the certificate chain is empty (Workload API section 5.1)")
    _check_length(len(parts))
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


def _check_length(count: int) -> None:
    if count > MAX_CHAIN_LENGTH:
        raise X509SvidError(f"the chain has {count} certificates: at most {MAX_CHAIN_LENGTH}")


def _check_bytes(what: str, data: object) -> None:
    if not isinstance(data, bytes):
        raise X509SvidError(f"the {what} is given as bytes, not {type(data).__name__}")


def _load_key(data: bytes, *, pem: bool) -> PrivateKey:
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


def _check_possession(key: PrivateKey, leaf: x509.Certificate, spiffe_id: SpiffeId) -> None:
    """Compare public keys: a key of somebody else must not be published (R-X509-28)."""
    ours = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        theirs = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:
        raise X509SvidError(f"{_NOT_FITTING} {spiffe_id}: its public key is unreadable") from error
    if ours != theirs or (isinstance(key, rsa.RSAPrivateKey) and not _signs(key)):
        raise X509SvidError(f"{_NOT_FITTING} {spiffe_id}")


def _signs(key: rsa.RSAPrivateKey) -> bool:
    """Tell whether the private numbers of a key fit its public ones."""
    padding, algorithm = PKCS1v15(), SHA256()
    try:
        key.public_key().verify(key.sign(_PROBE, padding, algorithm), _PROBE, padding, algorithm)
    except Exception:  # noqa: BLE001 - numbers that are no key fail in many ways
        return False
    return True


def _check_intermediate(number: int, certificate: x509.Certificate) -> None:
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
