"""The snapshot of identities and bundles."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType
from typing import Any

import pytest

from serviceradar_security.errors import X509SvidError
from serviceradar_security.identity.context import X509Context, X509ContextSource
from tests.identity.pki import LOCAL, PARTNER, WORKLOAD, authority

AUTHORITY = authority()
FIRST = AUTHORITY.issue(WORKLOAD, hint="internal")
SECOND = AUTHORITY.issue("spiffe://example.org/other", hint="external")
THIRD = AUTHORITY.issue("spiffe://example.org/third", hint="internal")
PLAIN = AUTHORITY.issue("spiffe://example.org/plain")
BUNDLES = {LOCAL: AUTHORITY.bundle, PARTNER: authority(PARTNER).bundle}


def test_the_first_is_the_default() -> None:
    """SVIDs keep the order of the Workload API, and the first is presented (R-WLAPI-14)."""
    context = X509Context(svids=[SECOND, FIRST], bundles=BUNDLES)

    assert context.svids == (SECOND, FIRST)
    assert context.default is SECOND
    assert dict(context.bundles) == BUNDLES


def test_another_default() -> None:
    """A picker may choose any of the snapshot's SVIDs, and none but those."""
    assert X509Context(svids=[FIRST, SECOND], bundles={}, default=SECOND).default is SECOND
    with pytest.raises(X509SvidError, match="not one of"):
        X509Context(svids=[FIRST], bundles={}, default=SECOND)
    with pytest.raises(X509SvidError, match="not one of"):
        X509Context(svids=[], bundles={}, default=FIRST)


def test_bundles_alone() -> None:
    """A snapshot without SVID has bundles, and no identity to present."""
    context = X509Context(svids=[], bundles=BUNDLES)

    assert context.svids == ()
    assert len(context.bundles) == 2
    with pytest.raises(X509SvidError, match="no identity"):
        _ = context.default


@pytest.mark.parametrize(
    ("hint", "expected"),
    [("internal", FIRST), ("external", SECOND)],
)
def test_by_hint(hint: str, expected: object) -> None:
    """Of several with one hint the first is found (R-WLAPI-15)."""
    context = X509Context(svids=[PLAIN, FIRST, SECOND, THIRD], bundles={})

    assert context.by_hint(hint) is expected


@pytest.mark.parametrize("hint", ["", "Internal", "internal ", "none"])
def test_a_hint_that_nobody_has(hint: str) -> None:
    """No other identity stands in, and an empty hint is none (R-WLAPI-16)."""
    context = X509Context(svids=[PLAIN, FIRST, SECOND], bundles={})

    with pytest.raises(X509SvidError, match="'internal', 'external'"):
        context.by_hint(hint)


@pytest.mark.parametrize(
    ("svids", "bundles"),
    [
        pytest.param([None], {}, id="no SVID"),
        pytest.param(["spiffe://example.org/x"], {}, id="text for an SVID"),
        pytest.param([FIRST], {LOCAL: None}, id="no bundle"),
        pytest.param([FIRST], {LOCAL: b""}, id="bytes for a bundle"),
        pytest.param([FIRST], {PARTNER: AUTHORITY.bundle}, id="a bundle under another name"),
        pytest.param([FIRST], {"example.org": AUTHORITY.bundle}, id="a bundle under text"),
        pytest.param([FIRST], {LOCAL.id: AUTHORITY.bundle}, id="a bundle under an ID"),
    ],
)
def test_what_is_refused(svids: Any, bundles: Any) -> None:
    """A snapshot holds SVIDs, and each bundle under its own trust domain (R-BUNDLE-13)."""
    with pytest.raises(X509SvidError):
        X509Context(svids=svids, bundles=bundles)


def test_a_snapshot_is_not_tied_to_what_it_was_made_of() -> None:
    """Later changes of the caller's list and mapping do not reach it, and its own are read-only."""
    svids, bundles = [FIRST], dict(BUNDLES)
    context = X509Context(svids=svids, bundles=bundles)

    svids.append(SECOND)
    del bundles[PARTNER]

    assert context.svids == (FIRST,)
    assert set(context.bundles) == {LOCAL, PARTNER}
    assert isinstance(context.bundles, MappingProxyType)
    for name in ("_svids", "_bundles", "_default", "default", "new"):
        with pytest.raises(AttributeError):
            setattr(context, name, ())
        with pytest.raises(AttributeError):
            delattr(context, name)


def test_equality_and_hash() -> None:
    """Snapshots are equal if SVIDs in their order, default and bundles are."""
    context = X509Context(svids=[FIRST, SECOND], bundles=BUNDLES)
    same = X509Context(svids=(FIRST, SECOND), bundles=dict(reversed(BUNDLES.items())))

    assert context == same
    assert hash(context) == hash(same)
    assert context != X509Context(svids=[SECOND, FIRST], bundles=BUNDLES)
    assert context != X509Context(svids=[FIRST, SECOND], bundles=BUNDLES, default=SECOND)
    assert context != X509Context(svids=[FIRST, SECOND], bundles={})
    assert context != (FIRST, SECOND)


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(X509Context(svids=[FIRST, SECOND], bundles=BUNDLES), id="whole"),
        pytest.param(
            X509Context(svids=[FIRST, SECOND], bundles=BUNDLES, default=SECOND), id="picked"
        ),
        pytest.param(X509Context(svids=[], bundles=BUNDLES), id="bundles alone"),
    ],
)
def test_copies(context: X509Context) -> None:
    """A snapshot is its own copy, and comes back from a pickle with everything in it."""
    assert copy.copy(context) is context
    assert copy.deepcopy(context) is context

    again = pickle.loads(pickle.dumps(context))  # noqa: S301 - our own

    assert again == context
    assert hash(again) == hash(context)
    assert [each.to_pem() for each in again.svids] == [each.to_pem() for each in context.svids]


def test_repr() -> None:
    """The representation names IDs and trust domains."""
    text = repr(X509Context(svids=[FIRST], bundles=BUNDLES))

    assert str(WORKLOAD) in text
    assert "[example.org, partner.example]" in text


def test_whatever_has_current_is_a_source() -> None:
    """The protocol asks for one method."""

    class Tiny:
        def current(self) -> X509Context:
            return X509Context(svids=[FIRST], bundles={})

    assert isinstance(Tiny(), X509ContextSource)
    assert not isinstance(object(), X509ContextSource)
