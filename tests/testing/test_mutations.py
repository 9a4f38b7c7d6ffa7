"""Every mutation of the fake authority: what it makes, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, get_args

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from serviceradar_security.errors import ConfigError, PeerVerificationError, X509SvidError
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.verify import verify_x509_svid
from serviceradar_security.testing import FakeAuthority
from serviceradar_security.testing.authority import Mutations
from serviceradar_security.testing.certificates import KeyType

if TYPE_CHECKING:
    from serviceradar_security.testing import IssuedCertificate

NOW = datetime(2031, 5, 6, 12, tzinfo=UTC)
WORKLOAD = SpiffeId.parse("spiffe://example.org/ns/demo/sa/core")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.9"), b"\x05\0")
OTHER = FakeAuthority("example.org", now=lambda: NOW)

# The mutation, and the reason for which a client with it is refused; empty if it is let in.
VERDICTS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"ttl": -1.0}, "expired"),
    ({"not_after": NOW - timedelta(seconds=1)}, "expired"),
    ({"not_before": NOW + timedelta(seconds=1)}, "not_yet_valid"),
    ({"skew": 60.0}, "not_yet_valid"),
    ({"skew": 5.0}, ""),  # within the ten seconds by which the begin is dated back
    ({"skew": -3601.0}, "expired"),
    ({"skew": -60.0}, ""),
    ({"uris": ()}, "no_spiffe_id"),
    ({"uris": [str(WORKLOAD), str(WORKLOAD)]}, "several_uri_sans"),
    ({"uris": ["https://example.org/x"]}, "no_spiffe_id"),
    ({"uris": ["spiffe://example.org"]}, "not_a_workload_id"),
    ({"uris": ["spiffe://elsewhere.org/x"]}, "unknown_trust_domain"),
    ({"uris": (), "common_name": str(WORKLOAD)}, "no_spiffe_id"),
    ({"uris": (), "dns_names": [str(WORKLOAD)]}, "no_spiffe_id"),
    ({"dns_names": ["localhost"]}, ""),
    ({"other_names": [x509.IPAddress(ip_address("192.0.2.1"))]}, ""),
    ({"common_name": "core"}, ""),
    ({"subject": x509.Name([])}, ""),
    ({"ca": True}, "is_ca"),
    ({"ca": True, "path_length": 0}, "is_ca"),
    ({"ca": None}, ""),
    ({"key_usage": None}, "key_usage"),
    ({"key_usage": ()}, "key_usage"),
    ({"key_usage": ("digital_signature", "key_cert_sign")}, "key_usage"),
    ({"key_usage": ("key_agreement",)}, "key_usage"),
    ({"key_usage_critical": False}, ""),
    ({"roles": ("server",)}, "purpose"),
    ({"roles": ("1.3.6.1.5.5.7.3.4",)}, "purpose"),
    ({"roles": ("client",)}, ""),
    ({"roles": None}, ""),
    ({"key_type": "p384"}, ""),
    ({"key_type": "p521"}, ""),
    ({"key_type": "rsa1024"}, "weak_key"),
    ({"key_type": "rsa2048"}, ""),
    ({"key_type": "ed25519"}, ""),
    ({"key_type": "ed448"}, "weak_key"),
    ({"wrong_key": True}, ""),  # a TLS handshake finds it: the certificate itself is good
    ({"unknown_critical": True}, "untrusted_chain"),
    ({"extensions": [(UNKNOWN, False)]}, ""),
    ({"extensions": [(UNKNOWN, True)]}, "untrusted_chain"),
    ({"intermediates": 2}, ""),
    ({"intermediates": 2, "with_root": True}, ""),
    ({"intermediates": 1, "leaf_only": True}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"ca": False}}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"ca": None}}, "untrusted_chain"),
    ({"intermediates": 2, "intermediate": {"path_length": 0}}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"path_length": 0}}, ""),
    ({"intermediates": 1, "intermediate": {"key_usage": ("crl_sign",)}}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"not_after": NOW - timedelta(1)}}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"not_before": NOW + timedelta(1)}}, "untrusted_chain"),
    ({"intermediates": 1, "intermediate": {"extensions": [(UNKNOWN, True)]}}, "untrusted_chain"),
    ({"stranger": True}, "untrusted_chain"),
    ({"stranger": True, "intermediates": 1}, "untrusted_chain"),
    ({"self_signed": True}, "untrusted_chain"),
    ({"tampered": True}, "untrusted_chain"),
]
# What may not be loaded as an identity of our own, whoever signed it.
UNLOADABLE = {"no_spiffe_id", "several_uri_sans", "not_a_workload_id", "is_ca", "key_usage"}


def verdict(authority: FakeAuthority, issued: IssuedCertificate) -> str:
    """Give the reason of a refusal, or nothing."""
    bundles = {authority.trust_domain: authority.bundle}
    try:
        verify_x509_svid(issued.chain_der, bundles, at=NOW, purpose="client")
    except PeerVerificationError as error:
        return error.reason
    return ""


def named(value: object) -> str | None:
    return str(value)[:60] or "accepted" if isinstance(value, dict | str) else None


@pytest.fixture
def authority() -> FakeAuthority:
    return FakeAuthority("example.org", now=lambda: NOW)


@pytest.mark.parametrize(("mutation", "reason"), VERDICTS, ids=named)
def test_what_becomes_of_a_mutation(
    mutation: dict[str, Any],
    reason: str,
    authority: FakeAuthority,
) -> None:
    """A certificate with one mutation is refused for its own reason, or let in."""
    assert verdict(authority, authority.issue_certificate(WORKLOAD, **mutation)) == reason


def test_each_mutation_is_tried() -> None:
    """No keyword of the authority is without a case above."""
    tried = {name for mutation, _ in VERDICTS for name in mutation}

    assert set(Mutations.__annotations__) - tried == {"key"}  # see test_authority


@pytest.mark.parametrize(
    "mutation",
    [each for each, reason in VERDICTS if reason in UNLOADABLE]
    + [{"wrong_key": True}, {"key_type": "p521"}, {"key_type": "rsa1024"}, {"key_type": "ed448"}]
    + [{"intermediates": 1, "intermediate": {"ca": False}}],
    ids=named,
)
def test_what_is_no_identity_of_our_own(
    mutation: dict[str, Any],
    authority: FakeAuthority,
) -> None:
    """`issue` refuses what no Workload API client would load."""
    with pytest.raises(X509SvidError):
        authority.issue(WORKLOAD, **mutation)


@pytest.mark.parametrize(
    "mutation",
    [{"ttl": -1.0}, {"skew": 60.0}, {"stranger": True}, {"tampered": True}, {"roles": None}],
    ids=named,
)
def test_what_only_a_peer_finds_out(mutation: dict[str, Any], authority: FakeAuthority) -> None:
    """`issue` gives SVIDs whose fault is one of time or trust: they load like any other."""
    assert authority.issue(WORKLOAD, **mutation).spiffe_id == WORKLOAD


@pytest.mark.parametrize("kind", get_args(KeyType))
def test_key_types(kind: KeyType, authority: FakeAuthority) -> None:
    """Each kind of key is made, and fits its certificate in both forms."""
    issued = authority.issue_certificate(WORKLOAD, key_type=kind)

    assert issued.key.public_key() == issued.leaf.public_key()
    assert kind in {
        f"p{getattr(issued.key, 'key_size', 0)}",
        f"rsa{getattr(issued.key, 'key_size', 0)}",
        type(issued.key).__name__.removesuffix("PrivateKey").lower(),
    }


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_roots_of_other_keys(kind: KeyType) -> None:
    """An authority may sign with each kind of key, and its SVIDs verify."""
    authority = FakeAuthority("example.org", now=lambda: NOW, key_type=kind)

    assert verdict(authority, authority.issue_certificate(WORKLOAD, intermediates=1)) == ""
    authority.rotate()
    assert verdict(authority, authority.issue_certificate(WORKLOAD)) == ""


@pytest.mark.parametrize(
    ("mutation", "named_in_it"),
    [
        ({"key_type": "p224"}, "'p224'"),
        ({"key_type": "rsa2048 "}, "'rsa2048 '"),
        ({"key_usage": ("sign",)}, "'sign'"),
        ({"roles": ("clients",)}, "clients"),
    ],
)
def test_what_there_is_not(
    mutation: dict[str, Any],
    named_in_it: str,
    authority: FakeAuthority,
) -> None:
    """A misspelt choice is refused by our error, which names it and the choices."""
    with pytest.raises(ConfigError, match=named_in_it):
        authority.issue_certificate(WORKLOAD, **mutation)


def test_a_mutation_that_there_is_not(authority: FakeAuthority) -> None:
    """A misspelt keyword is refused, and the error lists those that there are."""
    with pytest.raises(ConfigError, match=r"no mutation of a certificate 'uri': take .*, uris,"):
        authority.issue(WORKLOAD, uri=())  # type: ignore[call-arg]  # the point of the test


def test_a_stranger_has_the_name_and_not_the_key(authority: FakeAuthority) -> None:
    """A stranger's certificate names the real root as its issuer, and its signature does not fit."""
    root = authority.bundle.authorities[0]
    leaf = authority.issue_certificate(WORKLOAD, stranger=True).leaf

    assert leaf.issuer == root.subject
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(root)


