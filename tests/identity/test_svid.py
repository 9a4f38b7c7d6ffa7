"""Our own X.509-SVID: everything is checked before anybody uses it (R-X509-26 to -30)."""

from __future__ import annotations

import base64
import copy
import pickle
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import PeerVerificationError, X509SvidError
from serviceradar_security.identity.bundle import MAX_CERTIFICATE_BYTES
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH
from tests.identity.pki import (
    NOW,
    WORKLOAD,
    Party,
    authority,
    certificate,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

patient = settings(deadline=None, max_examples=150)

ROOT = Party("root")
LEAF = Party("leaf")
OTHER = Party("other")
MIDDLE = Party("middle")
GOOD = certificate(LEAF, ROOT)
RSA_1024 = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
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


# ---- what is good ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_good_svid(count: int) -> None:
    """Leaf and intermediates are given back as they came, with ID, times, hint and key."""
    issued = authority().issue_certificate(WORKLOAD, intermediates=count, ttl=600.0)

    svid = X509Svid.parse(b"".join(issued.chain_der), issued.key_der, hint="internal")

    assert svid.spiffe_id == WORKLOAD
    assert svid.certificates == issued.chain
    assert svid.chain_der == issued.chain_der
    assert svid.leaf == issued.leaf
    assert pkcs8(svid.private_key) == issued.key_der
    assert svid.hint == "internal"
    assert svid.not_after == NOW + timedelta(seconds=600)
    assert svid.not_before == NOW - timedelta(seconds=10)
    assert len(svid.certificates) == count + 1


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


def test_pem_and_der_are_one() -> None:
    """The same identity from PEM, as bytes or text, with comments and a key beside the chain, is equal."""
    issued = authority().issue_certificate(WORKLOAD, intermediates=2)
    chain, key = issued.to_pem()
    expected = X509Svid.parse(b"".join(issued.chain_der), issued.key_der)

    assert X509Svid.from_pem(chain, key) == expected
    assert X509Svid.from_pem(chain.decode(), key.decode()) == expected
    assert X509Svid.from_pem(b"# ours\n" + chain + key, key) == expected
    assert X509Svid.from_pem(*expected.to_pem()) == expected


# ---- the chain ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "text"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(der(GOOD)[0] + b"\0", "not a row of DER", id="padding"),
        pytest.param(der(GOOD)[0] + b"\n", "not a row of DER", id="newline after"),
        pytest.param(b"\n" + der(GOOD)[0], "not a row of DER", id="newline before"),
        pytest.param(der(GOOD)[0][:-1], "not a row of DER", id="cut"),
        pytest.param(chain_pem(GOOD), "not a row of DER", id="PEM"),
        pytest.param(b"\x30\x00", "not a certificate", id="an empty sequence"),
        pytest.param(der(GOOD)[0] + b"\x30\x00", "not a certificate", id="an empty sequence after"),
        pytest.param(pkcs8(LEAF.key), "not a certificate", id="the key"),
        pytest.param(der(GOOD)[0] + pkcs8(OTHER.key), "not a certificate", id="a key after"),
        pytest.param(
            patched(GOOD, ROOT, bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
            "not a certificate",
            id="a version that there is not",
        ),
        pytest.param(
            b"".join(der(GOOD, *[signer(MIDDLE, ROOT)] * MAX_CHAIN_LENGTH)),
            "more than 16",
            id="too long",
        ),
        pytest.param(b"\x30\x00" * 1_000_000, "more than 16", id="a million elements"),
        pytest.param(
            der(
                certificate(LEAF, ROOT, extensions=[(raw_extension("1.2.3", bytes(65536)), False)])
            )[0],
            f"at most {MAX_CERTIFICATE_BYTES}",
            id="too large",
        ),
    ],
)
def test_a_chain_that_is_none(chain: bytes, text: str) -> None:
    """A chain is concatenated DER certificates, leaf first, and nothing else (R-X509-26)."""
    assert text in refusal(chain, pkcs8(LEAF.key))


