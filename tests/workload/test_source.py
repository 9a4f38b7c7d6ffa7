"""The live source on a real socket: its life, its readers, its subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import os
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from serviceradar_security import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    WorkloadApiError,
    WorkloadEndpoint,
    X509Context,
    X509Source,
)
from serviceradar_security.identity.context import X509ContextSource
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import State
from tests.workload.material import DOMAIN, ID, OTHER_ID, context_until
from tests.workload.peers import source_threads, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from serviceradar_security import X509Svid


def serial(context: X509Context) -> int:
    """Tell one issued identity from the next."""
    return context.default.leaf.serial_number


class Seen:
    """A subscriber that keeps what it got, and by which thread."""

    def __init__(self) -> None:
        self.contexts: list[X509Context] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, context: X509Context) -> None:
        self.threads.add(threading.current_thread())
        self.contexts.append(context)


# ---- opening ------------------------------------------------------------------------------------


def test_start_without_agent(socket_path: Path) -> None:
    """A source opens without its agent, says so, and is ready when the agent comes (R-EP-14)."""
    with X509Source(f"unix://{socket_path}") as source:
        until(lambda: source.status().state is State.NO_AGENT)
        status = source.status()
        assert status.cause == f"unix://{socket_path}: there is no such socket"
        assert status.next_attempt is not None
        with pytest.raises(WorkloadApiError, match="start the SPIRE agent"):
            source.current()
        with FakeWorkloadApi([ID], socket_path=socket_path):
            assert str(source.wait_ready(timeout=10).default.spiffe_id) == ID
            assert source.status().state is State.READY
            assert source.status().cause == ""


@pytest.mark.parametrize("form", ["text", "endpoint", "environment"])
def test_endpoint(form: str, api: FakeWorkloadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address comes as a text, as an endpoint, or from the environment (R-EP-01)."""
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    given: str | WorkloadEndpoint | None = api.endpoint
    if form == "endpoint":
        given = WorkloadEndpoint.parse(api.endpoint)
    elif form == "environment":
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", api.endpoint)
        given = None
    with X509Source(given) as source:
        source.wait_ready(timeout=10)
        assert str(source.endpoint) == api.endpoint


def test_explicit_address_wins(api: FakeWorkloadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is given wins over the environment, and an empty one is refused (R-EP-01)."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere")
    assert str(X509Source(api.endpoint).endpoint) == api.endpoint
    with pytest.raises(ConfigError, match="is not an address"):
        X509Source("")
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    with pytest.raises(ConfigError, match="SPIFFE_ENDPOINT_SOCKET"):
        X509Source()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"redaction_grace": -1.0}, "redaction_grace"),
        ({"redaction_grace": float("nan")}, "redaction_grace"),
        ({"redaction_grace": "60"}, "redaction_grace"),
        ({"redaction_grace": None}, "redaction_grace"),
        ({"connect_timeout": 0.0}, "connect_timeout"),
        ({"connect_timeout": -5}, "connect_timeout"),
        ({"answer_timeout": 0}, "answer_timeout"),
        ({"answer_timeout": float("nan")}, "answer_timeout"),
    ],
)
def test_wrong_options(options: dict[str, Any], name: str) -> None:
    """An option that is no number of seconds is refused by name, before anything starts."""
    with pytest.raises(ConfigError, match=f"{name} is"):
        X509Source("unix:///p", **options)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "1", None])
def test_wrong_deadlines(timeout: Any, api: FakeWorkloadApi) -> None:
    """A deadline that never comes is refused, by every call that waits."""
    with X509Source(api.endpoint) as source:
        for call in (source.wait_ready, source.close):
            with pytest.raises(ConfigError, match="timeout is"):
                call(timeout=timeout)
        with pytest.raises(ConfigError, match="timeout is"):
            asyncio.run(source.wait_ready_async(timeout=timeout))
        source.wait_ready(timeout=10)


