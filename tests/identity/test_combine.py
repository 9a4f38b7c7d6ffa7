"""Authorizers made of authorizers."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import ConfigError, PeerNotAuthorizedError
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_id,
    authorize_member_of,
    authorize_one_of,
    authorize_path_prefix,
)
from serviceradar_security.identity.combine import AllOf, NoneOf, all_of, any_of, none_of
from serviceradar_security.identity.spiffe_id import SpiffeId
from tests.identity.test_authorizer import ALL, CORE, FOREIGN, LOCAL, PARTNER, POLLER, let_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.spiffe_id import TrustDomain

MEMBERS = authorize_member_of(LOCAL)
SIMPLE = st.one_of(
    st.sets(st.sampled_from(ALL)).map(authorize_one_of),
    st.sampled_from([LOCAL, PARTNER]).map(authorize_member_of),
    st.sampled_from(["/ns", "/ns/demo/sa", "/ns/demo/sa/core"]).map(
        lambda prefix: authorize_path_prefix(LOCAL, prefix)
    ),
    st.just(authorize_any()),
)
_BY_TEXT = {str(each): each for each in ALL}
_DOMAINS = {LOCAL.name: LOCAL, PARTNER.name: PARTNER}
_NAMES: dict[str, Any] = {
    "all_of": all_of,
    "any_of": any_of,
    "none_of": none_of,
    "authorize_any": authorize_any,
    "authorize_id": lambda text: authorize_one_of([_BY_TEXT[text]]),
    "authorize_one_of": lambda texts: authorize_one_of([_BY_TEXT[each] for each in texts]),
    "authorize_member_of": lambda name: authorize_member_of(_DOMAINS[name]),
    "authorize_path_prefix": lambda name, path: authorize_path_prefix(_DOMAINS[name], path),
}
PARTS = st.lists(SIMPLE, min_size=1, max_size=3)
NESTED: st.SearchStrategy[Authorizer] = st.recursive(
    SIMPLE,
    lambda inner: st.tuples(
        st.sampled_from([all_of, any_of, none_of]), st.lists(inner, min_size=1, max_size=3)
    ).map(lambda made: made[0](*made[1])),
    max_leaves=6,
)


@dataclass(frozen=True)
class Broken:
    """An authorizer that fails in its own way."""

    trust_domains: frozenset[TrustDomain] | None = None

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        raise LookupError("no table")


@given(PARTS)
def test_the_three_are_what_they_are_called(parts: list[Authorizer]) -> None:
    """`all_of` is the intersection of those who are let in, `any_of` the union, `none_of` the rest."""
    each = [set(let_in(part)) for part in parts]

    assert set(let_in(all_of(*parts))) == set.intersection(*each)
    assert set(let_in(any_of(*parts))) == set[SpiffeId]().union(*each)
    assert set(let_in(none_of(*parts))) == set(ALL) - set[SpiffeId]().union(*each)


@given(NESTED)
def test_no_combination_accepts_outside_its_bound(authorizer: Authorizer) -> None:
    """Whoever is let in is of one of the trust domains that the combination names, if it does."""
    bound = authorizer.trust_domains

    assert isinstance(authorizer, Authorizer)
    assert bound is None or {each.trust_domain for each in let_in(authorizer)} <= bound


@pytest.mark.parametrize(
    ("authorizer", "expected"),
    [
        (all_of(MEMBERS, none_of(authorize_id(CORE))), {LOCAL}),
        (all_of(MEMBERS, authorize_member_of(PARTNER)), set()),
        (all_of(authorize_any(), none_of(MEMBERS)), None),
        (any_of(MEMBERS, authorize_id(FOREIGN)), {LOCAL, PARTNER}),
        (any_of(MEMBERS, authorize_any()), None),
        (any_of(), set()),
        (none_of(MEMBERS), None),
    ],
)
def test_the_trust_domains_that_could_be_accepted(
    authorizer: Authorizer,
    expected: set[TrustDomain] | None,
) -> None:
    """The bound is the intersection, the union, and for an exclusion none."""
    assert authorizer.trust_domains == expected


def test_none_given_admits_nobody_or_is_refused() -> None:
    """An empty `any_of` admits nobody; where nothing would mean everybody, nothing is refused."""
    assert let_in(any_of()) == []
    for combine in (all_of, none_of):
        with pytest.raises(ConfigError, match="would let everybody in"):
            combine()


@pytest.mark.parametrize("combine", [all_of, any_of, none_of])
@pytest.mark.parametrize(
    "value", [None, "authorize_any", CORE, LOCAL, type(MEMBERS), authorize_any]
)
def test_what_is_no_authorizer(combine: Callable[..., Authorizer], value: Any) -> None:
    """Only authorizers are taken: no ID, no class, no function that was not called."""
    with pytest.raises(ConfigError, match="takes authorizers"):
        combine(MEMBERS, value)


@pytest.mark.parametrize(
    "authorizer",
    [
        all_of(MEMBERS, Broken()),
        any_of(Broken(), MEMBERS),
        none_of(Broken()),
        none_of(authorize_id(POLLER), Broken()),
        all_of(MEMBERS, none_of(any_of(Broken()))),
    ],
)
def test_a_broken_authorizer_lets_nobody_in(authorizer: Authorizer) -> None:
    """An error that is no refusal is handed on: it is no answer, not even for an exclusion."""
    with pytest.raises(LookupError):
        authorizer.authorize(CORE)


@pytest.mark.parametrize(
    ("authorizer", "text"),
    [
        (all_of(MEMBERS, authorize_id(POLLER)), f"{CORE} is not let in: expected {POLLER}"),
        (
            any_of(authorize_id(POLLER), authorize_member_of(PARTNER)),
            (
                f"{CORE} is not let in: expected authorize_id('{POLLER}') or "
                "authorize_member_of('partner.example')"
            ),
        ),
        (any_of(), f"{CORE} is not let in: expected nobody"),
        (
            none_of(MEMBERS),
            f"{CORE} is not let in: it is excluded by authorize_member_of('example.org')",
        ),
    ],
)
def test_the_reason_is_said(authorizer: Authorizer, text: str) -> None:
    """A refusal names the part that decided."""
    with pytest.raises(PeerNotAuthorizedError) as caught:
        authorizer.authorize(CORE)

    assert str(caught.value) == text
    assert caught.value.spiffe_id == CORE


def test_a_long_list_is_shortened_in_the_refusal() -> None:
    """The refusal shows a few of the parts and counts the rest."""
    with pytest.raises(PeerNotAuthorizedError, match=r"or 7 more$"):
        any_of(*[authorize_id(POLLER)] * 10).authorize(CORE)


@given(NESTED)
def test_combinations_are_values(authorizer: Authorizer) -> None:
    """They are compared, hashed, copied and pickled by their parts; `repr` is the call."""
    for again in (
        copy.deepcopy(authorizer),
        pickle.loads(pickle.dumps(authorizer)),  # noqa: S301 - our own
        eval(repr(authorizer), _NAMES),  # noqa: S307 - our own
    ):
        assert again == authorizer
        assert hash(again) == hash(authorizer)


@dataclass(frozen=True)
class Answering:
    """An authorizer that answers instead of returning or raising."""

    answer: object
    trust_domains: frozenset[TrustDomain] | None = None

    def authorize(self, spiffe_id: SpiffeId, /) -> Any:
        return self.answer


@dataclass(frozen=True)
class Awaited:
    """An authorizer that nobody awaits."""

    trust_domains: frozenset[TrustDomain] | None = None

    async def authorize(self, spiffe_id: SpiffeId, /) -> None:
        raise PeerNotAuthorizedError("no", spiffe_id=spiffe_id)


@pytest.mark.parametrize(
    "part", [Answering(answer=False), Answering(answer=True), Answering("no"), Awaited()]
)
@pytest.mark.parametrize("combine", [all_of, any_of, none_of])
def test_only_a_plain_return_is_a_yes(combine: Callable[..., Authorizer], part: Any) -> None:
    """An answer, be it False or a coroutine, is neither yes nor no: it is an error."""
    with pytest.raises(TypeError, match="returns None or raises"):
        combine(part).authorize(CORE)


@pytest.mark.parametrize("kind", [AllOf, NoneOf])
def test_nothing_is_not_combined_behind_the_back(kind: Callable[..., Authorizer]) -> None:
    """The classes refuse what their functions refuse, also by `replace` and from a pickle."""
    with pytest.raises(ConfigError, match="would let everybody in"):
        kind(())
    made: Any = kind((MEMBERS,))
    with pytest.raises(ConfigError, match="would let everybody in"):
        replace(made, authorizers=())


@pytest.mark.parametrize("bound", [{"example.org"}, "example.org", ["x"], 7])
@pytest.mark.parametrize("combine", [all_of, any_of])
def test_a_bound_is_a_set_of_trust_domains(combine: Callable[..., Authorizer], bound: Any) -> None:
    """What is no set of trust domains would load the wrong roots, and is refused."""
    with pytest.raises(ConfigError, match="give a set of TrustDomain"):
        _ = combine(Answering(None, bound)).trust_domains
    loose: Any = {LOCAL}
    assert combine(Answering(None, loose)).trust_domains == frozenset((LOCAL,))


def test_refusals_stay_short() -> None:
    """However many IDs a part has, the refusal names a few of them."""
    ids = [SpiffeId.parse(f"spiffe://example.org/w{number}") for number in range(5000)]
    for authorizer in (any_of(authorize_one_of(ids)), none_of(authorize_one_of([*ids, CORE]))):
        with pytest.raises(PeerNotAuthorizedError) as caught:
            authorizer.authorize(CORE)
        assert len(str(caught.value)) < 1200
