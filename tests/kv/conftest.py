"""A KV service on a real gRPC server with our credentials, and a service that follows a key of it."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from serviceradar_security import ConfigWatch, SecurityProvider
from serviceradar_security._proto.kv_pb2 import (
    GetRequest,
    GetResponse,
    WatchRequest,
    WatchResponse,
)
from serviceradar_security.kv import KV_CHANNEL_OPTIONS, KvOverlay
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.kv import KvStatus

KEY: Final = "config/pollers/one.json"
POLLER: Final = "spiffe://example.org/poller"
DATASVC: Final = "spiffe://example.org/datasvc"
INTRUDER: Final = "spiffe://example.org/intruder"
SECURITY: Final = {"mode": "spiffe", "trust_domain": "example.org"}
BASE: Final = {"poll_interval": "30s", "security": SECURITY}
DEADLINE: Final = 20.0


class Store:
    """One key in memory; what a test does to it reaches every watcher."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.value: bytes | None = None
        self.version = 0
        self.gets = 0
        self.watches = 0
        self.keys: set[str] = set()
        self.raw: bytes | None = None  # sent on streams instead of a message
        self.raw_answer: bytes | None = None  # likewise, instead of an answer
        self.flood = 0  # how many documents the next stream begins with; 0 after they were sent
        self.flood_of = b'{"poll_interval": "%dms"}'
        self.polite = False  # streams end after their first message
        self.get_code: grpc.StatusCode | None = None
        self.watch_code: grpc.StatusCode | None = None
        self.deaf = False  # questions are not answered
        self.stopped = False

    def put(self, value: bytes | None) -> None:
        """Put a document, or delete it."""
        with self.changed:
            self.value = value
            self.version += 1
            self.changed.notify_all()

    def set(self, **faults: Any) -> None:
        """Change how the store behaves."""
        with self.changed:
            for name, value in faults.items():
                assert hasattr(self, name)
                setattr(self, name, value)
            self.changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Bind the calls to their names; the messages are read here."""
        methods: dict[str, Any] = {
            "Get": grpc.unary_unary_rpc_method_handler(self.get),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
        }
        return grpc.method_handlers_generic_handler("proto.KVService", methods)

    def get(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer Get."""
        key = GetRequest.FromString(request).key
        with self.changed:
            self.keys.add(key)
            self.gets += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.deaf or self.stopped)
            value, code = self.value, self.get_code
        if code is not None:
            context.abort(code, "as the test wants it")
        answer = GetResponse(found=value is not None, value=value or b"", revision=self.version)
        return bytes(self.raw_answer or answer.SerializeToString())

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answer Watch: the value, if there is one, then each change."""
        key = WatchRequest.FromString(request).key
        context.add_callback(self._wake)
        with self.changed:
            self.keys.add(key)
            self.watches += 1
            self.changed.notify_all()
            code, value, version = self.watch_code, self.value, self.version
        if code is not None:
            context.abort(code, "as the test wants it")
        if value is not None:
            yield self._message(value)
        for number in range(self.flood):
            document = self.flood_of % number
            with self.changed:
                self.value = document  # what a question in between is answered with
            yield self._message(document)
        self.set(flood=0)
        while not self.polite:
            with self.changed:
                while self.version == version and not self._over(context):
                    self.changed.wait(DEADLINE)
                stopped = self.stopped
                if not stopped and self._over(context):
                    return
                value, version = self.value, self.version
            if stopped:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")
            yield self._message(value or b"")

    def _message(self, value: bytes) -> bytes:
        return bytes(self.raw or WatchResponse(value=value).SerializeToString())

    def _over(self, context: grpc.ServicerContext) -> bool:
        return self.stopped or self.polite or not context.is_active()

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()


class Datasvc:
    """A store behind our server credentials and interceptors; can be stopped and started again."""

    def __init__(self, provider: SecurityProvider, store: Store) -> None:
        self._provider = provider
        self._server: grpc.Server | None = None
        self.store = store
        self.port = 0

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self, *options: tuple[str, int]) -> None:
        """Listen; on the same port as before."""
        self.store.set(stopped=False)
        server = grpc.server(
            ThreadPoolExecutor(16),
            interceptors=self._provider.grpc_server_interceptors(),
            options=[("grpc.so_reuseport", 0), *(options or self._provider.grpc_server_options())],
        )
        server.add_generic_rpc_handlers([self.store.handlers()])
        self.port = server.add_secure_port(self.target, self._provider.grpc_server_credentials())
        server.start()
        self._server = server

    def stop(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self.store.set(stopped=True)
            self._server.stop(None).wait(DEADLINE)
            self._server = None


@dataclass
class Service:
    """What follows the key: a configuration, and what was applied to it."""

    watch: ConfigWatch = field(init=False)
    applied: list[Any] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Watch over the local document."""
        self.watch = ConfigWatch(BASE, self.apply)

    def apply(self, config: Any) -> None:
        """Take a new configuration."""
        self.applied.append(config)
        self.threads.append(threading.current_thread().name)

    @property
    def interval(self) -> object:
        """The setting that documents change."""
        return self.watch.current.document["poll_interval"]

    @property
    def security(self) -> object:
        """The security block in force."""
        return self.watch.current.document["security"]


