"""A source under anyio and trio: waiting, following, cancelling and closing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from serviceradar_security import (
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    X509Source,
)
from tests.workers.loops import AnyioLoop, Loop, TrioLoop
from tests.workload.peers import source_threads, until

if TYPE_CHECKING:
    from serviceradar_security import X509Context
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


@pytest.fixture(
    params=[AnyioLoop("asyncio"), AnyioLoop("trio"), TrioLoop()],
    ids=["anyio-asyncio", "anyio-trio", "trio"],
)
def loop(request: pytest.FixtureRequest) -> Loop:
    """Each of the loops."""
    given: Loop = request.param
    return given


class Waiting:
    """`wait_ready`, as a function for a thread, that tells how it ended."""

    def __init__(self, source: X509Source, *, timeout: float) -> None:
        self._source = source
        self._timeout = timeout
        self.began = threading.Event()
        self.ended = threading.Event()
        self.error: SourceError | None = None

    def __call__(self) -> X509Context | None:
        self.began.set()
        try:
            return self._source.wait_ready(timeout=self._timeout)
        except SourceError as error:
            self.error = error
            return None
        finally:
            self.ended.set()


def test_wait_and_follow(loop: Loop, api: FakeWorkloadApi) -> None:
    """Waiting goes by a thread, reading is direct, and new snapshots come in by a subscription."""

    async def main() -> None:
        with X509Source(api.endpoint) as source:
            first = await loop.in_thread(lambda: source.wait_ready(timeout=10))
            assert source.current() == first
            async with loop.following(source) as receive:
                for _ in range(3):
                    (new,) = await loop.in_thread(api.rotate)
                    with loop.move_on_after(10):
                        while (await receive()).default != new:
                            pass
                    assert source.current().default == new

    loop.run(main)
    assert source_threads() == []
    until(lambda: api.connections == 0)


def test_abandoned_wait(loop: Loop, api: FakeWorkloadApi) -> None:
    """Cancelling a wait that may be abandoned ends it at once; its thread ends by its deadline."""
    api.hang()

    async def main() -> Waiting:
        with X509Source(api.endpoint) as source:
            waiting = Waiting(source, timeout=1.0)
            before = time.monotonic()
            with loop.move_on_after(0.05):
                await loop.in_thread(waiting, abandon=True)
            assert not waiting.ended.is_set()
            await loop.in_thread(lambda: waiting.ended.wait(10))
            assert time.monotonic() - before < 6
        return waiting

    waiting = loop.run(main)
    assert isinstance(waiting.error, SourceTimeoutError)
    assert source_threads() == []


def test_wait_that_is_not_abandoned(loop: Loop, api: FakeWorkloadApi) -> None:
    """Cancelling any other wait takes until its deadline, and not longer."""
    api.hang()

    async def main() -> Waiting:
        with X509Source(api.endpoint) as source:
            waiting = Waiting(source, timeout=0.3)
            before = time.monotonic()
            with loop.move_on_after(0.05):
                await loop.in_thread(waiting)
            assert waiting.ended.is_set()
            assert time.monotonic() - before < 6
        return waiting

    assert isinstance(loop.run(main).error, SourceTimeoutError)
    assert source_threads() == []


def test_close_ends_an_abandoned_wait(loop: Loop, api: FakeWorkloadApi) -> None:
    """Closing the source ends a wait in a thread that nobody waits for, long before its deadline."""
    api.hang()

    async def main() -> Waiting:
        with X509Source(api.endpoint) as source:
            waiting = Waiting(source, timeout=60)
            with loop.move_on_after(0.05):
                await loop.in_thread(waiting, abandon=True)
            await loop.in_thread(lambda: waiting.began.wait(10))
        return waiting

    waiting = loop.run(main)
    assert waiting.ended.wait(10)
    assert isinstance(waiting.error, SourceClosedError)
    assert source_threads() == []


def test_asyncio_twins_under_anyio(api: FakeWorkloadApi) -> None:
    """On asyncio, anyio's tasks use the asyncio twins, and cancelling them leaves nothing."""

    async def main() -> None:
        async with X509Source(api.endpoint) as source, anyio.create_task_group() as group:
            first = await source.wait_ready_async(timeout=10)
            seen: list[X509Context] = []

            async def follow() -> None:
                async for context in source.updates():
                    seen.append(context)  # noqa: PERF401 - it never ends by itself

            group.start_soon(follow)
            (new,) = await anyio.to_thread.run_sync(api.rotate)
            with anyio.fail_after(10):
                while not seen or seen[-1].default != new:  # noqa: ASYNC110 - what is tested is seen so
                    await anyio.sleep(0.002)
            assert seen[0] in (first, seen[-1])
            group.cancel_scope.cancel()
        assert source._engine is not None
        assert source._engine.listeners == []

    anyio.run(main, backend="asyncio")
    assert source_threads() == []
