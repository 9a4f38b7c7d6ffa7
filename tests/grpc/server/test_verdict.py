"""The judge, without sockets and under a clock that we move."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.errors import (
    PeerNotAuthorizedError,
    PeerVerificationError,
    SourceError,
)
from serviceradar_security.grpc import verdict as verdict_module
from serviceradar_security.grpc.verdict import Judge
from serviceradar_security.identity.authorizer import authorize_any, authorize_id
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.testing.authority import FakeAuthority
from tests.grpc.server.service import Source

if TYPE_CHECKING:
    from serviceradar_security.testing.authority import IssuedCertificate

START = datetime(2031, 5, 6, 12, tzinfo=UTC)
CLIENT = SpiffeId.parse("spiffe://example.org/poller")
PEER = "ipv4:127.0.0.1:4711"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class Counting:
    """Let everybody in, and count how often it was asked."""

    trust_domains = None

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def authorize(self, _spiffe_id: SpiffeId, /) -> None:
        """Let in, or raise what was set."""
        self.asked += 1
        if self.error is not None:
            raise self.error


class Bench:
    """A judge with its clock, authority, source and authorizer."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.authority = FakeAuthority("example.org", now=self.clock)
        self.source = Source(self.snapshot())
        self.authorizer = Counting()
        self.judge = Judge(self.source, self.authorizer, purpose="client", now=self.clock)

    def snapshot(self) -> X509Context:
        """Take a snapshot of the authority as it is now."""
        return X509Context(
            svids=[self.authority.issue("spiffe://example.org/core")],
            bundles={self.authority.trust_domain: self.authority.bundle},
        )

    def ask(self, client: IssuedCertificate) -> SpiffeId:
        """Judge a client."""
        found = self.judge.judge(shown(client), PEER)
        assert isinstance(found, SpiffeId)
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def shown(client: IssuedCertificate, *, with_leaf: bool = True) -> dict[str, list[bytes]]:
    """Give the auth context that gRPC makes of a client's certificates."""
    pem = [each.public_bytes(Encoding.PEM) for each in client.chain]
    return {
        "transport_security_type": [b"ssl"],
        "x509_pem_cert": [pem[0]],
        "x509_pem_cert_chain": [b"".join(pem if with_leaf else pem[1:])],
    }


def issue(bench: Bench, **changes: Any) -> IssuedCertificate:
    """Issue a client certificate."""
    return bench.authority.issue_certificate(CLIENT, **changes)


@pytest.mark.parametrize("intermediates", [0, 2, 15])
@pytest.mark.parametrize("with_leaf", [True, False])
def test_the_chain_with_and_without_the_leaf(
    bench: Bench,
    intermediates: int,
    with_leaf: bool,
) -> None:
    """The leaf is put first, whether or not the presented chain repeats it."""
    client = issue(bench, intermediates=intermediates)

    assert bench.judge.judge(shown(client, with_leaf=with_leaf), PEER) == CLIENT


def test_one_verdict_per_chain_and_not_per_call(bench: Bench) -> None:
    """A hundred calls of one certificate ask the authorizer once; another certificate is another."""
    client = issue(bench)
    for _ in range(100):
        assert bench.ask(client) == CLIENT
    assert bench.authorizer.asked == 1

    bench.ask(issue(bench))

    assert bench.authorizer.asked == 2


def test_a_verdict_does_not_outlive_the_leaf(bench: Bench) -> None:
    """In the last second of the leaf its holder is let in, after it refused, on the same connection."""
    client = issue(bench, ttl=30.0)

    assert bench.ask(client) == CLIENT
    bench.clock.move(30)
    assert bench.ask(client) == CLIENT
    bench.clock.move(0.001)
    with pytest.raises(PeerVerificationError) as caught:
        bench.ask(client)
    assert caught.value.reason == "expired"


def test_a_verdict_is_looked_at_again_within_a_minute(bench: Bench) -> None:
    """Intermediates and authorities that expire are noticed, though the snapshot stays."""
    client = issue(bench)

    bench.ask(client)
    bench.clock.move(59)
    bench.ask(client)
    assert bench.authorizer.asked == 1
    bench.clock.move(1)
    bench.ask(client)
    assert bench.authorizer.asked == 2


