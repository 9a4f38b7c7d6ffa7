"""Our own X.509-SVID: certificate chain and key, checked before anybody uses them.

Standard: X509-SVID section 4, Workload API section 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Self, final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security.errors import PeerVerificationError, X509SvidError
from serviceradar_security.identity.der import DerError, is_pkcs8, split_sequences
from serviceradar_security.identity.leaf import check_leaf
from serviceradar_security.identity.own_material import (
    OwnMaterial,
    PrivateKey,
    check_bytes,
    check_intermediate,
    check_possession,
    load_chain,
    load_key,
    split_pem,
)
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = ["PrivateKey", "X509Svid"]


@final
class X509Svid(OwnMaterial):
    """An X.509-SVID of our own.

    Build one with `parse` or `from_pem`. Equality and hash come from the certificates, the key
    that fits them and the hint; `repr` shows no key. A pickle holds the key, as `to_pem` does, and
    is checked like any other input when it is read.
    """

    __slots__ = ("_hint", "_spiffe_id")
    _hint: str
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
        check_bytes("certificate chain", chain_der)
        check_bytes("private key", key_der)
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
        return _svid(parts, load_key(key_der, pem=False), hint)

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
        return _svid(*split_pem(chain, key), hint)

    @property
    def spiffe_id(self) -> SpiffeId:
        """Our SPIFFE ID."""
        return self._spiffe_id

    @property
    def hint(self) -> str:
        """The operator's hint; empty if there is none."""
        return self._hint

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

    def __reduce__(self) -> tuple[object, tuple[bytes, bytes, str]]:
        key = self._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return (_unpickled, (b"".join(self._chain_der), key, self._hint))


def _unpickled(chain_der: bytes, key_der: bytes, hint: str) -> X509Svid:
    return X509Svid.parse(chain_der, key_der, hint=hint)


def _svid(parts: tuple[bytes, ...], key: PrivateKey, hint: str) -> X509Svid:
    if not isinstance(hint, str):
        raise X509SvidError(f"a hint is text, not {type(hint).__name__}")
    certificates = load_chain(parts)
    leaf, *intermediates = certificates
    try:
        spiffe_id = check_leaf(leaf)  # R-X509-29: the same rules as for a peer
    except PeerVerificationError as error:
        raise X509SvidError(f"our own SVID is unusable: {error}") from error
    for number, certificate in enumerate(intermediates, 2):
        check_intermediate(number, certificate)
    check_possession(key, leaf, spiffe_id)
    made = object.__new__(X509Svid)
    object.__setattr__(made, "_certificates", certificates)
    object.__setattr__(made, "_chain_der", parts)
    object.__setattr__(made, "_hint", hint)
    object.__setattr__(made, "_private_key", key)
    object.__setattr__(made, "_spiffe_id", spiffe_id)
    return made
