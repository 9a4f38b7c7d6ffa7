"""Extensions and name constraints along a path (R-X509-08, -11, -13, -15, -16)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from serviceradar_security.errors import PeerVerificationError
from tests.identity.chains import (
    DIRECT,
    LEAF,
    MIDDLE,
    ROOT,
    ROOT_CERTIFICATE,
    STRANGER,
    THROUGH,
    UNKNOWN,
    refusal,
    verdict,
)
from tests.identity.mutations import uri_name
from tests.identity.pki import (
    LOCAL,
    WORKLOAD,
    Party,
    bundle,
    certificate,
    key_usage,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACES = ["leaf", "intermediate", "anchor"]
FALSE = x509.BasicConstraints(ca=False, path_length=None)
TRUE = x509.BasicConstraints(ca=True, path_length=None)


def accepted(
    place: str,
    extension: x509.ExtensionType,
    *,
    critical: bool,
    leaf: Sequence[x509.GeneralName] = (),
    **changes: Any,
) -> bool:
    """Tell whether a path holds with an extension in this place; else it is untrusted."""
    own = [(extension, critical)]
    shown = certificate(
        LEAF,
        MIDDLE,
        **{"uris": (), **(changes if place == "leaf" else {})},
        extensions=[(uri_name(*leaf), False), *(own if place == "leaf" else ())],
    )
    middle = signer(
        MIDDLE,
        ROOT,
        **(changes if place == "intermediate" else {}),
        extensions=own if place == "intermediate" else (),
    )
    root = signer(
        ROOT,
        ROOT,
        **(changes if place == "anchor" else {}),
        extensions=own if place == "anchor" else (),
    )
    try:
        return verdict([shown, middle], {LOCAL: bundle(root)}) == WORKLOAD
    except PeerVerificationError as error:
        assert error.reason == "untrusted_chain"  # noqa: PT017 - both ways are fine
        return False


# ---- extensions --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(raw_extension(UNKNOWN, b"\x05\0"), id="unknown"),
        pytest.param(
            x509.CertificatePolicies(
                [x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)]
            ),
            id="policies",
        ),
        pytest.param(x509.InhibitAnyPolicy(0), id="inhibit any policy"),
        pytest.param(x509.IssuerAlternativeName([x509.DNSName("a")]), id="issuer's other names"),
        pytest.param(
            x509.CRLDistributionPoints(
                [
                    x509.DistributionPoint(
                        [x509.UniformResourceIdentifier("http://crl.example.org")], None, None, None
                    )
                ]
            ),
            id="CRL distribution points",
        ),
    ],
)
def test_a_critical_extension_that_is_not_processed(
    place: str, extension: x509.ExtensionType
) -> None:
    """Critical, it refuses the path wherever it stands; otherwise it changes nothing (R-X509-15)."""
    assert not accepted(place, extension, critical=True)
    assert accepted(place, extension, critical=False)


@pytest.mark.parametrize("critical", [True, False])
def test_a_critical_extension_beside_the_path(critical: bool) -> None:
    """A certificate that is not on the path refuses nothing (R-X509-22)."""
    extensions = [(raw_extension(UNKNOWN, b"\x05\0"), critical)]
    surplus = signer(STRANGER, STRANGER, extensions=extensions)
    twin = signer(ROOT, ROOT, extensions=extensions)

    assert verdict([DIRECT, surplus]) == WORKLOAD
    assert verdict([DIRECT], {LOCAL: bundle(twin, ROOT_CERTIFICATE)}) == WORKLOAD


@pytest.mark.parametrize(
    ("place", "changes", "extension"),
    [
        pytest.param(
            "leaf", {"usage": None}, key_usage("digital_signature"), id="key usage of the leaf"
        ),
        pytest.param(
            "intermediate",
            {"usage": None},
            key_usage("key_cert_sign"),
            id="key usage of an intermediate",
        ),
        pytest.param(
            "anchor", {"usage": None}, key_usage("key_cert_sign"), id="key usage of an anchor"
        ),
        pytest.param("leaf", {"ca": None}, FALSE, id="constraints of the leaf"),
        pytest.param("intermediate", {"ca": None}, TRUE, id="constraints of an intermediate"),
        pytest.param("anchor", {"ca": None}, TRUE, id="constraints of an anchor"),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
def test_the_mark_of_being_critical_is_the_issuers_duty(
    place: str, changes: dict[str, Any], extension: x509.ExtensionType, critical: bool
) -> None:
    """Key usage and basic constraints count alike with the mark and without it (R-X509-08)."""
    assert accepted(place, extension, critical=critical, **changes)


@pytest.mark.parametrize("place", ["intermediate", "anchor"])
@pytest.mark.parametrize(
    "uris",
    [
        ["spiffe://example.org"],
        ["spiffe://example.org/authority"],
        ["spiffe://partner.example"],
        ["spiffe://example.org/"],
        ["spiffe://example.org", "spiffe://partner.example"],
        ["https://example.org"],
        [""],
    ],
)
def test_the_names_of_signing_certificates_play_no_part(place: str, uris: list[str]) -> None:
    """Whatever URI a signing certificate carries, the leaf's alone is the identity (R-X509-13)."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(each) for each in uris])

    assert accepted(place, names, critical=False)