def test_a_new_snapshot_is_a_new_verdict(bench: Bench) -> None:
    """At the first call after the authority was removed the peer is refused, and let in when it is back."""
    client = issue(bench)
    bench.ask(client)
    old = bench.source.now

    bench.authority.rotate()
    bench.authority.revoke()
    bench.source.now = bench.snapshot()
    with pytest.raises(PeerVerificationError) as caught:
        bench.ask(client)
    assert caught.value.reason == "untrusted_chain"
    bench.source.now = old

    assert bench.ask(client) == CLIENT


def test_a_refusal_passes_when_its_cause_has_passed(bench: Bench) -> None:
    """A certificate that becomes valid is let in within five seconds, without a new snapshot."""
    client = issue(bench, not_before=START + timedelta(seconds=3))

    with pytest.raises(PeerVerificationError) as caught:
        bench.ask(client)
    assert caught.value.reason == "not_yet_valid"
    bench.clock.move(5)
    assert bench.ask(client) == CLIENT


def test_an_authorizer_that_recovers_is_asked_again(bench: Bench) -> None:
    """A failure of the authorizer refuses for five seconds, and no longer."""
    client = issue(bench)
    bench.authorizer.error = RuntimeError("the directory is away")

    for _ in range(10):
        with pytest.raises(PeerNotAuthorizedError, match="RuntimeError") as caught:
            bench.ask(client)
        assert caught.value.spiffe_id == CLIENT
        assert "directory" not in str(caught.value)
    assert bench.authorizer.asked == 1
    bench.authorizer.error = None
    bench.clock.move(5)
    assert bench.ask(client) == CLIENT


def test_refusals_do_not_grow(bench: Bench) -> None:
    """Each call gets an error of its own: no traceback grows, and no frame of the first is kept."""
    client = issue(bench, ttl=-5.0)
    errors = []
    for _ in range(3):
        with pytest.raises(PeerVerificationError) as caught:
            bench.ask(client)
        errors.append(caught.value)

    assert len({id(each) for each in errors}) == 3
    assert {str(each) for each in errors} == {str(errors[0])}
    assert {each.reason for each in errors} == {"expired"}
    assert all(each.__cause__ is None for each in errors)
    (verdict,) = bench.judge._found[1].values()
    assert isinstance(verdict.outcome, PeerVerificationError)
    assert verdict.outcome.__traceback__ is None


def test_a_replaced_snapshot_is_let_go(bench: Bench) -> None:
    """No verdict holds on to an old snapshot, with the key in it that was replaced."""
    client = issue(bench)
    bench.ask(client)
    with pytest.raises(PeerVerificationError):
        bench.ask(issue(bench, ttl=-5.0))
    old = bench.source.now

    bench.source.now = bench.snapshot()
    bench.ask(client)
    gc.collect()

    assert sys.getrefcount(old) == 2  # ours, and that of the question