@pytest.mark.parametrize("value", [None, "text", 7, bytearray(b"0"), memoryview(b"0"), ["x"]])
def test_other_types_are_refused(value: Any) -> None:
    """What is not bytes gets our error, for chain and key, in both forms."""
    good_chain, good_key = der(GOOD)[0], pkcs8(LEAF.key)

    assert "bytes" in refusal(value, good_key)
    assert "bytes" in refusal(good_chain, value)
    if not isinstance(value, str):
        with pytest.raises(X509SvidError, match="bytes"):
            X509Svid.from_pem(value, key_pem(LEAF.key))
        with pytest.raises(X509SvidError, match="bytes"):
            X509Svid.from_pem(chain_pem(GOOD), value)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param("\ud800", id="text that no encoding takes"),
        pytest.param(der(GOOD)[0], id="DER"),
        pytest.param(key_pem(LEAF.key), id="a key"),
        pytest.param(chain_pem(GOOD)[:-30], id="cut"),
        pytest.param(chain_pem(GOOD) + chain_pem(signer(MIDDLE, ROOT))[:-30], id="second cut"),
        pytest.param(chain_pem(GOOD) + chain_pem(signer(MIDDLE, ROOT))[:99], id="second cut early"),
    ],
)
def test_a_pem_chain_that_is_none(chain: bytes | str) -> None:
    """A chain in PEM is read whole or refused; no intermediate is lost on the way."""
    with pytest.raises(X509SvidError, match="chain") as caught:
        X509Svid.from_pem(chain, key_pem(LEAF.key))

    assert_no_key(everything_said(caught.value), pkcs8(LEAF.key))


# ---- the leaf and its intermediates ------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"uris": ()}, "no_spiffe_id", id="no URI"),
        pytest.param({"uris": (), "common_name": str(WORKLOAD)}, "no_spiffe_id", id="CN only"),
        pytest.param({"uris": (), "dns_names": ["core"]}, "no_spiffe_id", id="DNS only"),
        pytest.param({"uris": [str(WORKLOAD)] * 2}, "several_uri_sans", id="the ID twice"),
        pytest.param({"uris": [str(WORKLOAD), "https://a"]}, "several_uri_sans", id="two schemes"),
        pytest.param({"uris": ["https://example.org/x"]}, "no_spiffe_id", id="another scheme"),
        pytest.param({"uris": [f"{WORKLOAD}#"]}, "no_spiffe_id", id="empty fragment"),
        pytest.param({"uris": ["spiffe://example.org"]}, "not_a_workload_id", id="root path"),
        pytest.param({"uris": ["spiffe://a/" + "a" * 2038]}, "limit", id="2049 bytes"),
        pytest.param({"ca": True}, "is_ca", id="cA"),
        pytest.param({"key_usage": None}, "key_usage", id="no key usage"),
        pytest.param({"key_usage": ()}, "key_usage", id="no digitalSignature"),
        pytest.param(
            {"key_usage": ("digital_signature", "key_cert_sign")}, "key_usage", id="certs"
        ),
        pytest.param({"key_usage": ("digital_signature", "crl_sign")}, "key_usage", id="CRLs"),
    ],
)
def test_the_leaf_rules_hold_for_our_own(changes: dict[str, Any], reason: str) -> None:
    """Our own leaf passes what a peer's must, and the cause names the rule (R-X509-29)."""
    issued = authority().issue_certificate(WORKLOAD, **changes)

    with pytest.raises(X509SvidError, match="our own SVID is unusable") as caught:
        X509Svid.parse(b"".join(issued.chain_der), issued.key_der)

    assert isinstance(caught.value.__cause__, PeerVerificationError)
    assert caught.value.__cause__.reason == reason
    assert_no_key(everything_said(caught.value), issued.key_der)


@pytest.mark.parametrize("roles", [None, ("client",), ("server",), ("client", "server")])
def test_the_extended_key_usage_of_our_own_is_left_to_the_peer(roles: Any) -> None:
    """A leaf without one or both roles is loaded: the peer decides about its purpose (R-X509-09)."""
    assert authority().issue(WORKLOAD, roles=roles).spiffe_id == WORKLOAD


def test_an_expired_identity_is_loaded() -> None:
    """Loading knows no clock: whether it is still good is asked at each use."""
    svid = authority().issue(WORKLOAD, not_after=NOW - timedelta(days=400))

    assert svid.not_after == NOW - timedelta(days=400)


_MIDDLE_LEAF = certificate(LEAF, MIDDLE)


