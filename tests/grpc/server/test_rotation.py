"""Server credentials that follow their source, handshake by handshake (R-TLS-08, R-TLS-10)."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security.errors import SourceError, X509SvidError
from serviceradar_security.grpc.interceptors import _AioInterceptor, _Interceptor
from serviceradar_security.grpc.nobody import nobody
from serviceradar_security.grpc.server import server_credentials, server_options
from serviceradar_security.grpc.verdict import Judge
from serviceradar_security.identity.authorizer import (
    authorize_any,
    authorize_id,
    authorize_member_of,
    authorize_one_of,
)
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.workload.static import StaticSource
from tests.grpc.server.conftest import CLIENT, SERVER, World
from tests.grpc.server.service import STACKS, Setup, Source, call, connected, running
from tests.grpc.server.tls_client import call_once, context_for, presented
from tests.identity.pki import Party, certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLLER = authorize_id(SpiffeId.parse(CLIENT))
OK = ("OK", CLIENT)


def code_of(world: World, port: int, **client: Any) -> str:
    """Make one call on a new connection, as the poller; give its status."""
    with connected(port, world.local.bundle, world.local.issue(CLIENT, **client)) as channel:
        return call(channel, "unary_unary")[0]


@pytest.mark.parametrize("stack", STACKS)
def test_each_handshake_takes_the_newest_svid(stack: str, world: World) -> None:
    """A rotated SVID is presented at the next handshake, and no live connection breaks."""
    source = world.source()
    with (
        running(stack, Setup(source, POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as live,
    ):
        assert call(live, "unary_unary") == OK
        for _ in range(3):
            svid = world.server_svid()
            source.now = world.context(svid)
            assert presented(server.port) == svid.leaf
            assert call(live, "unary_unary") == OK
            assert code_of(world, server.port) == "OK"


@pytest.mark.parametrize("stack", STACKS)
def test_one_credentials_object_on_two_ports(stack: str, world: World) -> None:
    """Both ports rotate, whichever is asked first and how often the other was asked in between."""
    source = world.source()
    with running(stack, Setup(source, POLLER, ports=2)) as server:
        first, second = server.ports
        for order in ((first, second), (second, first), (first, first, second)):
            svid = world.server_svid()
            source.now = world.context(svid)
            assert [presented(port) for port in order] == [svid.leaf] * len(order)
            assert [code_of(world, port) for port in order] == ["OK"] * len(order)


@pytest.mark.parametrize("stack", STACKS)
def test_the_newest_roots_count_too(stack: str, world: World) -> None:
    """A prepared authority is trusted at once, a revoked one no more, on existing credentials."""
    source = world.source()
    with running(stack, Setup(source, POLLER)) as server:
        old = world.local.issue(CLIENT)
        roots = world.local.bundle
        world.local.rotate()
        source.now = world.context()
        with connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel:
            assert call(channel, "unary_unary") == OK
        with connected(server.port, world.local.bundle, old) as channel:
            assert call(channel, "unary_unary") == OK
        world.local.revoke()
        source.now = world.context()
        with connected(server.port, world.local.bundle, old) as channel:
            assert call(channel, "unary_unary")[0] == "UNAVAILABLE"
        with connected(server.port, roots, world.local.issue(CLIENT)) as channel:
            assert call(channel, "unary_unary")[0] == "UNAVAILABLE"
        assert code_of(world, server.port) == "OK"


class UnusualError(SourceError):
    """An error of the family that a source may raise."""


NO_IDENTITY: dict[str, Callable[[World], X509Context | Exception]] = {
    "the source says why": lambda _: SourceError("no agent"),
    "the source raises its own kind": lambda _: UnusualError("no agent"),
    "the source breaks": lambda _: RuntimeError("secret"),
    "bundles only": lambda w: X509Context(svids=[], bundles=w.context().bundles),
    "the SVID expired": lambda w: w.context(
        w.server_svid(not_after=datetime.now(UTC) - timedelta(seconds=2)),
    ),
    "the key is Ed25519": lambda w: w.context(ed25519_svid(w)),
}


def ed25519_svid(world: World) -> X509Svid:
    """Make an SVID that gRPC core cannot use."""
    issuer, key = world.local._roots[0]
    party = Party("leaf", ed25519.Ed25519PrivateKey.generate())
    now = datetime.now(UTC)
    leaf = certificate(
        party,
        Party("unused", key),
        uris=[SERVER],
        begin=now - timedelta(seconds=9),
        end=now + timedelta(hours=1),
    )
    assert leaf.issuer != issuer.subject  # the chain plays no part in loading
    return X509Svid.parse(
        leaf.public_bytes(Encoding.DER),
        party.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("name", NO_IDENTITY)
def test_without_an_identity_no_handshake_succeeds(stack: str, name: str, world: World) -> None:
    """No client gets in, none is shown the old certificate, and all is well again afterwards."""
    source = world.source()
    with running(stack, Setup(source, POLLER)) as server:
        assert code_of(world, server.port) == "OK"
        source.now = NO_IDENTITY[name](world)
        seen = len(server.seen.handled)
        for _ in range(3):
            shown = presented(server.port)
            assert shown is None or shown.subject.rfc4514_string() == "CN=no identity"
            assert code_of(world, server.port) == "UNAVAILABLE"
        assert len(server.seen.handled) == seen
        svid = world.server_svid()
        source.now = world.context(svid)
        assert presented(server.port) == svid.leaf
        assert code_of(world, server.port) == "OK"


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("name", NO_IDENTITY)
def test_a_server_may_start_before_its_identity(stack: str, name: str, world: World) -> None:
    """Credentials and ports are made without an identity; the first snapshot opens them."""
    source = Source(NO_IDENTITY[name](world))
    with running(stack, Setup(source, POLLER)) as server:
        assert code_of(world, server.port) == "UNAVAILABLE"
        source.now = world.context()
        assert code_of(world, server.port) == "OK"


def test_a_static_source_that_expires(world: World) -> None:
    """A fixed identity is served until it expires, and then no more."""
    now = datetime.now(UTC)
    clock = [now]
    source = StaticSource(world.context(), now=lambda: clock[0])
    with running("sync", Setup(source, POLLER)) as server:  # type: ignore[arg-type]  # alike
        assert code_of(world, server.port) == "OK"
        clock[0] = now + timedelta(hours=2)
        assert code_of(world, server.port) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("authorizer", "local", "partner"),
    [
        (authorize_any(), True, True),
        (authorize_member_of(TrustDomain.parse("example.org")), True, False),
        (authorize_member_of(TrustDomain.parse("partner.example")), False, True),
        (authorize_member_of(TrustDomain.parse("unknown.example")), False, False),
        (
            authorize_one_of(
                [SpiffeId.parse(CLIENT), SpiffeId.parse("spiffe://partner.example/poller")],
            ),
            True,
            True,
        ),
        (authorize_one_of([]), False, False),
    ],
    ids=repr,
)
def test_only_the_roots_that_could_be_accepted_are_loaded(
    authorizer: Any,
    local: bool,
    partner: bool,
    world: World,
) -> None:
    """TLS itself refuses the trust domains that the authorizer could never let in."""
    with running("sync", Setup(world.source(), authorizer, verify=False)) as server:
        for issuing, client, accepted in (
            (world.local, CLIENT, local),
            (world.partner, "spiffe://partner.example/poller", partner),
        ):
            with connected(server.port, world.local.bundle, issuing.issue(client)) as channel:
                assert call(channel, "unary_unary")[0] == ("OK" if accepted else "UNAVAILABLE")


@pytest.mark.parametrize("stack", STACKS)
def test_a_bundle_that_goes_away(stack: str, world: World) -> None:
    """Without the roots that it could accept, TLS accepts nobody, and not whom it accepted before."""
    source = world.source()
    svid = source.current().default
    with running(stack, Setup(source, POLLER, verify=False)) as server:
        assert code_of(world, server.port) == "OK"
        for bundles in (
            {},
            {world.partner.trust_domain: world.partner.bundle},
            {
                world.local.trust_domain: TrustBundle.from_der(world.local.trust_domain, b""),
            },
        ):
            source.now = X509Context(svids=[svid], bundles=bundles)
            assert code_of(world, server.port) == "UNAVAILABLE"
        source.now = world.context(svid)
        assert code_of(world, server.port) == "OK"


class Broken:
    """An authorizer that cannot say which trust domains it could accept."""

    @property
    def trust_domains(self) -> frozenset[TrustDomain] | None:
        raise RuntimeError("broken")

    def authorize(self, _spiffe_id: SpiffeId, /) -> None:
        """Let everybody in."""


def test_an_authorizer_without_a_bound_that_breaks(world: World) -> None:
    """If the bound cannot be read, no root is loaded and nobody gets in."""
    with running("sync", Setup(world.source(), Broken())) as server:
        assert code_of(world, server.port) == "UNAVAILABLE"
    assert server.seen.nothing


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("stack", STACKS)
def test_a_resumed_session_gains_nothing(
    stack: str,
    version: ssl.TLSVersion,
    world: World,
    tmp_path: Path,
) -> None:
    """A client whose authority was removed is not served on an old session's ticket (R-TLS-10)."""
    source = world.source()
    client = world.local.issue(CLIENT)
    context = context_for(client, tmp_path, version=version)
    with running(stack, Setup(source, POLLER)) as server:
        first = call_once(context, server.port)
        assert first.status == "0"
        again = call_once(context, server.port, first.session)
        assert (again.status, again.resumed) == ("0", False)

        world.local.rotate()
        world.local.revoke()
        source.now = world.context()
        handled = len(server.seen.handled)
        refused = call_once(context, server.port, first.session)

    assert refused.status != "0"
    assert len(server.seen.handled) == handled


