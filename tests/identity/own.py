"""What the tests of our own SVID share: ways to write chain and key, and to look for the key."""

from __future__ import annotations

import base64
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security.errors import X509SvidError
from serviceradar_security.identity.svid import X509Svid
from tests.identity.pki import Party, certificate

if TYPE_CHECKING:
    from cryptography import x509

ROOT = Party("root")
LEAF = Party("leaf")
OTHER = Party("other")
MIDDLE = Party("middle")
GOOD = certificate(LEAF, ROOT)
RSA_2048 = rsa.generate_private_key(65537, 2048)


def pkcs8(key: Any) -> bytes:
    """Write a key as the Workload API does."""
    written: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return written


def key_pem(key: Any) -> bytes:
    """Write a key as PEM."""
    written: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return written


def chain_pem(*chain: x509.Certificate) -> bytes:
    """Write a chain as PEM."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in chain)


def refusal(chain_der: Any, key_der: Any) -> str:
    """Give the message with which a pair is refused, after looking for the key in it."""
    with pytest.raises(X509SvidError) as caught:
        X509Svid.parse(chain_der, key_der)
    message = str(caught.value)
    assert "\n" not in message
    if isinstance(key_der, bytes) and len(key_der) > 16:
        assert_no_key(everything_said(caught.value), key_der)
    return message


def everything_said(error: BaseException) -> str:
    """Give all that a log of an error could show, its causes and contexts included."""
    said = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        said += f"{chain} {chain!r} {chain.args!r} {vars(chain)!r}"
        chain = chain.__cause__ or chain.__context__
    return said


def assert_no_key(text: str, key_der: bytes) -> None:
    """Look for the key's bytes in every form in which they could appear, and for parts of them."""
    encoded = base64.b64encode(key_der).decode()
    forms = [
        key_der.decode("latin-1"),
        repr(key_der)[2:-1],
        key_der.hex(),
        encoded,
        *(encoded[start : start + 24] for start in range(36, len(encoded) - 24, 24)),
        *(key_der[at : at + 12].hex() for at in range(27, len(key_der) - 12, 12)),
        "PRIVATE KEY-----",
    ]
    found = [form for form in forms if form in text]
    assert found == []
