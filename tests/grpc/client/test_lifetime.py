"""Lifetimes: what a channel takes is given back, and what callers hold goes on working."""

from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client import aio_channel, channel
from serviceradar_security.grpc.client import plane as plane_module
from serviceradar_security.grpc.client.materials import SLOTS
from serviceradar_security.grpc.client.runtime import get_runtime
from tests.grpc.client.conftest import (
    DEADLINE,
    SERVER,
    FakeSource,
    World,
    call_sync,
    eventually,
    expect,
    outcome,
)

if TYPE_CHECKING:
    from serviceradar_security.grpc.client.plane import Plane


def count(kind: str) -> int:
    return len(list(Path("/proc/self", kind).iterdir()))


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Plane:
    """The plane of this process, when no test's channels are left on it."""
    monkeypatch.setattr(plane_module, "_LINGER", 0.5)
    gc.collect()
    made = get_runtime().plane
    eventually(lambda: not routes(made), within=20)
    return made


def routes(plane: Plane) -> int:
    assert plane._routes is not None
    return len(plane._routes)


def test_equal_policies_share_a_route(world: World, plane: Plane) -> None:
    """Channels that differ in nothing cost one route; it goes with the last of them."""
    server, source = world.serve(), world.source()
    made = [channel(server.target, source, expect(SERVER)) for _ in range(5)]
    assert routes(plane) == 1
    made += [channel(server.target, source, expect(SERVER + "-2"))]
    assert routes(plane) == 2
    for each in made[1:]:
        each.close()
        each.close()
    eventually(lambda: routes(plane) == 1)
    assert outcome(made[0])[0] is grpc.StatusCode.OK
    made[0].close()
    eventually(lambda: routes(plane) == 0)
    assert source.subscribers == 0


def test_a_dropped_channel_is_given_back(world: World, plane: Plane) -> None:
    """A channel that nobody closed and nobody holds ends by itself."""
    made: Any = channel(world.serve().target, world.source(), expect(SERVER))
    assert outcome(made)[0] is grpc.StatusCode.OK
    assert routes(plane) == 1
    del made
    gc.collect()
    eventually(lambda: routes(plane) == 0)


def test_a_stub_outlives_the_name_of_its_channel(world: World, plane: Plane) -> None:
    """As with grpcio's own channels, what makes calls keeps the channel alive."""
    source = world.source()
    unary: Any = channel(world.serve().target, source, expect(SERVER)).unary_unary("/t/unary")
    gc.collect()
    time.sleep(0.3)
    assert unary(b"1", timeout=DEADLINE)
    fresh = world.context(spiffe_id="spiffe://carverauto.test/other")
    source.set(fresh)
    serial = str(fresh.default.leaf.serial_number).encode()
    while unary(b"1", timeout=DEADLINE) != serial:
        pass
    del unary
    gc.collect()
    eventually(lambda: routes(plane) == 0)


def test_an_aio_call_outlives_the_name_of_its_channel(world: World, plane: Plane) -> None:
    """A call in flight keeps its channel, and its route, alive."""
    server = world.serve()

    async def call() -> bytes:
        unary: Any = aio_channel(server.target, world.source(), expect(SERVER)).unary_unary(
            "/t/unary",
        )
        flying = unary(b"1", timeout=DEADLINE)
        del unary
        gc.collect()
        await asyncio.sleep(0.3)
        answer: bytes = await flying
        return answer

    assert asyncio.run(call())
    gc.collect()
    eventually(lambda: routes(plane) == 0)


def test_a_source_that_holds_its_channel_is_collected_with_it(
    world: World,
    plane: Plane,
) -> None:
    """The process holds sources weakly: a ring of source and channel does not live for ever."""

    class Holder(FakeSource):
        channel: Any = None

        def __del__(self) -> None:
            ended.append(self)

    ended: list[object] = []
    source = Holder(world.context())
    source.subscribe = None  # type: ignore[assignment,method-assign] # a source that is only asked
    server = world.serve()
    source.channel = channel(server.target, source, expect(SERVER))
    assert outcome(source.channel)[0] is grpc.StatusCode.OK
    del source
    gc.collect()
    assert len(ended) == 1
    ended.clear()
    eventually(lambda: routes(plane) == 0)


def test_two_hundred_channels_leave_nothing(world: World, plane: Plane) -> None:
    """Threads and descriptors are afterwards as before, and channels cost few threads."""
    server, source = world.serve(), world.source()
    call_sync(server.target, source, expect(SERVER))
    eventually(lambda: routes(plane) == 0)
    threads, descriptors = count("task"), count("fd")
    made = [
        channel(
            server.target,
            source,
            expect(SERVER),
            options=[("grpc.default_authority", f"core-{number}:1")],
        )
        for number in range(200)
    ]
    assert routes(plane) == 200
    assert {outcome(each)[0] for each in made} == {grpc.StatusCode.OK}
    assert count("task") < threads + 60
    for each in made:
        each.close()
    eventually(lambda: count("fd") <= descriptors)
    eventually(lambda: count("task") <= threads + 8)
    eventually(lambda: routes(plane) == 0)


def test_opening_and_closing_again_and_again_leaves_nothing(world: World, plane: Plane) -> None:
    """A hundred channels one after the other are as one."""
    server, source = world.serve(), world.source()
    call_sync(server.target, source, expect(SERVER))
    descriptors = count("fd")
    for _ in range(100):
        assert call_sync(server.target, source, expect(SERVER))[0] is grpc.StatusCode.OK
    eventually(lambda: count("fd") <= descriptors)
    eventually(lambda: routes(plane) == 0)


def test_slots_are_spent_and_come_back(world: World, plane: Plane) -> None:
    """A source too many is refused with the way out; a closed channel makes room again."""
    server = world.serve()
    eventually(lambda: not plane.materials.in_use())
    sources = [world.source() for _ in range(SLOTS)]
    made = [channel(server.target, each, expect(SERVER)) for each in sources]
    extra = world.source()
    with pytest.raises(SecurityError, match="share one source between channels, or close"):
        channel(server.target, extra, expect(SERVER))
    again = channel(server.target, sources[0], expect(SERVER + "-2"))
    again.close()
    made[0].close()
    eventually(lambda: len(plane.materials.in_use()) < SLOTS)
    with channel(server.target, extra, expect(SERVER)) as late:
        # The slot has just been another's: nothing of that one is shown.
        code, serial = outcome(late)
        assert code is grpc.StatusCode.OK
        assert serial == str(extra.current().default.leaf.serial_number)
    for each in made[1:]:
        each.close()
    eventually(lambda: not plane.materials.in_use())


def test_a_hundred_sources_one_after_the_other_are_told_apart(world: World, plane: Plane) -> None:
    """Slots are used again, and each channel shows its own source's identity."""
    server = world.serve()
    for _ in range(100):
        source = world.source()
        code, serial = call_sync(server.target, source, expect(SERVER))
        assert code is grpc.StatusCode.OK
        assert serial == str(source.current().default.leaf.serial_number)
    eventually(lambda: not plane.materials.in_use())


def test_channels_are_made_from_many_threads(world: World, plane: Plane) -> None:
    """Nothing is mixed up when threads open and close channels at the same time."""
    server = world.serve()
    sources = [world.source() for _ in range(4)]

    def work(number: int) -> tuple[grpc.StatusCode, str]:
        return call_sync(server.target, sources[number % 4], expect(SERVER))

    serials = [str(source.current().default.leaf.serial_number) for source in sources]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(60)))
    assert results == [(grpc.StatusCode.OK, serials[number % 4]) for number in range(60)]
    eventually(lambda: routes(plane) == 0)
