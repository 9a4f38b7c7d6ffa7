"""Conversions to and from the values of the package `spiffe`."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import pytest
import spiffe
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from spiffe.workloadapi.x509_context import X509Context as TheirX509Context

from serviceradar_security import (
    SpiffeId,
    SpiffeIdError,
    TrustBundle,
    TrustBundleError,
    TrustDomain,
    X509Context,
    X509Svid,
    X509SvidError,
)
from serviceradar_security.spiffe import from_spiffe, to_spiffe
from serviceradar_security.testing.authority import FakeAuthority
from tests.identity.pki import Party, bundle, certificate, signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

AUTHORITY = FakeAuthority("a.test")
PARTNER = FakeAuthority("partner.test")
SVID = AUTHORITY.issue("spiffe://a.test/web", intermediates=1)
OTHER = AUTHORITY.issue("spiffe://a.test/db", hint="db")
A_TEST = AUTHORITY.trust_domain
BUNDLES = {each.trust_domain: each.bundle for each in (AUTHORITY, PARTNER)}
WORDS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12)
DOMAINS = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=20)


class Text(spiffe.SpiffeId):
    """An ID of theirs that writes itself as it is told."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class Name(spiffe.TrustDomain):
    """A trust domain of theirs that is named as it is told."""

    def __init__(self, name: str) -> None:
        self._name = name


# ---- IDs ---------------------------------------------------------------------------------------


@given(DOMAINS, st.lists(WORDS.filter(lambda each: each not in (".", "..")), max_size=4))
def test_ids_both_ways(name: str, segments: list[str]) -> None:
    """Every ID and trust domain of ours has its equal there, and comes back the same."""
    ours = SpiffeId.of(TrustDomain.parse(name), *segments)
    theirs = to_spiffe(ours)
    assert type(theirs) is spiffe.SpiffeId
    assert str(theirs) == str(ours)
    assert from_spiffe(theirs) == ours
    domain = to_spiffe(ours.trust_domain)
    assert type(domain) is spiffe.TrustDomain
    assert domain.name == name
    assert from_spiffe(domain) == ours.trust_domain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        "spiffe://a.test/web\n",
        "spiffe://a.test\n",
        "spiffe://A.test/web",
        "spiffe://a.test/",
        "spiffe://a.test//web",
        "spiffe://a.test/../web",
        "spiffe://a.test/w%65b",
        "SPIFFE://a.test/web",
        "spiffe://a.test/wéb",
        "spiffe://a.test:1/web",
    ],
)
def test_ids_are_parsed_again(text: str) -> None:
    """What is no SPIFFE ID by our rules is refused, whoever took it for one."""
    with pytest.raises(SpiffeIdError):
        from_spiffe(Text(text))


@pytest.mark.parametrize(
    "name", ["", "a.test\n", "A.test", "a.test/web", "spiffe://a.test", "a test", "x" * 256]
)
def test_names_are_parsed_again(name: str) -> None:
    """What is no name of a trust domain by our rules is refused, also a whole ID."""
    with pytest.raises(SpiffeIdError):
        from_spiffe(Name(name))
    with pytest.raises(SpiffeIdError):
        from_spiffe(spiffe.X509Bundle(Name(name), None))


# ---- SVIDs -------------------------------------------------------------------------------------


def test_svids_both_ways() -> None:
    """Chain, key and ID survive both ways; a hint is not known there."""
    theirs = to_spiffe(SVID)
    assert type(theirs) is spiffe.X509Svid
    assert str(theirs.spiffe_id) == "spiffe://a.test/web"
    assert theirs.cert_chain == list(SVID.certificates)
    assert len(theirs.cert_chain) == 2
    assert theirs.private_key == SVID.private_key
    assert from_spiffe(theirs) == SVID
    assert from_spiffe(to_spiffe(OTHER)).hint == ""
    assert from_spiffe(to_spiffe(OTHER)).chain_der == OTHER.chain_der


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_kinds_of_keys(make: Callable[[], Any]) -> None:
    """Every kind of key that we take passes both ways."""
    party = Party("leaf", make())
    leaf = certificate(party, Party("root"))
    theirs = spiffe.X509Svid(
        spiffe.SpiffeId("spiffe://example.org/ns/demo/sa/core"), [leaf], party.key
    )
    ours = from_spiffe(theirs)
    assert ours.leaf == leaf
    assert to_spiffe(ours).private_key.public_key() == party.key.public_key()


