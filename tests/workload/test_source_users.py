"""The live source on a real socket: its subscribers, in threads and in asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import (
    SourceClosedError,
    X509Context,
    X509Source,
)
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import State
from tests.workload.material import ID, context_until
from tests.workload.peers import source_threads, until
from tests.workload.users import Seen, serial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# ---- subscribing ---------------------------------------------------------------------------------


def test_subscribe(api: FakeWorkloadApi) -> None:
    """A subscriber gets each new snapshot, in a thread that is neither ours nor the receiver's."""
    seen = Seen()
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(seen):
            (one,) = api.rotate()
            until(lambda: [each.default for each in seen.contexts] == [one])
            (two,) = api.rotate()
            until(lambda: [each.default for each in seen.contexts] == [one, two])
        (three,) = api.rotate()
        until(lambda: source.current().default == three)
        assert len(seen.contexts) == 2
    (thread,) = seen.threads
    assert thread is not threading.main_thread()
    assert thread.name == "serviceradar-security-subscriber"
    assert not thread.is_alive()


def test_same_again_is_not_published(api: FakeWorkloadApi) -> None:
    """A snapshot that is delivered again unchanged calls nobody (R-WLAPI-32)."""
    seen = Seen()
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(seen):
            for _ in range(3):
                api.publish()
            (new,) = api.rotate()
            until(lambda: seen.contexts)
        assert [each.default for each in seen.contexts] == [new]
        assert source.status().updates == 2


def test_slow_subscriber(api: FakeWorkloadApi) -> None:
    """A slow subscriber misses what came in between and gets the newest next."""
    entered, go = threading.Event(), threading.Event()
    seen: list[X509Context] = []

    def slow(context: X509Context) -> None:
        seen.append(context)
        entered.set()
        assert go.wait(20)

    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(slow):
            api.rotate()
            assert entered.wait(20)
            newest = [api.rotate()[0] for _ in range(5)][-1]
            until(lambda: source.current().default == newest)  # the receiver is not held up
            go.set()
            until(lambda: len(seen) == 2)
            assert seen[1].default == newest


