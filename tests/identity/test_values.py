"""What values promise beside their meaning: order, hash, pickles, and the bytes that they write."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.der import split_sequences
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from tests.identity.documents import FIRST, FIRST_DER, SECOND, SECOND_DER, document
from tests.identity.own import LEAF, MIDDLE, ROOT, chain_pem, key_pem, pkcs8
from tests.identity.pki import LOCAL, NOW, PARTNER, bundle, certificate, der, signer

if TYPE_CHECKING:
    from collections.abc import Sequence

CHAIN = (certificate(LEAF, MIDDLE), signer(MIDDLE, ROOT))
SVID = X509Svid.parse(b"".join(der(*CHAIN)), pkcs8(LEAF.key))
HINTED = [X509Svid.parse(der(CHAIN[0])[0], pkcs8(LEAF.key), hint=each) for each in "abcd"]
DOMAINS = [TrustDomain.parse(each) for each in ("a", "a.b", "a0", "aa", "b")]


@pytest.mark.parametrize(
    "ordered",
    [DOMAINS, [SpiffeId.parse(f"spiffe://{each}") for each in ("a", "a/b", "a/b/c", "a.b", "b/a")]],
    ids=["trust domains", "SPIFFE IDs"],
)
def test_order(ordered: Sequence[Any]) -> None:
    """Names are ordered as text, an ID by its trust domain first; nothing precedes itself."""
    assert sorted([*ordered[2:], *ordered[:2]]) == ordered
    for first, second in pairwise(ordered):
        assert first < second
        assert first <= second
        assert second > first
        assert second >= first
        assert not second < first
    for value, same in zip(ordered, pickle.loads(pickle.dumps(ordered)), strict=True):  # noqa: S301 - our own
        assert not value < same
        assert value <= same


@pytest.mark.parametrize("value", [DOMAINS[0], DOMAINS[0].id], ids=repr)
def test_text_has_no_place_in_the_order(value: Any) -> None:
    """A value and a text are not compared, from neither side."""
    with pytest.raises(TypeError):
        _ = value < "z"
    with pytest.raises(TypeError):
        _ = value > "z"


@pytest.mark.parametrize(
    "values",
    [
        DOMAINS,
        [each.id for each in DOMAINS],
        [SpiffeId.of(LOCAL, each) for each in "abcd"],
        [bundle(of=each) for each in DOMAINS],
        [bundle(FIRST), bundle(SECOND), bundle(FIRST, SECOND), bundle()],
        [*HINTED, SVID],
        [X509Context(svids=[each], bundles={}) for each in HINTED],
        [BundleSet({each: bundle(of=each)}, {}) for each in DOMAINS],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_hashes_differ(values: list[Any]) -> None:
    """A dictionary of values finds them by their hashes, and does not search them all."""
    assert len({hash(each) for each in values}) == len(values)


def test_pem_of_several() -> None:
    """Certificates stand in PEM one after another, with nothing between them."""
    assert SVID.to_pem() == (chain_pem(*CHAIN), key_pem(LEAF.key))
    assert bundle(FIRST, SECOND).to_pem() == chain_pem(FIRST, SECOND)


@pytest.mark.parametrize("pem", ["", b"", " \n", b"\r\n"])
def test_an_empty_pem_bundle(pem: str | bytes) -> None:
    """It is the empty bundle of the trust domain that was given (R-BUNDLE-02)."""
    read = TrustBundle.from_pem(PARTNER, pem)

    assert read == bundle(of=PARTNER)
    assert read.trust_domain is PARTNER


def test_pickles_of_several() -> None:
    """A chain and a bundle of several come back whole, with what a document said besides."""
    given = document(spiffe_sequence=7, spiffe_refresh_hint=90)
    counted = TrustBundle.from_jwks(LOCAL, given)
    several = bundle(FIRST, SECOND)

    svid, numbers, both = pickle.loads(pickle.dumps((SVID, counted, several)))  # noqa: S301 - our own

    assert svid.certificates == CHAIN
    assert svid == SVID
    assert (numbers.sequence, numbers.refresh_hint) == (7, 90.0)
    assert both.der == (FIRST_DER, SECOND_DER)


def test_repr_without_a_hint() -> None:
    """Where there is no hint, nothing is said of one."""
    end = f"{NOW.replace(hour=13):%FT%TZ}"

    assert repr(SVID) == f"X509Svid('spiffe://example.org/ns/demo/sa/core', not_after={end})"
    assert repr(HINTED[0]) == f"{repr(SVID)[:-1]}, hint='a')"


def test_repr_of_sets_and_snapshots() -> None:
    """Up to five of our own trust domains are named, in order; what was delivered is counted."""
    own = {each: bundle(of=each) for each in reversed([*DOMAINS, LOCAL])}
    found = BundleSet(own, {"x": b"", "y": b""})

    assert repr(found) == "BundleSet([a, a.b, a0, aa, b], 2 delivered)"
    assert repr(X509Context(svids=[], bundles=found)) == f"X509Context([], {found!r})"
    assert repr(X509Context(svids=[], bundles=own)) == (
        "X509Context([], bundles of [a, a.b, a0, aa, b, example.org])"
    )


def test_what_was_delivered_is_read_once() -> None:
    """Listing reads no bundle again that was looked up, and a second listing reads nothing."""
    found = BundleSet({}, {"b.example": FIRST_DER, "!": b""})
    looked_up = found[TrustDomain.parse("b.example")]

    listed = list(found)

    assert found[listed[0]] is looked_up
    assert found.problems == found.problems


def test_the_anchors_are_made_once() -> None:
    """A second verdict takes the store of the first."""
    several = bundle(FIRST, SECOND)

    assert several.verification_store() is several.verification_store()


def test_an_element_of_sixteen_mebibytes() -> None:
    """The longest length that is read has four bytes."""
    element = b"\x30\x84\1\0\0\0" + bytes(2**24)

    assert split_sequences(element, limit=1) == (element,)
