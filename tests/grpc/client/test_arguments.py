"""Arguments: what callers may give, what is refused, and that channels are channels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.grpc.client import aio_channel, channel
from serviceradar_security.identity.authorizer import authorize_any
from tests.grpc.client.conftest import (
    CALLS,
    CLIENT,
    DEADLINE,
    SERVER,
    WORKERS,
    World,
    eventually,
    expect,
    outcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.grpc.client.witness import Witness

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "unix:/run/core.sock"}, "no Unix sockets"),
    ({"source": "a source"}, "a source with the method current"),
    ({"authorizer": "an authorizer"}, "use authorize_id, authorize_one_of"),
    ({"options": [("grpc.service_config", "{}")]}, "give timeouts with the call, and retry in"),
    ({"options": [("grpc.ssl_session_cache", "a cache")]}, "no session is resumed"),
    ({"options": [("grpc.TEST_ONLY_DO_NOT_USE_IN_PROD", 1)]}, "not for use"),
    ({"options": [("grpc.http_proxy", "x:1")]}, "do not go through a proxy"),
    ({"options": [("grpc.enable_http_proxy", 1)]}, "do not go through a proxy"),
    ({"options": [("grpc.ssl_target_name_override", "x")]}, "known by its SPIFFE ID"),
    ({"options": ["grpc.primary_user_agent"]}, "a pair of a name and a value"),
    ({"options": [("a", 1, 2)]}, "a pair of a name and a value"),
    ({"options": [(1, 1)]}, "a pair of a name and a value"),
    ({"options": [("grpc.default_authority", "")]}, "a host and a port if need be"),
    ({"options": [("grpc.default_authority", "*.example")]}, "a host and a port if need be"),
    ({"options": [("grpc.default_authority", "a b")]}, "a host and a port if need be"),
    ({"options": [("grpc.default_authority", "a/b")]}, "a host and a port if need be"),
    ({"options": [("grpc.default_authority", "ü")]}, "a host and a port if need be"),
    ({"options": [("grpc.default_authority", 7)]}, "a host and a port if need be"),
]


@pytest.mark.parametrize(("fault", "said"), REFUSED, ids=str)
def test_an_argument_that_cannot_be_honoured_is_refused(
    world: World,
    fault: dict[str, Any],
    said: str,
) -> None:
    """Both kinds of channel refuse it before anything happens, and say what to do."""
    facts: dict[str, Any] = {
        "target": "core:1",
        "source": world.source(),
        "authorizer": authorize_any(),
        **fault,
    }
    with pytest.raises(ConfigError) as caught:
        channel(**facts)
    assert said in str(caught.value)

    async def make() -> None:
        aio_channel(**facts)

    with pytest.raises(ConfigError) as caught:
        asyncio.run(make())
    assert said in str(caught.value)


def test_an_aio_channel_needs_a_running_loop(world: World) -> None:
    """Outside a coroutine the error says where to make it."""
    with pytest.raises(SecurityError, match="call it inside a coroutine"):
        aio_channel("core:1", world.source(), authorize_any())


def test_two_policies_for_one_authority_are_kept_apart(world: World) -> None:
    """The same target with two expectations, or the same authority of two targets, both work."""
    one, two = world.serve(), world.serve(CLIENT)
    source = world.source()
    options = [("grpc.default_authority", "core.example")]
    with (
        channel(one.target, source, expect(SERVER), options=options) as first,
        channel(two.target, source, expect(CLIENT), options=options) as second,
        channel(one.target, source, expect(CLIENT), options=options) as third,
    ):
        for _ in range(2):
            assert outcome(first)[0] is grpc.StatusCode.OK
            assert outcome(second)[0] is grpc.StatusCode.OK
            assert outcome(third)[0] is grpc.StatusCode.UNAVAILABLE
    assert (len(one.requests), len(two.requests)) == (2, 2)
    assert {*one.authorities, *two.authorities} == {"core.example"}


def test_authorities_are_compared_without_case(world: World) -> None:
    """Core folds the case of authorities: names that differ in it alone do not collide."""
    server, source = world.serve(), world.source()
    upper, lower = [("grpc.default_authority", "CORE")], [("grpc.default_authority", "core")]
    with (
        channel(server.target, source, expect(SERVER), options=upper) as one,
        channel(server.target, source, expect(SERVER), options=lower) as two,
    ):
        assert outcome(one)[0] is grpc.StatusCode.OK
        assert outcome(two)[0] is grpc.StatusCode.OK
    assert server.authorities == ["CORE", "core"]


def test_other_options_are_passed_on(world: World) -> None:
    """A message limit of the caller is in force, and switching the proxy off is allowed."""
    options = [("grpc.max_send_message_length", 100), ("grpc.enable_http_proxy", 0)]
    with channel(world.serve().target, world.source(), expect(SERVER), options=options) as made:
        assert outcome(made, b"x" * 100)[0] is grpc.StatusCode.OK
        assert outcome(made, b"x" * 101)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("kind", CALLS)
def test_compression_is_passed_on(world: World, witness: Witness, kind: str) -> None:
    """Requests are compressed on both kinds of channel."""
    facts: dict[str, Any] = {"request": b"x" * 10_000, "compression": grpc.Compression.Gzip}
    code, text = CALLS[kind](witness.target, world.source(), expect(SERVER), **facts)
    assert code is grpc.StatusCode.OK, text
    assert [each.encoding for each in witness.calls] == ["gzip"]


def test_a_channel_makes_all_kinds_of_calls(world: World) -> None:
    """One request or many, one response or many, with metadata and futures."""
    with channel(world.serve().target, world.source(), expect(SERVER)) as made:
        assert isinstance(made, grpc.Channel)
        unary: Any = made.unary_unary("/t/unary")
        answer, call = unary.with_call(b"1", timeout=DEADLINE, metadata=[("k", "v")])
        assert call.code() is grpc.StatusCode.OK
        assert unary.future(b"1", timeout=DEADLINE).result(DEADLINE) == answer
        # As stubs that protoc's plugin for Python writes ask for it.
        make: Any = made.unary_unary
        registered = make("/t/unary", None, None, _registered_method=True)
        assert registered(b"1", timeout=DEADLINE) == answer
        many: Any = made.unary_stream("/t/many")
        assert list(many(b"1", timeout=DEADLINE)) == [answer] * 3
        collect: Any = made.stream_unary("/t/collect")
        assert collect(iter([b"1", b"2"]), timeout=DEADLINE) == answer + b"," + answer
        both: Any = made.stream_stream("/t/both")
        assert list(both(iter([b"1", b"2"]), timeout=DEADLINE)) == [answer] * 2
        unknown: Any = made.unary_unary("/t/unknown")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", timeout=DEADLINE)
        failed: Any = caught.value
        assert failed.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_aio_channel_makes_all_kinds_of_calls(world: World) -> None:
    """One request or many, one response or many, and the state of the channel."""
    server = world.serve()

    async def calls() -> list[Any]:
        async with aio_channel(server.target, world.source(), expect(SERVER)) as made:
            assert isinstance(made, grpc.aio.Channel)
            state = made.get_state(try_to_connect=True)
            if state is not grpc.ChannelConnectivity.READY:
                await asyncio.wait_for(made.wait_for_state_change(state), DEADLINE)
            await asyncio.wait_for(made.channel_ready(), DEADLINE)
            unary: Any = made.unary_unary("/t/unary")
            many: Any = made.unary_stream("/t/many")
            collect: Any = made.stream_unary("/t/collect")
            both: Any = made.stream_stream("/t/both")
            requests = [b"1", b"2"]
            return [
                await unary(b"1", timeout=DEADLINE),
                [each async for each in many(b"1", timeout=DEADLINE)],
                await collect(iter(requests), timeout=DEADLINE),
                [each async for each in both(iter(requests), timeout=DEADLINE)],
            ]

    answer, many, collected, both = asyncio.run(calls())
    assert many == [answer] * 3
    assert collected == answer + b"," + answer
    assert both == [answer] * 2


class Count(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        self.calls += 1
        return continuation(client_call_details, request)

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        self.calls += 1
        return continuation(client_call_details, request)


def test_interceptors_of_the_caller_see_each_call(world: World) -> None:
    """`grpc.intercept_channel` takes our channels as it takes any."""
    count = Count()
    with channel(world.serve().target, world.source(), expect(SERVER)) as made:
        intercepted = grpc.intercept_channel(made, count)
        assert outcome(intercepted)[0] is grpc.StatusCode.OK
        many: Any = intercepted.unary_stream("/t/many")
        assert len(list(many(b"1", timeout=DEADLINE))) == 3
    assert count.calls == 2


def test_interceptors_for_asyncio_see_each_call(world: World) -> None:
    """Interceptors given to `aio_channel` are in force."""
    seen: list[Any] = []

    class See(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(
            self,
            continuation: Callable[..., Any],
            details: Any,
            request: Any,
        ) -> Any:
            seen.append(details.method)
            return await continuation(details, request)

    server = world.serve()

    async def call() -> None:
        made = aio_channel(server.target, world.source(), expect(SERVER), interceptors=[See()])
        unary: Any = made.unary_unary("/t/unary")
        await unary(b"1", timeout=DEADLINE)
        await made.close(grace=1.0)

    asyncio.run(call())
    assert seen in (["/t/unary"], [b"/t/unary"])  # grpcio's versions differ


def test_the_connectivity_of_a_channel_can_be_followed(world: World) -> None:
    """`subscribe`, `unsubscribe` and `channel_ready_future` work."""
    states: list[grpc.ChannelConnectivity] = []
    with channel(world.serve().target, world.source(), expect(SERVER)) as made:
        made.subscribe(states.append, try_to_connect=True)
        grpc.channel_ready_future(made).result(DEADLINE)
        eventually(lambda: grpc.ChannelConnectivity.READY in states)
        made.unsubscribe(states.append)


def test_many_calls_are_in_flight_at_once(world: World) -> None:
    """More calls than a proxy's usual limit wait together, and the channel drops none of them."""
    server = world.serve()
    with channel(server.target, world.source(), expect(SERVER)) as made:
        held: Any = made.unary_stream("/t/hold")
        unary: Any = made.unary_unary("/t/unary")
        # The server's workers are all busy, so that what follows waits.
        busy = [held(b"1", timeout=60) for _ in range(WORKERS)]
        for each in busy:
            next(each)
        calls = [unary.future(b"1", timeout=60) for _ in range(1500)]
        server.release.set()
        failures = [call for call in calls if call.code() is not grpc.StatusCode.OK]
        # A server may cancel calls of such a burst, on any kind of channel.
        assert {call.code() for call in failures} <= {grpc.StatusCode.CANCELLED}
        assert not [call for call in failures if "circuit breaker" in call.details()]
        assert len(calls) - len(failures) > 1024
