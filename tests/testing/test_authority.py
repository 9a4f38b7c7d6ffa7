"""The fake authority: good by default, wrong exactly where it is told to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serviceradar_security.errors import PeerVerificationError, SpiffeIdError, X509SvidError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.verify import verify_x509_svid
from serviceradar_security.testing.authority import FakeAuthority

NOW = datetime(2031, 5, 6, 12, tzinfo=UTC)
WORKLOAD = SpiffeId.parse("spiffe://example.org/ns/demo/sa/core")


@pytest.fixture
def authority() -> FakeAuthority:
    return FakeAuthority("example.org", now=lambda: NOW)


def verify(authority: FakeAuthority, chain: tuple[bytes, ...], at: datetime = NOW) -> SpiffeId:
    """Verify against the authority's bundle."""
    bundles = {authority.trust_domain: authority.bundle}
    return verify_x509_svid(chain, bundles, at=at, purpose="client")


def test_it_takes_a_name_or_a_trust_domain() -> None:
    """Both name the same, and nonsense is refused by our error."""
    assert FakeAuthority("example.org").trust_domain == TrustDomain.parse("example.org")
    assert FakeAuthority(TrustDomain.parse("example.org")).trust_domain.name == "example.org"
    with pytest.raises(SpiffeIdError):
        FakeAuthority("Example.Org")


def test_a_good_svid(authority: FakeAuthority) -> None:
    """By default an SVID passes every rule, for an hour from ten seconds ago, in both roles."""
    svid = authority.issue(WORKLOAD)

    assert svid.spiffe_id == WORKLOAD
    assert verify(authority, svid.chain_der) == WORKLOAD
    assert svid.not_before == NOW - timedelta(seconds=10)
    assert svid.not_after == NOW + timedelta(hours=1)
    assert len(svid.certificates) == 1
    usages = svid.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert authority.issue(str(WORKLOAD)).spiffe_id == WORKLOAD


def test_each_issue_is_new(authority: FakeAuthority) -> None:
    """Two SVIDs of one ID differ in key and serial number."""
    one, other = authority.issue(WORKLOAD), authority.issue(WORKLOAD)

    assert one != other
    assert one.leaf.serial_number != other.leaf.serial_number
    assert one.leaf.public_key() != other.leaf.public_key()


@pytest.mark.parametrize(
    ("changes", "begin", "end"),
    [
        ({"ttl": 60.0}, NOW - timedelta(seconds=10), NOW + timedelta(seconds=60)),
        (
            {"not_after": NOW + timedelta(days=2)},
            NOW - timedelta(seconds=10),
            NOW + timedelta(days=2),
        ),
        (
            {"not_before": NOW + timedelta(minutes=5)},
            NOW + timedelta(minutes=5),
            NOW + timedelta(hours=1),
        ),
        # An end before the begin pulls the begin along: there is no such certificate otherwise.
        (
            {"not_after": NOW - timedelta(days=2)},
            NOW - timedelta(days=2, seconds=1),
            NOW - timedelta(days=2),
        ),
        ({"ttl": -60.0}, NOW - timedelta(seconds=61), NOW - timedelta(seconds=60)),
    ],
)
def test_validity(
    changes: dict[str, Any],
    begin: datetime,
    end: datetime,
    authority: FakeAuthority,
) -> None:
    """Times are what was asked for, on the authority's clock."""
    svid = authority.issue(WORKLOAD, **changes)

    assert (svid.not_before, svid.not_after) == (begin, end)


def test_the_ttl_of_the_authority() -> None:
    """An authority may have a life of its own for what it issues."""
    svid = FakeAuthority("example.org", now=lambda: NOW, ttl=10.0).issue(WORKLOAD)

    assert svid.not_after == NOW + timedelta(seconds=10)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_intermediates(count: int, authority: FakeAuthority) -> None:
    """The chain has as many intermediates as asked for, in order, and leads to the root."""
    issued = authority.issue_certificate(WORKLOAD, intermediates=count)

    assert len(issued.chain) == count + 1
    for child, parent in zip(issued.chain, issued.chain[1:], strict=False):
        assert child.issuer == parent.subject
        child.verify_directly_issued_by(parent)
    issued.chain[-1].verify_directly_issued_by(authority.bundle.authorities[0])
    assert verify(authority, issued.chain_der) == WORKLOAD


