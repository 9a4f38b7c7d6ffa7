"""Patterns: core accepts exactly whom the authorizer accepts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import ConfigError, PeerNotAuthorizedError
from serviceradar_security.grpc.client.patterns import NOBODY, san_patterns
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_member_of,
    authorize_one_of,
    authorize_path_prefix,
)
from serviceradar_security.identity.combine import any_of
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

# Few letters, so that names meet; dots and dashes, which mean something in a pattern.
NAMES = st.text("ab.-_0", min_size=1, max_size=4)
DOMAINS = NAMES.map(TrustDomain.parse)
SEGMENTS = st.text("aA.-_0", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
IDS = st.builds(
    lambda domain, path: SpiffeId.of(domain, *path),
    DOMAINS,
    st.lists(SEGMENTS, max_size=3),
)
PREFIXES = ("spiffe://a/a", "spiffe://a")
SIMPLE = st.one_of(
    st.lists(IDS, max_size=4).map(authorize_one_of),
    DOMAINS.map(authorize_member_of),
    IDS.filter(lambda each: bool(each.path)).map(
        lambda each: authorize_path_prefix(each.trust_domain, each.path)
    ),
    st.just(authorize_any()),
)
AUTHORIZERS = st.one_of(
    SIMPLE,
    st.lists(SIMPLE, max_size=3).map(lambda parts: any_of(*parts)),
)


def accepts(authorizer: Authorizer, spiffe_id: SpiffeId) -> bool:
    try:
        authorizer.authorize(spiffe_id)
    except PeerNotAuthorizedError:
        return False
    return True


def matches(authorizer: Authorizer, text: str) -> bool:
    # Core anchors a pattern at both ends, as `fullmatch` does.
    return any(re.fullmatch(pattern, text) for pattern in san_patterns(authorizer))


@given(AUTHORIZERS, IDS)
def test_a_pattern_matches_exactly_the_ids_that_are_accepted(
    authorizer: Authorizer,
    spiffe_id: SpiffeId,
) -> None:
    """For every workload's ID pattern and authorizer agree; an ID without a path never matches."""
    assert matches(authorizer, str(spiffe_id)) == (
        accepts(authorizer, spiffe_id) and bool(spiffe_id.path)
    )


@given(st.lists(IDS, min_size=1, max_size=3), st.text("ab.-_0/A:spife\n", max_size=30))
def test_what_is_no_id_of_the_set_never_matches(ids: list[SpiffeId], text: str) -> None:
    """Other text, even a near relative of an ID, does not match the pattern of a set."""
    known = {str(each) for each in ids}
    for candidate in (text, f"spiffe://{text}", *(f"{each}{text}" for each in known)):
        assert matches(authorize_one_of(ids), candidate) <= (candidate in known)


@given(AUTHORIZERS, st.text(max_size=40))
def test_only_spiffe_ids_match(authorizer: Authorizer, text: str) -> None:
    """Whatever matches is a SPIFFE ID."""
    for candidate in (text, f"spiffe://{text}", *(f"{each}/{text}" for each in PREFIXES)):
        if matches(authorizer, candidate):
            assert str(SpiffeId.parse(candidate)) == candidate


@pytest.mark.parametrize(
    ("tail", "matched"),
    [
        ("/.", False),
        ("/..", False),
        ("/../x", False),
        ("/x/../../y", False),
        ("/...", True),
        ("/.a", True),
        ("/..a", True),
        ("/a..", True),
        ("/.-", True),
        ("/..../x", True),
        ("//x", False),
        ("/", False),
    ],
)
def test_dot_segments_are_no_segments(tail: str, matched: bool) -> None:
    """No pattern lets a path climb out of its prefix (R-ID-09)."""
    domain = TrustDomain.parse("td")
    for authorizer in (
        authorize_any(),
        authorize_member_of(domain),
        authorize_path_prefix(domain, "/ns"),
    ):
        assert matches(authorizer, f"spiffe://td/ns{tail}") == matched


@pytest.mark.parametrize("text", ["", "a", "\n", "spiffe://td/x", NOBODY, "\x00", "ü"])
def test_the_pattern_of_nobody_matches_nothing(text: str) -> None:
    """An empty allow list admits nobody."""
    assert san_patterns(authorize_one_of([])) == (NOBODY,)
    assert re.fullmatch(NOBODY, text) is None


def test_a_long_list_becomes_several_patterns() -> None:
    """Core bounds the size of one pattern, so that a long list is cut; nobody is lost."""
    domain = TrustDomain.parse("td")
    ids = [SpiffeId.of(domain, f"w{number}") for number in range(1001)]
    patterns = san_patterns(authorize_one_of(ids))
    assert len(patterns) == 6
    assert all(any(re.fullmatch(each, str(one)) for each in patterns) for one in ids)
    assert not any(re.fullmatch(each, "spiffe://td/w1001") for each in patterns)


def test_an_authorizer_without_a_pattern_is_refused() -> None:
    """Core cannot ask Python code, and nothing wider is given to it in silence."""

    class Custom:
        trust_domains = None

        def authorize(self, spiffe_id: SpiffeId, /) -> None:
            """Let everybody in."""

    with pytest.raises(ConfigError, match="use authorize_id, authorize_one_of"):
        san_patterns(Custom())
