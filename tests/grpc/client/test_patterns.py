"""Patterns: core accepts exactly whom the authorizer accepts."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import ConfigError, PeerNotAuthorizedError
from serviceradar_security.grpc.client.patterns import NOBODY, host_patterns, san_patterns
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_member_of,
    authorize_one_of,
    authorize_path_prefix,
)
from serviceradar_security.identity.combine import any_of
from serviceradar_security.identity.host import HostName
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


# ---- host names ----------------------------------------------------------------------------------

ODD = (chr(0x17F), chr(0x212A))  # which Unicode folds to "s" and "k"
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?", fullmatch=True)
HOSTS = (
    st.lists(LABELS, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda name: not name.rpartition(".")[2].isdigit())
)


def names_host(presented: str, host: str) -> bool:
    """Compare as RFC 9525 section 6.3 has it, label by label; written without a pattern."""
    ours, theirs = host.split("."), presented.translate(LOWER).split(".")
    if len(ours) != len(theirs):
        return False
    first = theirs[0] == ours[0] or (theirs[0] == "*" and len(ours) > 1)
    return first and theirs[1:] == ours[1:]


def host_matches(host: str, presented: str) -> bool:
    """Tell whether core would take a certificate's name for a host."""
    return any(re.fullmatch(each, presented) for each in host_patterns(HostName.parse(host)))


@given(HOSTS, HOSTS, st.sampled_from(["", "*", "*.", "a", ".", "\n", "\0", *ODD]))
def test_host_names(host: str, other: str, extra: str) -> None:
    """The pattern agrees with the rule on names, wildcards of each place, and what is near them."""
    labels = host.split(".")
    wild = ["*", *labels[1:]]
    presented = [host, host.upper(), other, ".".join(wild), ".".join(["*", *labels])]
    presented += [f"{extra}{host}", f"{host}{extra}", f"*.{other}", ".".join(labels[1:])]
    presented += [host.replace("s", ODD[0]).replace("k", ODD[1]), host.replace(".", "x")]
    for each in presented:
        assert host_matches(host, each) == names_host(each, host), each


@pytest.mark.parametrize(
    ("host", "presented", "matched"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127x0.0.1", False),
        ("127.0.0.1", "*.0.0.1", False),
        ("127.0.0.1", "127.0.0.10", False),
        ("2001:DB8::0:1", "2001:db8::1", True),
        ("2001:db8::1", "2001:DB8::1", False),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4", True),
        ("::1", "::1", True),
        ("::1", "::11", False),
    ],
)
def test_addresses(host: str, presented: str, matched: bool) -> None:
    """An address is compared whole, in the form in which core writes it."""
    assert host_matches(host, presented) == matched
