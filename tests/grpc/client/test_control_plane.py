"""The stream that serves core: what is sent, what is awaited, what is refused."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from serviceradar_security._proto import control_plane_pb2 as pb
from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.control_plane import ControlPlane
from serviceradar_security.grpc.client.resources import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    build_endpoints,
    build_listener,
)
from tests.grpc.client.child import unexpected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

DEADLINE = 5.0


class Core:
    """Speaks as gRPC core does on one stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def ask(self, type_url: str, *names: str) -> None:
        await self._stream.write(pb.DiscoveryRequest(type_url=type_url, resource_names=names))

    async def read(self) -> pb.DiscoveryResponse:
        response: pb.DiscoveryResponse = await asyncio.wait_for(self._stream.read(), DEADLINE)
        return response

    async def reads_nothing(self) -> bool:
        try:
            await asyncio.wait_for(self._stream.read(), 0.1)
        except TimeoutError:
            return True
        return False

    async def answer(
        self, response: pb.DiscoveryResponse, *names: str, complaint: str = ""
    ) -> None:
        await self._stream.write(
            pb.DiscoveryRequest(
                type_url=response.type_url,
                resource_names=names,
                response_nonce=response.nonce,
                version_info="" if complaint else response.version_info,
                error_detail=pb.Status(code=3, message=complaint) if complaint else None,
            ),
        )


def play(
    folder: Path,
    scene: Callable[[ControlPlane, Callable[[], Core]], Awaitable[None]],
) -> None:
    """Start a control plane and act on it with as many streams as wanted."""

    async def main() -> None:
        plane = ControlPlane()
        await plane.start(f"{folder}/ads.sock")
        async with grpc.aio.insecure_channel(f"unix:{folder}/ads.sock") as channel:
            method: Any = channel.stream_stream(
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                request_serializer=pb.DiscoveryRequest.SerializeToString,
                response_deserializer=pb.DiscoveryResponse.FromString,
            )
            await scene(plane, lambda: Core(method()))
        await plane.stop()

    asyncio.run(asyncio.wait_for(main(), 4 * DEADLINE))


def endpoints(port: int) -> pb.Any:
    return build_endpoints("e", [("10.0.0.1", port)])


def test_what_is_asked_for_is_sent_and_awaited(short_folder: Path) -> None:
    """`settled` returns once core has accepted the version that is in the table."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        core = connect()
        await core.ask(LISTENER, "all")
        first = await core.read()
        assert await plane.subscribed(LISTENER, "all", timeout=DEADLINE)
        await core.answer(first, "all")
        await plane.settled(LISTENER, "all", timeout=DEADLINE)
        plane.put(LISTENER, "all", build_listener("all", {"core:1": "c"}))
        plane.flush()
        waiting = asyncio.create_task(plane.settled(LISTENER, "all", timeout=DEADLINE))
        second = await core.read()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert int(second.version_info) > int(first.version_info)
        await core.answer(second, "all")
        await waiting

    play(short_folder, scene)


def test_every_stream_that_follows_is_awaited(short_folder: Path) -> None:
    """Two targets may follow one listener; a stream that ends is not waited for."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        one, two = connect(), connect()
        for core in (one, two):
            await core.ask(LISTENER, "all")
            await core.answer(await core.read(), "all")
        await plane.settled(LISTENER, "all", timeout=DEADLINE)
        plane.put(LISTENER, "all", build_listener("all", {"core:1": "c"}))
        plane.flush()
        waiting = asyncio.create_task(plane.settled(LISTENER, "all", timeout=DEADLINE))
        await one.answer(await one.read(), "all")
        await two.read()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        two._stream.cancel()
        await waiting

    play(short_folder, scene)


