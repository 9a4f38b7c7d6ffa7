"""What a store can do wrong, and what owners can: nothing hangs, nothing spins, all is shown."""

from __future__ import annotations

import gc
import logging
import pickle
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest

from serviceradar_security import ConfigError, ConfigWatch, SecurityError
from serviceradar_security.errors import ConfigProblem
from serviceradar_security.kv import (
    KV_CHANNEL_OPTIONS,
    KvDocument,
    KvError,
    KvOverlay,
    KvState,
    KvTimeoutError,
)
from tests.kv.conftest import BASE, DEADLINE, KEY, World, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = b'{"poll_interval": "5s"}'
BETTER = b'{"poll_interval": "7s"}'


# ---- documents ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1001, 500_000])
def test_a_document_over_the_limit(world: World, size: int) -> None:
    """It is refused by its size, not parsed; the stream goes on and the next document is taken."""
    with world.follow(max_document_bytes=1000) as overlay:
        overlay.wait_first(timeout=DEADLINE)
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(b"[" * size)
        status = wait_until(overlay, lambda s: s.refused == 1)
        assert status.state is KvState.REFUSED
        assert f"{size} bytes" in status.refusal
        world.store.put(GOOD.ljust(1000))
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
        assert (world.service.interval, world.store.watches) == ("5s", 1)


def test_a_message_over_the_limit_of_the_channel(world: World) -> None:
    """What gRPC does not take is shown with a remedy, and over when the document is smaller."""
    world.store.put(b" " * (5 * 1024 * 1024))
    with world.follow() as overlay:
        status = wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
        assert "RESOURCE_EXHAUSTED" in status.cause
        assert "max_receive_message_length" in status.advice
        world.store.put(GOOD)
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)


@pytest.mark.parametrize("raw", [b"\xff" * 40, b"\x0a\x7f", b"\x0a"])
def test_bytes_that_are_no_message(world: World, raw: bytes) -> None:
    """They are refused and counted; the stream goes on and the next document is taken."""
    world.store.put(GOOD)
    with world.follow() as overlay:
        overlay.wait_first(timeout=DEADLINE)
        world.store.wait(lambda: world.store.watches == 1)
        world.store.set(raw=raw)
        world.store.put(BETTER)
        status = wait_until(overlay, lambda s: s.refused == 1)
        assert (status.state, world.service.interval) == (KvState.REFUSED, "5s")
        assert "no WatchResponse" in status.refusal
        world.store.set(raw=None)
        world.store.put(BETTER)
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
        assert (world.service.interval, world.store.watches) == ("7s", 1)


@pytest.mark.parametrize(
    "document", [b"not JSON", b"[]", b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}', b'{"a": NaN}']
)
def test_documents_that_are_none(world: World, document: bytes) -> None:
    """What the gate cannot read is refused like what it does not let through."""
    world.store.put(document)
    with world.follow() as overlay:
        status = overlay.wait_first(timeout=DEADLINE)
        assert (status.state, status.refused) == (KvState.REFUSED, 1)
        assert world.service.applied == []


@pytest.mark.parametrize(
    ("error", "shown", "paths"),
    [
        (ValueError("secret-value"), "ValueError", ()),
        (KeyError("secret-value"), "KeyError", ()),
        (ConfigError("too soon"), ": too soon", ()),
        (ConfigError("no", problems=[ConfigProblem("a.b", "no")]), ": no", ("a.b",)),
    ],
    ids=["ValueError", "KeyError", "ConfigError", "ConfigError with a path"],
)
def test_a_function_that_raises(
    world: World, error: Exception, shown: str, paths: tuple[str, ...]
) -> None:
    """The document counts as refused, the old configuration stays, the overlay goes on."""

    def fail(_config: object) -> None:
        raise error

    watch = ConfigWatch(BASE, fail)
    world.service.watch = watch
    world.store.put(GOOD)
    with world.follow() as overlay:
        status = overlay.wait_first(timeout=DEADLINE)
        assert (status.document, status.refused) == (KvDocument.REFUSED, 1)
        assert shown in status.refusal
        assert "secret-value" not in status.refusal
        assert status.refused_paths == paths
        assert watch.current.document["poll_interval"] == "30s"
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(None)
        wait_until(overlay, lambda s: s.state is KvState.ABSENT)


