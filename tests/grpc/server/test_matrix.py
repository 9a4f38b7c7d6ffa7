"""The handshake matrix of servers: stack by client certificate by kind of call (R-TLS-01 to -13)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_id,
    authorize_member_of,
)
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.grpc.server.conftest import CLIENT, World
from tests.grpc.server.service import KINDS, STACKS, Setup, call_all, connected, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.testing.authority import IssuedCertificate

OTHER = "spiffe://example.org/intruder"
FOREIGN = "spiffe://partner.example/poller"
POLLER = authorize_id(SpiffeId.parse(CLIENT))
MEMBERS = authorize_member_of(TrustDomain.parse("example.org"))
ANY = authorize_any()
BY_TLS = ("UNAVAILABLE", "")


def unverified(reason: str) -> tuple[str, str]:
    """Give the answer to a peer that proves nothing."""
    return "UNAUTHENTICATED", f"your identity could not be verified ({reason})"


def unauthorized(spiffe_id: str) -> tuple[str, str]:
    """Give the answer to a peer that is proven and not let in."""
    return "PERMISSION_DENIED", f"{spiffe_id} is not authorized to call this service"


@dataclass(frozen=True)
class Case:
    """A client, the authorizer it meets, and what must become of it."""

    client: Callable[[World], X509Svid | IssuedCertificate | None]
    outcome: tuple[str, str]
    authorizer: Authorizer = POLLER


CASES = {
    "good": Case(lambda w: w.local.issue(CLIENT), ("OK", CLIENT)),
    "good, two intermediates": Case(
        lambda w: w.local.issue(CLIENT, intermediates=2),
        ("OK", CLIENT),
    ),
    "good, member": Case(lambda w: w.local.issue(OTHER), ("OK", OTHER), MEMBERS),
    "good, with a CN": Case(
        lambda w: w.local.issue(CLIENT, common_name=OTHER, dns_names=["core"]),
        ("OK", CLIENT),
    ),
    "federated": Case(lambda w: w.partner.issue(FOREIGN), ("OK", FOREIGN), ANY),
    "federated, two intermediates": Case(
        lambda w: w.partner.issue(FOREIGN, intermediates=2),
        ("OK", FOREIGN),
        ANY,
    ),
    "another path": Case(lambda w: w.local.issue(OTHER), unauthorized(OTHER)),
    "federated, not expected": Case(lambda w: w.partner.issue(FOREIGN), BY_TLS),
    "federated, not a member": Case(lambda w: w.partner.issue(FOREIGN), BY_TLS, MEMBERS),
    "forged by the partner, TLS accepts": Case(
        lambda w: w.partner.issue(CLIENT),
        unverified("untrusted_chain"),
        ANY,
    ),
    "forged by the partner, two intermediates": Case(
        lambda w: w.partner.issue(CLIENT, intermediates=2),
        unverified("untrusted_chain"),
        ANY,
    ),
    "forged by the partner, TLS refuses": Case(
        lambda w: w.partner.issue(CLIENT),
        BY_TLS,
        MEMBERS,
    ),
    "forged by us": Case(
        lambda w: w.local.issue(FOREIGN),
        unverified("untrusted_chain"),
        ANY,
    ),
    "a domain without a bundle": Case(
        lambda w: w.local.issue_certificate("spiffe://unknown.example/x"),
        unverified("unknown_trust_domain"),
        ANY,
    ),
    "a stranger's authority": Case(lambda _: World().local.issue(CLIENT), BY_TLS, ANY),
    "two URI names": Case(
        lambda w: w.local.issue_certificate(None, uris=[CLIENT, "https://example.org/"]),
        unverified("several_uri_sans"),
    ),
    "the ID twice": Case(
        lambda w: w.local.issue_certificate(None, uris=[CLIENT, CLIENT]),
        unverified("several_uri_sans"),
    ),
    "no URI name": Case(
        lambda w: w.local.issue_certificate(None, dns_names=[CLIENT]),
        unverified("no_spiffe_id"),
    ),
    "CN only": Case(
        lambda w: w.local.issue_certificate(None, common_name=CLIENT),
        unverified("no_spiffe_id"),
    ),
    "an ID in upper case": Case(
        lambda w: w.local.issue_certificate(None, uris=[CLIENT.replace("example", "EXAMPLE")]),
        unverified("no_spiffe_id"),
    ),
    "the trust domain's own ID": Case(
        lambda w: w.local.issue_certificate("spiffe://example.org"),
        unverified("not_a_workload_id"),
        MEMBERS,
    ),
    "CA leaf": Case(
        lambda w: w.local.issue_certificate(
            CLIENT,
            ca=True,
            key_usage=("digital_signature", "key_cert_sign"),
        ),
        unverified("is_ca"),
    ),
    "keyCertSign": Case(
        lambda w: w.local.issue_certificate(
            CLIENT,
            key_usage=("digital_signature", "key_cert_sign"),
        ),
        unverified("key_usage"),
    ),
    "no key usage": Case(
        lambda w: w.local.issue_certificate(CLIENT, key_usage=None),
        unverified("key_usage"),
    ),
    "no client certificate": Case(lambda _: None, BY_TLS, ANY),
    "expired": Case(
        lambda w: w.local.issue(CLIENT, not_after=datetime.now(UTC) - timedelta(seconds=5)),
        BY_TLS,
    ),
    "not yet valid": Case(
        lambda w: w.local.issue(
            CLIENT, not_before=datetime.now(UTC) + timedelta(hours=1), ttl=9999
        ),
        BY_TLS,
    ),
    "server's purpose only": Case(lambda w: w.local.issue(CLIENT, roles=["server"]), BY_TLS),
    "no purpose": Case(lambda w: w.local.issue(CLIENT, roles=None), ("OK", CLIENT)),
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("name", CASES)
def test_a_client(stack: str, name: str, world: World) -> None:
    """Each client gets its answer in every kind of call, and who is refused reaches nothing of ours."""
    case = CASES[name]
    code, text = case.outcome
    with (
        running(stack, Setup(world.source(), case.authorizer)) as server,
        connected(server.port, world.local.bundle, case.client(world)) as channel,
    ):
        outcomes = call_all(channel)

    assert {kind: outcome[0] for kind, outcome in outcomes.items()} == dict.fromkeys(KINDS, code)
    if case.outcome == BY_TLS:
        assert not any("identity" in said for _, said in outcomes.values())  # not our words
    else:
        assert {said for _, said in outcomes.values()} == {text}
    if code == "OK":
        assert server.seen.handled == list(KINDS)
        assert server.seen.requests == server.seen.deserialized == [b"request"] * 4
    else:
        assert server.seen.nothing
