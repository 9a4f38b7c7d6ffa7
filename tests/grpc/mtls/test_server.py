"""Servers of mode mtls: whom they let in, as whom, and that nothing of a refused call arrives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import serviceradar_security.grpc
from serviceradar_security import RbacPolicy, SecurityProvider, SpiffeId, authorize_id
from serviceradar_security.errors import ConfigError, PeerVerificationError
from serviceradar_security.grpc import peer_id
from tests.grpc.mtls.party import (
    DOMAIN,
    HOST,
    STACKS,
    Served,
    dial,
    issue,
    knock,
    serving,
    stranger,
)
from tests.grpc.server.service import SERVICE, call_all, running
from tests.identity import pki

if TYPE_CHECKING:
    from tests.grpc.mtls.conftest import Mesh

ID: Final = f"spiffe://{DOMAIN}/poller"
OTHER_ID: Final = f"spiffe://{DOMAIN}/agent"
FOREIGN_ID: Final = "spiffe://elsewhere.test/poller"
ALL: Final = [f"/{SERVICE}/{kind}" for kind in ("unary_unary", "unary_stream", "stream_unary")]
POLICY: Final = RbacPolicy.from_config(
    {"roles": [{"identity": ID, "role": "writer"}]},
    methods={"writer": ALL, "reader": []},
)

LET_IN: list[Any] = [
    pytest.param({"dns_names": ["poller.mesh.test"]}, id="a name"),
    pytest.param({"common_name": "poller"}, id="CN only"),
    pytest.param({}, id="nothing but a key"),
    pytest.param({"intermediates": 2}, id="behind intermediates"),
    pytest.param(
        {"intermediates": 1, "intermediate": {"key_usage": None}},
        id="behind an intermediate without key usage",
    ),
    pytest.param({"roles": None}, id="without extended key usage"),
    pytest.param({"key_usage": None}, id="without key usage"),
    pytest.param({"uris": ["https://poller.mesh.test"]}, id="a URI"),
    pytest.param({"uris": [ID]}, id="a SPIFFE ID that is not asked for"),
    pytest.param({"uris": [ID, OTHER_ID]}, id="two SPIFFE IDs that are not asked for"),
    pytest.param({"key_type": "rsa2048"}, id="RSA"),
    pytest.param(
        {
            "key_type": "rsa2048",
            "key_usage": ("digital_signature", "key_encipherment"),
            "common_name": "poller.serviceradar",
            "dns_names": ["poller.serviceradar", "localhost"],
            "uris": ["spiffe://serviceradar.local/poller"],
        },
        id="as the platform's scripts make them",
    ),
]

# With the reason of our own verdict, or "" where gRPC core ends the handshake before it.
REFUSED: list[Any] = [
    pytest.param({"stranger": True}, "", id="another authority of the same name"),
    pytest.param({"self_signed": True}, "", id="signed by itself"),
    pytest.param({"intermediates": 1, "leaf_only": True}, "", id="an intermediate is missing"),
    pytest.param({"ttl": -60}, "", id="expired"),
    pytest.param(
        {
            "not_before": datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1),
            "not_after": datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2),
        },
        "",
        id="not yet valid",
    ),
    pytest.param({"roles": ["server"]}, "", id="for servers alone"),
    pytest.param({"unknown_critical": True}, "", id="unknown and critical"),
    pytest.param({"ca": True}, "is_ca", id="CA as leaf"),
    pytest.param({"ca": True, "key_usage": None}, "is_ca", id="CA without key usage as leaf"),
    pytest.param({"key_type": "rsa1024"}, "weak_key", id="a short RSA key"),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("facts", LET_IN)
def test_let_in(mesh: Mesh, stack: str, facts: dict[str, Any]) -> None:
    """Without trust_domain a certificate of the authorities is enough, and nobody has an ID."""
    with mesh.party().open() as security, serving(stack, security) as server:
        code, answer = knock(server.port, mesh.roots, mesh.issue(**facts))
    assert code == "OK", answer
    assert "no SPIFFE ID" in answer
    assert "trust_domain" in answer
    assert server.seen.requests == [b"request"]


@pytest.mark.parametrize("trust_domain", [None, DOMAIN])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("facts", "reason"), REFUSED)
def test_refused(
    mesh: Mesh,
    stack: str,
    facts: dict[str, Any],
    reason: str,
    trust_domain: str | None,
) -> None:
    """Nothing of any call of such a peer reaches the application."""
    members: dict[str, Any] = {} if trust_domain is None else {"trust_domain": trust_domain}
    client = mesh.issue(**({"dns_names": [HOST]} | facts))
    with (
        mesh.party().open(**members) as security,
        serving(stack, security) as server,
        stranger(server.port, mesh.roots, client) as channel,
    ):
        outcomes = call_all(channel)
    assert server.seen.nothing
    for code, details in outcomes.values():
        assert code == ("UNAUTHENTICATED" if reason else "UNAVAILABLE")
        assert reason in details


@pytest.mark.parametrize("stack", STACKS)
def test_no_certificate(mesh: Mesh, stack: str) -> None:
    """A client without a certificate is refused in the handshake."""
    with mesh.party().open() as security, serving(stack, security) as server:
        code, _ = knock(server.port, mesh.roots, None)
    assert code == "UNAVAILABLE"
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_another_authority(mesh: Mesh, stack: str) -> None:
    """A certificate of an authority that is not in the file is refused."""
    with mesh.party().open() as security, serving(stack, security) as server:
        code, _ = knock(server.port, mesh.roots, issue(mesh.other, dns_names=[HOST]))
    assert code == "UNAVAILABLE"
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_a_file_for_clients(mesh: Mesh, stack: str) -> None:
    """Where client_ca_file is given, its authorities count for clients, and no others do."""
    party = mesh.party()
    party.put("clients.pem", mesh.other.bundle.to_pem())
    with (
        party.open(tls={"client_ca_file": "clients.pem"}) as security,
        serving(stack, security) as server,
    ):
        of_others, _ = knock(server.port, mesh.roots, issue(mesh.other, dns_names=[HOST]))
        of_ours, _ = knock(server.port, mesh.roots, mesh.issue(dns_names=[HOST]))
    assert (of_others, of_ours) == ("OK", "UNAVAILABLE")
    assert server.seen.requests == [b"request"]


# ---- SPIFFE IDs in certificates of plain authorities ---------------------------------------------

WITHOUT_ID: list[Any] = [
    pytest.param({"uris": [FOREIGN_ID]}, "only IDs of", id="an ID of a foreign domain"),
    pytest.param({"uris": []}, "no URI name", id="no URI"),
    pytest.param({"uris": ["https://mesh.test/poller"]}, "no SPIFFE ID", id="a URI that is no ID"),
    pytest.param({"uris": [ID, OTHER_ID]}, "2 URI names", id="two IDs"),
    pytest.param({"uris": [ID, "https://mesh.test"]}, "2 URI names", id="an ID and a URI"),
    pytest.param({"uris": [], "common_name": ID}, "no URI name", id="an ID in the CN"),
    pytest.param({"uris": [], "dns_names": [DOMAIN]}, "no URI name", id="the domain as DNS name"),
    pytest.param({"uris": ["spiffe://MESH.test/poller"]}, "no SPIFFE ID", id="capitals"),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("facts", "why"), WITHOUT_ID)
def test_without_an_id(mesh: Mesh, stack: str, facts: dict[str, Any], why: str) -> None:
    """A peer without an ID of the trust domain is in without one, unless a policy asks for it."""
    client = mesh.issue(**facts)
    with mesh.party().open(trust_domain=DOMAIN) as security:
        with serving(stack, security) as server:
            code, answer = knock(server.port, mesh.roots, client)
        assert (code, why in answer) == ("OK", True), answer
        with serving(stack, security, POLICY) as server:
            code, details = knock(server.port, mesh.roots, client)
        assert (code, "no_spiffe_id" in details) == ("UNAUTHENTICATED", True)
        assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_with_an_id(mesh: Mesh, stack: str) -> None:
    """An ID of the trust domain is the caller's, and the policy decides by it."""
    with mesh.party().open(trust_domain=DOMAIN) as security:
        with serving(stack, security) as server:
            assert knock(server.port, mesh.roots, mesh.issue(uris=[ID])) == ("OK", ID)
        with serving(stack, security, POLICY) as server:
            assert knock(server.port, mesh.roots, mesh.issue(uris=[ID])) == ("OK", ID)
            code, details = knock(server.port, mesh.roots, mesh.issue(uris=[OTHER_ID]))
    assert (code, OTHER_ID in details) == ("PERMISSION_DENIED", True)
    assert server.seen.requests == [b"request"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param({"key_usage": None}, "key_usage", id="no key usage"),
        pytest.param(
            {"key_usage": ("digital_signature", "key_cert_sign")}, "key_usage", id="may sign"
        ),
        pytest.param({"uris": [f"spiffe://{DOMAIN}"]}, "not_a_workload_id", id="a domain's own ID"),
    ],
)
@pytest.mark.parametrize("stack", STACKS)
def test_a_claim_that_does_not_hold(
    mesh: Mesh,
    stack: str,
    facts: dict[str, Any],
    reason: str,
) -> None:
    """Who claims an ID of the trust domain is held to the rules of SVIDs, policy or none."""
    client = mesh.issue(**({"uris": [ID]} | facts))
    with mesh.party().open(trust_domain=DOMAIN) as security, serving(stack, security) as server:
        code, details = knock(server.port, mesh.roots, client)
    assert (code, reason in details) == ("UNAUTHENTICATED", True), details
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_an_id_by_an_authority_of_servers(mesh: Mesh, stack: str) -> None:
    """An authority that is not one of clients' names nobody, of whatever trust domain."""
    party = mesh.party(roots=mesh.roots + mesh.other.bundle.to_pem())
    party.put("clients.pem", mesh.roots)
    with (
        party.open(trust_domain=DOMAIN, tls={"client_ca_file": "clients.pem"}) as security,
        serving(stack, security) as server,
    ):
        code, _ = knock(server.port, mesh.roots, issue(mesh.other, uris=[ID]))
    assert code == "UNAVAILABLE"
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_an_authorizer(mesh: Mesh, stack: str) -> None:
    """An authorizer of clients decides on proven IDs, and who has none is refused."""
    authorizer = authorize_id(SpiffeId.parse(ID))
    with (
        mesh.party().open(authorizer, trust_domain=DOMAIN) as security,
        serving(stack, security) as server,
    ):
        outcomes = [
            knock(server.port, mesh.roots, mesh.issue(uris=uris))[0]
            for uris in ([ID], [OTHER_ID], [])
        ]
    assert outcomes == ["OK", "PERMISSION_DENIED", "UNAUTHENTICATED"]
    assert server.seen.requests == [b"request"]


