"""What stands behind the verdict, and what refused peers can learn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from serviceradar_security.errors import (
    PeerError,
    PeerNotAuthorizedError,
    PeerVerificationError,
    SourceError,
    SpiffeIdError,
)
from serviceradar_security.grpc.interceptors import (
    aio_server_interceptors,
    peer_id,
    server_interceptors,
)
from serviceradar_security.identity.authorizer import authorize_any, authorize_id
from serviceradar_security.identity.spiffe_id import SpiffeId
from tests.grpc.server.conftest import CLIENT, World
from tests.grpc.server.service import (
    DEADLINE,
    KINDS,
    SERVICE,
    STACKS,
    Seen,
    Setup,
    Source,
    aio_behaviors,
    aio_writer_behaviors,
    call,
    call_all,
    connected,
    running,
    sync_behaviors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER = "spiffe://example.org/intruder"
POLLER = authorize_id(SpiffeId.parse(CLIENT))
NO_VERDICT = "this service has no identity to judge its callers by"
REFUSED = ("PERMISSION_DENIED", f"{OTHER} is not authorized to call this service")


# ---- who calls ---------------------------------------------------------------------------------


class InnerSync(grpc.ServerInterceptor):
    """An interceptor of the application's own, behind ours: it notes the peer of each call."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        def behavior(request: Any, context: Any) -> Any:
            self._seen.append(str(peer_id(context)))
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            behavior,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class InnerAio(grpc.aio.ServerInterceptor):
    """The same for asyncio."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def behavior(request: Any, context: Any) -> Any:
            self._seen.append(str(peer_id(context)))
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            behavior,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("client", [CLIENT, OTHER])
def test_inner_interceptors_know_the_peer(stack: str, client: str, world: World) -> None:
    """An interceptor behind ours finds the verified peer, and never sees another (R-TLS-13)."""
    noted: list[str] = []
    inner = (InnerSync if stack == "sync" else InnerAio)(noted)
    with (
        running(stack, Setup(world.source(), POLLER, inner=[inner])) as server,
        connected(server.port, world.local.bundle, world.local.issue(client)) as channel,
    ):
        outcome = call(channel, "unary_unary")

    assert outcome == (("OK", CLIENT) if client == CLIENT else REFUSED)
    assert noted == ([CLIENT] if client == CLIENT else [])


@pytest.mark.parametrize("stack", STACKS)
def test_without_our_interceptors_nobody_is_known(stack: str, world: World) -> None:
    """TLS alone gives no identity: `peer_id` raises, and says what is missing (R-TLS-13)."""
    with (
        running(stack, Setup(world.source(), POLLER, verify=False)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcomes = call_all(channel)

    for code, text in outcomes.values():
        assert code == "OK"
        assert text.startswith("not verified: ")
        assert "server_interceptors" in text


class Pretender:
    """It has what our context has."""

    serviceradar_security_peer = SpiffeId.parse(CLIENT)


@pytest.mark.parametrize("value", [None, object(), "context", Pretender()])
def test_what_is_no_context_has_no_peer(value: Any) -> None:
    """Whatever is not our own context has no verified peer."""
    with pytest.raises(PeerVerificationError, match="was not verified") as caught:
        peer_id(value)

    assert caught.value.reason == "no_certificate"


@pytest.mark.parametrize("stack", STACKS)
def test_a_port_without_tls_is_no_way_in(stack: str, world: World) -> None:
    """On a plaintext port the interceptors refuse everybody: nobody shows a certificate (R-TLS-01)."""
    with (
        running(stack, Setup(world.source(), authorize_any(), secure=False)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        outcomes = call_all(channel)

    refused = ("UNAUTHENTICATED", "your identity could not be verified (no_certificate)")
    assert outcomes == dict.fromkeys(KINDS, refused)
    assert server.seen.nothing


@pytest.mark.parametrize(
    "behaviors",
    [aio_behaviors, aio_writer_behaviors, sync_behaviors],
    ids=["generators", "writers", "sync"],
)
@pytest.mark.parametrize("client", [CLIENT, OTHER])
def test_every_style_of_asyncio_handlers(
    behaviors: Callable[[Seen], dict[str, Callable[..., Any]]],
    client: str,
    world: World,
) -> None:
    """Generators, coroutines that write, and plain functions in threads stand behind the verdict alike."""
    with (
        running("aio", Setup(world.source(), POLLER, behaviors=behaviors)) as server,
        connected(server.port, world.local.bundle, world.local.issue(client)) as channel,
    ):
        outcomes = call_all(channel)

    assert outcomes == dict.fromkeys(KINDS, ("OK", CLIENT) if client == CLIENT else REFUSED)
    assert server.seen.nothing is (client == OTHER)


def _context_tour(note: list[object]) -> Callable[[Seen], dict[str, Callable[..., Any]]]:
    def behaviors(_seen: Seen) -> dict[str, Callable[..., Any]]:
        def unary_unary(request: bytes, context: Any) -> bytes:
            note.append(isinstance(context, grpc.ServicerContext))
            note.append(dict(context.invocation_metadata())["asked"])
            note.append(context.time_remaining() > 0)
            note.append(context.peer().startswith("ipv4:127.0.0.1:"))
            note.append("x509_pem_cert" in context.auth_context())
            context.set_trailing_metadata((("told", "yes"),))
            if request == b"abort":
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
            return b"done"

        return {"unary_unary": unary_unary}

    return behaviors


def _aio_context_tour(note: list[object]) -> Callable[[Seen], dict[str, Callable[..., Any]]]:
    def behaviors(_seen: Seen) -> dict[str, Callable[..., Any]]:
        async def unary_unary(request: bytes, context: Any) -> bytes:
            note.append(isinstance(context, grpc.aio.ServicerContext))
            note.append(dict(context.invocation_metadata())["asked"])
            note.append(context.time_remaining() > 0)
            note.append(context.peer().startswith("ipv4:127.0.0.1:"))
            note.append("x509_pem_cert" in context.auth_context())
            context.set_trailing_metadata((("told", "yes"),))
            if request == b"abort":
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
            return b"done"

        return {"unary_unary": unary_unary}

    return behaviors


@pytest.mark.parametrize("stack", STACKS)
def test_the_context_is_otherwise_grpcs_own(stack: str, world: World) -> None:
    """Metadata, deadline, peer, status and trailers work through the context that knows the peer."""
    note: list[object] = []
    tour = (_context_tour if stack == "sync" else _aio_context_tour)(note)
    with (
        running(stack, Setup(world.source(), POLLER, behaviors=tour)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        stub: Any = channel.unary_unary(f"/{SERVICE}/unary_unary")
        answer, told = stub.with_call(b"x", timeout=DEADLINE, metadata=(("asked", "it"),))
        with pytest.raises(grpc.RpcError) as caught:
            stub(b"abort", timeout=DEADLINE, metadata=(("asked", "it"),))

    assert answer == b"done"
    assert dict(told.trailing_metadata()) == {"told": "yes"}
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.details() == "there is one"
    assert note == [True, "it", True, True, True] * 2


# ---- what refused peers learn, and reach -------------------------------------------------------


def _answers(channel: grpc.Channel, kind: str, method: str) -> tuple[object, ...]:
    """Give everything that a caller sees of an answer."""
    stub = getattr(channel, kind)(f"/{SERVICE}/{method}")
    given = iter([b"request"]) if kind.startswith("stream") else b"request"
    try:
        if kind.endswith("_stream"):
            return ("OK", list(stub(given, timeout=DEADLINE)))
        return ("OK", stub(given, timeout=DEADLINE))
    except grpc.RpcError as caught:
        error: Any = caught
        return (
            error.code().name,
            error.details(),
            tuple(error.initial_metadata()),
            tuple(error.trailing_metadata()),
        )


@pytest.mark.parametrize("stack", STACKS)
def test_refused_peers_do_not_learn_which_methods_there_are(stack: str, world: World) -> None:
    """Known and unknown methods answer a refused peer in the same way, in every kind of call."""
    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(OTHER)) as channel,
    ):
        answers = {
            _answers(channel, kind, method) for kind in KINDS for method in (*KINDS, "unknown", "")
        }

    assert answers == {(*REFUSED, (), ())}
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
def test_let_in_peers_are_told_of_unknown_methods(stack: str, world: World) -> None:
    """Who is let in gets gRPC's own answer for a method that there is not."""
    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcomes = {call(channel, kind, method="unknown") for kind in KINDS}

    assert outcomes == {("UNIMPLEMENTED", "Method not found!")}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("method", [*KINDS, "unknown"])