@pytest.mark.parametrize(
    "intermediate",
    [
        pytest.param(signer(MIDDLE, ROOT, ca=False), id="cA false"),
        pytest.param(signer(MIDDLE, ROOT, ca=None), id="no basic constraints"),
        pytest.param(signer(MIDDLE, ROOT, usage=None), id="no key usage"),
        pytest.param(signer(MIDDLE, ROOT, usage=("crl_sign",)), id="CRLs only"),
        pytest.param(signer(MIDDLE, ROOT, usage=("digital_signature",)), id="no signing"),
        pytest.param(
            signer(MIDDLE, ROOT, extensions=[(raw_extension("2.5.29.37", b"\0"), False)]),
            id="an extension that cannot be read",
        ),
        pytest.param(_MIDDLE_LEAF, id="a leaf"),
    ],
)
def test_what_is_no_intermediate(intermediate: x509.Certificate) -> None:
    """Whatever follows the leaf has cA and keyCertSign (R-X509-12, R-X509-29)."""
    good = signer(MIDDLE, ROOT)

    X509Svid.parse(b"".join(der(_MIDDLE_LEAF, good)), pkcs8(LEAF.key))
    assert "certificate 2" in refusal(b"".join(der(_MIDDLE_LEAF, intermediate)), pkcs8(LEAF.key))
    assert "certificate 3" in refusal(
        b"".join(der(_MIDDLE_LEAF, good, intermediate)),
        pkcs8(LEAF.key),
    )


def test_a_pem_chain_that_is_too_long() -> None:
    """The limit on the length holds for PEM too (R-X509-25)."""
    middle = signer(MIDDLE, ROOT)

    X509Svid.from_pem(chain_pem(GOOD, *[middle] * (MAX_CHAIN_LENGTH - 1)), key_pem(LEAF.key))
    with pytest.raises(X509SvidError, match="at most 16"):
        X509Svid.from_pem(chain_pem(GOOD, *[middle] * MAX_CHAIN_LENGTH), key_pem(LEAF.key))


def test_the_leaf_comes_first() -> None:
    """A chain that begins with its intermediate is refused by the leaf rules (R-X509-14, R-X509-26)."""
    chain = b"".join(der(signer(MIDDLE, ROOT), _MIDDLE_LEAF))

    assert "our own SVID is unusable" in refusal(chain, pkcs8(LEAF.key))
    assert "our own SVID is unusable" in refusal(chain, pkcs8(MIDDLE.key))


# ---- the key -----------------------------------------------------------------------------------


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


def test_a_leaf_whose_public_key_cannot_be_read() -> None:
    """A leaf with a public key of no known kind is refused, by our error."""
    broken = patched(
        GOOD,
        ROOT,
        bytes.fromhex("2a8648ce3d0201"),
        bytes.fromhex("2a8648ce3d0209"),
    )

    assert "unreadable" in refusal(broken, pkcs8(LEAF.key))


# ---- no key bytes ------------------------------------------------------------------------------


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
def test_an_svid_is_not_pickled(protocol: int) -> None:
    """A pickle would hold the key, so there is none, and the refusal shows nothing of it."""
    issued = authority().issue_certificate(WORKLOAD)
    svid = X509Svid.parse(b"".join(issued.chain_der), issued.key_der)

    with pytest.raises(TypeError, match="not pickled") as caught:
        pickle.dumps(svid, protocol)

    assert_no_key(everything_said(caught.value), issued.key_der)


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


# ---- the value ---------------------------------------------------------------------------------


def test_equality_and_hash() -> None:
    """SVIDs are equal if chain and hint are."""
    issued = authority().issue_certificate(WORKLOAD)
    again = authority().issue_certificate(WORKLOAD, key=issued.key)
    chain = b"".join(issued.chain_der)
    svid = X509Svid.parse(chain, issued.key_der)

    assert svid == X509Svid.parse(chain, issued.key_der)
    assert hash(svid) == hash(X509Svid.parse(chain, issued.key_der))
    assert svid != X509Svid.parse(chain, issued.key_der, hint="other")
    assert svid != X509Svid.parse(b"".join(again.chain_der), again.key_der)
    assert svid != WORKLOAD


def test_copies_are_the_svid_itself() -> None:
    """An immutable value with a secret is not doubled in memory."""
    svid = authority().issue(WORKLOAD)

    assert copy.copy(svid) is svid
    assert copy.deepcopy(svid) is svid


def test_an_svid_does_not_change() -> None:
    """No attribute can be set or deleted, and the class cannot be called."""
    svid = authority().issue(WORKLOAD)

    for name in ("_private_key", "_spiffe_id", "hint", "private_key", "new"):
        with pytest.raises(AttributeError):
            setattr(svid, name, None)
        with pytest.raises(AttributeError):
            delattr(svid, name)
    with pytest.raises(TypeError, match="parse"):
        X509Svid(b"", b"")