def test_not_open() -> None:
    """A source that was not opened says so, in every call."""
    source = X509Source("unix:///nowhere")
    for call in _uses(source):
        with pytest.raises(SourceError, match=r"not open: use it in a `with` block, or call open"):
            call()
    assert repr(source) == "X509Source('unix:///nowhere', not open)"


def test_open_twice(api: FakeWorkloadApi) -> None:
    """Opening an open source does nothing."""
    with X509Source(api.endpoint) as source:
        assert source.open() is source
        source.wait_ready(timeout=10)
        assert api.connections == 1


def test_is_what_transports_take(api: FakeWorkloadApi) -> None:
    """A source has the one method that transports ask for, and is neither copied nor pickled."""
    with X509Source(api.endpoint) as source:
        assert isinstance(source, X509ContextSource)
        source.wait_ready(timeout=10)
        for each in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="open one in the process that uses it"):
                each(source)


# ---- waiting ------------------------------------------------------------------------------------


def _uses(source: X509Source) -> list[Callable[[], object]]:
    """Every use of a source that needs it open."""

    async def iterate() -> None:
        async for _ in source.updates():
            pass

    return [
        source.current,
        source.status,
        lambda: source.wait_ready(timeout=0.1),
        lambda: asyncio.run(source.wait_ready_async(timeout=0.1)),
        lambda: source.subscribe(print),
        lambda: asyncio.run(iterate()),
    ]


WAIT: Final[dict[str, Callable[[X509Source, float], X509Context]]] = {
    "sync": lambda source, timeout: source.wait_ready(timeout=timeout),
    "async": lambda source, timeout: asyncio.run(source.wait_ready_async(timeout=timeout)),
}


def _deny(api: FakeWorkloadApi) -> None:
    api.deny()


def _hang(api: FakeWorkloadApi) -> None:
    api.hang()


