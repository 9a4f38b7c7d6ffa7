"""Our own X.509-SVID: its chain is checked before anybody uses it (R-X509-26, R-X509-29)."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import PeerVerificationError, X509SvidError
from serviceradar_security.identity.bundle import MAX_CERTIFICATE_BYTES
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH
from tests.identity.chains import LEAF as PEER
from tests.identity.mutations import (
    BROKEN_RULES,
    MALFORMED,
    TOLERATED,
    UNREADABLE_EXTENSIONS,
    with_extension,
)
from tests.identity.own import (
    GOOD,
    LEAF,
    MIDDLE,
    OTHER,
    ROOT,
    assert_no_key,
    chain_pem,
    everything_said,
    key_pem,
    pkcs8,
    refusal,
)
from tests.identity.pki import (
    NOW,
    WORKLOAD,
    authority,
    certificate,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from cryptography import x509


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


@pytest.mark.parametrize(("changes", "reason", "readable"), BROKEN_RULES)
def test_the_leaf_rules_hold_for_our_own(
    changes: dict[str, Any],
    reason: str,
    readable: bool,
) -> None:
    """Our own leaf passes what a peer's must, and the cause names the rule (R-X509-29)."""
    issued = authority().issue_certificate(WORKLOAD, **changes)

    with pytest.raises(X509SvidError, match="our own SVID is unusable") as caught:
        X509Svid.parse(b"".join(issued.chain_der), issued.key_der)

    assert isinstance(caught.value.__cause__, PeerVerificationError)
    assert caught.value.__cause__.reason == reason
    assert (caught.value.__cause__.spiffe_id is not None) is readable
    assert_no_key(everything_said(caught.value), issued.key_der)


@pytest.mark.parametrize("leaf", TOLERATED)
def test_what_our_own_leaf_may_have(leaf: x509.Certificate) -> None:
    """What is tolerated in a peer is loaded as our own, with the URI's ID (R-X509-03, -05, -08, -10)."""
    assert X509Svid.parse(der(leaf)[0], pkcs8(PEER.key)).spiffe_id == WORKLOAD


@pytest.mark.parametrize("extension", UNREADABLE_EXTENSIONS)
@pytest.mark.parametrize("critical", [True, False])
def test_an_extension_of_our_own_that_cannot_be_read(extension: Any, critical: bool) -> None:
    """A malformed extension never reads as absent in our own leaf (R-X509-11)."""
    leaf = with_extension(extension, critical=critical)

    assert "extensions that cannot be read" in refusal(der(leaf)[0], pkcs8(PEER.key))


@pytest.mark.parametrize("leaf", MALFORMED)
def test_a_leaf_of_our_own_that_is_not_der(leaf: bytes) -> None:
    """What is malformed in a peer's leaf is malformed in ours (R-X509-11)."""
    assert "our own SVID is unusable" in refusal(leaf, pkcs8(PEER.key))


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
