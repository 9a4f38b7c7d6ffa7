"""The key of our own SVID: which is taken, that it fits, and that nothing shows it (R-X509-27 to -30)."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import X509SvidError
from serviceradar_security.identity.svid import X509Svid
from tests.identity.chains import patient
from tests.identity.own import (
    GOOD,
    LEAF,
    OTHER,
    ROOT,
    RSA_2048,
    assert_no_key,
    chain_pem,
    everything_said,
    key_pem,
    pkcs8,
    refusal,
)
from tests.identity.pki import WORKLOAD, Party, authority, certificate, der, patched

if TYPE_CHECKING:
    from collections.abc import Callable

RSA_1024 = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="Ed25519"),
        pytest.param(lambda: RSA_2048, id="RSA 2048"),
    ],
)
def test_kinds_of_keys(make: Callable[[], Any]) -> None:
    """These kinds are used, by DER and by PEM (R-X509-30)."""
    party = Party("leaf", make())
    leaf = certificate(party, ROOT)

    from_der = X509Svid.parse(der(leaf)[0], pkcs8(party.key))
    from_pem = X509Svid.from_pem(chain_pem(leaf), key_pem(party.key))

    assert from_der == from_pem
    assert pkcs8(from_der.private_key) == pkcs8(from_pem.private_key) == pkcs8(party.key)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP521R1()), id="P-521"),
        pytest.param(ec.generate_private_key(ec.SECP224R1()), id="P-224"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(RSA_1024, id="RSA 1024"),
        pytest.param(ed448.Ed448PrivateKey.generate(), id="Ed448"),
    ],
)
def test_kinds_of_keys_that_no_handshake_takes(key: Any) -> None:
    """Another kind is refused at load time, and not by the peer (R-X509-30)."""
    leaf = certificate(Party("leaf", key), ROOT)

    assert "of a kind" in refusal(der(leaf)[0], pkcs8(key))


@pytest.mark.parametrize(
    "key",
    [x25519.X25519PrivateKey.generate(), dsa.generate_private_key(1024)],  # noqa: S505 - refused
    ids=["X25519", "DSA"],
)
def test_keys_that_cannot_sign_as_an_svid(key: Any) -> None:
    """A key of such a kind is refused before it is compared with the leaf."""
    assert "of a kind" in refusal(der(GOOD)[0], pkcs8(key))


@pytest.mark.parametrize(
    ("key_der", "text"),
    [
        pytest.param(b"", "PKCS#8", id="nothing"),
        pytest.param(b"garbage" * 20, "PKCS#8", id="garbage"),
        pytest.param(key_pem(LEAF.key), "PKCS#8", id="PEM"),
        pytest.param(pkcs8(LEAF.key) + b"\0", "PKCS#8", id="a byte after"),
        pytest.param(pkcs8(LEAF.key) + b"\n", "PKCS#8", id="a newline after"),
        pytest.param(pkcs8(LEAF.key)[:-1], "PKCS#8", id="cut"),
        pytest.param(pkcs8(LEAF.key) * 2, "PKCS#8", id="twice"),
        pytest.param(
            LEAF.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            "PKCS#8",
            id="SEC 1",
        ),
        pytest.param(
            RSA_2048.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            "PKCS#8",
            id="PKCS#1",
        ),
        pytest.param(
            LEAF.key.private_bytes(
                Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")
            ),
            "PKCS#8",
            id="encrypted",
        ),
        pytest.param(
            bytes.fromhex("300a020100300506032b656e"), "PKCS#8", id="PKCS#8 without a key"
        ),
        pytest.param(
            pkcs8(LEAF.key).replace(
                bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209")
            ),
            "PKCS#8",
            id="an algorithm that there is not",
        ),
        pytest.param(pkcs8(OTHER.key), "does not belong", id="another key of the kind"),
        pytest.param(pkcs8(RSA_2048), "does not belong", id="a key of another kind"),
        pytest.param(pkcs8(ROOT.key), "does not belong", id="the issuer's key"),
    ],
)
def test_a_key_that_is_refused(key_der: bytes, text: str) -> None:
    """The key is one unencrypted PKCS#8 key in DER, and that of the leaf (R-X509-27, R-X509-28)."""
    assert text in refusal(der(GOOD)[0], key_der)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(pkcs8(LEAF.key), id="DER"),
        pytest.param(key_pem(LEAF.key)[:-30], id="cut"),
        pytest.param(key_pem(LEAF.key).decode().replace("A", "\ud800"), id="text of no encoding"),
        pytest.param(key_pem(LEAF.key).replace(b"\n", b"\n\xff", 2), id="not ASCII"),
        pytest.param(chain_pem(GOOD), id="a certificate"),
        pytest.param(
            LEAF.key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")
            ),
            id="encrypted",
        ),
        pytest.param(key_pem(OTHER.key), id="another key"),
    ],
)
def test_a_pem_key_that_is_refused(key: bytes | str) -> None:
    """A key in PEM is unencrypted and that of the leaf; the refusal quotes nothing of it."""
    with pytest.raises(X509SvidError, match="private key") as caught:
        X509Svid.from_pem(chain_pem(GOOD), key)

    assert_no_key(everything_said(caught.value), pkcs8(LEAF.key))
    assert_no_key(everything_said(caught.value), pkcs8(OTHER.key))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("2a8648ce3d0201", "2a8648ce3d0209", id="algorithm"),
        pytest.param("2a8648ce3d030107", "2a8648ce3d030177", id="curve"),
    ],
)
def test_a_leaf_whose_public_key_cannot_be_read(old: str, new: str) -> None:
    """A leaf with a public key of no known kind is refused, by our error (R-X509-30)."""
    broken = patched(GOOD, ROOT, bytes.fromhex(old), bytes.fromhex(new))

    assert any(
        each in refusal(broken, pkcs8(LEAF.key))
        for each in ("unreadable", "our own SVID is unusable")
    )