def test_a_tampered_certificate_reads_well(authority: FakeAuthority) -> None:
    """All of a tampered certificate can be read, and only the signature does not fit."""
    issued = authority.issue_certificate(WORKLOAD, tampered=True)

    names = issued.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(WORKLOAD)]
    with pytest.raises(InvalidSignature):
        issued.leaf.verify_directly_issued_by(authority.bundle.authorities[0])


def test_wrong_key_is_of_the_same_kind(authority: FakeAuthority) -> None:
    """The key that comes with a certificate in place of its own differs in nothing but its value."""
    issued = authority.issue_certificate(WORKLOAD, wrong_key=True, key_type="p384")

    assert isinstance(issued.key, ec.EllipticCurvePrivateKey)
    assert issued.key.curve.name == "secp384r1"
    assert issued.key.public_key() != issued.leaf.public_key()


def test_a_self_signed_certificate(authority: FakeAuthority) -> None:
    """A self-signed one is signed by its own key, under its own name."""
    leaf = authority.issue_certificate(WORKLOAD, self_signed=True).leaf

    leaf.verify_directly_issued_by(leaf)


def test_an_empty_subject_makes_names_critical(authority: FakeAuthority) -> None:
    """Without a subject the names are critical, as RFC 5280 asks (R-X509-10); with one they are not."""
    for subject, critical in ((x509.Name([]), True), (None, False)):
        leaf = authority.issue_certificate(WORKLOAD, subject=subject).leaf
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.critical is critical


def test_the_chain_is_as_asked_for(authority: FakeAuthority) -> None:
    """Intermediates and the root are there, or are not."""
    root = authority.bundle.authorities[0]
    for mutation, count, has_root in (
        ({}, 1, False),
        ({"with_root": True}, 2, True),
        ({"intermediates": 2}, 3, False),
        ({"intermediates": 2, "with_root": True}, 4, True),
        ({"intermediates": 2, "leaf_only": True}, 1, False),
        ({"intermediates": 2, "leaf_only": True, "with_root": True}, 2, True),
    ):
        chain = authority.issue_certificate(WORKLOAD, **mutation).chain
        assert len(chain) == count
        assert (chain[-1] == root) is has_root


def test_nothing_shows_a_key(authority: FakeAuthority) -> None:
    """What is printed of a certificate or an authority holds no byte of a key."""
    issued = authority.issue_certificate(WORKLOAD)

    assert repr(issued) == f"IssuedCertificate({str(WORKLOAD)!r}, 1 certificates)"
    assert repr(authority) == "FakeAuthority('example.org', 1 roots)"