@pytest.mark.parametrize("place", ["intermediate", "anchor"])
@pytest.mark.parametrize("oid", ["2.5.29.15", "2.5.29.19", "2.5.29.30"])
@pytest.mark.parametrize("critical", [True, False])
def test_a_rule_of_a_signing_certificate_that_cannot_be_read(
    place: str, oid: str, critical: bool
) -> None:
    """Key usage, basic and name constraints never read as absent, and cost nobody else a path (R-X509-11)."""
    without: dict[str, Any] = {"2.5.29.15": {"usage": None}, "2.5.29.19": {"ca": None}}.get(oid, {})
    odd: Any = {**without, "extensions": [(raw_extension(oid, b"\x04\0"), critical)]}

    assert not accepted(place, odd["extensions"][0][0], critical=critical, **without)
    middle, root = signer(MIDDLE, ROOT), signer(ROOT, ROOT)
    beside = signer(MIDDLE, ROOT, **odd) if place == "intermediate" else signer(ROOT, ROOT, **odd)
    for order in ((beside, middle), (middle, beside)):
        if place == "intermediate":
            assert verdict([THROUGH, *order], {LOCAL: bundle(root)}) == WORKLOAD
        else:
            assert verdict([THROUGH, middle], {LOCAL: bundle(beside, root)}) == WORKLOAD


# ---- name constraints --------------------------------------------------------------------------

DNS, ADDRESS = x509.DNSName("core.example.org"), x509.IPAddress(ip_address("192.0.2.1"))
MAIL = x509.RFC822Name("core@example.org")


def net(text: str) -> x509.IPAddress:
    """Make a constraint on addresses."""
    return x509.IPAddress(ip_network(text))


@pytest.mark.parametrize("place", ["intermediate", "anchor"])
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("excluded", [True, False])
@pytest.mark.parametrize("host", ["example.org", ".example.org", "partner.example"])
@pytest.mark.parametrize("leaf", [(), (DNS,)], ids=["URI alone", "URI and DNS name"])
def test_uri_name_constraints_fail_closed(
    place: str, critical: bool, excluded: bool, host: str, leaf: tuple[x509.GeneralName, ...]
) -> None:
    """URI constraints cannot be weighed here, so a path with one is no path (R-X509-16)."""
    names = [x509.UniformResourceIdentifier(host)]
    constraint = x509.NameConstraints(*((None, names) if excluded else (names, None)))

    assert not accepted(place, constraint, critical=critical, leaf=leaf)


@pytest.mark.parametrize("place", ["intermediate", "anchor"])
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("name", "fits", "other"),
    [
        pytest.param(DNS, x509.DNSName("core.example.org"), x509.DNSName("other.org"), id="DNS"),
        pytest.param(DNS, x509.DNSName("example.org"), x509.DNSName("org.example"), id="parent"),
        pytest.param(ADDRESS, net("192.0.2.0/24"), net("198.51.100.0/24"), id="address"),
        pytest.param(ADDRESS, net("192.0.2.1/32"), net("2001:db8::/32"), id="family"),
        pytest.param(MAIL, x509.RFC822Name("example.org"), x509.RFC822Name("other.org"), id="mail"),
    ],
)
def test_constraints_on_other_names_are_kept(
    place: str, critical: bool, name: x509.GeneralName, fits: x509.GeneralName, other: Any
) -> None:
    """They bind names of their kind, and a leaf without such a name is free of them (R-X509-15)."""
    for allowed, constraint in (
        (True, x509.NameConstraints([fits], None)),
        (False, x509.NameConstraints([other], None)),
        (False, x509.NameConstraints(None, [fits])),
        (True, x509.NameConstraints(None, [other])),
    ):
        assert accepted(place, constraint, critical=critical, leaf=(name,)) is allowed
        assert accepted(place, constraint, critical=critical)


def test_constraints_of_several_steps_are_all_kept() -> None:
    """A name must pass the constraints of every certificate above it (R-X509-15)."""
    upper = Party("upper")

    def constrained(name: str) -> list[tuple[x509.ExtensionType, bool]]:
        return [(x509.NameConstraints([x509.DNSName(name)], None), True)]

    leaf = certificate(LEAF, MIDDLE, uris=(), extensions=[(uri_name(DNS), False)])
    for below, above, good in (
        ("core.example.org", "example.org", True),
        ("example.org", "core.example.org", True),
        ("core.example.org", "other.org", False),
        ("other.org", "example.org", False),
    ):
        chain = [
            leaf,
            signer(MIDDLE, upper, extensions=constrained(below)),
            signer(upper, ROOT, extensions=constrained(above)),
        ]
        if good:
            assert verdict(chain) == WORKLOAD
        else:
            assert refusal(chain).reason == "untrusted_chain"
