"""The verdict where plain mutual TLS is spoken: chains without a SPIFFE ID, and claims of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.errors import PeerVerificationError
from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.verify import TlsPeer, verify_tls_chain
from serviceradar_security.testing.authority import FakeAuthority
from tests.identity import pki

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OURS = FakeAuthority("mesh.test", now=lambda: NOW)
OTHER = FakeAuthority("other.test", now=lambda: NOW)
ROOTS = Authorities.from_pem(OURS.bundle.to_pem(), name="the client_ca_file")
DOMAIN = TrustDomain.parse("mesh.test")
BUNDLES = {DOMAIN: ROOTS.bundle_of(DOMAIN)}
ID = "spiffe://mesh.test/poller"
HOUR = timedelta(hours=1)


def verify(
    authority: FakeAuthority = OURS,
    *,
    at: datetime = NOW,
    purpose: Any = "client",
    claims: bool = True,
    **facts: Any,
) -> TlsPeer:
    """Issue a chain and judge it."""
    made = authority.issue_certificate(None, **{"uris": [], **facts})
    bundles = BUNDLES if claims else {}
    return verify_tls_chain(made.chain_der, ROOTS, bundles, at=at, purpose=purpose)


@pytest.mark.parametrize(
    "facts",
    [
        {"dns_names": ["poller.test"]},
        {"common_name": "poller"},
        {"subject": x509.Name([])},
        {"intermediates": 3},
        {"with_root": True},
        {"key_usage": None},
        {"key_usage": ("digital_signature", "key_encipherment")},
        {"roles": None},
        {"ca": None},
        {"key_type": "rsa2048"},
        {"key_type": "p384"},
        {"key_type": "ed25519"},
        {"roles": ["server"], "purpose": "server"},
        {"roles": ["server"], "purpose": None},
    ],
    ids=lambda facts: "-".join(map(str, facts)) if isinstance(facts, dict) else "",
)
def test_without_an_id(facts: dict[str, Any]) -> None:
    """A chain that leads to an authority proves that, and no ID; the reason says why."""
    assert verify(**facts) == TlsPeer(
        None, "the certificate has no URI name, where one is the SPIFFE ID"
    )
    found = verify(claims=False, **facts)
    assert (found.spiffe_id, "no trust_domain is set" in found.why_none) == (None, True)


@pytest.mark.parametrize(
    ("authority", "facts", "reason"),
    [
        (OTHER, {}, "untrusted_chain"),
        (OURS, {"stranger": True}, "untrusted_chain"),
        (OURS, {"self_signed": True}, "untrusted_chain"),
        (OURS, {"tampered": True}, "untrusted_chain"),
        (OURS, {"intermediates": 1, "leaf_only": True}, "untrusted_chain"),
        (OURS, {"unknown_critical": True}, "untrusted_chain"),
        (OURS, {"at": NOW + 2 * HOUR, "ttl": 3600}, "expired"),
        (OURS, {"at": NOW - 2 * HOUR, "ttl": 3600}, "not_yet_valid"),
        (OURS, {"ca": True}, "is_ca"),
        (OURS, {"ca": True, "key_usage": ("key_cert_sign",)}, "is_ca"),
        (OURS, {"key_usage": ("key_encipherment",)}, "key_usage"),
        (OURS, {"key_type": "rsa1024"}, "weak_key"),
        (OURS, {"key_type": "ed448"}, "weak_key"),
        (OURS, {"roles": ["server"]}, "purpose"),
        (OURS, {"roles": ["2.5.29.37.0"]}, "purpose"),
        (OURS, {"roles": ["client"], "purpose": "server"}, "purpose"),
    ],
    ids=lambda each: "-".join(map(str, each)) if isinstance(each, dict) else str(each),
)
@pytest.mark.parametrize("names", [{}, {"dns_names": ["poller.test"]}], ids=["nameless", "named"])
def test_refused(
    authority: FakeAuthority,
    facts: dict[str, Any],
    reason: str,
    names: dict[str, Any],
) -> None:
    """A chain that proves nothing is refused with its reason, whatever is claimed."""
    for claims in (False, True):
        for uris in ([], [ID]):
            with pytest.raises(PeerVerificationError) as caught:
                verify(authority, claims=claims, uris=uris, **names, **facts)
            assert caught.value.reason == reason
            assert caught.value.spiffe_id is None
            assert "\n" not in str(caught.value)
            assert ("poller.test" in str(caught.value)) == bool(names)


def test_a_claim_that_holds() -> None:
    """The one URI name that is an ID of the trust domain is the peer's ID."""
    assert verify(uris=[ID]) == TlsPeer(SpiffeId.parse(ID))
    assert verify(uris=[ID], claims=False).spiffe_id is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"key_usage": None}, "key_usage"),
        ({"key_usage": ("digital_signature", "key_cert_sign")}, "key_usage"),
        ({"uris": ["spiffe://mesh.test"]}, "not_a_workload_id"),
        ({"uris": ["spiffe://mesh.test/" + "a" * 4000]}, "limit"),
    ],
    ids=["no usage", "may sign", "no path", "too long"],
)
def test_a_claim_that_does_not_hold(facts: dict[str, Any], reason: str) -> None:
    """Who claims an ID is held to the rules of X.509-SVIDs, and is refused where they break."""
    with pytest.raises(PeerVerificationError) as caught:
        verify(**({"uris": [ID]} | facts))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        (["spiffe://other.test/poller"], "only IDs of mesh.test are taken"),
        (["spiffe://mesh.test.evil.test/poller"], "only IDs of mesh.test are taken"),
        ([ID, ID], "2 URI names"),
        ([ID, "https://mesh.test"], "2 URI names"),
        (["https://mesh.test/poller"], "is no SPIFFE ID"),
        (["spiffe://MESH.test/poller"], "is no SPIFFE ID"),
    ],
    ids=["foreign", "longer domain", "twice", "and a URI", "a URI", "capitals"],
)
def test_no_claim(uris: list[str], why: str) -> None:
    """Everything else in a certificate is a text and nobody's identity."""
    found = verify(uris=uris)
    assert found.spiffe_id is None
    assert why in found.why_none