def test_ids_need_a_trust_domain(mesh: Mesh) -> None:
    """Without trust_domain a policy and an authorizer are refused at once, with the remedy."""
    party = mesh.party()
    with party.open() as security:
        with pytest.raises(ConfigError, match="set trust_domain in the security block"):
            security.grpc_server_interceptors(POLICY)
        with pytest.raises(ConfigError, match="set trust_domain in the security block"):
            security.grpc_aio_server_interceptors(POLICY)
    authorizer = authorize_id(SpiffeId.parse(ID))
    with pytest.raises(ConfigError, match="set trust_domain"), party.open(authorizer):
        pass


@pytest.mark.parametrize("stack", STACKS)
def test_both_ends(mesh: Mesh, stack: str) -> None:
    """Two services know each other from their blocks alone: one by host name, one by its ID."""
    poller = mesh.party(mesh.issue(uris=[ID]))
    with (
        mesh.party().open(trust_domain=DOMAIN) as core,
        poller.open(server_name=HOST) as client,
        serving(stack, core, POLICY) as server,
    ):
        assert dial(stack, client, f"127.0.0.1:{server.port}") == ("OK", ID)


class _Files:
    """A chain and its key, as a party asks for them."""

    def __init__(self, key: Any, *chain: x509.Certificate) -> None:
        self._key, self._chain = key, chain

    def to_pem(self) -> tuple[bytes, bytes]:
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return b"".join(each.public_bytes(Encoding.PEM) for each in self._chain), key


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("through", [False, True], ids=["root", "root and intermediate"])
def test_an_authority_without_key_usage(mesh: Mesh, stack: str, through: bool) -> None:
    """What `openssl req -x509` makes, a CA without key usage, vouches for servers and clients."""
    root, middle, leaf = (pki.Party(name) for name in ("root", "middle", "leaf"))
    now = datetime.now(UTC).replace(microsecond=0)
    life: Any = {"begin": now - timedelta(hours=1), "end": now + timedelta(hours=1)}
    names = [(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)]
    issuer = middle if through else root
    chain = [pki.certificate(leaf, issuer, uris=(), extensions=names, **life)]
    if through:
        chain.append(pki.signer(middle, root, usage=None, **life))
    pem = pki.signer(root, root, usage=None, **life).public_bytes(Encoding.PEM)
    made: Any = _Files(leaf.key, *chain)
    with (
        mesh.party(made, pem).open(server_name=HOST) as security,
        serving(stack, security) as server,
    ):
        assert security.status().state.value == "READY"
        code, answer = dial(stack, security, f"127.0.0.1:{server.port}")
    assert code == "OK", answer