class _Broken:
    """Takes documents, and breaks in a way that a ConfigWatch does not."""

    def update(self, _data: bytes, **_options: object) -> None:
        raise RuntimeError("secret-value")

    def clear(self) -> None:
        raise MemoryError


def test_a_target_that_breaks(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Even an error that nobody expects is counted and leaves the thread alive, its words unshown."""
    world.service.watch = _Broken()  # type: ignore[assignment] # on purpose
    world.store.put(GOOD)
    with world.follow() as overlay:
        status = overlay.wait_first(timeout=DEADLINE)
        assert status.refusal == "it could not be applied: RuntimeError"
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(None)
        wait_until(overlay, lambda s: s.refused == 2)
    assert "could not be applied" in caplog.text
    assert "secret-value" not in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_function_that_ends_its_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The record does not say that the key is followed when nobody follows it; that is an error."""

    def leave(_config: object) -> None:
        raise SystemExit

    world.service.watch = ConfigWatch(BASE, leave)
    world.store.put(GOOD)
    with world.follow() as overlay:
        status = wait_until(overlay, lambda s: s.state is KvState.CLOSED)
        assert status.cause == "its thread was ended by SystemExit"
        assert "restart" in status.advice
        with pytest.raises(KvError, match="its thread was ended by SystemExit"):
            overlay.wait_first(timeout=DEADLINE)
    (line,) = last_lines(caplog)
    assert line.levelno == logging.ERROR
    assert status.cause in line.getMessage()
    assert status.advice in line.getMessage()


def last_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Give the lines that say that an overlay is closed."""
    return [each for each in caplog.records if " is CLOSED" in each.getMessage()]


def test_a_function_that_fails_for_a_while(world: World) -> None:
    """The same document is handed over again until the service can use it, and counts once."""
    failures = [OSError("the disk is full")]

    def apply(config: Any) -> None:
        if failures:
            raise failures.pop()
        world.service.apply(config)

    world.service.watch = ConfigWatch(BASE, apply)
    world.store.put(GOOD)
    with world.follow() as overlay:
        first = overlay.wait_first(timeout=DEADLINE)
        assert (first.state, first.refused) == (KvState.REFUSED, 1)
        assert first.next_apply is not None
        assert "tried again" in first.advice
        status = wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
    assert (status.refused, status.updates, status.next_apply) == (1, 1, None)
    assert (world.service.interval, world.store.watches) == ("5s", 1)


def test_a_store_that_floods_us_with_what_is_refused(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Few of the documents are judged and fewer are logged, with few paths; a good one ends it."""
    bad = b", ".join(b'"a%d_security": 1' % number for number in range(100))
    world.store.set(flood=4000, flood_of=b'{"n": %d, ' + bad + b"}")
    began = time.monotonic()
    with world.follow() as overlay:
        world.store.wait(lambda: world.store.watches == 1 and world.store.flood == 0)
        world.store.put(BETTER)
        wait_until(overlay, lambda _: world.service.interval == "7s")
        status, took = overlay.status(), time.monotonic() - began
    # The wait doubles from 0.05 s, and more than 2 s is never waited.
    assert 0 < status.refused <= 7 + took
    lines = [each for each in caplog.records if each.name == "serviceradar_security.kv"]
    assert len(lines) <= 4 + took
    refused = next(each for each in lines if "REFUSED" in each.getMessage())
    facts = vars(refused)
    assert (len(facts["paths"]), facts["path_count"]) == (20, 100)


# ---- servers -----------------------------------------------------------------------------------


def test_a_server_that_hangs_up_politely(world: World) -> None:
    """Streams that end without an error are opened less and less often, and it is an outage."""
    world.store.put(GOOD)
    world.store.set(polite=True)
    began = time.monotonic()
    with world.follow() as overlay:
        world.store.wait(lambda: world.store.watches == 4)
        took = time.monotonic() - began
        wait_until(overlay, lambda s: s.next_attempt is not None)
        status = overlay.status()
        assert status.state is KvState.OUTAGE
        assert "Watch: OK" in status.cause
    assert took >= 0.75 * (0.5 + 1.0 + 2.0)
    assert len(world.service.applied) == 1


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"])
@pytest.mark.parametrize("call", ["get_code", "watch_code"])
def test_a_server_that_says_no(world: World, call: str, code: str) -> None:
    """It is reported as what it is, and asked again only after seconds."""
    world.store.set(**{call: grpc.StatusCode[code]})
    with world.follow() as overlay:
        status = wait_until(overlay, lambda s: s.state is KvState.DENIED)
        assert code in status.cause
        assert status.next_attempt is not None
        assert (status.next_attempt - status.since).total_seconds() >= 3.7


def test_a_server_without_the_service(world: World) -> None:
    """Another service on the address is told apart from one that is away."""
    with (
        world.poller.grpc_channel(world.datasvc.target) as channel,
        KvOverlay(_Renamed(channel), KEY, world.service.watch) as overlay,
    ):
        status = wait_until(overlay, lambda s: s.state is KvState.DENIED)
        assert "UNIMPLEMENTED" in status.cause
        assert "address" in status.advice


class _Changed(grpc.Channel):
    """Passes on to a channel what is not changed by a test."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel: Any = channel

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._channel.unary_unary(method, *args, **kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._channel.unary_stream(method, *args, **kwargs)

    subscribe = unsubscribe = stream_unary = stream_stream = close = __enter__ = __exit__ = None  # type: ignore[assignment] # not called


class _Renamed(_Changed):
    """Calls methods that nobody serves."""

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return super().unary_unary(method + "Else", *args, **kwargs)


class _Refusing(_Changed):
    """Refuses to open a stream, as a channel does that was closed in between."""

    def __init__(self, channel: grpc.Channel, error: Exception) -> None:
        super().__init__(channel)
        self._error = error

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        def refuse(_request: bytes) -> NoReturn:
            raise self._error

        return refuse


@pytest.mark.parametrize("error", [ValueError("closed"), SecurityError("forked")], ids=repr)
def test_a_channel_that_ends_before_the_stream(world: World, error: Exception) -> None:
    """Without a stream nothing is followed, and the record says why."""
    with (
        world.poller.grpc_channel(world.datasvc.target) as channel,
        KvOverlay(_Refusing(channel, error), KEY, world.service.watch) as overlay,
    ):
        status = wait_until(overlay, lambda s: s.state is KvState.CLOSED)
        assert status.cause == f"no call can be made on its channel: {error}"


@pytest.mark.parametrize("name", ["kv-overlay", "kv-watch"])
def test_a_process_without_threads_left(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that cannot start is an error of ours, or an outage that passes."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with world.poller.grpc_channel(world.datasvc.target) as channel:
        overlay = KvOverlay(channel, KEY, world.service.watch)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            if name == "kv-overlay":
                with pytest.raises(KvError, match="cannot start its thread"):
                    overlay.start()
            else:
                overlay.start()
                status = wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
                assert "can't start new thread" in status.cause
        with overlay:
            wait_until(overlay, lambda s: s.state is KvState.ABSENT)


class _Raising(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    """Raises in one of the calls, as often as it is told, or passes it on."""

    def __init__(self, call: str, error: BaseException) -> None:
        self.call = call
        self.errors = [error]

    def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
        return self._intercept("Get", proceed, details, request)

    def intercept_unary_stream(self, proceed: Any, details: Any, request: Any) -> Any:
        stream = self._intercept("Watch", proceed, details, request)
        return _Breaking(stream, self.errors) if self.call == "message" else stream

    def _intercept(self, call: str, proceed: Any, details: Any, request: Any) -> Any:
        if call == self.call and self.errors:
            raise self.errors.pop()
        return proceed(details, request)


class _Breaking:
    """A stream whose reading raises, as often as there are errors."""

    def __init__(self, stream: Any, errors: list[BaseException]) -> None:
        self._stream = stream
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._errors:
            raise self._errors.pop()
        return next(self._stream)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyError("secret-value"), "KeyError"),
        (MemoryError(), "MemoryError"),
        (grpc.RpcError("secret-value"), "RpcError"),
    ],
    ids=["KeyError", "MemoryError", "RpcError without a status"],
)
@pytest.mark.parametrize("call", ["Get", "Watch", "message"])
def test_an_interceptor_that_raises(world: World, call: str, error: Exception, cause: str) -> None:
    """Whatever a channel raises, in whichever call, is an outage with its cause, and is got over."""
    world.store.put(GOOD)
    with (
        world.poller.grpc_channel(world.datasvc.target) as channel,
        KvOverlay(
            grpc.intercept_channel(channel, _Raising(call, error)), KEY, world.service.watch
        ) as overlay,
    ):
        status = wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
        assert status.cause == f"{'Get' if call == 'Get' else 'Watch'}: {cause}"
        assert "interceptors" in status.advice
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
        world.store.wait(lambda: world.store.watches >= 1)
        world.store.put(BETTER)
        wait_until(overlay, lambda _: world.service.interval == "7s")


def test_a_server_that_floods_us(world: World) -> None:
    """Of thousands of documents a few are applied, the last one among them."""
    world.store.set(flood=5000)
    began = time.monotonic()
    with world.follow() as overlay:
        wait_until(overlay, lambda _: world.service.interval == "4999ms")
        took = time.monotonic() - began
    assert len(world.service.applied) <= took / 0.05 + 2


def test_an_answer_that_is_no_message(world: World) -> None:
    """An answer that cannot be read is an outage with its cause, and is asked for again."""
    world.store.put(GOOD)
    world.store.set(raw_answer=b"\xff" * 40)
    with world.follow() as overlay:
        status = wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
        assert status.cause == "Get: 40 bytes that are no GetResponse"
        world.store.set(raw_answer=None)
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)


def test_a_peer_that_no_longer_answers(world: World) -> None:
    """A stream that is silent beside a peer that answers nothing is an outage, and ends with it."""
    world.store.put(GOOD)
    with world.follow(request_timeout=1.0, check_interval=0.2) as overlay:
        overlay.wait_first(timeout=DEADLINE)
        world.store.wait(lambda: world.store.gets >= 3)  # two checks of a silent stream
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
        world.store.set(deaf=True)
        status = wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
        assert "DEADLINE_EXCEEDED" in status.cause
        assert world.service.interval == "5s"
        world.store.set(deaf=False)
        wait_until(overlay, lambda s: s.state is KvState.FOLLOWING)
        assert len(world.service.applied) == 1


def test_an_address_where_nobody_listens(world: World) -> None:
    """Waiting ends at its deadline with the cause and the advice; the overlay goes on trying."""
    world.datasvc.stop()
    with world.follow() as overlay:
        wait_until(overlay, lambda s: s.state is KvState.OUTAGE)
        with pytest.raises(
            KvTimeoutError, match=r"OUTAGE: Get: UNAVAILABLE.*start datasvc"
        ) as late:
            overlay.wait_first(timeout=0.1)
        assert late.value.retryable
        world.store.put(GOOD)
        world.datasvc.start()
        assert overlay.wait_first(timeout=DEADLINE).state is KvState.FOLLOWING


# ---- owners ------------------------------------------------------------------------------------


def test_closing_in_the_middle_of_a_question(world: World) -> None:
    """Nothing waits for the store: close returns, the thread is gone, waiters are woken."""
    world.store.set(deaf=True)
    failures: list[Exception] = []

    def wait(overlay: KvOverlay) -> None:
        try:
            overlay.wait_first(timeout=DEADLINE)
        except KvError as error:
            failures.append(error)

    with world.follow() as overlay:
        world.store.wait(lambda: world.store.gets == 1)
        waiter = threading.Thread(target=wait, args=(overlay,))
        waiter.start()
        overlay.close()
        overlay.close()
        waiter.join(DEADLINE)
        assert overlay._thread is not None
        assert not overlay._thread.is_alive()
    assert [str(error) for error in failures] == ["the KV overlay is closed: open a new one"]
    assert overlay.status().state is KvState.CLOSED
    assert repr(overlay) == f"KvOverlay({KEY!r}, CLOSED)"
    with pytest.raises(KvError, match="closed"):
        overlay.start()


def test_closing_from_the_function(world: World) -> None:
    """The function of the ConfigWatch may close the overlay that called it."""
    overlays: list[KvOverlay] = []
    closed = threading.Event()

    def close(_config: object) -> None:
        overlays[0].close()
        closed.set()

    world.service.watch = ConfigWatch(BASE, close)
    world.store.put(GOOD)
    with world.poller.grpc_channel(world.datasvc.target) as channel:
        overlay = KvOverlay(channel, KEY, world.service.watch)
        overlays.append(overlay)
        with overlay:
            assert closed.wait(DEADLINE)
        assert overlay.status().state is KvState.CLOSED


def test_closing_while_the_function_runs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Close does not wait longer than its owner wants, and says what still runs."""
    running, release = threading.Event(), threading.Event()

    def block(_config: object) -> None:
        running.set()
        assert release.wait(DEADLINE)

    world.service.watch = ConfigWatch(BASE, block)
    world.store.put(GOOD)
    with world.follow() as overlay:
        assert running.wait(DEADLINE)
        overlay.close(timeout=0.05)
        assert "still runs" in caplog.text
        assert overlay.status().state is KvState.CLOSED
        release.set()


def test_a_channel_that_its_owner_closes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Without its channel the overlay is closed, and its record says why."""
    world.store.put(GOOD)
    channel = world.poller.grpc_channel(world.datasvc.target, options=KV_CHANNEL_OPTIONS)
    with KvOverlay(channel, KEY, world.service.watch) as overlay:
        overlay.wait_first(timeout=DEADLINE)
        channel.close()
        status = wait_until(overlay, lambda s: s.state is KvState.CLOSED)
        assert "channel" in status.cause
        assert "open" in status.advice
        assert world.service.interval == "5s"
    (line,) = last_lines(caplog)
    assert line.levelno == logging.WARNING
    assert status.cause in line.getMessage()
    assert status.advice in line.getMessage()


def test_threads_end_with_the_overlay(world: World) -> None:
    """Twenty overlays that were closed leave no thread of ours behind."""
    world.store.put(GOOD)
    for _ in range(20):
        with world.follow() as overlay:
            overlay.wait_first(timeout=DEADLINE)
    for thread in threading.enumerate():
        if thread.name.startswith("kv-"):
            thread.join(DEADLINE)
            assert not thread.is_alive()


def test_a_slow_function_sees_the_newest_document(world: World) -> None:
    """Documents that come while the function runs are not queued: the last one is next."""
    running, release = threading.Event(), threading.Event()
    seen: list[object] = []

    def slow(config: Any) -> None:
        seen.append(config.document["poll_interval"])
        running.set()
        assert release.wait(DEADLINE)

    world.service.watch = ConfigWatch(BASE, slow)
    world.store.put(GOOD)
    with world.follow() as overlay:
        assert running.wait(DEADLINE)
        world.store.wait(lambda: world.store.watches == 1)
        for number in range(100):
            world.store.put(b'{"poll_interval": "%dms"}' % number)
        release.set()
        wait_until(overlay, lambda s: bool(seen) and seen[-1] == "99ms")
    assert len(seen) < 50


def test_it_starts_once_and_only_when_told(world: World) -> None:
    """Nothing is asked before start; a second start does nothing; it is not pickled."""
    with world.poller.grpc_channel(world.datasvc.target) as channel:
        overlay = KvOverlay(channel, KEY, world.service.watch)
        assert overlay.status().state is KvState.STARTING
        with pytest.raises(KvError, match="not started"):
            overlay.wait_first(timeout=1)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(overlay)
        assert world.store.gets == 0
        overlay.start()
        assert overlay.start() is overlay
        assert overlay.wait_first(timeout=DEADLINE).state is KvState.ABSENT
        assert sum(t.name == "kv-overlay" for t in threading.enumerate()) == 1
        overlay.close()
        unstarted = KvOverlay(channel, KEY, world.service.watch)
        unstarted.close()
        with pytest.raises(KvError, match="closed"):
            unstarted.start()


@pytest.fixture(scope="module")
def plain_channel() -> Iterator[grpc.Channel]:
    """Give a channel that is never used."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        yield channel


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "*",
        ">",
        "config/*",
        "config.>",
        ".config",
        "config.",
        "a..b",
        "a b",
        "ä",
        "a\n",
        "a\\b",
        "a" * 1025,
        None,
        7,
        b"config/a",
    ],
    ids=lambda key: ascii(key)[:12],
)
def test_keys_that_name_no_document(plain_channel: grpc.Channel, key: Any) -> None:
    """Wildcards, and what the store would not take, are refused before anything is asked."""
    with pytest.raises(ConfigError, match="no key of the KV store"):
        KvOverlay(plain_channel, key, ConfigWatch(BASE, print))


