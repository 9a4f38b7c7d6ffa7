"""Unary gRPC calls over our channel and server, against plain TLS with the same certificates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.interleave import Row, compare
from serviceradar_security import (
    SpiffeId,
    StaticSource,
    X509Context,
    authorize_id,
    authorize_member_of,
)
from serviceradar_security import grpc as secure
from serviceradar_security.testing import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = "/benchmark.Echo/Unary"


class _Echo(grpc.GenericRpcHandler):
    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: request)


def rows() -> Iterator[Row]:
    """Measure."""
    authority = FakeAuthority("example.org")
    bundles = {authority.trust_domain: authority.bundle}
    core = authority.issue("spiffe://example.org/core", dns_names=["localhost"])
    poller = authority.issue("spiffe://example.org/poller")
    server_source = StaticSource(X509Context(svids=[core], bundles=bundles))
    client_source = StaticSource(X509Context(svids=[poller], bundles=bundles))
    members = authorize_member_of(authority.trust_domain)
    (core_chain, core_key), (chain, key) = core.to_pem(), poller.to_pem()
    roots = authority.bundle.to_pem()

    ours = grpc.server(
        ThreadPoolExecutor(4),
        interceptors=secure.server_interceptors(server_source, members),
    )
    plain = grpc.server(ThreadPoolExecutor(4))
    for server in (ours, plain):
        server.add_generic_rpc_handlers([_Echo()])
    our_port = ours.add_secure_port(
        "127.0.0.1:0", secure.server_credentials(server_source, members)
    )
    plain_port = plain.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([(core_key, core_chain)], roots, require_client_auth=True),
    )
    ours.start()
    plain.start()
    expected = authorize_id(SpiffeId.parse("spiffe://example.org/core"))
    with (
        secure.channel(f"127.0.0.1:{our_port}", client_source, expected) as our_channel,
        grpc.secure_channel(
            f"localhost:{plain_port}", grpc.ssl_channel_credentials(roots, key, chain)
        ) as plain_channel,
    ):
        our_call: Any = our_channel.unary_unary(METHOD)
        plain_call: Any = plain_channel.unary_unary(METHOD)
        yield compare(
            "unary call, channel and server verify",
            lambda: our_call(b"x", timeout=10),
            "plain TLS channel and server",
            lambda: plain_call(b"x", timeout=10),
            number=300,
        )
    ours.stop(None).wait()
    plain.stop(None).wait()
