"""The fixed source: one snapshot, through the methods of a live one."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security import (
    ConfigError,
    SourceClosedError,
    SourceError,
    StaticSource,
    X509Context,
    X509Source,
    X509SvidError,
)
from serviceradar_security.identity.context import X509ContextSource
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.watch import SourceStatus, State
from tests.workload.clock import START, Clock
from tests.workload.material import ID, context_until
from tests.workload.peers import source_threads
from tests.workload.scripts import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONTEXT = context_until(100, start=START)


class Wall(Clock):
    """The wall clock alone."""

    def now(self) -> datetime:
        return self.wall


def made() -> tuple[StaticSource, Wall]:
    """Make a source under a clock."""
    wall = Wall()
    return StaticSource(CONTEXT, now=wall.now), wall


def _first(source: StaticSource) -> X509Context:
    async def main() -> X509Context:
        return await anext(source.updates())

    return asyncio.run(main())


READS: dict[str, Callable[[StaticSource], X509Context]] = {
    "current": lambda source: source.current(),
    "wait_ready": lambda source: source.wait_ready(timeout=0),
    "wait_ready_async": lambda source: asyncio.run(source.wait_ready_async(timeout=0)),
    "updates": _first,
}


@pytest.mark.parametrize("read", READS)
def test_reads(read: str) -> None:
    """Every way of reading gives the snapshot, from the start and at once."""
    source, _ = made()
    assert READS[read](source) is CONTEXT


def test_is_what_transports_take() -> None:
    """It has the public methods of a live source, and the one that transports ask for."""
    source, _ = made()
    assert isinstance(source, X509ContextSource)
    public = {each for each in dir(X509Source) if not each.startswith("_")} - {"endpoint"}
    assert public <= set(dir(StaticSource))


def test_status() -> None:
    """The record of a valid snapshot says that all is well."""
    source, wall = made()
    wall.advance(50)
    assert source.status() == SourceStatus(
        state=State.READY,
        since=START,
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=CONTEXT.default.spiffe_id,
        not_after=START + timedelta(seconds=100),
        updates=1,
        rejected=0,
    )


@pytest.mark.parametrize("read", READS)
def test_expiry(read: str) -> None:
    """An identity is given to its last moment, and never after it (R-WLAPI-26)."""
    source, wall = made()
    wall.advance(99.999)
    assert READS[read](source) is CONTEXT
    wall.advance(0.001)
    with pytest.raises(SourceError, match=f"{ID} expired at .*: use an X509Source"):
        READS[read](source)
    status = source.status()
    assert status.state is State.EXPIRED
    assert status.since == status.not_after == START + timedelta(seconds=100)
    assert status.cause
    assert status.advice


def test_expired_from_the_start() -> None:
    """A snapshot that has expired already was so since the source was made."""
    wall = Wall(START + timedelta(seconds=500))
    source = StaticSource(CONTEXT, now=wall.now)
    assert source.status().state is State.EXPIRED
    assert source.status().since == wall.wall
    with pytest.raises(SourceError, match="expired"):
        source.current()


def test_system_clock() -> None:
    """Without a clock the system's one decides."""
    now = datetime.now(UTC)
    valid = X509Context(svids=[FakeAuthority("a.test").issue(ID)], bundles=CONTEXT.bundles)
    with StaticSource(valid) as source:
        assert source.current() is valid
        assert source.status().since >= now
    with pytest.raises(SourceError, match="expired"):
        StaticSource(context_until(-1, start=now)).current()


def test_not_yet_valid() -> None:
    """An identity that has not begun is none yet, with the reason; it is given once it begins."""
    wall = Wall(CONTEXT.default.not_before - timedelta(seconds=10))
    source = StaticSource(CONTEXT, now=wall.now)
    status = source.status()
    assert (status.state, status.since) == (State.NO_IDENTITY, wall.wall)
    assert "begins only at" in status.cause
    assert "clocks" in status.advice
    for read in READS.values():
        with pytest.raises(SourceError, match="begins only at"):
            read(source)

    wall.advance(10)

    assert source.current() is CONTEXT
    assert source.status().state is State.READY
    assert source.status().since == CONTEXT.default.not_before


@pytest.mark.parametrize(
    "moment",
    [datetime(2030, 1, 1), "2030-01-01", 5, None],  # noqa: DTZ001 - naive on purpose
    ids=["naive", "a text", "a number", "nothing"],
)
def test_a_clock_that_gives_no_aware_time(moment: Any) -> None:
    """A clock whose answer cannot be compared with a certificate is refused at once."""
    with pytest.raises(ConfigError, match="aware datetimes"):
        StaticSource(CONTEXT, now=lambda: moment)


async def _followed(
    source: StaticSource,
    meanwhile: Callable[[asyncio.Task[None]], Awaitable[None]],
) -> list[X509Context]:
    """Give what an iteration gave, which begins before something is done and ends after it."""
    seen: list[X509Context] = []
    begun = asyncio.Event()

    async def follow() -> None:
        async for context in source.updates():
            seen.append(context)
            begun.set()

    following = asyncio.create_task(follow())
    await begun.wait()
    await meanwhile(following)
    await asyncio.wait_for(following, 10)
    return seen


def test_closed_where_its_lock_is_held() -> None:
    """Closed by a signal handler that interrupted a holder of the lock, it has ended all the same."""
    source, _ = made()

    async def close_locked(following: asyncio.Task[None]) -> None:
        with source._running().changed:
            source.close()
        status = source.status()
        assert (status.state, status.spiffe_id) == (State.CLOSED, None)

    assert asyncio.run(_followed(source, close_locked)) == [CONTEXT]