@pytest.mark.parametrize("stack", STACKS)
def test_a_server_without_interceptors(mesh: Mesh, stack: str) -> None:
    """TLS alone lets every holder of a certificate in, whatever the authorizer: docs/mtls.md warns."""
    anybody_else = authorize_id(SpiffeId.parse(OTHER_ID))
    with mesh.party().open(anybody_else, trust_domain=DOMAIN) as security:
        with running(stack, Served(security, verify=False)) as server:
            code, answer = knock(server.port, mesh.roots, mesh.issue(uris=[ID]))
            assert code == "OK"
            assert "was not verified" in answer
        with serving(stack, security) as server:
            assert knock(server.port, mesh.roots, mesh.issue(uris=[ID]))[0] == "PERMISSION_DENIED"


def test_what_to_give_a_server_that_verifies_nobody() -> None:
    """The error of a call that nobody verified names functions that exist, for both modes."""
    context: Any = object()
    with pytest.raises(PeerVerificationError, match="was not verified") as caught:
        peer_id(context)
    named = set(re.findall(r"\w*server_interceptors", str(caught.value)))
    ours = {each for each in named if each.startswith("grpc_")}
    assert ours == {"grpc_server_interceptors", "grpc_aio_server_interceptors"}
    assert all(callable(getattr(SecurityProvider, each)) for each in ours)
    assert named - ours == {"server_interceptors", "tls_server_interceptors"}
    assert named - ours < set(serviceradar_security.grpc.__all__)
