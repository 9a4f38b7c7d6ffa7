"""The live source on a real socket: closing it, from anywhere and at any moment."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security import (
    SourceClosedError,
    X509Context,
    X509Source,
)
from serviceradar_security.workload.watch import State
from tests.workload.peers import source_threads, until
from tests.workload.users import Seen, descriptors, uses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serviceradar_security import X509Svid
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def test_close_wakes_waiters(socket_path: Path) -> None:
    """Closing wakes whoever waits, in threads and in asyncio, with the error that says so."""
    errors: list[BaseException] = []
    ended = threading.Event()
    source = X509Source(f"unix://{socket_path}").open()

    def wait() -> None:
        try:
            source.wait_ready(timeout=60)
        except SourceClosedError as error:
            errors.append(error)

    async def wait_async() -> None:
        async def iterate() -> None:
            async for _ in source.updates():
                pass
            ended.set()

        iterating = asyncio.ensure_future(iterate())
        try:
            await source.wait_ready_async(timeout=60)
        except SourceClosedError as error:
            errors.append(error)
        await iterating

    threads = [threading.Thread(target=wait) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: asyncio.run(wait_async())))
    for each in threads:
        each.start()
    engine = source._engine
    assert engine is not None
    until(lambda: len(engine.listeners) == 2)
    source.close()
    for each in threads:
        each.join(10)
    assert [str(each) for each in errors] == ["the source is closed: open a new one"] * 4
    assert ended.is_set()


def test_after_close(api: FakeWorkloadApi) -> None:
    """A closed source refuses every use but `status` and `close`, and cannot be opened again."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
    others = [each for each in uses(source) if each != source.status]
    assert len(others) == 5
    for call in [*others, source.open]:
        with pytest.raises(SourceClosedError, match="open a new one"):
            call()
    status = source.status()
    assert (status.state, status.spiffe_id, status.next_attempt) == (State.CLOSED, None, None)
    assert repr(source) == f"X509Source('{api.endpoint}', CLOSED)"
    source.close()
    until(lambda: api.connections == 0)


def test_close_before_open() -> None:
    """A source may be closed before it was opened."""
    source = X509Source("unix:///nowhere")
    source.close()
    for call in [*uses(source), source.open]:
        with pytest.raises(SourceClosedError):
            call()


def test_close_from_a_callback(api: FakeWorkloadApi) -> None:
    """A subscriber may close the source; another that runs is waited for."""
    closed, other = threading.Event(), Seen()
    api.hang()
    source = X509Source(api.endpoint).open()

    def close(_: X509Context) -> None:
        source.close()
        closed.set()

    source.subscribe(close)
    source.subscribe(other)
    api.rotate()
    assert closed.wait(10)
    until(lambda: not source_threads())
    with pytest.raises(SourceClosedError):
        source.current()


def test_close_from_the_receiving_thread(api: FakeWorkloadApi) -> None:
    """A picker may close the source, although it runs in the thread that closing ends."""
    before = descriptors()

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        source.close()
        return svids[0]

    source = X509Source(api.endpoint, pick=pick)
    source.open()
    until(lambda: not source_threads())
    until(lambda: api.connections == 0)
    until(lambda: descriptors() <= before)
    assert source.status().state is State.CLOSED


def test_close_of_many_threads(api: FakeWorkloadApi) -> None:
    """Closing from several threads at once closes once, and breaks nobody's descriptors."""
    for _ in range(20):
        source = X509Source(api.endpoint).open()
        threads = [threading.Thread(target=source.close) for _ in range(4)]
        held = []
        for each in threads:
            each.start()
            held.append(os.pipe())
        for each in threads:
            each.join(10)
        for read, write in held:
            os.write(write, b"x")
            assert os.read(read, 10) == b"x"
            os.close(read)
            os.close(write)
    until(lambda: not source_threads())


def test_close_while_the_lock_is_held(api: FakeWorkloadApi) -> None:
    """Closing in a frame that interrupted the holder of the lock neither hangs nor is forgotten."""
    source = X509Source(api.endpoint).open()
    source.wait_ready(timeout=10)
    engine = source._engine
    assert engine is not None
    with engine.changed:
        before = time.monotonic()
        source.close()
        assert time.monotonic() - before < 4
    until(lambda: source.status().state is State.CLOSED)
    until(lambda: not source_threads())


def test_close_does_not_wait_for_ever(api: FakeWorkloadApi) -> None:
    """Closing waits for its deadline and not longer, whatever users' functions do."""
    entered, go = threading.Event(), threading.Event()

    def stuck(_: object) -> Any:
        entered.set()
        go.wait(60)

    source = X509Source(api.endpoint).open()
    source.wait_ready(timeout=10)
    for _ in range(3):
        source.subscribe(stuck)
    api.rotate()
    assert entered.wait(10)
    before = time.monotonic()
    source.close(timeout=0.2)
    assert time.monotonic() - before < 10
    entered.clear()
    other = X509Source(api.endpoint, pick=stuck).open()
    assert entered.wait(10)
    before = time.monotonic()
    other.close(timeout=0.2)
    assert time.monotonic() - before < 10
    with pytest.raises(SourceClosedError):
        other.wait_ready(timeout=60)
    go.set()
    until(lambda: not source_threads())


def test_nothing_leaks(api: FakeWorkloadApi) -> None:
    """A hundred rounds of opening and closing leave neither threads nor descriptors."""

    def round_of_life(number: int) -> None:
        with X509Source(api.endpoint) as source, source.subscribe(print):
            if number % 2:
                source.wait_ready(timeout=10)

    round_of_life(1)
    until(lambda: api.connections == 0)
    threads, before = threading.active_count(), descriptors()
    for number in range(100):
        round_of_life(number)
    until(lambda: api.connections == 0)
    until(lambda: threading.active_count() <= threads)
    until(lambda: descriptors() <= before)