def test_what_nobody_follows_is_settled_at_once(short_folder: Path) -> None:
    """The first channel of a listener has nothing to wait for."""

    async def scene(plane: ControlPlane, _connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        await plane.settled(LISTENER, "all", timeout=0.01)
        assert not await plane.subscribed(LISTENER, "all", timeout=0.01)

    play(short_folder, scene)


def test_a_refusal_is_logged_and_raised(
    short_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Core's own words are in the log and in the error, and a later version can be accepted."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {"*bad*": "c"}))
        core = connect()
        await core.ask(LISTENER, "all")
        await core.answer(await core.read(), "all", complaint="Invalid domain pattern")
        with pytest.raises(SecurityError, match="Invalid domain pattern"):
            await plane.settled(LISTENER, "all", timeout=DEADLINE)
        plane.put(LISTENER, "all", build_listener("all", {}))
        plane.flush()
        await core.answer(await core.read(), "all")
        await plane.settled(LISTENER, "all", timeout=DEADLINE)

    with caplog.at_level(logging.ERROR, logger="serviceradar_security.grpc"):
        play(short_folder, scene)
    assert "Invalid domain pattern" in caplog.text


def test_a_silent_core_is_an_error_after_the_deadline(short_folder: Path) -> None:
    """Without an answer the wait ends, and says that core did not follow."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        core = connect()
        await core.ask(LISTENER, "all")
        await core.read()
        with pytest.raises(SecurityError, match="did not take up the new channel within"):
            await plane.settled(LISTENER, "all", timeout=0.05)

    play(short_folder, scene)


def test_listeners_and_clusters_are_sent_whole_and_endpoints_as_they_change(
    short_folder: Path,
) -> None:
    """A missing cluster is a removed one, so all are sent; of endpoints only the news."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        for name in ("a", "b"):
            plane.put(CLUSTER, name, pb.Any(type_url=CLUSTER, value=name.encode()))
            plane.put(ENDPOINTS, name, endpoints(1))
        core = connect()
        await core.ask(CLUSTER, "a", "b", "gone")
        clusters = await core.read()
        assert [each.value for each in clusters.resources] == [b"a", b"b"]
        await core.answer(clusters, "a", "b", "gone")
        await core.ask(ENDPOINTS, "a", "b", "later")
        await core.answer(await core.read(), "a", "b", "later")
        plane.put(ENDPOINTS, "b", endpoints(2))
        plane.flush()
        response = await core.read()
        assert response.resources == [endpoints(2)]
        await core.answer(response, "a", "b", "later")
        plane.remove(CLUSTER, "a")
        plane.flush()
        clusters = await core.read()
        assert [each.value for each in clusters.resources] == [b"b"]

    play(short_folder, scene)


def test_nothing_is_sent_when_nothing_changed(short_folder: Path) -> None:
    """An acknowledgement, an equal resource and endpoints not yet known give no response."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        core = connect()
        await core.ask(ENDPOINTS, "unresolved")
        await core.ask(LISTENER, "all")
        first = await core.read()
        assert first.type_url == LISTENER
        await core.answer(first, "all")
        plane.put(LISTENER, "all", build_listener("all", {}))
        plane.remove(LISTENER, "unknown")
        plane.flush()
        assert await core.reads_nothing()

    play(short_folder, scene)


def test_a_late_subscription_gets_what_is_there(short_folder: Path) -> None:
    """A name that joins a subscription is answered at once, with all the others."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(CLUSTER, "a", pb.Any(type_url=CLUSTER, value=b"a"))
        core = connect()
        await core.ask(CLUSTER, "a")
        first = await core.read()
        plane.put(CLUSTER, "b", pb.Any(type_url=CLUSTER, value=b"b"))
        await core.answer(first, "a", "b")
        second = await core.read()
        assert [each.value for each in second.resources] == [b"a", b"b"]

    play(short_folder, scene)


def test_the_plane_stops_while_streams_are_open(
    short_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Open streams end in order, without a word from asyncio or gRPC."""

    async def scene(plane: ControlPlane, connect: Callable[[], Core]) -> None:
        plane.put(LISTENER, "all", build_listener("all", {}))
        cores = [connect() for _ in range(3)]
        for core in cores:
            await core.ask(LISTENER, "all")
            await core.read()
        await plane.stop()
        for core in cores:
            assert await core._stream.read() is grpc.aio.EOF

    play(short_folder, scene)
    assert unexpected(caplog.text) == []
