"""Bundles as delivered: by which name they are found, and what each costs."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.identity.documents import FIRST, FIRST_DER, SECOND, SECOND_DER
from tests.identity.pki import LOCAL, PARTNER, bundle

OWN = {LOCAL: bundle(FIRST)}
NAMES = st.sampled_from(
    [
        "partner.example",
        "spiffe://partner.example",
        "example.org",
        "spiffe://example.org",
        "third.example",
        "spiffe://third.example",
        "spiffe://third.example/x",
        "Third.example",
        "",
    ]
)
VALUES = st.sampled_from([b"", FIRST_DER, FIRST_DER + SECOND_DER, b"junk", b"\x30\x00"])
SETS = st.builds(BundleSet, st.sampled_from([{}, OWN]), st.dictionaries(NAMES, VALUES))


@pytest.mark.parametrize("name", ["partner.example", "spiffe://partner.example"])
@pytest.mark.parametrize("value", [b"", FIRST_DER, FIRST_DER + SECOND_DER])
def test_a_bundle_is_found_by_its_trust_domain(name: str, value: bytes) -> None:
    """A federated bundle may be named by the ID or the name of its trust domain (R-WLAPI-17)."""
    found = BundleSet(OWN, {name: value})

    assert found[PARTNER] == TrustBundle.from_der(PARTNER, value)
    assert found[PARTNER] is found[PARTNER]
    assert list(found) == [LOCAL, PARTNER]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("delivered", "problem"),
    [
        pytest.param({"spiffe://partner.example/x": FIRST_DER}, "a workload", id="a path"),
        pytest.param({"Partner.example": FIRST_DER}, "not allowed", id="upper case"),
        pytest.param({"partner.example\n": FIRST_DER}, "not allowed", id="a newline"),
        pytest.param({"": FIRST_DER}, "no trust domain", id="no name"),
        pytest.param({"partner.example": b"junk"}, "not a row", id="junk"),
        pytest.param({"partner.example": FIRST_DER + b"\0"}, "not a row", id="a byte too many"),
        pytest.param(
            {"partner.example": FIRST_DER, "spiffe://partner.example": FIRST_DER},
            "two bundles for partner.example",
            id="twice",
        ),
        pytest.param(
            {"partner.example": FIRST_DER, "spiffe://partner.example": b"junk"},
            "two bundles for partner.example",
            id="twice, once bad",
        ),
        pytest.param({"spiffe://example.org": SECOND_DER}, "our own example.org", id="our own"),
    ],
)
@pytest.mark.parametrize("first", ["lookup", "listing"])
def test_what_cannot_be_used_costs_only_itself(
    delivered: dict[str, bytes],
    problem: str,
    first: str,
) -> None:
    """Its trust domain has no bundle, the others have theirs, and the reason is said."""
    found = BundleSet(OWN, {**delivered, "third.example": SECOND_DER})
    third = TrustDomain.parse("third.example")

    if first == "listing":
        assert list(found) == [LOCAL, third]
    assert PARTNER not in found
    assert found.get(PARTNER) is None
    with pytest.raises(KeyError):
        found[PARTNER]
    assert found[LOCAL] == OWN[LOCAL]
    assert found[third] == bundle(SECOND, of=third)
    assert set(found) == {LOCAL, third}
    assert any(problem in each for each in found.problems)
    assert all(each.isprintable() for each in found.problems)


@given(SETS)
def test_looking_up_and_listing_agree(found: BundleSet) -> None:
    """Whatever was delivered, what is listed can be looked up, each under its own trust domain."""
    again = BundleSet(found._own, found._delivered)
    asked = [LOCAL, PARTNER, TrustDomain.parse("third.example")]

    listed = {each: found[each] for each in found}

    assert {each: again[each] for each in asked if each in again} == listed
    assert len(found) == len(listed)
    assert all(each == listed[each].trust_domain for each in listed)
    assert found == listed
    assert bool(found.problems) <= bool(found._delivered)


@given(SETS, SETS, st.sampled_from([LOCAL, PARTNER]))
def test_what_was_read_before_changes_nothing(
    before: BundleSet,
    now: BundleSet,
    asked: TrustDomain,
) -> None:
    """A set that follows another gives what it would give alone."""
    before.get(asked)
    follower = BundleSet(now._own, now._delivered, before=before)

    assert dict(follower) == dict(now)
    assert follower.problems == now.problems


def test_the_same_bytes_are_not_read_again() -> None:
    """A set that follows another gives its very bundles, where the bytes are the same."""
    before = BundleSet(OWN, {"partner.example": FIRST_DER, "third.example": SECOND_DER})
    kept = before[PARTNER]

    same = BundleSet(OWN, {"partner.example": FIRST_DER}, before=before)
    changed = BundleSet(OWN, {"partner.example": SECOND_DER}, before=before)
    renamed = BundleSet(
        OWN, {"partner.example": FIRST_DER, "spiffe://partner.example": b""}, before=before
    )

    assert same[PARTNER] is kept
    assert changed[PARTNER] == bundle(SECOND, of=PARTNER)
    assert PARTNER not in renamed


@pytest.mark.parametrize(
    "key", ["partner.example", "spiffe://partner.example", SpiffeId.of(PARTNER), None, 7]
)
def test_only_a_trust_domain_finds_a_bundle(key: Any) -> None:
    """Neither text nor an ID is taken for a trust domain."""
    found = BundleSet(OWN, {"partner.example": FIRST_DER})

    assert key not in found
    with pytest.raises(KeyError):
        found[key]


def test_a_set_is_a_value() -> None:
    """It is compared and copied unread, hashed and pickled whole, shows no bytes, and is fixed."""
    delivered = {"partner.example": FIRST_DER}
    found = BundleSet(OWN, delivered)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own

    assert again == found == BundleSet(OWN, dict(delivered))
    assert hash(again) == hash(found)
    assert found == {**OWN, PARTNER: bundle(FIRST, of=PARTNER)}
    assert found != BundleSet(OWN, {"partner.example": SECOND_DER})
    assert found != BundleSet({}, delivered)
    assert copy.deepcopy(found) is found
    assert repr(found) == "BundleSet([example.org], 1 delivered)"
    delivered["third.example"] = b""
    assert len(found) == 2
    for name in ("_own", "_read", "new"):
        with pytest.raises(AttributeError):
            setattr(found, name, {})
        with pytest.raises(AttributeError):
            delattr(found, name)


def test_a_snapshot_keeps_the_set_as_it_is() -> None:
    """An `X509Context` of delivered bundles reads none of them until it is asked."""
    found = BundleSet(OWN, {"partner.example": FIRST_DER})
    context = X509Context(svids=[], bundles=found)

    assert context.bundles is found
    assert pickle.loads(pickle.dumps(context)) == context  # noqa: S301 - our own
    assert "BundleSet" in repr(context)
    assert found._names is None
    assert found._read == {}
    for number in range(100):
        assert TrustDomain.parse(f"stranger{number}.example") not in found
    assert found._read == {}
    assert hash(context) == hash(X509Context(svids=[], bundles=dict(found)))


def test_what_proves_to_be_no_certificate_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Certificates are read on first use; then, and once, it is logged that a bundle is none."""
    found = BundleSet(OWN, {"partner.example": b"\x30\x00", "third.example": SECOND_DER})

    assert found.problems == ()
    assert caplog.messages == []
    for _ in range(3):
        assert PARTNER not in found
        assert len(found) == 2
    (message,) = caplog.messages
    assert "partner.example has no bundle" in message
    assert "not a certificate" in message


@pytest.mark.parametrize(
    ("own", "delivered"),
    [
        pytest.param({LOCAL: bundle(FIRST, of=PARTNER)}, {}, id="a foreign bundle as our own"),
        pytest.param({LOCAL: "x"}, {}, id="no bundle"),
        pytest.param({"example.org": OWN[LOCAL]}, {}, id="filed under text"),
        pytest.param({}, {1: b""}, id="a name that is no text"),
        pytest.param({}, {"a.test": None}, id="no bytes"),
        pytest.param({}, {"a.test": "x"}, id="text for bytes"),
    ],
)
def test_what_a_set_is_not_made_of(own: Any, delivered: Any) -> None:
    """Own bundles stand under their own trust domain, also when read from a pickle (R-BUNDLE-13)."""
    with pytest.raises(TrustBundleError):
        BundleSet(own, delivered)


def test_two_threads_get_one_bundle() -> None:
    """Whoever asks, and however many at once, gets the same object."""
    for _ in range(20):
        found = BundleSet(OWN, {"partner.example": FIRST_DER})
        with ThreadPoolExecutor(8) as pool:
            given_ = list(pool.map(lambda _: found[PARTNER], range(16)))  # noqa: B023
        assert len({id(each) for each in given_}) == 1
