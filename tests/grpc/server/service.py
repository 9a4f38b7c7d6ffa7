"""A service that remembers what reached it, on real servers of both kinds, and real clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from serviceradar_security.errors import PeerVerificationError
from serviceradar_security.grpc.interceptors import (
    aio_server_interceptors,
    peer_id,
    server_interceptors,
)
from serviceradar_security.grpc.server import server_credentials, server_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from serviceradar_security.grpc.interceptors import CallPolicy
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.testing.authority import IssuedCertificate

SERVICE = "tests.Echo"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
STACKS = ("sync", "aio")
DEADLINE = 10.0


class Source:
    """The least that a source can be: it gives what it is told to, or raises it."""

    def __init__(self, now: X509Context | Exception) -> None:
        """Begin with a snapshot or an error."""
        self.now = now

    def current(self) -> X509Context:
        """Give the snapshot or raise the error."""
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


@dataclass
class Seen:
    """What reached the application, in whatever way."""

    deserialized: list[bytes] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    intercepted: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the application noticed nothing at all."""
        return not (self.deserialized or self.handled or self.requests or self.intercepted)

    def read(self, data: bytes) -> bytes:
        """Deserialize a request."""
        self.deserialized.append(data)
        if data == b"unreadable":
            raise ValueError("these bytes are no message")
        return data

    def peer(self, kind: str, context: Any) -> bytes:
        """Note the call, and say who calls."""
        self.handled.append(kind)
        try:
            return str(peer_id(context)).encode()
        except PeerVerificationError as error:
            return f"not verified: {error}".encode()


def sync_behaviors(seen: Seen) -> dict[str, Callable[..., Any]]:
    """Make handlers for ``grpc.server``, which also ``grpc.aio`` runs, in a thread."""

    def unary_unary(request: bytes, context: Any) -> bytes:
        seen.requests.append(request)
        return seen.peer("unary_unary", context)

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        seen.requests.append(request)
        yield seen.peer("unary_stream", context)
        yield request

    def stream_unary(requests: Iterator[bytes], context: Any) -> bytes:
        seen.requests.extend(requests)
        return seen.peer("stream_unary", context)

    def stream_stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            seen.requests.append(request)
            yield seen.peer("stream_stream", context)

    return {
        each.__name__: each for each in (unary_unary, unary_stream, stream_unary, stream_stream)
    }


