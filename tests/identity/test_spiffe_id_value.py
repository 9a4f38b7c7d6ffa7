"""SPIFFE IDs and trust domains as values: equality, order, copies, and that they never change."""

from __future__ import annotations

import copy
import enum
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.identity.spiffe_ids import patient, segments, trust_domains


@patient
@given(trust_domains, st.lists(segments, max_size=6))
def test_round_trips(name: str, parts: list[str]) -> None:
    """Text to ID to text, segments to ID to segments, copies and pickles lose nothing."""
    text = f"spiffe://{name}" + "".join(f"/{part}" for part in parts)
    parsed = SpiffeId.parse(text)

    assert str(parsed) == text
    assert parsed.segments == tuple(parts)
    assert SpiffeId.of(parsed.trust_domain, *parts) == parsed
    assert TrustDomain.parse(text) == parsed.trust_domain == TrustDomain.parse(name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(parsed, protocol)) == parsed  # noqa: S301 - our own
    for again in (copy.copy(parsed), copy.deepcopy(parsed), SpiffeId.parse(text)):
        assert again == parsed
        assert hash(again) == hash(parsed)
        assert not again < parsed


@patient
@given(st.lists(st.tuples(trust_domains, st.lists(segments, max_size=3)), max_size=8))
def test_order_is_that_of_trust_domain_and_path(parts: list[tuple[str, list[str]]]) -> None:
    """IDs sort by trust domain, then by path, in every operator."""
    ids = [SpiffeId.of(TrustDomain.parse(name), *path) for name, path in parts]

    assert sorted(ids) == sorted(ids, key=lambda each: (each.trust_domain.name, each.path))
    for one in ids:
        for other in ids:
            assert (one < other) is not (one >= other)
            assert (one <= other) is (one < other or one == other)
            assert (one == other) is (str(one) == str(other))
            assert (hash(one) == hash(other)) or one != other


def test_equality_is_byte_for_byte() -> None:
    """Case in the path counts, and so does every character (R-ID-13, R-ID-16)."""
    base = SpiffeId.parse("spiffe://td/a")

    assert base != SpiffeId.parse("spiffe://td/A")
    assert base != SpiffeId.parse("spiffe://td/a/a")
    assert base != SpiffeId.parse("spiffe://td.a/a")
    assert len({base, SpiffeId.parse("spiffe://td/a"), SpiffeId.parse("spiffe://td/b")}) == 2


def test_an_id_is_never_equal_to_text() -> None:
    """Neither an ID nor a trust domain equals a string, or each other, in any direction (R-ID-16)."""
    spiffe_id = SpiffeId.parse("spiffe://td")
    trust_domain = TrustDomain.parse("td")
    strangers = ["spiffe://td", "td", b"td", None, ("td", ""), object()]

    for value in (spiffe_id, trust_domain):
        for other in strangers:
            assert value != other
            assert other != value
            assert other not in {value}  # noqa: FURB171 - the hash must tell them apart too
        with pytest.raises(TypeError):
            _ = value < "td"
        with pytest.raises(TypeError):
            _ = value >= "td"
    assert spiffe_id != trust_domain
    assert len({spiffe_id, trust_domain, "spiffe://td", "td"}) == 4


@pytest.mark.parametrize(
    "value",
    [SpiffeId.parse("spiffe://td/a"), TrustDomain.parse("td")],
    ids=["id", "trust domain"],
)
def test_values_do_not_change(value: SpiffeId | TrustDomain) -> None:
    """No attribute can be set, deleted or added."""
    before = (str(value), hash(value))

    for name in ("_name", "_path", "_trust_domain", "path", "name", "new", "__class__"):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")
        with pytest.raises(AttributeError):
            delattr(value, name)
    with pytest.raises(AttributeError):
        _ = value.__dict__
    assert (str(value), hash(value)) == before


@pytest.mark.parametrize("kind", [SpiffeId, TrustDomain])
def test_there_is_no_way_round_the_parser(kind: type[SpiffeId | TrustDomain]) -> None:
    """The classes cannot be called, with whatever arguments."""
    for arguments in ((), ("spiffe://td/a",), (TrustDomain.parse("td"), "/..")):
        with pytest.raises(TypeError, match="parse"):
            kind(*arguments)
    with pytest.raises(TypeError, match="parse"):
        kind(text="td")


def test_member_of_is_equality_of_whole_names() -> None:
    """No parent, no child, no suffix, no wildcard, no text is the trust domain (R-ID-18)."""
    spiffe_id = SpiffeId.parse("spiffe://prod.example.org/a")

    assert spiffe_id.member_of(TrustDomain.parse("prod.example.org"))
    for other in ("example.org", "a.prod.example.org", "prod.example.or", "xprod.example.org"):
        assert not spiffe_id.member_of(TrustDomain.parse(other))
    assert not spiffe_id.member_of("prod.example.org")  # type: ignore[arg-type]  # text is nothing
    assert not spiffe_id.member_of(spiffe_id)  # type: ignore[arg-type]  # nor is an ID


class Misleading(str, enum.Enum):  # noqa: UP042 - this older kind is what misleads
    """Text that formats itself as something else than what it holds."""

    NAME = "td"
    SEGMENT = "core"


def test_text_of_a_subclass_is_taken_for_what_it_holds() -> None:
    """An enum of strings gives its value, not what it calls itself when it is formatted."""
    trust_domain = TrustDomain.parse(Misleading.NAME)
    spiffe_id = SpiffeId.of(trust_domain, Misleading.SEGMENT)

    assert type(trust_domain.name) is str
    assert str(spiffe_id) == "spiffe://td/core"
    assert type(spiffe_id.path) is str
    assert f"{Misleading.SEGMENT}" == "Misleading.SEGMENT"  # what would have got in
