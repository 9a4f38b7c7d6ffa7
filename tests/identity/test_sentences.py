"""What the refusals of IDs, authorizers and snapshots say, word for word: one case per sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import (
    ConfigError,
    PeerNotAuthorizedError,
    SpiffeIdError,
    X509SvidError,
)
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_id,
    authorize_member_of,
    authorize_one_of,
    authorize_path_prefix,
)
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.combine import all_of, any_of, none_of
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from tests.identity.own import GOOD, LEAF, pkcs8
from tests.identity.pki import LOCAL, PARTNER, WORKLOAD, bundle, der

if TYPE_CHECKING:
    from collections.abc import Callable

IDS = [SpiffeId.of(LOCAL, name) for name in "dcba"]
MEMBER = authorize_member_of(LOCAL)
SVID = X509Svid.parse(der(GOOD)[0], pkcs8(LEAF.key), hint="main")
TEXT: Any = "td"
NUMBER: Any = 7
BARE = X509Svid.parse(der(GOOD)[0], pkcs8(LEAF.key))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (7, "a SPIFFE ID is text, not int"),
        (
            "example.org/x",
            (
                "'example.org/x' does not begin with 'spiffe://': a SPIFFE ID is a whole URI "
                "(SPIFFE-ID section 2)"
            ),
        ),
        (
            "spiffe://td/a?b",
            "'spiffe://td/a?b' has a query: a SPIFFE ID has none (SPIFFE-ID section 2)",
        ),
        (
            "spiffe://td/a#b",
            "'spiffe://td/a#b' has a fragment: a SPIFFE ID has none (SPIFFE-ID section 2)",
        ),
        (
            "spiffe:///a",
            "'spiffe:///a' has no trust domain: write one (SPIFFE-ID section 2.1)",
        ),
        (
            "spiffe://TD/a",
            (
                "trust domain 'TD' has a character that is not allowed: only a-z 0-9 . - _, in lower "
                "case, without user, port or escapes (SPIFFE-ID section 2.1)"
            ),
        ),
        (
            "spiffe://" + "a" * 256,
            "the trust domain of 'spiffe://" + "a" * 110 + "… (267 characters) has 256 "
            "characters: at most 255 (SPIFFE-ID section 2.3)",
        ),
        (
            "spiffe://td/",
            "'spiffe://td/' has an empty path segment or ends with a slash (SPIFFE-ID section 2.2)",
        ),
        (
            "spiffe://td/a//!",
            (
                "'spiffe://td/a//!' has an empty path segment or ends with a slash (SPIFFE-ID section "
                "2.2)"
            ),
        ),
        (
            "spiffe://td/a/%41/!",
            (
                "'spiffe://td/a/%41/!' has the path segment '%41': only a-z A-Z 0-9 . - _ are allowed, "
                "and no escapes (SPIFFE-ID section 2.2)"
            ),
        ),
        (
            "spiffe://td/a/../b",
            (
                "'spiffe://td/a/../b' has the path segment '..': it is never resolved (SPIFFE-ID "
                "section 2.2)"
            ),
        ),
        (
            "spiffe://td/./b",
            (
                "'spiffe://td/./b' has the path segment '.': it is never resolved (SPIFFE-ID section "
                "2.2)"
            ),
        ),
    ],
)
def test_of_a_text_that_is_no_id(text: Any, sentence: str) -> None:
    """The sentence quotes the text, names the rule and its section."""
    with pytest.raises(SpiffeIdError) as caught:
        SpiffeId.parse(text)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("size", "quoted"),
    [(118, repr("!" * 118)), (119, "'" + "!" * 119 + "… (121 characters)")],
)
def test_of_the_length_of_a_quotation(size: int, quoted: str) -> None:
    """A text is quoted whole up to 120 characters, and shortened beyond."""
    with pytest.raises(SpiffeIdError) as caught:
        TrustDomain.parse("!" * size)

    assert str(caught.value).startswith(f"trust domain {quoted} has a character")


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda: TrustDomain.parse(NUMBER), "a trust domain is text, not int"),
        (
            lambda: TrustDomain.parse(""),
            "'' has no trust domain: write one (SPIFFE-ID section 2.1)",
        ),
        (
            lambda: SpiffeId.of(TEXT),
            "trust domain 'td' is not a TrustDomain: use TrustDomain.parse(text)",
        ),
        (
            lambda: SpiffeId.of(LOCAL, ".."),
            (
                "path segment '..' is not allowed: one or more of a-z A-Z 0-9 . - _, and not '.' or "
                "'..' (SPIFFE-ID section 2.2)"
            ),
        ),
        (
            lambda: SpiffeId.of(LOCAL, "a" * 2028),
            "a SPIFFE ID of 2049 bytes is too long: at most 2048 (SPIFFE-ID section 2.3)",
        ),
        (
            lambda: authorize_one_of([TEXT]),
            "an authorizer takes SpiffeId objects, not str: use SpiffeId.parse(text)",
        ),
        (
            lambda: authorize_member_of(TEXT),
            "an authorizer takes a TrustDomain, not str: use TrustDomain.parse(text)",
        ),
        *(
            (
                lambda prefix=prefix: authorize_path_prefix(LOCAL, prefix),
                (
                    f"a path prefix begins with a slash, as '/ns/demo', and is not {prefix!a}: use "
                    "authorize_member_of(trust_domain) for all of a trust domain"
                ),
            )
            for prefix in ("", "ns", None)
        ),
    ],
)
def test_of_arguments_that_make_no_id(attempt: Callable[[], object], sentence: str) -> None:
    """The sentence says what was given and what to write instead."""
    with pytest.raises(SpiffeIdError) as caught:
        attempt()

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (TrustDomain, "a TrustDomain is made by TrustDomain.parse(text)"),
        (SpiffeId, "a SpiffeId is made by SpiffeId.parse(text) or SpiffeId.of(td, *segments)"),
        (X509Svid, "an X509Svid is made by X509Svid.parse or X509Svid.from_pem"),
        (type(bundle()), "a TrustBundle is made by from_der, from_pem or from_jwks"),
    ],
)
def test_of_a_class_that_is_called(attempt: Callable[[], object], sentence: str) -> None:
    """Whoever calls the class reads which functions make one."""
    with pytest.raises(TypeError) as caught:
        attempt()

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (LOCAL, "a TrustDomain"),
        (WORKLOAD, "a SpiffeId"),
        (SVID, "an X509Svid"),
        (bundle(), "a TrustBundle"),
        (X509Context(svids=[], bundles={}), "an X509Context"),
        (BundleSet({}, {}), "a BundleSet"),
    ],
)
def test_of_a_change(value: object, name: str) -> None:
    """A value that does not change says so, and of which attribute."""
    with pytest.raises(AttributeError) as setting:
        value._name = "x"  # type: ignore[attr-defined]  # that is the case
    with pytest.raises(AttributeError) as deleting:
        del value._name  # type: ignore[attr-defined]  # likewise

    assert str(setting.value) == f"{name} does not change: '_name' cannot be set"
    assert str(deleting.value) == f"{name} does not change: '_name' cannot be deleted"


@pytest.mark.parametrize(
    ("authorizer", "expected"),
    [
        (authorize_one_of([]), "expected nobody"),
        (authorize_id(IDS[0]), "expected spiffe://example.org/d"),
        (
            authorize_one_of(IDS[:3]),
            "expected spiffe://example.org/b or spiffe://example.org/c or spiffe://example.org/d",
        ),
        (
            authorize_one_of(IDS),
            (
                "expected spiffe://example.org/a or spiffe://example.org/b or spiffe://example.org/c "
                "or 1 more"
            ),
        ),
        (authorize_member_of(LOCAL), "expected a member of example.org"),
        (
            authorize_path_prefix(LOCAL, "/ns"),
            "expected spiffe://example.org/ns or an ID below it",
        ),
        (any_of(), "expected nobody"),
        (
            any_of(*(authorize_id(each) for each in IDS[:3])),
            (
                "expected authorize_id('spiffe://example.org/d') or "
                "authorize_id('spiffe://example.org/c') or authorize_id('spiffe://example.org/b')"
            ),
        ),
        (
            any_of(*(authorize_id(each) for each in IDS)),
            (
                "expected authorize_id('spiffe://example.org/d') or "
                "authorize_id('spiffe://example.org/c') or authorize_id('spiffe://example.org/b') "
                "or 1 more"
            ),
        ),
        (none_of(MEMBER, authorize_any()), "it is excluded by authorize_any()"),
        (all_of(authorize_any(), MEMBER), "expected a member of example.org"),
    ],
    ids=repr,
)
def test_of_a_peer_that_is_not_let_in(authorizer: Authorizer, expected: str) -> None:
    """The sentence names the peer and who was expected, and the error holds the peer's ID."""
    peer = SpiffeId.of(PARTNER, "x")

    with pytest.raises(PeerNotAuthorizedError) as caught:
        authorizer.authorize(peer)

    assert str(caught.value) == f"spiffe://partner.example/x is not let in: {expected}"
    assert caught.value.spiffe_id is peer