def test_nothing_shows_the_key() -> None:
    """Neither repr, str, format nor any representation of what holds it has a byte of the key."""
    issued = authority().issue_certificate(WORKLOAD)
    svid = X509Svid.parse(b"".join(issued.chain_der), issued.key_der, hint="h")
    shown = [repr(svid), str(svid), f"{svid}", f"{svid!r:>200}", repr([svid]), repr({"svid": svid})]

    for text in shown:
        assert_no_key(text, issued.key_der)
        assert str(WORKLOAD) in text
        assert "hint='h'" in text
    assert_no_key(repr(issued), issued.key_der)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_svid_comes_back_from_a_pickle(protocol: int) -> None:
    """A pickle holds the whole SVID, its key too, and reading it checks it as `parse` does."""
    issued = authority().issue_certificate(WORKLOAD)
    svid = X509Svid.parse(b"".join(issued.chain_der), issued.key_der, hint="h")

    again = pickle.loads(pickle.dumps(svid, protocol))  # noqa: S301 - our own

    assert again == svid
    assert again.hint == "h"
    assert again.to_pem() == svid.to_pem()
    rebuild, (chain, key, hint) = svid.__reduce__()
    assert callable(rebuild)
    with pytest.raises(X509SvidError):
        rebuild(chain, key[:-1], hint)


def test_an_svid_is_its_own_copy() -> None:
    """Copies of an immutable value are the value."""
    svid = authority().issue(WORKLOAD)

    assert copy.copy(svid) is svid
    assert copy.deepcopy([svid])[0] is svid


@patient
@given(st.binary(max_size=300), st.integers(min_value=0, max_value=138), st.booleans())
def test_arbitrary_bytes(noise: bytes, at: int, as_key: bool) -> None:
    """Whatever the bytes of chain and key, the answer is an SVID or our error, without the key."""
    good_chain, good_key = der(GOOD)[0], pkcs8(LEAF.key)
    bad_key = good_key[:at] + noise + good_key[at + len(noise) :]
    bad_chain = good_chain[: at * 3] + noise + good_chain[at * 3 + len(noise) :]

    try:
        if as_key:
            X509Svid.parse(good_chain, bad_key)
        else:
            X509Svid.parse(bad_chain, good_key)
    except X509SvidError as error:
        assert_no_key(everything_said(error), good_key)
    begin = b"-----BEGIN PRIVATE KEY-----\n"
    bad_pem = begin + base64.b64encode(bad_key)
    try:
        X509Svid.from_pem(chain_pem(GOOD), bad_pem)
    except X509SvidError as error:
        assert_no_key(everything_said(error), good_key)