@dataclass
class World:
    """A datasvc and a poller, each with an identity and a provider."""

    datasvc: Datasvc
    poller: SecurityProvider
    service: Service = field(default_factory=Service)

    @property
    def store(self) -> Store:
        """The store."""
        return self.datasvc.store

    @contextlib.contextmanager
    def follow(self, *, key: str = KEY, **options: Any) -> Iterator[KvOverlay]:
        """Follow the key over a channel that verifies the server."""
        with (
            self.poller.grpc_channel(self.datasvc.target, options=KV_CHANNEL_OPTIONS) as channel,
            KvOverlay(channel, key, self.service.watch, **options) as overlay,
        ):
            yield overlay


def wait_until(overlay: KvOverlay, condition: Callable[[KvStatus], bool]) -> KvStatus:
    """Wait until the record is as a test wants it, and give it."""
    deadline = time.monotonic() + DEADLINE
    with overlay._changed:
        while not condition(overlay.status()):
            left = deadline - time.monotonic()
            assert left > 0, overlay.status()
            overlay._changed.wait(left)
        return overlay.status()


@contextlib.contextmanager
def provider_of(
    spiffe_id: str, peer: str, authority: FakeAuthority, *, callers: Authorizer | None = None
) -> Iterator[SecurityProvider]:
    """Open a provider on a Workload API of its own."""
    with FakeWorkloadApi([spiffe_id], authority=authority) as api:
        domain = authority.trust_domain.name
        block = {
            "mode": "spiffe",
            "trust_domain": domain,
            "server_spiffe_id": peer,
            "workload_socket": api.endpoint,
        }
        with SecurityProvider.open(block, server_authorizer=callers) as provider:
            provider.wait_ready(timeout=DEADLINE)
            yield provider


@contextlib.contextmanager
def make_world(*, identity: str = DATASVC, callers: Authorizer | None = None) -> Iterator[World]:
    """Start a datasvc that shows this identity, and a poller that expects DATASVC."""
    authority = FakeAuthority("example.org")
    with (
        provider_of(identity, POLLER, authority, callers=callers) as server,
        provider_of(POLLER, DATASVC, authority) as client,
    ):
        datasvc = Datasvc(server, Store())
        datasvc.start()
        try:
            yield World(datasvc, client)
        finally:
            datasvc.stop()


@pytest.fixture
def plain_store() -> Iterator[tuple[Store, str]]:
    """Give a store on a server without TLS, for programs of one file, and its address."""
    store = Store()
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([store.handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield store, f"127.0.0.1:{port}"
    finally:
        store.set(stopped=True)
        server.stop(None).wait(DEADLINE)


@pytest.fixture
def world() -> Iterator[World]:
    """Give a datasvc and a poller that trust each other."""
    with make_world() as made:
        yield made