def test_the_verdict_comes_before_the_first_message(stack: str, method: str, world: World) -> None:
    """A refused peer is answered while it still holds its request back, whatever the method (R-TLS-03)."""
    release = threading.Event()

    def held_back() -> Iterator[bytes]:
        release.wait(DEADLINE)
        yield b"request"

    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(OTHER)) as channel,
    ):
        stub: Any = channel.stream_stream(f"/{SERVICE}/{method}")
        responses = stub(held_back(), timeout=DEADLINE)
        with pytest.raises(grpc.RpcError) as caught:
            next(responses)
        release.set()

    assert (caught.value.code().name, caught.value.details()) == REFUSED
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_a_refused_peer_is_parsed(stack: str, kind: str, world: World) -> None:
    """The application's deserializer never sees the request of a refused peer (R-TLS-03)."""
    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(OTHER)) as channel,
    ):
        outcome = call(channel, kind, requests=[b"unreadable"])

    assert outcome == REFUSED
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_request_that_cannot_be_read(stack: str, kind: str, world: World) -> None:
    """An unreadable request of a peer that is let in ends its call, and tells nothing of the parser."""
    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcome = call(channel, kind, requests=[b"unreadable"])
        after = call(channel, kind)

    assert outcome == ("INTERNAL", "Exception deserializing request!")
    assert after == ("OK", CLIENT)
    assert server.seen.handled == [kind]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