@pytest.mark.parametrize(
    "key",
    [
        "config/pollers/k8s-poller.json",
        "domains/edge-1/config/agent.json",
        "a",
        "A_b=c/d.e.f",
        "agents/ID/checkers/sweep/NAME.json",
        "config/flowgger.toml",
    ],
)
def test_keys_of_the_platform(plain_channel: grpc.Channel, key: str) -> None:
    """The platform's keys are taken as they are."""
    assert KvOverlay(plain_channel, key, ConfigWatch(BASE, print)).status().key == key


@pytest.mark.parametrize(
    "options",
    [
        {"request_timeout": 0},
        {"request_timeout": float("inf")},
        {"request_timeout": None},
        {"check_interval": -1.0},
        {"check_interval": float("nan")},
        {"check_interval": True},
        {"max_document_bytes": 0},
        {"max_document_bytes": 1.5},
        {"max_document_bytes": True},
        {"max_document_bytes": 2**40},
    ],
    ids=repr,
)
def test_options_that_cannot_be_honoured(
    plain_channel: grpc.Channel, options: dict[str, Any]
) -> None:
    """Each is refused with its name and what to give instead."""
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*: give a number"):
        KvOverlay(plain_channel, KEY, ConfigWatch(BASE, print), **options)


def test_other_arguments_that_cannot_be_honoured(plain_channel: grpc.Channel) -> None:
    """A channel or a target of another kind is refused, and so is a wait without an end."""
    anything: Any = object()
    with pytest.raises(ConfigError, match=r"grpc\.Channel"):
        KvOverlay(anything, KEY, ConfigWatch(BASE, print))
    with pytest.raises(ConfigError, match="ConfigWatch"):
        KvOverlay(plain_channel, KEY, anything)
    overlay = KvOverlay(plain_channel, KEY, ConfigWatch(BASE, print))
    with pytest.raises(ConfigError, match="timeout"):
        overlay.wait_first(timeout=float("inf"))
    with pytest.raises(ConfigError, match="timeout"):
        overlay.close(timeout=-1)
    assert overlay.status().since <= datetime.now(UTC)
    del overlay
    gc.collect()  # one that was never started goes without a trace
