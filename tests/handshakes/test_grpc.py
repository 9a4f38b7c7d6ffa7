"""The gRPC handshake matrix of {client, server} x {sync, asyncio}, with both ends ours."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from serviceradar_security import (
    SpiffeId,
    StaticSource,
    X509Context,
    authorize_any,
    authorize_id,
    authorize_member_of,
)
from tests.handshakes.conftest import (
    CORE,
    POLLER,
    World,
    call_aio,
    call_sync,
    serve_aio,
    serve_sync,
    source_of,
)

CALLS = pytest.mark.parametrize("call", [call_sync, call_aio], ids=["client-sync", "client-aio"])
SERVERS = pytest.mark.parametrize(
    "serve", [serve_sync, serve_aio], ids=["server-sync", "server-aio"]
)
core = authorize_id(SpiffeId.parse(CORE))
poller = authorize_id(SpiffeId.parse(POLLER))


@CALLS
@SERVERS
def test_both_sides_know_each_other(world: World, call: Any, serve: Any) -> None:
    """A call between the expected IDs is served, and the handler knows the caller."""
    with (
        source_of(world, CORE) as theirs,
        source_of(world, POLLER) as ours,
        serve(theirs, poller) as echo,
    ):
        assert call(echo.port, ours, core) == POLLER.encode()
        assert echo.requests == [b"secret"]


@CALLS
@SERVERS
def test_server_of_another_path_gets_no_byte(world: World, call: Any, serve: Any) -> None:
    """The client refuses a valid server of its trust domain with another path, before its request."""
    with (
        source_of(world, "spiffe://example.org/impostor") as theirs,
        source_of(world, POLLER) as ours,
        serve(theirs, authorize_any()) as echo,
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(echo.port, ours, core)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert echo.requests == []


@CALLS
@SERVERS
def test_client_of_another_path_reaches_no_handler(world: World, call: Any, serve: Any) -> None:
    """The server refuses a valid client of its trust domain with another path, before its handler."""
    with (
        source_of(world, CORE) as theirs,
        source_of(world, "spiffe://example.org/intruder") as ours,
        serve(theirs, poller) as echo,
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(echo.port, ours, core)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "spiffe://example.org/intruder is not authorized" in str(refused.value.details())
        assert echo.requests == []


@CALLS
@SERVERS
def test_client_refuses_a_federated_forgery(world: World, call: Any, serve: Any) -> None:
    """A server whose ID is ours but signed by the partner's authority gets no byte."""
    forged = world.partner.issue(CORE)
    context = X509Context(svids=[forged], bundles={})
    known = {a.trust_domain: a.bundle for a in (world.local, world.partner)}
    theirs = StaticSource(X509Context(svids=context.svids, bundles=known))
    with source_of(world, POLLER) as ours, serve(theirs, authorize_any()) as echo:
        with pytest.raises(grpc.RpcError) as refused:
            call(echo.port, ours, core)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert echo.requests == []


@CALLS
@SERVERS
@pytest.mark.parametrize("bounded", [True, False], ids=["roots-bounded", "roots-pooled"])
def test_server_refuses_a_federated_forgery(
    world: World, call: Any, serve: Any, bounded: bool
) -> None:
    """A client whose ID is ours but signed by the partner reaches no handler, however it is let in."""
    forged = world.partner.issue(POLLER)
    known = {a.trust_domain: a.bundle for a in (world.local, world.partner)}
    ours = StaticSource(X509Context(svids=[forged], bundles=known))
    authorizer = authorize_member_of(world.local.trust_domain) if bounded else authorize_any()
    with source_of(world, CORE) as theirs, serve(theirs, authorizer) as echo:
        with pytest.raises(grpc.RpcError) as refused:
            call(echo.port, ours, core)
        expected = grpc.StatusCode.UNAVAILABLE if bounded else grpc.StatusCode.UNAUTHENTICATED
        assert refused.value.code() is expected
        assert echo.requests == []


@CALLS
@SERVERS
def test_federated_peers_are_served(world: World, call: Any, serve: Any) -> None:
    """A federated server and a federated client are accepted where they are expected."""
    partner = world.partner.issue("spiffe://partner.example/mapper")
    expected = authorize_id(partner.spiffe_id)
    with (
        source_of(world, partner) as theirs,
        source_of(world, POLLER) as ours,
        serve(theirs, poller) as echo,
    ):
        assert call(echo.port, ours, expected) == POLLER.encode()
    with (
        source_of(world, CORE) as theirs,
        source_of(world, partner) as ours,
        serve(theirs, expected) as echo,
    ):
        assert call(echo.port, ours, core) == str(partner.spiffe_id).encode()
