"""Trust domain names: section 2 of the requirements, character by character."""

from __future__ import annotations

import pytest

from serviceradar_security.identity.spiffe_id import (
    MAX_TRUST_DOMAIN_BYTES,
    SpiffeId,
    TrustDomain,
)
from tests.identity.spiffe_ids import (
    CHARACTERS,
    TRUST_DOMAIN_CHARACTERS,
    accepts,
    accepts_trust_domain,
)


@pytest.mark.parametrize("template", ["{}", "{}td", "t{}d", "td{}"])
def test_every_character_of_a_bare_trust_domain(template: str) -> None:
    """A bare name obeys the grammar of the authority (R-TD-01)."""
    accepted = {each for each in CHARACTERS if accepts_trust_domain(template.format(each))}

    assert accepted == set(TRUST_DOMAIN_CHARACTERS)


@pytest.mark.parametrize(
    "name",
    ["a..b", ".a", "a.", "-a", "a-", "a_b", "_", ".", "..", "999.1.1.1", "xn--a", "0", "a.b.c"],
)
def test_a_trust_domain_is_no_dns_name(name: str) -> None:
    """Names that DNS would refuse or change are legal, and stay what they are (R-TD-02)."""
    assert TrustDomain.parse(name).name == name
    assert TrustDomain.parse(f"spiffe://{name}/p").name == name
    assert TrustDomain.parse(name) != TrustDomain.parse(f"{name}.")


@pytest.mark.parametrize(
    "text",
    ["spiffe://td//x", "spiffe://td/", "spiffe://td/..", "spiffe://td/%41", "spiffe:///x", "td/x"],
)
def test_the_id_given_for_a_trust_domain_is_checked_whole(text: str) -> None:
    """A good trust domain before a bad path is refused (R-TD-03)."""
    assert not accepts_trust_domain(text)


def test_the_own_id_of_a_trust_domain() -> None:
    """A trust domain's own ID has no path (R-TD-04)."""
    trust_domain = TrustDomain.parse("td")

    assert repr(trust_domain) == "TrustDomain('td')"
    assert str(trust_domain) == "td"
    assert str(trust_domain.id) == "spiffe://td"
    assert trust_domain.id == SpiffeId.parse("spiffe://td") == SpiffeId.of(trust_domain)
    assert trust_domain.id.segments == ()


@pytest.mark.parametrize(
    ("size", "accepted"),
    [(1, True), (MAX_TRUST_DOMAIN_BYTES, True), (MAX_TRUST_DOMAIN_BYTES + 1, False), (9999, False)],
)
def test_the_longest_trust_domain(size: int, accepted: bool) -> None:
    """A trust domain has 255 bytes at most, with and without a path (R-ID-11)."""
    assert accepts("spiffe://" + "a" * size) is accepted
    assert accepts("spiffe://" + "a" * size + "/p") is accepted
    assert accepts_trust_domain("a" * size) is accepted
