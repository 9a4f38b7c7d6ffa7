"""Authorities of plain TLS: what is read, what is refused, and that they do not change."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity import bundle
from serviceradar_security.identity.authorities import Authorities, whose
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.testing.authority import FakeAuthority
from tests.identity import pki

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = FakeAuthority("one.test").bundle.to_pem()
TWO = FakeAuthority("two.test").bundle.to_pem()
NAME = "the authority file /ca.pem"


def read(pem: Any) -> Authorities:
    """Read authorities."""
    return Authorities.from_pem(pem, name=NAME)


def test_good() -> None:
    """Certificates are kept in their order, each once, whatever text is between them."""
    found = read(b"a comment\n" + ONE + b"\n# another\n" + TWO + ONE)
    assert len(found.authorities) == len(found.der) == 2
    assert found.to_pem() == ONE + TWO
    assert found == read(ONE + TWO)
    assert hash(found) == hash(read(ONE + TWO))
    assert found != read(TWO + ONE)
    assert found != ONE
    assert found.verification_store() is found.verification_store()
    assert repr(found) == f"Authorities({NAME!r}, 2 of them)"
    assert whose(found) == found.name == NAME


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no certificates"),
        (b"no PEM", "no certificates"),
        (ONE[:-30], "cannot be read"),
        (ONE.replace(b"M", b"!", 1), "cannot be read"),
        (ONE + b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "not a CERT"),
        ("text", "bytes"),
        (None, "bytes"),
    ],
    ids=["empty", "text", "cut off", "no DER", "a key", "a string", "nothing"],
)
def test_bad(pem: Any, reason: str) -> None:
    """Anything else is refused whole, by an error that names the file and shows nothing of it."""
    with pytest.raises(TrustBundleError, match=reason) as caught:
        read(pem)
    assert NAME in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("ca", [False, None], ids=["cA is false", "no basic constraints"])
@pytest.mark.parametrize("usage", [None, ("digital_signature",), ("key_cert_sign",)])
def test_a_leaf_is_no_authority(ca: bool | None, usage: tuple[str, ...] | None) -> None:
    """A certificate without cA is refused, also beside authorities; file, place and remedy are named."""
    made = FakeAuthority("one.test").issue_certificate(None, uris=[], ca=ca, key_usage=usage)
    leaf = made.to_pem()[0]
    for pem, number in ((leaf, 1), (ONE + leaf, 2), (leaf + TWO, 1)):
        with pytest.raises(
            TrustBundleError, match=r"is no authority.* lack cA .*put the CA"
        ) as caught:
            read(pem)
        assert f"certificate {number} of {NAME}" in str(caught.value)
        assert f"{made.leaf.serial_number:x}" in str(caught.value)


def test_an_intermediate_is_an_authority() -> None:
    """A CA certificate is one whoever signed it, and with any key usage or none."""
    root, middle = pki.Party("root"), pki.Party("middle")
    for usage in (None, pki.SIGNER):
        pem = pki.signer(middle, root, usage=usage).public_bytes(Encoding.PEM)
        assert read(pem).to_pem() == pem


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number and size are bounded before anything is parsed."""
    from serviceradar_security.identity import authorities as module  # noqa: PLC0415

    monkeypatch.setattr(module, "MAX_AUTHORITIES", 1)
    with pytest.raises(TrustBundleError, match="2 certificates in it: it holds 1 to 1"):
        read(ONE + TWO)
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", 10)
    with pytest.raises(TrustBundleError, match="at most 10 bytes"):
        read(ONE)
    assert bundle.MAX_AUTHORITIES > 1


def test_as_a_bundle() -> None:
    """They stand for a trust domain where somebody says so."""
    own = TrustDomain.parse("mesh.test")
    made = read(ONE).bundle_of(own)
    assert (made.trust_domain, made.to_pem()) == (own, ONE)
    assert whose(made) == "mesh.test"


@pytest.mark.parametrize(
    "change",
    [
        lambda each: setattr(each, "_der", ()),
        lambda each: delattr(each, "_der"),
        lambda each: setattr(each, "other", 1),
    ],
    ids=["set", "delete", "add"],
)
def test_unchanging(change: Callable[[Authorities], object]) -> None:
    """Nothing of them can be set or deleted, and a copy is the same."""
    made = read(ONE)
    with pytest.raises(AttributeError):
        change(made)
    assert copy.copy(made) is copy.deepcopy(made) is made
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - it was just made
    with pytest.raises(TypeError, match="from_pem"):
        Authorities()
