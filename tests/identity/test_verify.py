"""The verdict on a chain: path, trust domains, rotation and clock (R-X509-12 to -24)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.verify import (
    verify_x509_svid,
)
from tests.identity.chains import (
    BUNDLES,
    DIRECT,
    LEAF,
    MIDDLE,
    ROOT,
    ROOT_CERTIFICATE,
    SECOND,
    TICK,
    UNKNOWN,
    refusal,
    verdict,
)
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    PARTNER,
    WORKLOAD,
    authority,
    bundle,
    certificate,
    der,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from serviceradar_security.identity.leaf import Purpose


# ---- good chains -------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["client", "server", None])
@pytest.mark.parametrize("intermediates", [0, 1, 2, 14])
def test_a_good_chain(intermediates: int, purpose: Purpose | None) -> None:
    """A chain to an authority of the own trust domain proves the leaf's ID."""
    issuing = authority()
    issued = issuing.issue_certificate(WORKLOAD, intermediates=intermediates)

    found = verify_x509_svid(issued.chain_der, {LOCAL: issuing.bundle}, at=NOW, purpose=purpose)

    assert found == WORKLOAD


def test_what_plays_no_part_in_identity() -> None:
    """Subject, CN, DNS names and other kinds of names are never an identity (R-X509-03)."""
    issuing = authority()
    issued = issuing.issue_certificate(
        WORKLOAD,
        common_name="spiffe://example.org/admin",
        dns_names=["admin.example.org", "spiffe://example.org/admin"],
    )

    found = verify_x509_svid(issued.chain_der, {LOCAL: issuing.bundle}, at=NOW, purpose=None)

    assert found == WORKLOAD


# ---- the order of the rules --------------------------------------------------------------------

EXPIRED = {"not_after": NOW - HOUR}
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("no_spiffe_id", {"uris": ["https://example.org/x"]}),
    ("is_ca", {"ca": True}),
    ("key_usage", {"key_usage": ("key_agreement",)}),
    ("expired", EXPIRED),
    ("unknown_trust_domain", {}),
    ("untrusted_chain", {}),
    ("purpose", {"roles": ("server",)}),
]


@pytest.mark.parametrize(
    ("first", "second"), list(combinations(range(len(FAULTS)), 2)), ids=lambda each: FAULTS[each][0]
)
def test_the_order_of_the_rules(first: int, second: int) -> None:
    """Of two faults the earlier rule's is told: leaf, validity, bundle, path, purpose (R-X509-24)."""
    ours, other = authority(), authority()
    chosen = FAULTS[first], FAULTS[second]
    issued = ours.issue_certificate(
        WORKLOAD, **{name: value for _, changes in chosen for name, value in changes.items()}
    )
    reasons = {reason for reason, _ in chosen}
    trusted = other.bundle if "untrusted_chain" in reasons else ours.bundle
    bundles = {} if "unknown_trust_domain" in reasons else {LOCAL: trusted}

    assert refusal(issued.chain_der, bundles).reason == chosen[0][0]


# ---- trust domains -----------------------------------------------------------------------------


def test_each_domain_is_verified_against_its_own_bundle() -> None:
    """Peers of both domains are proven, each by its own authority (R-X509-17)."""
    local, partner = authority(), authority(PARTNER)
    bundles = {LOCAL: local.bundle, PARTNER: partner.bundle}

    assert verdict(local.issue_certificate(WORKLOAD).chain_der, bundles) == WORKLOAD
    foreign = SpiffeId.parse("spiffe://partner.example/ns/demo/sa/core")
    assert verdict(partner.issue_certificate(foreign).chain_der, bundles) == foreign


@pytest.mark.parametrize("intermediates", [0, 1])
@pytest.mark.parametrize("with_root", [True, False])
def test_a_federated_authority_cannot_mint_a_local_id(intermediates: int, with_root: bool) -> None:
    """The federated domain's root is loaded, and still no anchor for our IDs (R-X509-18)."""
    local, partner = authority(), authority(PARTNER)
    forged = partner.issue_certificate(WORKLOAD, intermediates=intermediates)
    chain = [*forged.chain_der, *(partner.bundle.der if with_root else ())]

    error = refusal(chain, {LOCAL: local.bundle, PARTNER: partner.bundle})

    assert error.reason == "untrusted_chain"
    assert error.spiffe_id == WORKLOAD


def test_a_local_authority_cannot_mint_a_federated_id() -> None:
    """The wall stands in both directions."""
    local, partner = authority(), authority(PARTNER)
    forged = local.issue_certificate("spiffe://partner.example/x")

    error = refusal(forged.chain_der, {LOCAL: local.bundle, PARTNER: partner.bundle})

    assert error.reason == "untrusted_chain"


@pytest.mark.parametrize(
    "trust_domain",
    ["org", "sub.example.org", "example.org.", "xample.org", "example.or", "partner.example"],
)
def test_no_other_bundle_stands_in(trust_domain: str) -> None:
    """Neither a parent's, a child's nor a neighbour's bundle is asked, though it holds the root (R-X509-17)."""
    other = TrustDomain.parse(trust_domain)

    error = refusal([DIRECT], {other: bundle(ROOT_CERTIFICATE, of=other)})

    assert error.reason == "unknown_trust_domain"
    assert error.spiffe_id == WORKLOAD
    assert f"known: {trust_domain}" in str(error)