def test_closed_lets_go_of_the_key() -> None:
    """Nothing that a closed source holds leads to its identity."""
    context = context_until(100, start=START)
    alone = sys.getrefcount(context)
    source = StaticSource(context, now=Wall().now)
    held = sys.getrefcount(context)
    source.close()
    gc.collect()
    assert sys.getrefcount(context) < held
    assert sys.getrefcount(context) == alone


def test_no_identity() -> None:
    """A snapshot without an identity is refused at once: it could not be presented."""
    with pytest.raises(X509SvidError, match="no identity to present"):
        StaticSource(X509Context(svids=[], bundles=CONTEXT.bundles))


@pytest.mark.parametrize("expired", [False, True])
def test_closed(*, expired: bool) -> None:
    """A closed source refuses every use but `status` and `close`, and shows no identity."""
    source, wall = made()
    with source as opened:
        assert opened is source
    for read in READS.values():
        with pytest.raises(SourceClosedError, match="open a new one"):
            read(source)
    with pytest.raises(SourceClosedError):
        source.open()
    with pytest.raises(SourceClosedError):
        source.subscribe(print)
    wall.advance(1000 if expired else 1)
    source.close()
    assert source.status() == SourceStatus(
        state=State.CLOSED,
        since=START,
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=None,
        not_after=None,
        updates=1,
        rejected=0,
    )


def test_asyncio() -> None:
    """The asyncio form opens and closes as the other."""

    async def main() -> StaticSource:
        async with made()[0] as source:
            assert await source.wait_ready_async() is CONTEXT
        return source

    with pytest.raises(SourceClosedError):
        asyncio.run(main()).current()


def test_updates_go_on_until_closed() -> None:
    """An iteration gives the one snapshot and waits on; when the source is closed, it ends."""
    source, _ = made()

    async def wait_and_close(following: asyncio.Task[None]) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        assert not following.done()
        source.close()

    assert asyncio.run(_followed(source, wait_and_close)) == [CONTEXT]


TIMEOUTS = [float("nan"), float("inf"), -float("inf"), 10**400, 1e12, "1", None, 1j]


@pytest.mark.parametrize("timeout", TIMEOUTS, ids=lambda each: str(each)[:8])
@pytest.mark.parametrize("wait", ["wait_ready", "wait_ready_async", "close"])
def test_timeouts_are_those_of_a_live_source(wait: str, timeout: Any) -> None:
    """What is no number of seconds is refused in the words of a live source."""
    fixed, _ = made()
    live = X509Source("unix:///nowhere").open()

    def ask(source: Any) -> None:
        given = getattr(source, wait)(timeout=timeout)
        if wait == "wait_ready_async":
            asyncio.run(given)

    with live:
        with pytest.raises(ConfigError) as told:
            ask(live)
        with pytest.raises(ConfigError, match=f"^{re.escape(str(told.value))}$"):
            ask(fixed)
    assert fixed.current() is CONTEXT


@pytest.mark.parametrize("timeout", [0, -1, 0.5])
def test_no_wait_is_needed(timeout: float) -> None:
    """The snapshot is there at once, also where the deadline is over."""
    source, _ = made()
    assert source.wait_ready(timeout=timeout) is CONTEXT
    assert asyncio.run(source.wait_ready_async(timeout=timeout)) is CONTEXT


@pytest.mark.parametrize("wait", ["wait_ready", "wait_ready_async"])
def test_an_expired_one_is_not_waited_for(wait: str) -> None:
    """The error comes at once, not at the deadline: nothing will ever renew it."""
    source, wall = made()
    wall.advance(100)
    begin = time.monotonic()

    async def ask() -> object:
        given = getattr(source, wait)(timeout=1000)
        return await given

    with pytest.raises(SourceError, match="does not renew it"):
        asyncio.run(ask())
    assert time.monotonic() - begin < 100


@pytest.mark.parametrize(
    "arguments",
    [{"context": None}, {"context": CONTEXT.default}, {"now": 5}, {"now": START}],
    ids=["nothing", "an SVID", "a number", "a time"],
)
def test_what_it_is_not_made_of(arguments: dict[str, Any]) -> None:
    """It is made of a snapshot and a clock."""
    with pytest.raises(ConfigError):
        StaticSource(**{"context": CONTEXT, **arguments})


def test_subscribe() -> None:
    """A subscriber is never called, and has no thread."""
    source, _ = made()
    calls: list[X509Context] = []
    first, second = source.subscribe(calls.append), source.subscribe(calls.append)
    with first:
        assert source_threads() == []
    first.close()
    source.close()
    second.close()
    assert calls == []


def test_subscribers_are_functions() -> None:
    """What cannot be called is refused at once."""
    source, _ = made()
    given: Any = 5
    with pytest.raises(ConfigError, match="a subscriber is a function, not int"):
        source.subscribe(given)


def test_a_forked_child_has_it_too() -> None:
    """The child of a fork reads it as its parent does."""
    run(
        """
        from serviceradar_security import StaticSource, X509Context
        from serviceradar_security.testing import FakeAuthority
        authority = FakeAuthority("a.test")
        bundles = {authority.trust_domain: authority.bundle}
        source = StaticSource(X509Context(svids=[authority.issue(ID)], bundles=bundles))
        def work():
            assert str(source.wait_ready(timeout=5).default.spiffe_id) == ID
            with source.subscribe(print): pass
            source.close()
        assert in_child(work) == 0
        assert str(source.current().default.spiffe_id) == ID
        """
    )


def test_repr() -> None:
    """It shows the identity and no key."""
    source, _ = made()
    assert repr(source) == f"StaticSource({CONTEXT!r})"
    assert ID in repr(source)
