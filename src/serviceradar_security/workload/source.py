"""The live source: a process's identity, followed over the Workload API."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, NoReturn, Self

from serviceradar_security.errors import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    WorkloadApiError,
)
from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.engine import Engine
from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import Instant, SourceStatus, utc_instant

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.snapshot import Picker

__all__ = ["X509Source"]

_LONGEST_WAIT: Final = 3600.0  # of one step; longer deadlines take several
_CLOSED: Final = "the source is closed: open a new one"


def system_clock() -> Instant:
    """Read both clocks of the system."""
    return utc_instant(time.monotonic(), time.time())


class X509Source:
    """Follow the identity that a Workload API gives to this process.

    Opening returns at once; the agent may come later, go and come back. One thread with one
    socket serves synchronous code and asyncio alike. In the child of a fork the source starts
    afresh on its first use; subscriptions stay with the parent.
    """

    def __init__(
        self,
        endpoint: str | WorkloadEndpoint | None = None,
        *,
        pick: Picker | None = None,
        limits: Limits | None = None,
        redaction_grace: float = 60.0,
        connect_timeout: float = 5.0,
        answer_timeout: float = 10.0,
        observer: SourceObserver | None = None,
        clock: Callable[[], Instant] = system_clock,
    ) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            endpoint: Address of the Workload API; None takes ``SPIFFE_ENDPOINT_SOCKET``.
            pick: Chooses the default identity from the tuple of all; None takes the first.
            limits: How much a message may hold.
            redaction_grace: Seconds for which an identity that was taken back is still used, so
                that a restarting agent does not take a healthy service down.
            connect_timeout: Seconds for opening a connection.
            answer_timeout: Seconds within which the first message must come.
            observer: Is told of each event, in the thread that receives.
            clock: Reads the clocks.

        Raises:
            ConfigError: There is no address, or it is none; or a number of seconds is no such.
        """
        _check_seconds("redaction_grace", redaction_grace, least=0.0)
        _check_seconds("connect_timeout", connect_timeout, least=0.001)
        _check_seconds("answer_timeout", answer_timeout, least=0.001)
        if isinstance(endpoint, WorkloadEndpoint):
            self._endpoint = endpoint
        elif endpoint is None:
            self._endpoint = WorkloadEndpoint.from_environment()
        else:
            self._endpoint = WorkloadEndpoint.parse(endpoint)
        self._make_engine: Callable[[], Engine] = lambda: Engine(
            self._endpoint,
            pick=pick,
            limits=Limits() if limits is None else limits,
            redaction_grace=redaction_grace,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
            clock=clock,
            observer=observer,
        )
        self._lock = threading.RLock()  # reentrant for signal handlers
        self._engine: Engine | None = None
        self._opened = False
        self._closed = False
        self._subscriptions: list[Subscription] = []

    @property
    def endpoint(self) -> WorkloadEndpoint:
        """The address of the Workload API."""
        return self._endpoint

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

    def close(self, *, timeout: float = 5.0) -> None:
        """Stop following, wake every waiter and drop the identity; may be called twice.

        It may be called from a callback, at exit, and from a signal handler.

        Args:
            timeout: Seconds to wait for the threads.
        """
        _check_seconds("timeout", timeout)
        deadline = time.monotonic() + timeout
        with self._lock:
            if self._closed:
                return
            self._closed = True
            engine = self._engine
        if engine is not None:
            engine.close(timeout=timeout)
        for subscription in tuple(self._subscriptions):
            subscription.close(timeout=max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        engine = self._engine  # in the child of a fork, showing it must not start it
        state = "not open" if engine is None else engine.status().state.value
        return f"X509Source({str(self._endpoint)!r}, {state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an X509Source is not pickled: open one in the process that uses it")

    def current(self) -> X509Context:
        """Give the newest snapshot.

        Raises:
            SourceError: There is none now; or the `WorkloadApiError` that says why. An expired
                identity is never given.
        """
        return self._running().context()

    def status(self) -> SourceStatus:
        """Give the state with its cause and advice.

        Raises:
            SourceError: The source was never opened; or a `SourceClosedError` if only then closed.
        """
        engine = self._engine
        return (engine if engine is not None and self._closed else self._running()).status()

    def wait_ready(self, *, timeout: float = 30.0) -> X509Context:
        """Wait for an identity.

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names cause and advice.
            SourceClosedError: The source was closed meanwhile.
            WorkloadApiError: The agent refused the call for good.
            ConfigError: The timeout is no finite number.
        """
        _check_seconds("timeout", timeout)
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

    async def wait_ready_async(self, *, timeout: float = 30.0) -> X509Context:  # noqa: ASYNC109 - as in the sync twin
        """Wait for an identity in asyncio; as `wait_ready`."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        _check_seconds("timeout", timeout)
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

    def subscribe(self, callback: Callable[[X509Context], object]) -> Subscription:
        """Call a function with each snapshot that is new from now on.

        It runs in a thread of its own. A slow one sees the newest snapshot, not a queue.

        Returns:
            A context manager; leaving it, or its ``close()``, ends the subscription.
        """
        engine = self._running()
        subscription = Subscription(callback, on_close=self._forget)
        self._subscriptions.append(subscription)
        engine.publish.append(subscription.offer)
        if self._closed:  # meanwhile, and perhaps without seeing this one
            subscription.close()
            raise SourceClosedError(_CLOSED)
        return subscription

    async def updates(self) -> AsyncIterator[X509Context]:
        """Iterate in asyncio over the newest snapshot and each new one, until closed.

        Raises:
            WorkloadApiError: The agent refused the call for good: nothing new will come.
        """
        engine = self._running()
        seen = 0
        with self._listen(engine) as event:
            while not self._closed:
                event.clear()
                updates = engine.look().updates
                if updates != seen:
                    seen = updates
                    with contextlib.suppress(SourceError, WorkloadApiError):
                        yield engine.context()
                    continue
                if (fatal := engine.look().fatal) is not None:
                    raise fatal
                await event.wait()

    def _running(self) -> Engine:
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

    def _start(self) -> Engine:
        try:
            engine = self._make_engine()
            engine.start()
        except (OSError, RuntimeError) as error:
            raise SourceError(
                f"the source of {self._endpoint} cannot start its thread: {error}",
            ) from error
        self._engine = engine
        if self._closed:  # by a signal handler, which did not see it
            engine.close(timeout=0.0)
        return engine

    def _leave_to_parent(self) -> None:
        """Let go, in the child of a fork, of all whose thread stayed with the parent (D11)."""
        self._lock = threading.RLock()
        self._subscriptions = []
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.abandon()

    def _try_ready(self, engine: Engine, timeout: float, *, late: bool) -> X509Context | None:
        watch = engine.look()
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
    def _listen(self, engine: Engine) -> Iterator[asyncio.Event]:
        """Give an event of this loop that is set after every change."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        loop, event = asyncio.get_running_loop(), asyncio.Event()

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

    def _forget(self, subscription: Subscription) -> None:
        with contextlib.suppress(ValueError):
            self._subscriptions.remove(subscription)
        engine = self._engine
        if engine is not None:
            with contextlib.suppress(ValueError):
                engine.publish.remove(subscription.offer)


def _check_seconds(name: str, value: float, *, least: float = -math.inf) -> None:
    """Refuse what is no number of seconds; without `least` it is a deadline, which must come."""
    fine = isinstance(value, int | float) and value >= least  # which NaN is not
    if not fine or (least == -math.inf and not math.isfinite(value)):
        least_text = "" if least == -math.inf else f", {least:g} or more"
        raise ConfigError(f"{name} is {value!r}: give a number of seconds{least_text}")


def _left(deadline: float) -> float:
    return min(_LONGEST_WAIT, max(0.0, deadline - time.monotonic()))


_SOURCES: Final[weakref.WeakSet[X509Source]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for source in tuple(_SOURCES):
        source._leave_to_parent()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_after_fork_in_child)
