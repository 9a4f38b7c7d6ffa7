"""Leaving `async with` when the task is being cancelled, and under a loop that is not asyncio's."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import anyio
import trio

from serviceradar_security import X509Source
from serviceradar_security.workload.status import State
from tests.workload.peers import source_threads, until

if TYPE_CHECKING:
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def test_cancelled_scopes(api: FakeWorkloadApi) -> None:
    """A scope that is cancelled, and cancels whatever waits in it, leaves no source open."""

    async def main() -> None:
        sources = [X509Source(api.endpoint) for _ in range(100)]
        for source in sources:
            with anyio.CancelScope() as scope:
                async with source:
                    scope.cancel()
                    await anyio.sleep(60)
        assert [each.status().state for each in sources] == [State.CLOSED] * len(sources)

    anyio.run(main, backend="asyncio")
    until(lambda: source_threads() == [])


def test_cancelled_twice_while_the_pool_is_busy(api: FakeWorkloadApi) -> None:
    """A task that is cancelled again as it closes has closed, though no thread was free."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, time.sleep, 0.3)
        source = X509Source(api.endpoint)
        entered = asyncio.Event()

        async def hold() -> None:
            async with source:
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(hold())
        await entered.wait()
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task, busy])
        assert task.cancelled()
        assert source.status().state is State.CLOSED

    asyncio.run(main())
    until(lambda: source_threads() == [])


def test_async_with_under_trio(api: FakeWorkloadApi) -> None:
    """Under trio as well the end of the block closes the source."""

    async def main() -> X509Source:
        async with X509Source(api.endpoint) as source:
            await trio.to_thread.run_sync(lambda: source.wait_ready(timeout=10))
        return source

    assert trio.run(main).status().state is State.CLOSED
    until(lambda: source_threads() == [])