def theirs(
    *,
    spiffe_id: str = "spiffe://a.test/web",
    chain: list[Any] | None = None,
    key: Any = None,
) -> spiffe.X509Svid:
    """Make an SVID of theirs from parts that need not fit."""
    return spiffe.X509Svid(
        spiffe.SpiffeId(spiffe_id),
        list(SVID.certificates) if chain is None else chain,
        SVID.private_key if key is None else key,
    )


def leaf(**changes: Any) -> list[x509.Certificate]:
    """Issue a leaf for the key of the SVID that breaks a rule."""
    key: Any = SVID.private_key
    made = AUTHORITY.issue_certificate("spiffe://a.test/web", key=key, **changes)
    return list(made.chain)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: theirs(key=OTHER.private_key), "does not belong"),
        (lambda: theirs(key=ec.generate_private_key(ec.SECP521R1())), "kind that is not used"),
        (lambda: theirs(key=dsa.generate_private_key(2048)), "kind that is not used"),
        (lambda: theirs(key="no key"), "cannot be written"),
        (lambda: theirs(chain=["no certificate"]), "not a certificate"),
        (lambda: theirs(spiffe_id="spiffe://a.test/db"), "calls itself"),
        (lambda: theirs(chain=list(reversed(SVID.certificates))), "SVID"),
        (lambda: theirs(chain=leaf(ca=True)), "CA"),
        (lambda: theirs(chain=leaf(key_usage=("key_cert_sign", "digital_signature"))), "sign"),
        (lambda: theirs(chain=leaf(uris=("spiffe://a.test/web", "spiffe://a.test/b"))), "2 URI"),
        (lambda: theirs(chain=leaf(uris=())), "no SPIFFE ID"),
        (lambda: theirs(chain=[*SVID.certificates[:1], *leaf()]), "intermediate"),
        (lambda: theirs(chain=[*SVID.certificates] * 9), "16"),
    ],
)
def test_svids_are_checked_again(make: Callable[[], spiffe.X509Svid], text: str) -> None:
    """An SVID that breaks a rule of ours is refused, whoever took it for one."""
    with pytest.raises(X509SvidError, match=text):
        from_spiffe(make())


def test_a_key_that_fails_is_not_quoted() -> None:
    """Whatever a key says when it is written, the error repeats nothing of it."""

    class Key:
        def private_bytes(self, *_: object) -> bytes:
            raise ValueError("secret bytes")

    with pytest.raises(X509SvidError) as caught:
        from_spiffe(theirs(key=Key()))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "secret" not in str(caught.value)


# ---- bundles -----------------------------------------------------------------------------------


def test_bundles_both_ways() -> None:
    """The authorities survive both ways; their order is not known there."""
    roots = [signer(party := Party(f"r{number}"), party) for number in range(4)]
    ours = bundle(*roots, of=A_TEST)
    there = to_spiffe(ours)
    assert type(there) is spiffe.X509Bundle
    assert there.trust_domain.name == "a.test"
    assert there.x509_authorities == set(roots)
    back = from_spiffe(there)
    assert type(back) is TrustBundle
    assert back.trust_domain == A_TEST
    assert back.der == tuple(sorted(ours.der))
    assert back == from_spiffe(to_spiffe(back))


def test_an_empty_bundle() -> None:
    """An empty bundle is one, and trusts nobody (R-BUNDLE-02)."""
    empty = TrustBundle.from_der(A_TEST, b"")
    assert from_spiffe(to_spiffe(empty)) == empty


def test_a_bundle_of_anything() -> None:
    """What is no certificate is no authority."""
    with pytest.raises(TrustBundleError, match="not a certificate"):
        from_spiffe(spiffe.X509Bundle(spiffe.TrustDomain("a.test"), {"x"}))  # type: ignore[arg-type] # what is tested


