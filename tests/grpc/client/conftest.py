"""Helpers: a source that tests control, servers that remember what reached them, and dials."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from cryptography import x509

from serviceradar_security.errors import SourceError
from serviceradar_security.grpc.client import aio_channel, channel
from serviceradar_security.identity.authorizer import Authorizer, authorize_id
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.testing.authority import FakeAuthority, IssuedCertificate
from tests.grpc.client.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serviceradar_security.identity.bundle import TrustBundle

CLIENT: Final = "spiffe://carverauto.test/ns/demo/sa/poller"
SERVER: Final = "spiffe://carverauto.test/ns/demo/sa/core"
DEADLINE: Final = 10.0
WORKERS: Final = 32


class FakeSource:
    """A source whose snapshot tests set; without one it raises."""

    def __init__(self, context: X509Context | None = None) -> None:
        self._context = context
        self._callbacks: list[Callable[[X509Context | None], None]] = []

    def current(self) -> X509Context:
        if self._context is None:
            raise SourceError("no identity was issued yet: this test has not set one")
        return self._context

    def set(self, context: X509Context | None) -> None:
        self._context = context
        for callback in list(self._callbacks):
            callback(context)

    @contextlib.contextmanager
    def subscribe(self, callback: Callable[[X509Context | None], None]) -> Iterator[None]:
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)


class PolledSource:
    """A source with nothing but `current()`."""

    def __init__(self, context: X509Context) -> None:
        self.context = context

    def current(self) -> X509Context:
        return self.context


class Server:
    """A gRPC server on loopback that remembers every request and the certificates of callers."""

    def __init__(
        self,
        certificate: IssuedCertificate | None,
        roots: bytes,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.requests: list[bytes] = []
        self.callers: list[str] = []
        self.serials: list[int] = []
        self.authorities: list[str] = []
        self.release = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(WORKERS), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handler(self),))
        address = f"{host}:{port}"
        if certificate is None:
            self.port = self._server.add_insecure_port(address)
        else:
            chain, key = certificate.to_pem()
            credentials = grpc.ssl_server_credentials([(key, chain)], roots, True)  # noqa: FBT003 - grpcio's signature
            self.port = self._server.add_secure_port(address, credentials)
        self.target = f"{host}:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self.release.set()
        self._server.stop(None).wait(DEADLINE)

    def note(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        seen: Any = context.auth_context()
        pem = seen.get("x509_pem_cert", [b""])[0]
        serial = x509.load_pem_x509_certificate(pem).serial_number if pem else 0
        self.requests.append(request)
        self.serials.append(serial)
        self.callers.append(seen.get("peer_spiffe_id", [b""])[0].decode())
        self.authorities.append(_authority_of(context))
        return str(serial).encode()


def _authority_of(context: Any) -> str:
    host = context._rpc_event.call_details.host
    return host.decode() if isinstance(host, bytes) else str(host)


class _Handler(grpc.GenericRpcHandler):
    """Answers each request with the serial number of the caller's certificate."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        note = self._server.note
        many: Any = lambda requests, context: (note(each, context) for each in requests)  # noqa: E731
        handlers: dict[str, Any] = {
            "/t/unary": grpc.unary_unary_rpc_method_handler(note),
            "/t/many": grpc.unary_stream_rpc_method_handler(
                lambda request, context: iter([note(request, context)] * 3),
            ),
            "/t/collect": grpc.stream_unary_rpc_method_handler(
                lambda requests, context: b",".join([note(each, context) for each in requests]),
            ),
            "/t/both": grpc.stream_stream_rpc_method_handler(many),
            "/t/hold": grpc.unary_stream_rpc_method_handler(self._hold),
        }
        return handlers.get(details.method)

    def _hold(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield self._server.note(request, context)
        self._server.release.wait(60)
        yield b"released"


class World:
    """Two trust domains that know each other, and servers and sources in them."""

    def __init__(self) -> None:
        self.ours = FakeAuthority("carverauto.test")
        self.theirs = FakeAuthority("partner.test")
        self._servers: list[Server] = []

    @property
    def roots(self) -> bytes:
        return self.ours.bundle.to_pem() + self.theirs.bundle.to_pem()

    def context(self, *bundles: TrustBundle, ttl: float = 3600, **facts: Any) -> X509Context:
        """Give a new client identity with the bundles of both domains, unless told others."""
        given = bundles or (self.ours.bundle, self.theirs.bundle)
        svid = facts.pop("svid", None)
        svid = svid or self.ours.issue(facts.pop("spiffe_id", CLIENT), ttl=ttl, **facts)
        return X509Context(svids=[svid], bundles={each.trust_domain: each for each in given})

    def source(self, *bundles: TrustBundle) -> FakeSource:
        return FakeSource(self.context(*bundles))

    def serve(
        self,
        spiffe_id: str | None = SERVER,
        *,
        authority: FakeAuthority | None = None,
        plaintext: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        **facts: Any,
    ) -> Server:
        made = (authority or self.ours).issue_certificate(spiffe_id, **facts)
        server = Server(
            None if plaintext else made,
            self.roots,
            host=host,
            port=port,
        )
        self._servers.append(server)
        return server

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


@pytest.fixture
def world() -> Iterator[World]:
    """Two federated trust domains, `carverauto.test` and `partner.test`."""
    made = World()
    yield made
    made.stop()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        yield Path(folder)


@pytest.fixture
def witness(world: World) -> Iterator[Witness]:
    """A server of the expected ID that takes callers without a certificate as well."""
    made = Witness(world.ours.issue_certificate(SERVER), world.roots)
    yield made
    made.close()


def expect(text: str) -> Authorizer:
    """Authorize one SPIFFE ID."""
    return authorize_id(SpiffeId.parse(text))


def call_sync(
    target: str,
    source: Any,
    authorizer: Authorizer,
    *,
    request: bytes = b"hello",
    **options: Any,
) -> tuple[grpc.StatusCode, str]:
    """Make one call on a new channel; give its code and its answer or details."""
    with channel(target, source, authorizer, **options) as made:
        return outcome(made, request)


def outcome(
    made: grpc.Channel, request: bytes = b"hello", **facts: Any
) -> tuple[grpc.StatusCode, str]:
    """Make one call on a channel; give its code and its answer or details."""
    unary: Any = made.unary_unary("/t/unary")
    try:
        return grpc.StatusCode.OK, unary(request, timeout=DEADLINE, **facts).decode()
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code(), failed.details()


def call_aio(
    target: str,
    source: Any,
    authorizer: Authorizer,
    *,
    request: bytes = b"hello",
    **options: Any,
) -> tuple[grpc.StatusCode, str]:
    """Do the same with asyncio, in an event loop of its own."""

    async def call() -> tuple[grpc.StatusCode, str]:
        async with aio_channel(target, source, authorizer, **options) as made:
            unary: Any = made.unary_unary("/t/unary")
            try:
                return grpc.StatusCode.OK, (await unary(request, timeout=DEADLINE)).decode()
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""

    return asyncio.run(call())


CALLS: Final = {"sync": call_sync, "aio": call_aio}


def eventually(condition: Callable[[], Any], *, within: float = DEADLINE) -> None:
    """Wait until something holds, or fail when the deadline has passed."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"it did not become true within {within} s"
        time.sleep(0.01)