def test_a_claim_needs_its_own_authorities() -> None:
    """An ID is proven by the bundle of its trust domain alone, whatever else the chain leads to."""
    made = OTHER.issue_certificate(None, uris=[ID])
    pem = OURS.bundle.to_pem() + OTHER.bundle.to_pem()
    both = Authorities.from_pem(pem, name="the client_ca_file")
    with pytest.raises(PeerVerificationError) as caught:
        verify_tls_chain(made.chain_der, both, BUNDLES, at=NOW, purpose="client")
    assert (caught.value.reason, str(caught.value.spiffe_id)) == ("untrusted_chain", ID)


USAGES: dict[str, tuple[str, ...] | None] = {
    "no usage": None,
    "may sign": pki.SIGNER,
    "may not sign": ("digital_signature",),
}
ROOT, MIDDLE, LEAF = (pki.Party(name) for name in ("root", "middle", "leaf"))


@pytest.mark.parametrize("claims", [False, True], ids=["no claim", "a claim"])
@pytest.mark.parametrize("middle", ["none", *USAGES])
@pytest.mark.parametrize("root", USAGES)
def test_signers_without_key_usage(root: str, middle: str, claims: bool) -> None:
    """A signer without key usage will do (RFC 5280 6.1.4, n), but not where an ID is claimed."""
    uris = [ID] if claims else []
    chain = [pki.certificate(LEAF, ROOT if middle == "none" else MIDDLE, uris=uris)]
    if middle != "none":
        chain.append(pki.signer(MIDDLE, ROOT, usage=USAGES[middle]))
    anchor = pki.signer(ROOT, ROOT, usage=USAGES[root]).public_bytes(Encoding.PEM)
    roots = Authorities.from_pem(anchor, name="the client_ca_file")
    bundles = {DOMAIN: roots.bundle_of(DOMAIN)}
    enough = ("may sign", "none") if claims else ("may sign", "none", "no usage")
    arguments: Any = {"at": pki.NOW, "purpose": "client"}
    if {root, middle} <= set(enough):
        found = verify_tls_chain(pki.der(*chain), roots, bundles, **arguments)
        assert found.spiffe_id == (SpiffeId.parse(ID) if claims else None)
        return
    with pytest.raises(PeerVerificationError, match="lacks the key usage keyCertSign") as caught:
        verify_tls_chain(pki.der(*chain), roots, bundles, **arguments)
    rule = (
        "RFC 5280 section 4.2.1.3" if "may not sign" in (root, middle) else "X509-SVID section 4.3"
    )
    assert (caught.value.reason, rule in str(caught.value)) == ("untrusted_chain", True)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ([], "no_certificate"),
        ([b"x"], "malformed"),
        ([b"x"] * 17, "limit"),
        ([b"x" * 70_000], "limit"),
    ],
    ids=["none", "no certificate", "too many", "too long"],
)
def test_chains_that_are_none(chain: list[bytes], reason: str) -> None:
    """What is no chain is refused before it costs anything."""
    with pytest.raises(PeerVerificationError) as caught:
        verify_tls_chain(chain, ROOTS, {}, at=NOW, purpose="client")
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"at": datetime(2026, 1, 1)}, TypeError),  # noqa: DTZ001 - the point of it
        ({"at": None}, TypeError),
        ({"purpose": "both"}, ValueError),
        ({"chain": b"x"}, TypeError),
        ({"chain": [1]}, TypeError),
    ],
    ids=["naive time", "no time", "purpose", "bytes", "numbers"],
)
def test_arguments(arguments: dict[str, Any], kind: type[Exception]) -> None:
    """A caller's mistake is told from a peer's."""
    given: dict[str, Any] = {"chain": [], "at": NOW, "purpose": None, **arguments}
    with pytest.raises(kind, match=r"verify_tls_chain|purpose"):
        verify_tls_chain(given["chain"], ROOTS, {}, at=given["at"], purpose=given["purpose"])