def test_sets_both_ways() -> None:
    """A set of bundles is a mapping by trust domain here."""
    there = to_spiffe(BUNDLES)
    assert type(there) is spiffe.X509BundleSet
    found = there.get_bundle_for_trust_domain(spiffe.TrustDomain("partner.test"))
    assert found is not None
    assert found.x509_authorities == set(PARTNER.bundle.authorities)
    assert from_spiffe(there) == BUNDLES
    assert from_spiffe(to_spiffe({})) == {}


def test_two_bundles_of_one_domain() -> None:
    """Of two bundles for one trust domain neither is believed."""
    one = to_spiffe(AUTHORITY.bundle)
    two = spiffe.X509Bundle(spiffe.TrustDomain("a.test"), set())
    there = spiffe.X509BundleSet({one.trust_domain: one, spiffe.TrustDomain("b.test"): two})
    with pytest.raises(TrustBundleError, match=r"two bundles of a\.test"):
        from_spiffe(there)


@pytest.mark.parametrize(
    "wrong",
    [
        {A_TEST: PARTNER.bundle},
        {"a.test": AUTHORITY.bundle},
        {A_TEST: AUTHORITY.bundle.der},
    ],
    ids=["other", "text", "bytes"],
)
def test_a_mapping_that_is_none(wrong: Any) -> None:
    """A bundle is filed under its own trust domain, or not given away."""
    with pytest.raises(TrustBundleError, match="under its own TrustDomain"):
        to_spiffe(wrong)


# ---- snapshots ---------------------------------------------------------------------------------


def test_snapshots_both_ways() -> None:
    """A snapshot passes whole, its default identity first."""
    ours = X509Context(svids=[SVID, OTHER], bundles=BUNDLES, default=OTHER)
    there = to_spiffe(ours)
    assert type(there) is TheirX509Context
    assert [str(each.spiffe_id) for each in there.x509_svids] == [
        "spiffe://a.test/db",
        "spiffe://a.test/web",
    ]
    back = from_spiffe(there)
    assert type(back) is X509Context
    assert back.default.chain_der == OTHER.chain_der
    assert back.svids[1] == SVID
    assert back.bundles == BUNDLES


def test_a_snapshot_without_an_identity() -> None:
    """There a snapshot needs an identity."""
    with pytest.raises(X509SvidError, match="no identity"):
        to_spiffe(X509Context(svids=[], bundles=BUNDLES))


@pytest.mark.parametrize("wrong", [None, "spiffe://a.test/web", b"", 7, [], SVID.leaf])
def test_other_types(wrong: Any) -> None:
    """What is of neither library is refused by its type, and a text is never guessed at."""
    with pytest.raises(TypeError, match="from_spiffe takes"):
        from_spiffe(wrong)
    with pytest.raises(TypeError, match="to_spiffe takes"):
        to_spiffe(wrong)


@pytest.mark.parametrize("value", [SVID, A_TEST, SVID.spiffe_id, AUTHORITY.bundle])
def test_the_wrong_way(value: Any) -> None:
    """A value of ours is not taken for theirs, nor theirs for ours."""
    with pytest.raises(TypeError, match="serviceradar_security"):
        from_spiffe(value)
    with pytest.raises(TypeError, match="spiffe"):
        to_spiffe(to_spiffe(value))


def test_typed_results() -> None:
    """A type checker knows what each conversion gives; these lines are checked by it."""
    made: tuple[SpiffeId, TrustDomain, X509Svid, TrustBundle, X509Context] = (
        from_spiffe(to_spiffe(SVID.spiffe_id)),
        from_spiffe(to_spiffe(A_TEST)),
        from_spiffe(to_spiffe(SVID)),
        from_spiffe(to_spiffe(AUTHORITY.bundle)),
        from_spiffe(to_spiffe(X509Context(svids=[SVID], bundles=BUNDLES))),
    )
    bundles: dict[TrustDomain, TrustBundle] = from_spiffe(to_spiffe(BUNDLES))
    assert len({type(each) for each in (*made, bundles)}) == 6