@pytest.mark.parametrize(
    ("requests", "outcome"),
    [
        ((), ("UNIMPLEMENTED", "This method needs exactly one request.")),
        ((b"first", b"second"), ("OK", CLIENT)),  # as gRPC itself: the rest is left unread
    ],
)
def test_another_number_of_requests_than_one(
    stack: str,
    kind: str,
    requests: tuple[bytes, ...],
    outcome: tuple[str, str],
    world: World,
) -> None:
    """A unary method that gets no request ends with an error, and does not wait for ever."""
    with (
        running(stack, Setup(world.source(), POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        # A raw stream may send what a unary stub cannot.
        assert call(channel, "stream_stream", method=kind, requests=requests) == outcome

    assert server.seen.requests == list(requests[:1])


# ---- failures on our side ----------------------------------------------------------------------


class Raising:
    """An authorizer that fails."""

    trust_domains = None

    def __init__(self, error: Exception) -> None:
        self._error = error

    def authorize(self, _spiffe_id: SpiffeId, /) -> None:
        raise self._error


class OwnRefusalError(PeerError):
    """An application's own kind of refusal, with a constructor of its own."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret of the authorizer"),
        KeyError("secret"),
        SpiffeIdError("secret"),
        OwnRefusalError(1, 2),
        PeerNotAuthorizedError("secret"),
        PeerVerificationError("secret"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_authorizer_that_raises_refuses(stack: str, error: Exception, world: World) -> None:
    """Whatever an authorizer raises refuses the peer, and the peer does not learn it (R-X509-24)."""
    with (
        running(stack, Setup(world.source(), Raising(error))) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcomes = [*call_all(channel).values(), *call_all(channel).values()]

    assert set(outcomes) == {
        ("PERMISSION_DENIED", f"{CLIENT} is not authorized to call this service"),
    }
    assert server.seen.nothing


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "error",
    [SourceError("secret of the source"), RuntimeError("secret"), ValueError("secret")],
    ids=lambda each: type(each).__name__,
)
def test_a_source_that_fails_under_a_live_connection(
    stack: str,
    error: Exception,
    world: World,
) -> None:
    """With nothing to judge by, everybody is refused as unavailable, and served again afterwards."""
    source = world.source()
    good = source.now
    with (
        running(stack, Setup(source, POLLER)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        before = call_all(channel)
        handled = list(server.seen.handled)
        source.now = error
        during = call_all(channel)
        assert server.seen.handled == handled
        source.now = good
        after = call_all(channel)

    assert before == after == dict.fromkeys(KINDS, ("OK", CLIENT))
    assert during == dict.fromkeys(KINDS, ("UNAVAILABLE", NO_VERDICT))


@pytest.mark.parametrize("stack", STACKS)
def test_an_authority_is_removed_under_a_live_connection(stack: str, world: World) -> None:
    """A new snapshot is a new verdict: the connection lives on, its calls are refused (R-TLS-08)."""
    source = world.source()
    with (
        running(stack, Setup(source, authorize_any())) as server,
        connected(
            server.port,
            world.local.bundle,
            world.partner.issue("spiffe://partner.example/x"),
        ) as channel,
    ):
        before = call_all(channel)
        world.partner.rotate()
        source.now = world.context()
        both = call_all(channel)
        world.partner.revoke()
        source.now = world.context()
        handled = list(server.seen.handled)
        removed = call_all(channel)

    assert set(before.values()) == set(both.values()) == {("OK", "spiffe://partner.example/x")}
    refused = ("UNAUTHENTICATED", "your identity could not be verified (untrusted_chain)")
    assert set(removed.values()) == {refused}
    assert server.seen.handled == handled


@pytest.mark.parametrize("stack", STACKS)
def test_a_handler_without_its_function_is_no_way_round(stack: str, world: World) -> None:
    """A handler that names a kind and has no function for it answers nobody."""

    class Hollow(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            del handler_call_details
            return grpc.unary_unary_rpc_method_handler(None)  # type: ignore[arg-type]  # the fault

    def behaviors(_seen: Seen) -> dict[str, Callable[..., Any]]:
        return {}

    with (
        running(
            stack,
            Setup(world.source(), POLLER, behaviors=behaviors, generic=(Hollow(),)),
        ) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        assert call(channel, "unary_unary")[0] == "UNKNOWN"


def test_the_interceptors_are_lists() -> None:
    """They are put before the application's own with a plus."""
    source = Source(SourceError("none"))

    assert len(server_interceptors(source, POLLER)) == 1
    assert isinstance(server_interceptors(source, POLLER)[0], grpc.ServerInterceptor)
    assert isinstance(aio_server_interceptors(source, POLLER)[0], grpc.aio.ServerInterceptor)