@pytest.mark.parametrize("stack", STACKS)
def test_a_client_that_expires_on_a_live_connection(stack: str, world: World) -> None:
    """The verdict ends with the leaf, though TLS does not look again."""
    source = world.source()
    client = world.local.issue(CLIENT, ttl=3000.0)
    clock = [datetime.now(UTC)]
    judge = Judge(source, POLLER, purpose="client", now=lambda: clock[0])
    interceptor = _Interceptor(judge) if stack == "sync" else _AioInterceptor(judge)
    with (
        running(stack, Setup(source, POLLER, verify=False, inner=[interceptor])) as server,
        connected(server.port, world.local.bundle, client) as channel,
    ):
        assert call(channel, "unary_unary") == OK
        clock[0] = client.not_after
        assert call(channel, "unary_unary") == OK
        clock[0] += timedelta(microseconds=1)
        handled = len(server.seen.handled)
        outcome = call(channel, "unary_unary")

    assert outcome == ("UNAUTHENTICATED", "your identity could not be verified (expired)")
    assert len(server.seen.handled) == handled


def test_why_no_handshake_can_succeed_is_logged_once(
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reason is a warning when it begins and when it changes, and not at every handshake."""
    source = Source(SourceError("no agent yet"))
    with (
        caplog.at_level(logging.WARNING, "serviceradar_security"),
        running("sync", Setup(source, POLLER)) as server,
    ):
        for _ in range(3):
            presented(server.port)
        source.now = RuntimeError("secret")
        for _ in range(3):
            presented(server.port)
        source.now = world.context()
        presented(server.port)
        source.now = SourceError("no agent yet")
        presented(server.port)

    assert caplog.messages == [
        "no handshake can succeed now: no agent yet",
        "no handshake can succeed now: unexpected RuntimeError",
        "no handshake can succeed now: no agent yet",
    ]


def test_the_dead_end_is_trusted_by_nobody() -> None:
    """What stands in for an identity expired before it was made, names nobody and is made once."""
    _, pem = nobody()
    certificate_ = x509.load_pem_x509_certificate(pem)

    assert certificate_.not_valid_after_utc < datetime.now(UTC)
    assert nobody().certificate == pem
    assert repr(nobody()) == "Nobody()"
    with pytest.raises(x509.ExtensionNotFound):
        certificate_.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_an_ed25519_key_is_named_as_the_reason(
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key that gRPC core does not know is said when the identity is loaded (R-X509-30)."""
    with caplog.at_level(logging.WARNING, "serviceradar_security"):
        server_credentials(Source(world.context(ed25519_svid(world))), POLLER)

    (message,) = caplog.messages
    assert "Ed25519" in message
    assert SERVER in message
    assert "P-256" in message


# ---- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "age_ms"),
    [(3600, 1_800_000), (60, 30_000), (10, 5_000), (2, 5_000), (86400, 43_200_000)],
)
def test_connections_age_with_the_svid(life: int, age_ms: int, world: World) -> None:
    """A connection is asked to end after half the SVID's life, and its streams are cut after three quarters."""
    begin = datetime.now(UTC).replace(microsecond=0)
    svid = world.server_svid(not_before=begin, not_after=begin + timedelta(seconds=life))

    options = dict(server_options(Source(world.context(svid))))

    assert options["grpc.max_connection_age_ms"] == age_ms
    assert options["grpc.max_connection_age_grace_ms"] == age_ms // 2
    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 60_000


@pytest.mark.parametrize(
    "source",
    [
        None,
        Source(SourceError("no agent")),
        Source(RuntimeError("broken")),
        Source(X509Context(svids=[], bundles={})),
    ],
    ids=["none", "not ready", "broken", "bundles only"],
)
def test_options_before_the_identity(source: Source | None) -> None:
    """Without an identity the ages are those for SVIDs of an hour."""
    options = dict(server_options(source))

    assert options["grpc.max_connection_age_ms"] == 1_800_000


def test_a_snapshot_without_svid_has_no_default() -> None:
    """What the case "bundles only" rests on."""
    with pytest.raises(X509SvidError):
        _ = X509Context(svids=[], bundles={}).default