def aio_behaviors(seen: Seen) -> dict[str, Callable[..., Any]]:
    """Make handlers for ``grpc.aio.server``."""

    async def unary_unary(request: bytes, context: Any) -> bytes:
        seen.requests.append(request)
        return seen.peer("unary_unary", context)

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        seen.requests.append(request)
        yield seen.peer("unary_stream", context)
        yield request

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        seen.requests.extend([each async for each in requests])
        return seen.peer("stream_unary", context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            seen.requests.append(request)
            yield seen.peer("stream_stream", context)

    return {
        each.__name__: each for each in (unary_unary, unary_stream, stream_unary, stream_stream)
    }


def aio_writer_behaviors(seen: Seen) -> dict[str, Callable[..., Any]]:
    """Make handlers of the other style of ``grpc.aio``: coroutines that read and write."""

    async def unary_stream(request: bytes, context: Any) -> None:
        seen.requests.append(request)
        await context.write(seen.peer("unary_stream", context))

    async def stream_unary(_requests: Any, context: Any) -> bytes:
        while (request := await context.read()) is not grpc.aio.EOF:
            seen.requests.append(request)
        return seen.peer("stream_unary", context)

    async def stream_stream(_requests: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            seen.requests.append(request)
            await context.write(seen.peer("stream_stream", context))

    own = {each.__name__: each for each in (unary_stream, stream_unary, stream_stream)}
    return {**aio_behaviors(seen), **own}


def register(server: Any, seen: Seen, behaviors: dict[str, Callable[..., Any]]) -> None:
    """Add the handlers in both ways, as generated code does."""
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(behavior, request_deserializer=seen.read)
        for kind, behavior in behaviors.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


@dataclass
class Running:
    """A server that runs."""

    ports: tuple[int, ...]
    seen: Seen

    @property
    def port(self) -> int:
        """The first port."""
        return self.ports[0]


@dataclass(frozen=True)
class Setup:
    """How a server is set up; by default as the documentation says."""

    source: Source
    authorizer: Authorizer
    verify: bool = True
    ports: int = 1
    secure: bool = True
    inner: Sequence[Any] = ()
    behaviors: Callable[[Seen], dict[str, Callable[..., Any]]] | None = None
    generic: Sequence[grpc.GenericRpcHandler] = ()
    policy: CallPolicy | None = None

    def interceptors(self) -> list[Any]:
        """Make the library's interceptors of a ``grpc.server``."""
        return server_interceptors(self.source, self.authorizer, self.policy)

    def aio_interceptors(self) -> list[Any]:
        """Make those of a ``grpc.aio.server``."""
        return aio_server_interceptors(self.source, self.authorizer, self.policy)

    def credentials(self) -> grpc.ServerCredentials:
        """Make the credentials."""
        return server_credentials(self.source, self.authorizer)

    def options(self) -> list[tuple[str, int]]:
        """Give the options."""
        return server_options(self.source)


def _add_ports(server: Any, setup: Any) -> tuple[int, ...]:
    if not setup.secure:
        return (server.add_insecure_port("127.0.0.1:0"),)
    credentials = setup.credentials()
    return tuple(server.add_secure_port("127.0.0.1:0", credentials) for _ in range(setup.ports))


@contextlib.contextmanager
def running(stack: str, setup: Any) -> Iterator[Running]:
    """Run a server of one of the two kinds on loopback."""
    with (running_sync if stack == "sync" else running_aio)(setup) as server:
        yield server


@contextlib.contextmanager
def running_sync(setup: Any) -> Iterator[Running]:
    """Run a ``grpc.server``."""
    seen = Seen()
    ours = setup.interceptors() if setup.verify else []
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(
            pool,
            interceptors=[*ours, *setup.inner],
            options=setup.options(),
        )
        register(server, seen, (setup.behaviors or sync_behaviors)(seen))
        server.add_generic_rpc_handlers(tuple(setup.generic))
        ports = _add_ports(server, setup)
        server.start()
        try:
            yield Running(ports, seen)
        finally:
            server.stop(None).wait(DEADLINE)


@contextlib.contextmanager
def running_aio(setup: Any) -> Iterator[Running]:
    """Run a ``grpc.aio.server`` in a loop and thread of its own."""
    seen = Seen()
    ready: list[tuple[int, ...] | BaseException] = []
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        ours = setup.aio_interceptors() if setup.verify else []
        pool = ThreadPoolExecutor(4)
        server = grpc.aio.server(
            pool,
            interceptors=[*ours, *setup.inner],
            options=setup.options(),
        )
        register(server, seen, (setup.behaviors or aio_behaviors)(seen))
        server.add_generic_rpc_handlers(tuple(setup.generic))
        try:
            ready.append(_add_ports(server, setup))
            await server.start()
        finally:
            started.set()
        await stop.wait()
        await server.stop(None)
        # gRPC's threads for plain functions talk to the loop to their end: it must not close first.
        await asyncio.to_thread(pool.shutdown)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    started.wait(DEADLINE)
    (ports,) = ready
    try:
        yield Running(ports, seen)  # type: ignore[arg-type]  # an error would have ended the thread
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)


@contextlib.contextmanager
def connected(
    port: int,
    roots: TrustBundle,
    client: X509Svid | IssuedCertificate | None,
) -> Iterator[grpc.Channel]:
    """Connect as any gRPC client would, with a certificate or without."""
    chain, key = client.to_pem() if client is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(roots.to_pem(), key, chain)
    with grpc.secure_channel(
        f"localhost:{port}",
        credentials,
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)],
    ) as channel:
        yield channel


Outcome = tuple[str, str]


def call(
    channel: grpc.Channel,
    kind: str,
    *,
    method: str | None = None,
    requests: Sequence[bytes] = (b"request",),
) -> Outcome:
    """Call one method; give the status and what the answer or the refusal says."""
    stub = getattr(channel, kind)(f"/{SERVICE}/{method or kind}")
    argument = iter(requests) if kind.startswith("stream") else requests[0]
    try:
        if kind.endswith("_stream"):
            return "OK", next(iter(list(stub(argument, timeout=DEADLINE))), b"").decode()
        return "OK", stub(argument, timeout=DEADLINE).decode()
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""


def call_all(channel: grpc.Channel) -> dict[str, Outcome]:
    """Call a method of each kind."""
    return {kind: call(channel, kind) for kind in KINDS}
