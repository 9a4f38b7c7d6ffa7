"""Both ends of a handshake are ours: live sources on fake Workload APIs, gRPC sync and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from serviceradar_security import X509Source
from serviceradar_security import grpc as secure
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serviceradar_security.identity.authorizer import Authorizer

METHOD = "/handshakes.Echo/Unary"
CORE = "spiffe://example.org/core"
POLLER = "spiffe://example.org/poller"


@dataclass
class World:
    """Two trust domains that know each other."""

    local: FakeAuthority = field(default_factory=lambda: FakeAuthority("example.org"))
    partner: FakeAuthority = field(default_factory=lambda: FakeAuthority("partner.example"))


@dataclass
class Echo:
    """A server that remembers what reached its handler."""

    port: int
    requests: list[bytes]
    certificates: list[bytes]


@pytest.fixture
def world() -> World:
    return World()


@contextlib.contextmanager
def source_of(world: World, identity: Any) -> Iterator[X509Source]:
    """Follow a Workload API that issues this identity, and knows both trust domains."""
    authority = world.local
    if (
        not isinstance(identity, str)
        and identity.spiffe_id.trust_domain != world.local.trust_domain
    ):
        authority = world.partner
    other = world.partner if authority is world.local else world.local
    with FakeWorkloadApi([identity], authority=authority) as api:
        api.federate(other.bundle)
        with X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            yield source


@contextlib.contextmanager
def serve_sync(source: X509Source, authorizer: Authorizer) -> Iterator[Echo]:
    """Serve with a sync server."""
    echo = Echo(0, [], [])

    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        echo.requests.append(request)
        echo.certificates.append(presented(context))
        return str(secure.peer_id(context)).encode()

    server = grpc.server(
        ThreadPoolExecutor(4),
        interceptors=secure.server_interceptors(source, authorizer),
    )
    server.add_generic_rpc_handlers([_handlers(handle)])
    echo.port = server.add_secure_port("127.0.0.1:0", secure.server_credentials(source, authorizer))
    server.start()
    try:
        yield echo
    finally:
        server.stop(None).wait(5)


@contextlib.contextmanager
def serve_aio(source: X509Source, authorizer: Authorizer) -> Iterator[Echo]:
    """Serve with an asyncio server, on a loop in a thread."""
    echo = Echo(0, [], [])

    async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        echo.requests.append(request)
        echo.certificates.append(presented(context))
        return str(secure.peer_id(context)).encode()

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=secure.aio_server_interceptors(source, authorizer))
        server.add_generic_rpc_handlers([_handlers(handle)])
        port = server.add_secure_port("127.0.0.1:0", secure.server_credentials(source, authorizer))
        await server.start()
        return server, port

    with ThreadPoolExecutor(1) as pool, asyncio.Runner() as runner:
        loop = runner.get_loop()
        running = pool.submit(loop.run_forever)
        server, echo.port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        try:
            yield echo
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            running.result(10)


def presented(context: Any) -> bytes:
    """Give the certificate that the caller showed."""
    return bytes(next(iter(context.auth_context()["x509_pem_cert"])))


def _handlers(handle: Callable[..., Any]) -> grpc.GenericRpcHandler:
    service, method = METHOD.strip("/").split("/")
    return grpc.method_handlers_generic_handler(
        service, {method: grpc.unary_unary_rpc_method_handler(handle)}
    )


def call_sync(port: int, source: X509Source, authorizer: Authorizer) -> bytes:
    """Call once over a sync channel."""
    with secure.channel(f"127.0.0.1:{port}", source, authorizer) as channel:
        method: Any = channel.unary_unary(METHOD)
        return bytes(method(b"secret", timeout=10))


def call_aio(port: int, source: X509Source, authorizer: Authorizer) -> bytes:
    """Call once over an asyncio channel."""

    async def call() -> bytes:
        async with secure.aio_channel(f"127.0.0.1:{port}", source, authorizer) as channel:
            method: Any = channel.unary_unary(METHOD)
            return bytes(await method(b"secret", timeout=10))

    return asyncio.run(call())