@pytest.mark.parametrize(("name", "combine"), [("all_of", all_of), ("none_of", none_of)])
def test_of_a_combination_of_nothing(name: str, combine: Callable[[], Authorizer]) -> None:
    """The sentence says what it would do and what to write where that is meant."""
    with pytest.raises(ConfigError) as caught:
        combine()

    assert str(caught.value) == (
        f"{name}() of nothing would let everybody in: give an authorizer, or write "
        "authorize_any() where that is meant"
    )


@pytest.mark.parametrize(
    ("name", "combine"),
    [("all_of", all_of), ("any_of", any_of), ("none_of", none_of)],
)
@pytest.mark.parametrize(("given", "kind"), [("x", "str"), (type(MEMBER), "type")])
def test_of_a_combination_of_others(
    name: str,
    combine: Callable[..., Authorizer],
    given: object,
    kind: str,
) -> None:
    """The sentence names the function and the type, be it the second argument."""
    with pytest.raises(ConfigError) as caught:
        combine(MEMBER, given)

    assert str(caught.value) == f"{name} takes authorizers, as authorize_id(...), not {kind}"


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (
            lambda: X509Context(svids=[TEXT], bundles={}),
            "an X509Context holds X509Svid objects only",
        ),
        (
            lambda: X509Context(svids=[SVID], bundles={}, default=BARE),
            "the default identity is not one of the snapshot's SVIDs",
        ),
        (
            lambda: X509Context(svids=[], bundles={PARTNER: bundle()}),
            (
                "an X509Context cannot hold these bundles: each TrustBundle stands under its own "
                "trust domain, not under 'partner.example'"
            ),
        ),
        (
            lambda: X509Context(svids=[], bundles={}).default,
            "this snapshot has bundles only, and no identity to present",
        ),
        (
            lambda: X509Context(svids=[SVID, BARE, SVID], bundles={}).by_hint("x"),
            "no identity has the hint 'x' (there are: 'main', 'main')",
        ),
        (
            lambda: X509Context(svids=[BARE], bundles={}).by_hint(""),
            "no identity has the hint '' (there are: none)",
        ),
    ],
)
def test_of_a_snapshot(attempt: Callable[[], object], sentence: str) -> None:
    """The sentence says what a snapshot holds, or what this one lacks."""
    with pytest.raises(X509SvidError) as caught:
        attempt()

    assert str(caught.value) == sentence
