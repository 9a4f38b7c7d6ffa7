"""Authorizers: who is let in."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import PeerNotAuthorizedError, SpiffeIdError
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_id,
    authorize_member_of,
    authorize_one_of,
    authorize_path_prefix,
)
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

LOCAL = TrustDomain.parse("example.org")
PARTNER = TrustDomain.parse("partner.example")
CORE = SpiffeId.parse("spiffe://example.org/ns/demo/sa/core")
POLLER = SpiffeId.parse("spiffe://example.org/ns/demo/sa/poller")
FOREIGN = SpiffeId.parse("spiffe://partner.example/ns/demo/sa/core")
# Everything that is close to CORE, and is not CORE.
NEIGHBOURS = [
    POLLER,
    FOREIGN,
    LOCAL.id,
    SpiffeId.parse("spiffe://example.org/ns/demo/sa/core/x"),
    SpiffeId.parse("spiffe://example.org/ns/demo/sa"),
    SpiffeId.parse("spiffe://example.org/ns/demo/sa/cor"),
    SpiffeId.parse("spiffe://example.org/ns/demo/sa/corE"),
    SpiffeId.parse("spiffe://example.org/NS/demo/sa/core"),
    SpiffeId.parse("spiffe://sub.example.org/ns/demo/sa/core"),
    SpiffeId.parse("spiffe://example.org.evil/ns/demo/sa/core"),
    SpiffeId.parse("spiffe://xample.org/ns/demo/sa/core"),
]
ALL = [CORE, *NEIGHBOURS]


def let_in(authorizer: Authorizer) -> list[SpiffeId]:
    """Give those of all IDs that an authorizer lets in; the others are refused by our error."""
    inside = []
    for each in ALL:
        try:
            authorizer.authorize(each)
        except PeerNotAuthorizedError as error:
            assert error.spiffe_id == each  # noqa: PT017 - both ways are fine
            assert str(each) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:
            inside.append(each)
    return inside


@pytest.mark.parametrize(
    ("authorizer", "expected"),
    [
        pytest.param(authorize_id(CORE), [CORE], id="one"),
        pytest.param(authorize_one_of([CORE, FOREIGN]), [CORE, FOREIGN], id="two"),
        pytest.param(authorize_one_of([]), [], id="nobody"),
        pytest.param(
            authorize_member_of(LOCAL),
            [each for each in ALL if each.trust_domain == LOCAL],
            id="members",
        ),
        pytest.param(authorize_member_of(TrustDomain.parse("org")), [], id="a parent domain"),
        pytest.param(authorize_any(), ALL, id="any"),
        pytest.param(
            authorize_path_prefix(LOCAL, "/ns/demo/sa/core"),
            [CORE, SpiffeId.parse(f"{CORE}/x")],
            id="a path and what is below",
        ),
        pytest.param(
            authorize_path_prefix(LOCAL, "/ns"),
            [each for each in ALL if str(each).startswith("spiffe://example.org/ns/")],
            id="one segment",
        ),
        pytest.param(authorize_path_prefix(LOCAL, "/ns/demo/s"), [], id="half a segment"),
        pytest.param(authorize_path_prefix(PARTNER, "/ns"), [FOREIGN], id="of a partner"),
    ],
)
def test_who_is_let_in(authorizer: Authorizer, expected: list[SpiffeId]) -> None:
    """Exact IDs are exact, members are of the very trust domain, an empty list admits nobody (R-TLS-11)."""
    assert sorted(let_in(authorizer)) == sorted(expected)


@pytest.mark.parametrize(
    ("authorizer", "expected"),
    [
        (authorize_id(CORE), {LOCAL}),
        (authorize_one_of([CORE, POLLER, FOREIGN]), {LOCAL, PARTNER}),
        (authorize_one_of([]), set()),
        (authorize_member_of(PARTNER), {PARTNER}),
        (authorize_any(), None),
        (authorize_path_prefix(PARTNER, "/ns"), {PARTNER}),
    ],
)
def test_the_trust_domains_that_could_be_accepted(
    authorizer: Authorizer,
    expected: set[TrustDomain] | None,
) -> None:
    """Transports learn which roots to load; an empty list loads none, and only `any` has no bound."""
    assert authorizer.trust_domains == expected
    assert isinstance(authorizer, Authorizer)


@settings(deadline=None)
@given(st.sets(st.sampled_from(ALL)), st.sampled_from(ALL))
def test_no_authorizer_accepts_outside_its_bound(ids: set[SpiffeId], candidate: SpiffeId) -> None:
    """Whoever is let in is of one of the trust domains that the authorizer names."""
    for authorizer in (
        authorize_one_of(ids),
        authorize_member_of(candidate.trust_domain),
        authorize_path_prefix(candidate.trust_domain, candidate.path or "/ns"),
    ):
        for each in let_in(authorizer):
            assert authorizer.trust_domains is not None
            assert each.trust_domain in authorizer.trust_domains


@pytest.mark.parametrize(
    ("authorizer", "text"),
    [
        (authorize_id(CORE), "authorize_id('spiffe://example.org/ns/demo/sa/core')"),
        (
            authorize_one_of([POLLER, CORE]),
            f"authorize_one_of(['{CORE}', '{POLLER}'])",
        ),
        (authorize_one_of([]), "authorize_one_of([])"),
        (authorize_member_of(LOCAL), "authorize_member_of('example.org')"),
        (authorize_any(), "authorize_any()"),
        (
            authorize_path_prefix(LOCAL, "/ns/demo"),
            "authorize_path_prefix('example.org', '/ns/demo')",
        ),
    ],
)
def test_repr_reads_like_the_call(authorizer: Authorizer, text: str) -> None:
    """The representation is the call that made it, in a fixed order."""
    assert repr(authorizer) == text


def test_authorizers_are_values() -> None:
    """They are compared, hashed, copied and pickled by what they let in, and do not change."""
    made = [
        authorize_id(CORE),
        authorize_one_of([CORE, POLLER]),
        authorize_one_of([]),
        authorize_member_of(LOCAL),
        authorize_any(),
        authorize_path_prefix(LOCAL, "/ns"),
        authorize_path_prefix(LOCAL, "/ns/demo"),
        authorize_path_prefix(PARTNER, "/ns"),
    ]

    assert authorize_one_of([POLLER, CORE, CORE]) == authorize_one_of([CORE, POLLER])
    assert authorize_one_of([CORE]) == authorize_id(CORE)
    assert authorize_any() == authorize_any()
    assert len(set(made)) == len(made)
    for each in made:
        for again in (
            copy.copy(each),
            copy.deepcopy(each),
            pickle.loads(pickle.dumps(each)),  # noqa: S301 - our own
        ):
            assert again == each
            assert hash(again) == hash(each)
        for name in ("ids", "trust_domain", "new"):
            with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
                setattr(each, name, frozenset())


@pytest.mark.parametrize("value", ["spiffe://example.org/x", b"x", None, LOCAL, 7])
def test_an_id_is_given_as_an_id(value: Any) -> None:
    """Text is not taken for an ID: it would never match, or match what nobody checked."""
    with pytest.raises(SpiffeIdError, match=r"SpiffeId\.parse"):
        authorize_id(value)
    with pytest.raises(SpiffeIdError, match=r"SpiffeId\.parse"):
        authorize_one_of([CORE, value])


@pytest.mark.parametrize("value", ["spiffe://example.org/x", str(CORE)])
def test_text_is_no_list_of_ids(value: Any) -> None:
    """One text where a list of IDs belongs is refused, and not read by its letters."""
    with pytest.raises(SpiffeIdError):
        authorize_one_of(value)


@pytest.mark.parametrize("value", ["example.org", None, CORE, LOCAL.id])
def test_a_trust_domain_is_given_as_a_trust_domain(value: Any) -> None:
    """Neither text nor an ID is taken for a trust domain."""
    with pytest.raises(SpiffeIdError, match=r"TrustDomain\.parse"):
        authorize_member_of(value)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/",
        "ns",
        "ns/demo",
        "/ns/",
        "//ns",
        "/ns//demo",
        "/./ns",
        "/ns/..",
        "/n s",
        "/ns*",
        None,
        b"/ns",
        "/" + "a" * 2048,
    ],
)
def test_a_prefix_is_a_path(prefix: Any) -> None:
    """What is no path of a SPIFFE ID is refused, and never read as all of a trust domain."""
    with pytest.raises(SpiffeIdError):
        authorize_path_prefix(LOCAL, prefix)


@pytest.mark.parametrize("value", ["example.org", None, CORE])
def test_a_prefix_has_its_trust_domain(value: Any) -> None:
    """No prefix is matched without its trust domain (R-TLS-12)."""
    with pytest.raises(SpiffeIdError, match=r"TrustDomain\.parse"):
        authorize_path_prefix(value, "/ns")


def test_a_long_list_is_shortened_in_the_refusal() -> None:
    """The refusal names a few of those who are expected, and counts the rest."""
    ids = [SpiffeId.parse(f"spiffe://example.org/w{number:03}") for number in range(500)]

    with pytest.raises(PeerNotAuthorizedError, match="or 497 more") as caught:
        authorize_one_of(ids).authorize(CORE)

    assert "spiffe://example.org/w000 or spiffe://example.org/w001" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(PeerNotAuthorizedError, match="expected nobody"):
        authorize_one_of([]).authorize(CORE)