def test_raising_subscriber(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber that raises is logged; it, the others and the source go on (R-WLAPI-34)."""
    seen, calls = Seen(), []

    def bad(_: X509Context) -> None:
        calls.append(1)
        raise LookupError("the subscriber's own words")

    with (
        X509Source(api.endpoint) as source,
        source.subscribe(bad),
        source.subscribe(seen),
    ):
        source.wait_ready(timeout=10)
        api.rotate()
        until(lambda: calls and seen.contexts)
        before = len(calls), len(seen.contexts)
        api.rotate()
        until(lambda: len(calls) > before[0] and len(seen.contexts) > before[1])
        assert source.status().state is State.READY
    failed = [
        r for r in caplog.records if "a subscriber of the identity source failed" in r.message
    ]
    assert len(failed) == len(calls)


def test_subscriber_that_calls_back(api: FakeWorkloadApi) -> None:
    """A subscriber may use the source, subscribe, and end its own subscription."""
    done = threading.Event()
    with X509Source(api.endpoint) as source:

        def call(context: X509Context) -> None:
            assert source.current() == context
            assert source.status().state is State.READY
            assert source.wait_ready(timeout=1) == context
            with source.subscribe(print):
                subscription.close()
            done.set()

        source.wait_ready(timeout=10)
        subscription = source.subscribe(call)
        api.rotate()
        assert done.wait(10)
        subscription.close()


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as can be, so that races are met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_subscribing_races_with_closing() -> None:
    """Whoever subscribes as the source closes gets an error or an end, and leaves no thread."""
    for _ in range(40):
        source = X509Source("unix:///nowhere").open()
        closer = threading.Thread(target=source.close)
        subscribed = threading.Event()

        def subscribe(source: X509Source, subscribed: threading.Event) -> None:
            with contextlib.suppress(SourceClosedError):
                while True:
                    source.subscribe(print)
                    subscribed.set()

        threads = [threading.Thread(target=subscribe, args=[source, subscribed]) for _ in range(3)]
        for each in threads:
            each.start()
        assert subscribed.wait(10)
        closer.start()
        for each in [closer, *threads]:
            each.join(20)
        until(lambda: not source_threads())


@pytest.mark.usefixtures("hasty")
def test_offers_race_with_the_subscriber(caplog: pytest.LogCaptureFixture) -> None:
    """However fast snapshots come, the newest one is seen last and nothing is called for naught."""
    contexts = [context_until(100 + number) for number in range(20)]
    seen: list[X509Context] = []
    with Subscription(seen.append, on_close=lambda _: None) as subscription:
        for _ in range(200):
            seen.clear()
            subscription._wake.put(None)  # as when the newest was taken for the one before
            until(subscription._wake.empty)
            for each in contexts:
                subscription.offer(each)
            until(lambda: seen and seen[-1] is contexts[-1])
    assert caplog.messages == []


# ---- asyncio -------------------------------------------------------------------------------------


def test_asyncio(api: FakeWorkloadApi) -> None:
    """The asyncio twin waits, iterates over the newest and each new snapshot, and ends."""

    async def main() -> None:
        seen: list[X509Context] = []
        async with X509Source(api.endpoint) as source:
            first = await source.wait_ready_async(timeout=10)
            async for context in source.updates():
                seen.append(context)
                if len(seen) == 1:
                    await asyncio.to_thread(api.rotate)
                    continue
                break
            assert seen[0] == first
            assert seen[1] == source.current() != first
        with pytest.raises(SourceClosedError):
            await source.wait_ready_async(timeout=10)

    asyncio.run(main())


def test_updates_before_the_first(socket_path: Path) -> None:
    """Iterating may begin before the agent is there; a slow loop gets the newest next."""

    async def main() -> None:
        async with X509Source(f"unix://{socket_path}") as source:
            updates = source.updates()
            first = asyncio.ensure_future(anext(updates))
            await asyncio.sleep(0)
            with FakeWorkloadApi([ID], socket_path=socket_path) as api:
                context = await asyncio.wait_for(first, 10)
                newest = [(await asyncio.to_thread(api.rotate))[0] for _ in range(3)][-1]
                until(lambda: source.current().default == newest)
                assert (await asyncio.wait_for(anext(updates), 10)).default == newest
                assert context.default != newest

    asyncio.run(main())


def test_two_loops(socket_path: Path) -> None:
    """Loops in several threads share one source."""

    async def follow(source: X509Source) -> list[int]:
        serials = [serial(await source.wait_ready_async(timeout=20))]
        async for context in source.updates():
            serials.append(serial(context))
            if len(set(serials)) == 2:
                break
        return serials

    with X509Source(f"unix://{socket_path}") as source:
        results: list[list[int]] = []
        threads = [
            threading.Thread(target=lambda: results.append(asyncio.run(follow(source))))
            for _ in range(2)
        ]
        for each in threads:
            each.start()
        with FakeWorkloadApi([ID], socket_path=socket_path) as api:
            # Each loop may see the first or miss it: rotate until both saw two.
            until(lambda: api.rotate() and not any(each.is_alive() for each in threads))
        assert len(results) == 2


def test_cancelled_wait_leaves_nothing(api: FakeWorkloadApi) -> None:
    """A wait that is cancelled is forgotten, and the source goes on."""
    api.hang()

    async def main(source: X509Source) -> None:
        async def iterate() -> None:
            async for _ in source.updates():
                pass

        tasks = [
            asyncio.ensure_future(source.wait_ready_async(timeout=60)),
            asyncio.ensure_future(iterate()),
        ]
        await asyncio.sleep(0.01)
        for each in tasks:
            each.cancel()
        assert [type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)] == [
            asyncio.CancelledError,
        ] * 2

    with X509Source(api.endpoint) as source:
        asyncio.run(main(source))
        assert source._engine is not None
        assert source._engine.listeners == []
        api.rotate()
        source.wait_ready(timeout=10)


def test_loop_that_is_gone(api: FakeWorkloadApi) -> None:
    """A loop that was closed in the middle of a wait does not disturb the source."""
    api.hang()
    with X509Source(api.endpoint) as source:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(source.wait_ready_async(timeout=60))
        loop.run_until_complete(asyncio.sleep(0.01))
        tasks = asyncio.all_tasks(loop)
        assert waiting in tasks
        loop.close()
        api.rotate()
        source.wait_ready(timeout=10)
        for each in tasks:
            each._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio would complain
        del waiting, tasks, each
        gc.collect()