def test_a_bundle_filed_under_a_foreign_name() -> None:
    """A mapping that lends one domain's authorities to another is not believed."""
    error = refusal([DIRECT], {LOCAL: bundle(ROOT_CERTIFICATE, of=PARTNER)})

    assert error.reason == "unknown_trust_domain"
    assert "partner.example" in str(error)


def test_known_domains_are_listed_up_to_a_few() -> None:
    """The refusal of an unknown domain names some of the known ones and counts the rest."""
    names = [f"td{number:02}" for number in range(30)]
    bundles = {TrustDomain.parse(each): bundle(of=TrustDomain.parse(each)) for each in names}

    assert "known: td00, td01, td02, td03, td04 and 25 more" in str(refusal([DIRECT], bundles))
    assert "known: none" in str(refusal([DIRECT], {}))


# ---- rotation ----------------------------------------------------------------------------------


def test_the_steps_of_an_authority_rotation() -> None:
    """Prepared, activated and revoked roots trust what they should, step by step."""
    issuing = authority()
    old = issuing.issue_certificate(WORKLOAD).chain_der

    issuing.prepare()
    still_old = issuing.issue_certificate(WORKLOAD).chain_der
    assert verdict(old, {LOCAL: issuing.bundle}) == WORKLOAD
    assert verdict(still_old, {LOCAL: issuing.bundle}) == WORKLOAD
    issuing.activate()
    new = issuing.issue_certificate(WORKLOAD).chain_der
    assert verdict(old, {LOCAL: issuing.bundle}) == WORKLOAD
    assert verdict(new, {LOCAL: issuing.bundle}) == WORKLOAD
    issuing.revoke()
    assert refusal(old, {LOCAL: issuing.bundle}).reason == "untrusted_chain"
    assert refusal(still_old, {LOCAL: issuing.bundle}).reason == "untrusted_chain"
    assert verdict(new, {LOCAL: issuing.bundle}) == WORKLOAD


# ---- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - SECOND, "not_yet_valid"),
        (NOW - TICK, "not_yet_valid"),
        (NOW, None),
        (NOW + TICK, None),
        (NOW + HOUR - TICK, None),
        (NOW + HOUR, None),
        (NOW + HOUR + TICK, "expired"),
        (NOW + HOUR + SECOND, "expired"),
        (NOW + timedelta(days=36500), "expired"),
        (NOW - timedelta(days=36500), "not_yet_valid"),
    ],
)
def test_the_edges_of_validity(at: datetime, reason: str | None) -> None:
    """Both ends of the validity belong to it, to the microsecond, in whatever time zone."""
    root = signer(ROOT, ROOT, begin=NOW - HOUR * 9000, end=NOW + HOUR * 9000)
    chain = [certificate(LEAF, ROOT, begin=NOW, end=NOW + HOUR)]

    for zone in (NOW.tzinfo, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))):
        clock = at.astimezone(zone)
        if reason is None:
            assert verdict(chain, {LOCAL: bundle(root)}, at=clock) == WORKLOAD
        else:
            assert refusal(chain, {LOCAL: bundle(root)}, at=clock).reason == reason


def test_the_message_tells_by_how_much() -> None:
    """Expired and to come are told in seconds, with the time in UTC."""
    late = refusal([DIRECT], at=NOW + HOUR + timedelta(seconds=90))
    early = refusal([DIRECT], at=NOW - HOUR - timedelta(seconds=90))

    assert "expired 90 s ago, at 2031-05-06T13:30:00Z by our clock" in str(late)
    assert "begins in 90 s, at 2031-05-06T11:30:00Z by our clock" in str(early)


def test_the_time_is_aware() -> None:
    """A naive time is the caller's mistake, and said so, whatever the chain."""
    with pytest.raises(TypeError, match="timezone-aware"):
        verdict([], at=datetime(2031, 5, 6))  # noqa: DTZ001 - the mistake is the test


@pytest.mark.parametrize("purpose", ["", "Client", "both", b"client", 1])
def test_the_purpose_is_one_of_three(purpose: Any) -> None:
    """An unknown purpose is the caller's mistake, and never reads as none."""
    with pytest.raises(ValueError, match="purpose"):
        verdict([DIRECT], purpose=purpose)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param(None, id="nothing"),
        pytest.param(der(DIRECT)[0], id="bytes"),
        pytest.param("x", id="text"),
        pytest.param([1], id="a number"),
        pytest.param([None], id="a list of nothing"),
        pytest.param(iter(der(DIRECT)), id="an iterator"),
    ],
)
def test_a_chain_is_a_sequence_of_certificates(chain: Any) -> None:
    """Another type is the caller's mistake, and said to be one."""
    with pytest.raises(TypeError, match="sequence of DER certificates"):
        verify_x509_svid(chain, BUNDLES, at=NOW, purpose=None)


def test_the_size_of_a_whole_chain_has_a_limit() -> None:
    """Certificates within their own limit may not add up to megabytes (R-X509-25)."""
    big = signer(MIDDLE, ROOT, extensions=[(raw_extension(UNKNOWN, bytes(60_000)), False)])

    assert verdict([DIRECT, *[big] * 4]) == WORKLOAD
    assert refusal([DIRECT, *[big] * 5]).reason == "limit"