MUTATIONS: dict[str, dict[str, Any]] = {
    "no_spiffe_id": {"uris": ()},
    "several_uri_sans": {"uris": [str(WORKLOAD), str(WORKLOAD)]},
    "not_a_workload_id": {"uris": ["spiffe://example.org"]},
    "is_ca": {"ca": True},
    "key_usage": {"key_usage": None},
    "purpose": {"roles": ("server",)},
    "expired": {"ttl": -1.0},
    "not_yet_valid": {"not_before": NOW + timedelta(seconds=1)},
}


@pytest.mark.parametrize("reason", MUTATIONS)
def test_one_mutation_breaks_one_rule(reason: str, authority: FakeAuthority) -> None:
    """A mutation is refused for its own reason and for no other."""
    issued = authority.issue_certificate(WORKLOAD, **MUTATIONS[reason])

    with pytest.raises(PeerVerificationError) as caught:
        verify(authority, issued.chain_der)

    assert caught.value.reason == reason


@pytest.mark.parametrize("reason", ["no_spiffe_id", "several_uri_sans", "is_ca", "key_usage"])
def test_an_svid_of_our_own_is_never_a_wrong_one(reason: str, authority: FakeAuthority) -> None:
    """`issue` refuses what could not be loaded; `issue_certificate` is for hostile peers."""
    with pytest.raises(X509SvidError):
        authority.issue(WORKLOAD, **MUTATIONS[reason])


def test_names_of_a_certificate(authority: FakeAuthority) -> None:
    """URI and DNS names and a CN are as asked for."""
    issued = authority.issue_certificate(
        None,
        uris=["https://a", "x:y"],
        dns_names=["localhost", "core"],
        common_name="core",
    )

    names = issued.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["https://a", "x:y"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "core"]
    (common_name,) = issued.leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common_name.value == "core"


def test_a_key_may_be_given(authority: FakeAuthority) -> None:
    """Two certificates may have one key; both forms of it are that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue_certificate(WORKLOAD, key=key)

    der, pem = (
        load_der_private_key(issued.key_der, None),
        load_pem_private_key(issued.to_pem()[1], None),
    )
    for loaded in (der, pem):
        assert loaded.public_key() == key.public_key() == issued.leaf.public_key()
    assert x509.load_pem_x509_certificates(issued.to_pem()[0]) == list(issued.chain)


def test_the_steps_of_a_rotation(authority: FakeAuthority) -> None:
    """Prepare publishes, activate signs, revoke takes away; rotate is the first two."""
    first = authority.bundle.authorities[0]

    authority.prepare()
    assert authority.bundle.authorities[0] == first
    assert len(authority.bundle.authorities) == 2
    authority.issue_certificate(WORKLOAD).leaf.verify_directly_issued_by(first)
    authority.activate()
    second = authority.bundle.authorities[1]
    authority.issue_certificate(WORKLOAD).leaf.verify_directly_issued_by(second)
    authority.revoke()
    assert list(authority.bundle.authorities) == [second]
    authority.rotate()
    assert authority.bundle.authorities[0] == second
    third = authority.bundle.authorities[1]
    authority.issue_certificate(WORKLOAD).leaf.verify_directly_issued_by(third)


def test_revoke_leaves_the_active_root(authority: FakeAuthority) -> None:
    """Without a preparation a revocation takes nothing away; a root prepared and not active goes."""
    before = authority.bundle

    authority.revoke()
    assert authority.bundle == before
    authority.prepare()
    authority.revoke()
    assert authority.bundle == before


def test_roots_have_names_of_their_own(authority: FakeAuthority) -> None:
    """Each root has another subject and key identifiers, as SPIRE's have: gRPC core needs them."""
    authority.rotate()
    authority.rotate()
    roots = authority.bundle.authorities

    assert len({root.subject for root in roots}) == 3
    for root in roots:
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value.ca
        own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert own == x509.SubjectKeyIdentifier.from_public_key(root.public_key())


def test_the_longest_trust_domain() -> None:
    """A trust domain longer than a CN may be has an authority too."""
    name = "a" * 255
    authority = FakeAuthority(name, now=lambda: NOW)

    assert (
        verify(authority, authority.issue(f"spiffe://{name}/x").chain_der).trust_domain.name == name
    )
