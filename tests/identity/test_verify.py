"""The verdict on a chain: path, trust domains, rotation and clock (R-X509-12 to -24)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.verify import (
    verify_x509_svid,
)
from tests.identity.chains import (
    DIRECT,
    LEAF,
    MIDDLE,
    MIDDLE_CERTIFICATE,
    NAMESAKE,
    ROOT,
    ROOT_CERTIFICATE,
    SECOND,
    STRANGER,
    THROUGH,
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
    Party,
    authority,
    bundle,
    certificate,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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


# ---- chain and trust ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        pytest.param([THROUGH, MIDDLE_CERTIFICATE], [ROOT_CERTIFICATE], id="plain"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, ROOT_CERTIFICATE], [ROOT_CERTIFICATE], id="root sent"
        ),
        pytest.param(
            [THROUGH, ROOT_CERTIFICATE, signer(STRANGER, STRANGER), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="order and surplus",
        ),  # R-X509-22
        pytest.param(
            [THROUGH, THROUGH, MIDDLE_CERTIFICATE, MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="repeated",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, ROOT_CERTIFICATE, NAMESAKE, ROOT_CERTIFICATE],
            [NAMESAKE, ROOT_CERTIFICATE],
            id="two roots of one name, sent too",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, NAMESAKE, NAMESAKE, NAMESAKE],
            [ROOT_CERTIFICATE],
            id="a root of the same name, sent thrice",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, STRANGER), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="cross-signed, the other first",
        ),  # R-X509-20
        pytest.param(
            [THROUGH, signer(Party("middle"), ROOT), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="a namesake first",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, end=NOW - SECOND), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="an expired twin first",
        ),
        pytest.param([THROUGH], [MIDDLE_CERTIFICATE], id="anchor not self-signed"),  # R-X509-19
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [MIDDLE_CERTIFICATE],
            id="anchor not self-signed, sent too",
        ),
        pytest.param(
            [DIRECT],
            [signer(Party("root"), Party("root")), ROOT_CERTIFICATE],
            id="a root of the same name before",
        ),
        pytest.param(
            [DIRECT],
            [ROOT_CERTIFICATE, signer(Party("root"), Party("root"))],
            id="a root of the same name after",
        ),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, end=NOW - SECOND), ROOT_CERTIFICATE],
            id="the root's expired twin before",
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, path_length=0)], id="path length 0, direct"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [signer(ROOT, ROOT, path_length=1)],
            id="path length 1, one intermediate",
        ),
    ],
)
def test_chains_that_lead_to_an_authority(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
) -> None:
    """Order, surplus, namesakes and rotation do not hide a path that is there."""
    assert verdict(chain, {LOCAL: bundle(*roots)}) == WORKLOAD


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        pytest.param([certificate(LEAF, Party("root"))], [ROOT_CERTIFICATE], id="forged issuer"),
        pytest.param([THROUGH], [ROOT_CERTIFICATE], id="intermediate missing"),
        pytest.param(
            [certificate(LEAF, STRANGER), signer(STRANGER, STRANGER)],
            [ROOT_CERTIFICATE],
            id="the peer's own root",
        ),  # R-X509-21
        pytest.param([certificate(LEAF, LEAF)], [ROOT_CERTIFICATE], id="self-signed"),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, ca=False)],
            [ROOT_CERTIFICATE],
            id="intermediate without cA",
        ),  # R-X509-12
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, ca=None)],
            [ROOT_CERTIFICATE],
            id="intermediate without basic constraints",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, usage=None)],
            [ROOT_CERTIFICATE],
            id="intermediate without key usage",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, usage=("digital_signature", "crl_sign"))],
            [ROOT_CERTIFICATE],
            id="intermediate without keyCertSign",
        ),
        pytest.param(
            [certificate(LEAF, MIDDLE), certificate(MIDDLE, ROOT)],
            [ROOT_CERTIFICATE],
            id="a workload that signs",
        ),  # R-X509-14
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, end=NOW - SECOND)],
            [ROOT_CERTIFICATE],
            id="intermediate expired",
        ),  # R-X509-15
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, begin=NOW + SECOND)],
            [ROOT_CERTIFICATE],
            id="intermediate not yet valid",
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, end=NOW - SECOND)], id="anchor expired"),  # -23
        pytest.param([DIRECT], [signer(ROOT, ROOT, begin=NOW + SECOND)], id="anchor to come"),
        pytest.param([DIRECT], [signer(ROOT, ROOT, ca=False)], id="anchor without cA"),
        pytest.param([DIRECT], [signer(ROOT, ROOT, ca=None)], id="anchor without constraints"),
        pytest.param([DIRECT], [DIRECT], id="the leaf as anchor"),
        pytest.param([DIRECT], [DIRECT, ROOT_CERTIFICATE], id="the leaf among the anchors"),
        pytest.param([certificate(LEAF, LEAF)] * 2, [certificate(LEAF, LEAF)], id="its twin"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [signer(ROOT, ROOT, path_length=0)],
            id="path length of the anchor",
        ),
        pytest.param(
            [
                certificate(LEAF, STRANGER),
                signer(STRANGER, MIDDLE),
                signer(MIDDLE, ROOT, path_length=0),
            ],
            [ROOT_CERTIFICATE],
            id="path length of an intermediate",
        ),
        pytest.param(
            [certificate(LEAF, ROOT, extensions=[(raw_extension(UNKNOWN, b"\x05\0"), True)])],
            [ROOT_CERTIFICATE],
            id="unknown critical extension in the leaf",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, extensions=[(raw_extension(UNKNOWN, b"\5\0"), True)])],
            [ROOT_CERTIFICATE],
            id="unknown critical extension in an intermediate",
        ),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, extensions=[(raw_extension(UNKNOWN, b"\5\0"), True)])],
            id="unknown critical extension in the anchor",
        ),
        pytest.param([DIRECT], [], id="empty bundle"),  # R-X509-17
    ],
)
def test_chains_that_lead_nowhere(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
) -> None:
    """Each of these is untrusted, and the message tells ID and trust domain."""
    error = refusal(chain, {LOCAL: bundle(*roots)})

    assert error.reason == "untrusted_chain"
    assert error.spiffe_id == WORKLOAD
    assert str(WORKLOAD) in str(error)
    assert "example.org" in str(error)


@pytest.mark.parametrize(
    "constraint",
    [
        pytest.param(([x509.UniformResourceIdentifier("example.org")], None), id="permits us"),
        pytest.param(([x509.UniformResourceIdentifier("other.org")], None), id="permits another"),
        pytest.param((None, [x509.UniformResourceIdentifier("example.org")]), id="excludes us"),
        pytest.param((None, [x509.UniformResourceIdentifier("other.org")]), id="excludes another"),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("where", ["intermediate", "anchor"])
def test_uri_name_constraints_fail_closed(constraint: Any, critical: bool, where: str) -> None:
    """The validator cannot weigh URI constraints, so a path with one is no path (R-X509-16)."""
    extensions = [(x509.NameConstraints(*constraint), critical)]
    middle = signer(MIDDLE, ROOT, extensions=extensions if where == "intermediate" else ())
    root = signer(ROOT, ROOT, extensions=extensions if where == "anchor" else ())

    assert refusal([THROUGH, middle], {LOCAL: bundle(root)}).reason == "untrusted_chain"


@pytest.mark.parametrize(
    ("permitted", "accepted"),
    [(["core.example.org"], True), (["example.org"], True), (["other.org"], False)],
)
def test_dns_name_constraints_are_kept(permitted: list[str], accepted: bool) -> None:
    """A constraint on DNS names holds for the DNS names of the leaf (R-X509-15)."""
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(str(WORKLOAD)), x509.DNSName("core.example.org")],
    )
    leaf = certificate(LEAF, MIDDLE, uris=(), extensions=[(names, False)])
    constraint = x509.NameConstraints([x509.DNSName(each) for each in permitted], None)
    middle = signer(MIDDLE, ROOT, extensions=[(constraint, True)])

    if accepted:
        assert verdict([leaf, middle]) == WORKLOAD
    else:
        assert refusal([leaf, middle]).reason == "untrusted_chain"


@pytest.mark.parametrize(
    ("make", "accepted"),
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), True, id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), True, id="P-384"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), True, id="P-521"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), True, id="RSA 2048"),
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), False, id="RSA 1024"),  # noqa: S505
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), False, id="secp256k1"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, False, id="Ed25519"),
    ],
)
def test_kinds_of_authorities(make: Callable[[], Any], accepted: bool) -> None:
    """Which keys of authorities the validator takes; the others are refused, never skipped over."""
    root = Party("root", make())
    bundles = {LOCAL: bundle(signer(root, root))}
    leaf = certificate(LEAF, root)

    if accepted:
        assert verdict([leaf], bundles) == WORKLOAD
    else:
        assert refusal([leaf], bundles).reason == "untrusted_chain"


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


@pytest.mark.parametrize("position", range(5))
def test_roots_of_one_name(position: int) -> None:
    """Of five roots with one subject and no key identifiers, each is found (R-X509-20)."""
    parties = [Party("root") for _ in range(5)]
    bundles = {LOCAL: bundle(*(signer(each, each) for each in parties))}

    assert verdict([certificate(LEAF, parties[position])], bundles) == WORKLOAD
    assert refusal([certificate(LEAF, Party("root"))], bundles).reason == "untrusted_chain"


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
