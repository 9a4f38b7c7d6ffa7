"""An application's `spiffe.X509Source` behind our gRPC server and channel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import grpc
import spiffe

from serviceradar_security import SpiffeId, authorize_id
from serviceradar_security.grpc import channel, peer_id, server_credentials, server_interceptors
from serviceradar_security.spiffe import SpiffeX509Source
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.workload.material import ID
from tests.workload.peers import until

if TYPE_CHECKING:
    from serviceradar_security import X509Context


def whoami(_request: bytes, context: grpc.ServicerContext) -> bytes:
    return str(peer_id(context)).encode()


def is_newer(source: SpiffeX509Source, before: X509Context) -> bool:
    return source.current().default != before.default


def test_mutual_tls_across_a_rotation() -> None:
    """Server and client of one source know each other by SPIFFE ID, before and after a rotation."""
    only = authorize_id(SpiffeId.parse(ID))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "whoami": grpc.unary_unary_rpc_method_handler(whoami)
    }
    with (
        FakeWorkloadApi([ID]) as api,
        spiffe.X509Source(socket_path=api.endpoint, timeout_in_seconds=10) as theirs,
        SpiffeX509Source(theirs) as source,
        ThreadPoolExecutor(2) as pool,
    ):
        server = grpc.server(pool, interceptors=server_interceptors(source, only))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t", handlers)])
        port = server.add_secure_port("127.0.0.1:0", server_credentials(source, only))
        server.start()
        try:
            for _ in range(2):
                with channel(f"127.0.0.1:{port}", source, only) as made:
                    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = made.unary_unary("/t/whoami")
                    assert call(b"", timeout=20) == ID.encode()
                before = source.current()
                api.rotate_authority()
                api.rotate()
                until(partial(is_newer, source, before))
        finally:
            server.stop(None).wait()