def _stop(api: FakeWorkloadApi) -> None:
    api.stop()


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        pytest.param(
            _stop,
            State.NO_AGENT,
            ["there is no such socket", "start the SPIRE agent"],
            id="no agent",
        ),
        pytest.param(
            _deny,
            State.NO_IDENTITY,
            ["PERMISSION_DENIED (7): no identity issued", "create a registration entry"],
            id="denied",
        ),
        pytest.param(
            _hang,
            State.STARTING,
            ["connected, and no answer yet", "look at the log of the SPIRE agent"],
            id="hanging",
        ),
    ],
)
@pytest.mark.parametrize("twin", ["sync", "async"])
def test_wait_ready_timeout(
    fault: Callable[[FakeWorkloadApi], None],
    state: State,
    words: list[str],
    twin: str,
    api: FakeWorkloadApi,
) -> None:
    """A wait that passes its deadline names the address, the cause and the advice (R-WLAPI-31)."""
    fault(api)
    with X509Source(api.endpoint) as source:
        if state is not State.STARTING:
            until(lambda: source.status().state is state)
        else:
            until(lambda: source.status().next_attempt is None)
        with pytest.raises(SourceTimeoutError) as caught:
            WAIT[twin](source, 0.05)
        message = str(caught.value)
        assert message.startswith("no identity within 0.05 s: ")
        assert [each for each in [api.endpoint, *words] if each not in message] == []
        assert isinstance(caught.value, TimeoutError)
        assert source.status().state is state  # the source goes on


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_wait_ready_without_time(timeout: float, api: FakeWorkloadApi) -> None:
    """A deadline that has passed already gives what is there, or fails at once."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        assert source.wait_ready(timeout=timeout) is source.current()
        assert asyncio.run(source.wait_ready_async(timeout=timeout)) is source.current()
    api.stop()
    with X509Source(api.endpoint) as source, pytest.raises(SourceTimeoutError):
        source.wait_ready(timeout=timeout)


def test_wait_ready_of_many_threads(socket_path: Path) -> None:
    """All threads that wait get the identity as it comes."""
    with X509Source(f"unix://{socket_path}") as source:
        got: list[X509Context] = []
        threads = [
            threading.Thread(target=lambda: got.append(source.wait_ready(timeout=20)))
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        with FakeWorkloadApi([ID], socket_path=socket_path):
            for each in threads:
                each.join(20)
        assert len(got) == 8
        assert len({id(each) for each in got}) == 1


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNIMPLEMENTED"])
def test_wait_ready_fails_at_once(code: str, api: FakeWorkloadApi) -> None:
    """A call that the agent refuses for good ends the wait long before its deadline (R-WLAPI-23)."""
    api.fail(code, "told so")
    with X509Source(api.endpoint) as source:
        before = time.monotonic()
        with pytest.raises(WorkloadApiError, match=f"{code}.*told so") as caught:
            source.wait_ready(timeout=60)
        assert caught.value.code == code
        with pytest.raises(WorkloadApiError, match="check that the address"):
            asyncio.run(source.wait_ready_async(timeout=60))
        assert time.monotonic() - before < 30
        assert source.status().next_attempt is None
        assert api.requests == 1


# ---- reading ------------------------------------------------------------------------------------


def test_rotation(api: FakeWorkloadApi) -> None:
    """A rotation is seen by `current`, and the old snapshot stays whole for who holds it."""
    with X509Source(api.endpoint) as source:
        old = source.wait_ready(timeout=10)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().updates == 2
        assert source.status().not_after == new.not_after
        assert old.default != new


def test_authority_rotation(api: FakeWorkloadApi) -> None:
    """A new authority stands beside the old one, and a revoked one is gone (R-WLAPI-07)."""
    trust_domain = api.authority.trust_domain
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.rotate_authority()
        until(lambda: len(source.current().bundles[trust_domain].authorities) == 2)
        api.authority.revoke()
        api.publish()
        until(lambda: len(source.current().bundles[trust_domain].authorities) == 1)


def test_federation(api: FakeWorkloadApi) -> None:
    """A federated bundle comes and goes with the messages (R-WLAPI-07)."""
    other = FakeAuthority("b.test")
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.federate(other.bundle)
        until(lambda: other.trust_domain in source.current().bundles)
        api.defederate(other.trust_domain)
        until(lambda: other.trust_domain not in source.current().bundles)


def test_pick(socket_path: Path) -> None:
    """The function given chooses the default; when it finds nothing, the last good one stays."""
    authority = FakeAuthority(DOMAIN)
    web, db = authority.issue(ID, hint="web"), authority.issue(OTHER_ID, hint="db")

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        return next(each for each in svids if each.hint == "db")

    with (
        FakeWorkloadApi([web, db], authority=authority, socket_path=socket_path) as api,
        X509Source(api.endpoint, pick=pick) as source,
    ):
        assert source.wait_ready(timeout=10).default == db
        api.set_identities([web])
        until(lambda: source.status().rejected == 1)
        assert source.current().default == db
        assert "`pick` failed with StopIteration" in source.status().cause
        api.set_identities([db, web])
        until(lambda: source.status().state is State.READY)


# ---- subscribing --------------------------------------------------------------------------------


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


# ---- asyncio ------------------------------------------------------------------------------------


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
        task = loop.create_task(source.wait_ready_async(timeout=60))
        loop.run_until_complete(asyncio.sleep(0))
        loop.stop()
        loop.close()
        api.rotate()
        source.wait_ready(timeout=10)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio would complain
        del task
        gc.collect()


# ---- closing ------------------------------------------------------------------------------------


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
    uses = [each for each in _uses(source) if each != source.status]
    assert len(uses) == 5
    for call in [*uses, source.open]:
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
    for call in [*_uses(source), source.open]:
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
    descriptors = _descriptors()

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        source.close()
        return svids[0]

    source = X509Source(api.endpoint, pick=pick)
    source.open()
    until(lambda: not source_threads())
    until(lambda: api.connections == 0)
    assert _descriptors() == descriptors
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
    threads, descriptors = threading.active_count(), _descriptors()
    for number in range(100):
        round_of_life(number)
    until(lambda: api.connections == 0)
    assert threading.active_count() <= threads
    assert _descriptors() <= descriptors


# ---- inside -------------------------------------------------------------------------------------


def _descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
