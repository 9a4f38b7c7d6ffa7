"""Follow one key of the store: a thread around the machine, and what its owner sees of it."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, Self

import grpc

from serviceradar_security.config.formats import format_of
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from serviceradar_security.kv.arguments import check_key, check_seconds, check_size
from serviceradar_security.kv.calls import Calls
from serviceradar_security.kv.errors import KvError, KvTimeoutError
from serviceradar_security.kv.events import (
    Apply,
    Ask,
    Closed,
    Drop,
    Event,
    Follow,
    Refusal,
    Settled,
    Started,
    Tick,
)
from serviceradar_security.kv.log import Journal
from serviceradar_security.kv.machine import Machine
from serviceradar_security.kv.status import KvDocument, KvState, KvStatus, Moment

if TYPE_CHECKING:
    from types import TracebackType

    from serviceradar_security.config.formats import Format
    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.kv.events import Action

__all__ = ["KV_CHANNEL_OPTIONS", "KvOverlay", "OverlayTarget"]

_LOG: Final = logging.getLogger("serviceradar_security.kv")

KV_CHANNEL_OPTIONS: Final = (
    # The platform's servers hang up on clients that ping more often than every 120 s. Between
    # pings the overlay's own questions pass, so that none is sent while the peer lives.
    ("grpc.keepalive_time_ms", 150_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC's own wait before it connects again grows to two minutes otherwise.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
"""Options for the channel of an overlay: a dead peer is dropped, a returning one found soon."""

_MAX_DOCUMENT_BYTES: Final = 1024 * 1024  # what the store behind datasvc takes
_JOIN: Final = 5.0
_LONGEST_WAIT: Final = 3600.0
_PACE: Final = 0.05  # between two looks at what came: a store that floods us only gets so far
_CLOSED: Final = "the KV overlay is closed: open a new one"
_FORKED: Final = (
    "this process was forked from one that followed the KV store, and gRPC does not work in it: "
    "make channel and KvOverlay in the worker (gunicorn: in post_fork), or start workers with "
    "spawn or forkserver"
)


class OverlayTarget(Protocol):
    """What takes the documents: a `ConfigWatch`."""

    def update(self, data: bytes, *, format: Format) -> object:  # noqa: A002 - its own word
        """Take a document through the gate, or raise a `ConfigError` and change nothing."""
        ...

    def clear(self) -> object:
        """Go back to the local configuration: the document was deleted."""
        ...


class KvOverlay:
    """Follow a document in the KV store, and hand it to a `ConfigWatch`, whose gate decides.

    The store has no power over this service beyond that gate: a document that is refused, a store
    that is away, and one that says nonsense leave the running configuration as it is. All of that
    is in `status()`, and each change of state is one line in the log.

    One thread makes the calls and hands documents over, so the function of the `ConfigWatch` runs
    in it, never in gRPC's. A second one reads the stream. Documents that come while that function
    runs are not queued: the newest one is next. The `ConfigWatch` must have no other feeder, and
    the overlay goes on until it is closed.

    In the child of a fork nothing is followed; `status()` says FORKED, and the rest refuses.
    There is no asyncio twin: with `SecurityProvider.grpc_channel` this class serves asyncio
    programs as well, whose function calls ``loop.call_soon_threadsafe``.

    Args:
        channel: Where datasvc answers, from `SecurityProvider.grpc_channel`, best with
            `KV_CHANNEL_OPTIONS`. It stays its owner's, who closes it after the overlay.
        key: The key, as ``config/pollers/k8s-poller.json``; its ending names the format.
        watch: What takes the documents.
        server: The SPIFFE ID that the channel expects, for messages.
        request_timeout: Seconds until a question must be answered.
        check_interval: Seconds between two questions to the peer of a stream; a silent stream is
            no fault, a peer that does not answer is noticed this way.
        max_document_bytes: Larger documents are refused before anybody parses them.

    Raises:
        ConfigError: An argument cannot be honoured; wildcards in a key are refused.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        key: str,
        watch: OverlayTarget,
        *,
        server: SpiffeId | str = "",
        request_timeout: float = 10.0,
        check_interval: float = 60.0,
        max_document_bytes: int = _MAX_DOCUMENT_BYTES,
    ) -> None:
        if not isinstance(channel, grpc.Channel):
            raise ConfigError(
                f"the channel is a {type(channel).__name__}: give a synchronous grpc.Channel, as "
                "from SecurityProvider.grpc_channel",
            )
        if not all(callable(getattr(watch, name, None)) for name in ("update", "clear")):
            raise ConfigError(
                f"what takes the documents is a ConfigWatch, not {type(watch).__name__}"
            )
        check_key(key)
        check_seconds("request_timeout", request_timeout)
        check_seconds("check_interval", check_interval)
        check_size(max_document_bytes)
        self._watch = watch
        self._format: Format = format_of(key)
        self._pid = os.getpid()
        self._changed = threading.Condition()  # guards the machine
        self._machine = Machine(
            key,
            _now(),
            max_document_bytes=max_document_bytes,
            check_interval=check_interval,
            random=random.random,
        )
        self._status = self._machine.status()
        self._journal = Journal()
        self._news = threading.Event()
        self._closing = threading.Event()
        self._calls = Calls(
            channel, key, timeout=request_timeout, server=str(server), notify=self._news.set
        )
        self._thread: threading.Thread | None = None
        _OVERLAYS.add(self)

    def start(self) -> Self:
        """Start following; returns at once, and does nothing if it was started.

        Raises:
            KvError: It is closed, this is the child of a fork, or there is no thread left.
        """
        self._check_process()
        with self._changed:
            if self._machine.is_closed:
                raise KvError(_CLOSED)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="kv-overlay", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise KvError(f"the KV overlay cannot start its thread: {error}") from error
                self._thread = thread
        return self

    def close(self, *, timeout: float = _JOIN) -> None:
        """Stop following; the configuration stays as it is. May be called twice.

        It may be called from the function of the `ConfigWatch`. If that function does not come
        back in time, this does.

        Args:
            timeout: Seconds to wait for the thread.
        """
        if not (isinstance(timeout, int | float) and 0 <= timeout <= threading.TIMEOUT_MAX):
            raise ConfigError(f"timeout is {timeout!r}: give a number of seconds, 0 or more")
        if self._forked():
            return  # its thread and its calls are the parent's
        self._step(Closed())
        self._calls.close()
        self._closing.set()
        self._news.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        deadline = time.monotonic() + timeout
        thread.join(timeout)
        self._calls.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            _LOG.warning(
                "KV overlay %s: its thread did not end within %g s, since the function that takes "
                "the configuration still runs",
                self._status.key,
                timeout,
            )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        status = self.status()
        return f"KvOverlay({status.key!r}, {status.state.value})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("KvOverlay is not pickled: make one in the process that uses it")

    def status(self) -> KvStatus:
        """Give the record: state, cause, advice and counts, of one moment. Takes no lock."""
        status = self._status
        if self._forked():
            return replace(
                status, state=KvState.FORKED, cause=_FORKED, advice="", next_attempt=None
            )
        return status

    def wait_first(self, *, timeout: float = 30.0) -> KvStatus:
        """Wait until the store's first word is settled: applied, refused, or that there is none.

        Args:
            timeout: Seconds to wait.

        Returns:
            The record of that moment; its `document` says which of the three it was.

        Raises:
            KvTimeoutError: The store said nothing in time; the message names cause and advice.
            KvError: It was not started, it is closed, or this is the child of a fork.
        """
        self._check_process()
        check_seconds("timeout", timeout, least=0.0)
        if self._thread is None:
            raise KvError("the KV overlay was not started: use it in a `with` block, or start() it")
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._status.document is KvDocument.UNKNOWN:
                status = self._status
                if status.state is KvState.CLOSED:
                    raise KvError(f"{_CLOSED} ({status.cause})" if status.cause else _CLOSED)
                left = deadline - time.monotonic()
                if left <= 0:
                    why = status.cause or "no answer yet"
                    what = f": {status.advice}" if status.advice else ""
                    raise KvTimeoutError(
                        f"nothing from the KV store about {status.key} within {timeout:g} s: "
                        f"{status.state.value}: {why}{what}",
                    )
                self._changed.wait(min(left, _LONGEST_WAIT))
            return self._status

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._act(self._step(Started()))
            while not self._machine.is_closed:
                self._news.wait(self._patience())
                self._news.clear()
                events = self._calls.take()
                for event in events:
                    self._act(self._step(event))
                self._act(self._step(Tick()))
                if events:
                    held = self._machine.hold_until - time.monotonic()
                    self._closing.wait(max(_PACE, held))
        except BaseException as error:
            # Whatever ends this thread, the record must not go on saying that it follows.
            self._step(Closed(f"its thread was ended by {type(error).__name__}", died=True))
            raise
        finally:
            self._calls.close()

    def _patience(self) -> float:
        wake_at = self._machine.wake_at
        if wake_at is None:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, wake_at - time.monotonic()))

    def _step(self, event: Event) -> tuple[Action, ...]:
        with self._changed:
            before = self._status
            now = _now()
            actions = self._machine.step(event, now)
            self._status = after = self._machine.status()
            line = self._journal.line(before, after, now.monotonic, died=_is_death(event))
            self._changed.notify_all()
        if line is not None:  # handlers are not ours, and run without the lock
            _LOG.log(line.level, "%s", line.text, extra=line.extra)
        return actions

    def _act(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Ask():
                    self._calls.ask()
                case Follow():
                    self._calls.follow()
                case Drop():
                    self._calls.drop()
                case Apply(document):
                    self._act(self._step(Settled(self._hand_over(document))))

    def _hand_over(self, document: bytes | None) -> Refusal | None:
        try:
            if document is None:
                self._watch.clear()
            else:
                self._watch.update(document, format=self._format)
        except OverlayRefusedError as error:
            return Refusal(str(error), error.paths)
        except ConfigError as error:
            return _refusal_of(error)
        except Exception as error:  # noqa: BLE001 - not ours, and this thread outlives it
            # Its text and its frames may hold values of the document.
            return Refusal(f"it could not be applied: {type(error).__name__}", passing=True)
        return None

    # ---- forks ---------------------------------------------------------------------------------

    def _forked(self) -> bool:
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        if self._forked():
            raise KvError(_FORKED)

    def _leave_to_parent(self) -> None:
        self._calls.leave_to_parent()


def _is_death(event: Event) -> bool:
    return isinstance(event, Closed) and event.died


def _refusal_of(error: ConfigError) -> Refusal:
    """Say why a document was refused, if need be by the service's own function."""
    cause = error.__cause__
    if cause is not None and not isinstance(cause, ConfigError):
        # The service did not judge the document; it failed, and may not the next time.
        return Refusal(str(error), passing=True)
    problems = (cause or error).problems
    paths = dict.fromkeys(problem.path for problem in problems if problem.path)
    return Refusal(f"{error}: {cause}" if cause else str(error), tuple(paths))


def _now() -> Moment:
    return Moment(time.monotonic(), datetime.now(UTC))


_OVERLAYS: Final[weakref.WeakSet[KvOverlay]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for overlay in tuple(_OVERLAYS):
        overlay._leave_to_parent()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_after_fork_in_child)
