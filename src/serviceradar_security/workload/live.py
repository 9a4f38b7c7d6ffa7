"""What every live source offers, whatever is behind it: opening, waiting, following, forking."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Self, TypeVar

from serviceradar_security.errors import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    WorkloadApiError,
)
from serviceradar_security.workload.managed import ManagedSource
from serviceradar_security.workload.source_engine import SourceEngine, SourceWatch
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import Instant, SourceStatus, utc_instant

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType


__all__ = ["LiveSource", "check_seconds", "system_clock"]

_JOIN: Final = 5.0  # seconds for threads to end
_LONGEST_WAIT: Final = 3600.0  # of one step; longer deadlines take several
_FOREVER: Final = 1e9  # seconds, more than thirty years
_CLOSED: Final = "the source is closed: open a new one"


def system_clock() -> Instant:
    """Read both clocks of the system."""
    return utc_instant(time.monotonic(), time.time())


SnapshotT = TypeVar("SnapshotT")
EngineT = TypeVar("EngineT", bound=SourceEngine[Any, Any])


class LiveSource(ManagedSource, Generic[EngineT, SnapshotT]):
    """Open, wait for, follow and close what an engine keeps going.

    One thread serves synchronous code and asyncio alike. In the child of a fork the source starts
    afresh on its first use; subscriptions stay with the parent.
    """

    def __init__(self, make_engine: Callable[[], EngineT], *, origin: str) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            make_engine: Makes what runs behind it, once in each process.
            origin: Where the identity comes from, for messages.
        """
        self._make_engine = make_engine
        self._origin = origin
        self._lock = threading.RLock()  # reentrant for signal handlers
        self._engine: EngineT | None = None
        self._opened = False
        self._closed = False
        self._subscriptions: list[Subscription[SnapshotT]] = []
        self._ended: list[Subscription[SnapshotT]] = []  # and not joined yet
        self._finalizer: weakref.finalize[..., LiveSource[EngineT, SnapshotT]] | None = None

    def open(self) -> Self:
        """Start following; returns at once, and does nothing if it is open.

        Raises:
            SourceClosedError: The source was closed: open a new one.
            SourceError: The process has no thread or descriptor left for it.
        """
        with self._lock:
            if self._closed:
                raise SourceClosedError(_CLOSED)
            _SOURCES.add(self)
            if self._engine is None:
                self._start()
            self._opened = True
        return self

    def close(self, *, timeout: float = _JOIN) -> None:
        """Stop following, wake every waiter and drop the identity; may be called twice.

        Afterwards every read raises (R-WLAPI-35).

        It may be called from a callback, at exit, and from a signal handler.

        Args:
            timeout: Seconds to wait for the threads.
        """
        check_seconds("timeout", timeout)
        self._end()
        self._join(timeout)

    def _end(self) -> None:
        """End everything at once, without waiting for a thread."""
        with self._lock:
            self._closed = True
            engine = self._engine
        if self._finalizer is not None:
            self._finalizer.detach()
        if engine is not None:
            engine.close(timeout=0.0)
        for subscription in tuple(self._subscriptions):
            self._ended.append(subscription)
            subscription.close(timeout=0.0)

    def _join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        if self._engine is not None:
            self._engine.close(timeout=timeout)
        while True:
            try:
                subscription = self._ended.pop()
            except IndexError:  # another one closes as well, and has taken it
                return
            subscription.close(timeout=max(0.0, deadline - time.monotonic()))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        self._end()  # first: what is awaited below may be cancelled before it begins
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another kind of loop
            self._join(_JOIN)
        else:
            try:
                await asyncio.to_thread(self._join, _JOIN)
            except RuntimeError:  # the loop's threads were shut down before
                self._join(_JOIN)

    def __repr__(self) -> str:
        engine = self._engine  # in the child of a fork, showing it must not start it
        state = "not open" if engine is None else engine.status().state.value
        return f"{type(self).__name__}({self._origin!r}, {state})"

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"{name} is not pickled: open one in the process that uses it")

    def current(self) -> SnapshotT:
        """Give the newest snapshot.

        Raises:
            SourceError: There is none now, or a `WorkloadApiError`, which says why. An expired
                identity is never given.
        """
        newest: SnapshotT = self._running().context()
        return newest

    def status(self) -> SourceStatus:
        """Give the state with its cause and advice.

        Raises:
            SourceError: The source was never opened; or a `SourceClosedError` if only then closed.
        """
        engine = self._engine
        return (engine if engine is not None and self._closed else self._running()).status()

    def wait_ready(self, *, timeout: float = 30.0) -> SnapshotT:
        """Wait for an identity (R-WLAPI-31).

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names cause and advice.
            SourceClosedError: The source was closed meanwhile.
            WorkloadApiError: None will ever come.
            ConfigError: The timeout is no finite number.
        """
        check_seconds("timeout", timeout)
        engine = self._running()
        deadline = time.monotonic() + timeout
        while True:
            before = engine.version
            context = self._try_ready(engine, timeout, late=time.monotonic() >= deadline)
            if context is not None:
                return context
            with engine.changed:
                if engine.version == before:
                    engine.changed.wait(_left(deadline))

    async def wait_ready_async(self, *, timeout: float = 30.0) -> SnapshotT:  # noqa: ASYNC109 - as in the sync twin
        """Wait for an identity in asyncio; as `wait_ready`."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        check_seconds("timeout", timeout)
        engine = self._running()
        deadline = time.monotonic() + timeout
        with self._listen(engine) as event:
            while True:
                event.clear()
                context = self._try_ready(engine, timeout, late=time.monotonic() >= deadline)
                if context is not None:
                    return context
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), _left(deadline))

    def subscribe(self, callback: Callable[[SnapshotT], object]) -> Subscription[SnapshotT]:
        """Call a function with each snapshot that is new from now on.

        It runs in a thread of its own. A slow one sees the newest snapshot, not a queue.

        Returns:
            A context manager; leaving it, or its ``close()``, ends the subscription.

        Raises:
            ConfigError: The subscriber is no function.
            SourceError: The source is not open, or the process has no thread left.
        """
        engine = self._running()
        subscription = Subscription(callback, on_close=self._forget, in_force=engine.context)
        self._subscriptions.append(subscription)
        engine.publish.append(subscription.offer)
        if self._closed:  # meanwhile, and perhaps without seeing this one
            subscription.close()
            raise SourceClosedError(_CLOSED)
        return subscription

    async def updates(self) -> AsyncIterator[SnapshotT]:
        """Iterate in asyncio over the newest snapshot and each new one, until closed.

        Raises:
            WorkloadApiError: Nothing new will ever come.
        """
        engine = self._running()
        seen = 0
        with self._listen(engine) as event:
            while not self._closed:
                event.clear()
                updates = engine.look().updates
                if updates != seen:
                    seen = updates
                    context = None
                    with contextlib.suppress(SourceError, WorkloadApiError):
                        context = engine.context()
                    if context is not None:
                        yield context
                    continue
                if (fatal := engine.look().fatal) is not None:
                    raise fatal
                await event.wait()

    def _running(self) -> EngineT:
        """Give the engine of this process, starting afresh in the child of a fork."""
        engine = self._engine
        if engine is None or self._closed:
            with self._lock:
                if self._closed:
                    raise SourceClosedError(_CLOSED)
                if not self._opened:
                    raise SourceError(
                        "the source is not open: use it in a `with` block, or call open()",
                    )
                engine = self._engine or self._start()
        return engine

    def _start(self) -> EngineT:
        try:
            engine = self._make_engine()
            engine.start()
        except (OSError, RuntimeError) as error:
            raise SourceError(
                f"the source of {self._origin} cannot start its thread: {error}",
            ) from error
        self._engine = engine
        # A source that is dropped without being closed takes its thread with it; one that has a
        # subscription is held by that.
        self._finalizer = weakref.finalize(self, engine.close, timeout=0.0)
        self._finalizer.atexit = False
        if self._closed:  # by a signal handler, which did not see it
            engine.close(timeout=0.0)
        return engine

    def _leave_to_parent(self) -> None:
        """Let go, in the child of a fork, of all whose thread stayed with the parent (D11)."""
        self._lock = threading.RLock()
        self._subscriptions = []
        self._ended = []
        if self._finalizer is not None:
            self._finalizer.detach()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.abandon()

    def _try_ready(self, engine: EngineT, timeout: float, *, late: bool) -> SnapshotT | None:
        watch: SourceWatch[SnapshotT] = engine.look()
        try:
            return watch.context(engine.now())
        except SourceClosedError:
            raise
        except (SourceError, WorkloadApiError) as error:
            if watch.fatal is not None:
                raise watch.fatal from error
            if late:
                raise SourceTimeoutError(f"no identity within {timeout:g} s: {error}") from error
            return None

    @contextlib.contextmanager
    def _listen(self, engine: EngineT) -> Iterator[asyncio.Event]:
        """Give an event of this loop that is set after every change."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise SourceError(
                "this needs a running asyncio loop: in other loops wait in a thread, as in "
                "trio.to_thread.run_sync(source.wait_ready)",
            ) from error
        event = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(event.set)

        with engine.changed:
            engine.listeners.append(wake)
        try:
            yield event
        finally:
            with engine.changed:
                engine.listeners.remove(wake)

    def _forget(self, subscription: Subscription[SnapshotT]) -> None:
        with contextlib.suppress(ValueError):
            self._subscriptions.remove(subscription)
        engine = self._engine
        if engine is not None:
            with contextlib.suppress(ValueError):
                engine.publish.remove(subscription.offer)


def check_seconds(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    finite: bool = False,
) -> None:
    """Refuse what is no number of seconds; without `least` it is a deadline, which must come."""
    fine = isinstance(value, int | float) and value >= least  # which NaN is not
    # An integer may be too large for a float, and so for every clock.
    huge = fine and abs(value) > _FOREVER
    endless = huge and not (value == math.inf and least != -math.inf and not finite)
    if not fine or endless:
        least_text = "" if least == -math.inf else f", {least:g} or more"
        shown = "a huge number" if huge and isinstance(value, int) else repr(value)
        raise ConfigError(f"{name} is {shown}: give a number of seconds{least_text}")


def _left(deadline: float) -> float:
    return min(_LONGEST_WAIT, max(0.0, deadline - time.monotonic()))


_SOURCES: Final[weakref.WeakSet[LiveSource[Any, Any]]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for source in tuple(_SOURCES):
        source._leave_to_parent()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_after_fork_in_child)