def test_the_number_of_verdicts_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest verdict is forgotten first, and found again at the price of one verification."""
    monkeypatch.setattr(verdict_module, "_MAX_VERDICTS", 3)
    clients = [issue(bench) for _ in range(4)]
    for client in clients:
        bench.ask(client)

    bench.ask(clients[3])
    bench.ask(clients[1])
    assert bench.authorizer.asked == 4
    bench.ask(clients[0])
    assert bench.authorizer.asked == 5
    assert len(bench.judge._found[1]) == 3


def test_verdicts_hold_no_certificates(bench: Bench) -> None:
    """What a peer appends to its chain is not kept: a verdict costs 32 bytes and an ID."""
    bench.ask(issue(bench, intermediates=3))

    (key,) = bench.judge._found[1]
    assert len(key) == 32


def test_leaf_and_chain_are_told_apart(bench: Bench) -> None:
    """The same bytes, divided otherwise between leaf and chain, are another question."""
    client = issue(bench)
    pem = client.leaf.public_bytes(Encoding.PEM)
    bench.ask(client)

    bench.judge.judge({"x509_pem_cert": [pem + pem], "x509_pem_cert_chain": [b""]}, PEER)

    assert len(bench.judge._found[1]) == 2


@pytest.mark.parametrize(
    ("auth_context", "reason"),
    [
        pytest.param({}, "no_certificate", id="nothing"),
        pytest.param({"x509_pem_cert": []}, "no_certificate", id="an empty list"),
        pytest.param({"x509_pem_cert": [b""]}, "no_certificate", id="an empty certificate"),
        pytest.param({"x509_pem_cert_chain": [b"x"]}, "no_certificate", id="a chain alone"),
        pytest.param(
            {"x509_common_name": [b"poller"], "peer_spiffe_id": [str(CLIENT).encode()]},
            "no_certificate",
            id="names that gRPC read",
        ),
        pytest.param({"x509_pem_cert": [b"garbage"]}, "malformed", id="garbage"),
        pytest.param({"x509_pem_cert": [b"\xff" * 2_000_000]}, "limit", id="two megabytes"),
        pytest.param(
            {"x509_pem_cert": [b"x"], "x509_pem_cert_chain": [b"x" * 2_000_000]},
            "limit",
            id="two megabytes of chain",
        ),
    ],
)
def test_what_shows_no_certificate(
    bench: Bench,
    auth_context: dict[str, list[bytes]],
    reason: str,
) -> None:
    """Only certificates count, whatever gRPC says about the peer besides."""
    with pytest.raises(PeerVerificationError) as caught:
        bench.judge.judge(auth_context, PEER)

    assert caught.value.reason == reason
    assert bench.authorizer.asked == 0


def test_a_chain_that_cannot_be_read(bench: Bench) -> None:
    """A good leaf with garbage behind it is refused."""
    auth_context = shown(issue(bench))
    auth_context["x509_pem_cert_chain"] = [b"-----BEGIN CERTIFICATE-----\nMAA=\n"]

    with pytest.raises(PeerVerificationError) as caught:
        bench.judge.judge(auth_context, PEER)

    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("error", [SourceError("no agent"), RuntimeError("broken"), KeyError("x")])
def test_a_source_without_a_snapshot(bench: Bench, error: Exception) -> None:
    """Without material nobody is let in, not even by an earlier verdict."""
    client = issue(bench)
    bench.ask(client)
    bench.source.now = error

    with pytest.raises(SourceError):
        bench.ask(client)


def test_the_purpose_is_that_of_the_peers(bench: Bench) -> None:
    """A judge of clients refuses a certificate for servers, and the other way round."""
    of_servers = Judge(bench.source, authorize_any(), purpose="server", now=bench.clock)
    client, server = issue(bench, roles=["client"]), issue(bench, roles=["server"])

    assert bench.ask(client) == CLIENT
    assert of_servers.judge(shown(server), PEER) == CLIENT
    with pytest.raises(PeerVerificationError):
        bench.ask(server)
    with pytest.raises(PeerVerificationError):
        of_servers.judge(shown(client), PEER)


def test_what_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is logged once per verdict, with address, ID and reason; an acceptance only for debugging."""
    judge = Judge(
        bench.source,
        authorize_id(SpiffeId.parse("spiffe://example.org/other")),
        purpose="client",
        now=bench.clock,
    )
    client = issue(bench)
    with caplog.at_level(logging.WARNING, "serviceradar_security"):
        bench.ask(client)
        for _ in range(5):
            with pytest.raises(PeerNotAuthorizedError):
                judge.judge(shown(client), PEER)

    (message,) = caplog.messages
    assert PEER in message
    assert str(CLIENT) in message
    assert "expected spiffe://example.org/other" in message


def test_many_threads_and_changing_snapshots(bench: Bench) -> None:
    """Under threads and rotation every answer is right: the trusted are let in, the expired never."""
    good, bad = issue(bench), issue(bench, ttl=-5.0)
    snapshots = [bench.snapshot() for _ in range(4)]
    wrong: list[object] = []

    def work() -> None:
        for number in range(150):
            bench.source.now = snapshots[number % 4]
            try:
                if bench.ask(good) != CLIENT:
                    wrong.append("another ID")
                bench.ask(bad)
                wrong.append("expired let in")
            except PeerVerificationError as error:
                if error.reason != "expired":
                    wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert wrong == []
