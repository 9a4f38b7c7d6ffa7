"""A live ``spiffe.X509Source`` as a source of ours, which transports follow like any other."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn, Self

import spiffe

from serviceradar_security.errors import (
    ConfigError,
    SecurityError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
)
from serviceradar_security.spiffe.intake import Intake
from serviceradar_security.workload.managed import ManagedSource
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import SourceStatus, State

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from serviceradar_security.identity.context import X509Context

__all__ = ["SpiffeX509Source"]

_LOG: Final = logging.getLogger("serviceradar_security.spiffe")
_LOOK: Final = 0.5  # seconds; a source that fails or closes wakes nobody, so waiters look
_ADVICE: Final = "make a new spiffe.X509Source and a SpiffeX509Source of it"


class SpiffeX509Source(ManagedSource):
    """Offer the identity of an application's ``spiffe.X509Source`` to transports of this library.

    What that source holds is checked again by our rules whenever it changes. An update that breaks
    one is refused whole, and the last good snapshot serves until its identity expires. The
    application's source stays the application's: it is never closed here.
    """

    def __init__(
        self,
        source: spiffe.X509Source,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take a source that the application has opened.

        Args:
            source: The source.
            now: The clock that decides whether the identity has expired.

        Raises:
            TypeError: It is none.
        """
        if not isinstance(source, spiffe.X509Source):
            raise TypeError(
                "a SpiffeX509Source is made of a spiffe.X509Source, not of "
                f"{type(source).__name__}",
            )
        self._source = source
        self._now = now
        self._pid = os.getpid()
        self._lock = threading.RLock()  # reentrant for signal handlers
        self._closed = False
        self._context: X509Context | None = None
        self._cause = ""  # why the newest update was refused
        self._refusal: SecurityError | None = None
        self._intake = Intake()
        self._updates = 0
        self._rejected = 0
        self._state = State.STARTING
        self._since = now()
        self._subscriptions: list[Subscription[X509Context]] = []
        self._wakers: list[Callable[[], None]] = []
        self._following = False

    def open(self) -> Self:
        """Do nothing, unless it is closed: the application has opened the source.

        Raises:
            SourceClosedError: It was closed.
        """
        if self._closed:
            raise SourceClosedError("the source is closed: make a new one")
        return self

    def close(self, *, timeout: float = 5.0) -> None:
        """Refuse every use from now on, and end the subscriptions; may be called twice.

        The application's own source stays open.

        Args:
            timeout: Seconds to wait for the threads of subscribers.
        """
        self._closed = True
        deadline = time.monotonic() + timeout
        for subscription in tuple(self._subscriptions):
            subscription.close(timeout=max(0.0, deadline - time.monotonic()))
        for wake in tuple(self._wakers):
            wake()
        self._context = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"SpiffeX509Source({self._context!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SpiffeX509Source is not pickled: make one in the process that uses it")

    # ---- reading -------------------------------------------------------------------------------

    def current(self) -> X509Context:
        """Give the newest snapshot.

        Raises:
            SourceError: There is none that can be used now; or a `SourceClosedError` if this
                source or the application's is closed, or that one has failed for good.
        """
        self._check_usable()
        with self._lock:
            self._refresh()
            context = self._context
            if context is None:
                raise SourceError(
                    f"the spiffe source has no identity that can be used: {self._cause}",
                ) from self._refusal
        svid = context.default
        if svid.not_after <= self._now():
            raise SourceError(
                f"the identity {svid.spiffe_id} expired at {svid.not_after:%FT%TZ}, and the spiffe "
                f"source has not renewed it{self._refused_text()}: look at the log of the SPIRE "
                "agent",
            )
        return context

    def status(self) -> SourceStatus:
        """Give the state with its cause and advice."""
        cause, advice = "", ""
        context: X509Context | None = None
        try:
            context = self.current()
        except SourceClosedError as error:
            state = State.CLOSED
            if not self._closed:
                cause, advice = str(error), _ADVICE
        except SourceError as error:
            context = self._context
            state = State.NO_IDENTITY if context is None else State.EXPIRED
            cause, advice = str(error), "look at the log of the SPIRE agent"
        else:
            state = State.DEGRADED if self._cause else State.READY
            cause = self._cause
            advice = "look at what the Workload API gives" if cause else ""
        if state is not self._state:
            self._state, self._since = state, self._now()
        svid = context.default if context is not None else None
        return SourceStatus(
            state=state,
            since=self._since,
            cause=cause,
            advice=advice,
            next_attempt=None,
            spiffe_id=svid.spiffe_id if svid is not None else None,
            not_after=svid.not_after if svid is not None else None,
            updates=self._updates,
            rejected=self._rejected,
        )

    # ---- waiting -------------------------------------------------------------------------------

    def wait_ready(self, *, timeout: float = 30.0) -> X509Context:
        """Wait for an identity that can be used.

        Args:
            timeout: Seconds to wait.

        Raises:
            SourceTimeoutError: None came in time; the message names the cause.
            SourceClosedError: This source or the application's is closed, or that one has failed.
            ConfigError: The timeout is no finite number.
        """
        deadline = _deadline(timeout)
        changed = threading.Event()
        with self._woken(changed.set):
            while (context := self._try_ready(timeout, deadline)) is None:
                changed.wait(_step(deadline))
                changed.clear()
        return context

    async def wait_ready_async(self, *, timeout: float = 30.0) -> X509Context:  # noqa: ASYNC109 - as in the sync twin
        """Wait for an identity in asyncio; as `wait_ready`."""
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        deadline = _deadline(timeout)
        changed = asyncio.Event()
        with self._woken(_from_threads(asyncio.get_running_loop(), changed)):
            while (context := self._try_ready(timeout, deadline)) is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _step(deadline))
                changed.clear()
        return context

    def subscribe(self, callback: Callable[[X509Context], object]) -> Subscription[X509Context]:
        """Call a function with each snapshot that is new from now on, in a thread of its own.

        Returns:
            A context manager; leaving it, or its ``close()``, ends the subscription.
        """
        self._check_usable()
        with self._lock:
            self._refresh()  # what is there already is not new
            subscription = Subscription(callback, on_close=self._forget)
            self._subscriptions.append(subscription)
            self._follow()
        if self._closed:  # meanwhile, and perhaps without seeing this one
            subscription.close()
            self._check_usable()
        return subscription

    async def updates(self) -> AsyncIterator[X509Context]:
        """Iterate in asyncio over the newest snapshot and each new one, until this is closed.

        Raises:
            SourceClosedError: The application's source is closed or has failed for good.
        """
        import asyncio  # noqa: PLC0415 - users of threads do not pay for it

        self.open()
        seen: X509Context | None = None
        changed = asyncio.Event()
        with self._woken(_from_threads(asyncio.get_running_loop(), changed)):
            while not self._closed:
                changed.clear()
                context = self._newest()
                if context is not None and context is not seen:
                    seen = context
                    yield context
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _LOOK)

    # ---- inside --------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        """Refuse if this is closed or belongs to another process.

        The thread that renews the application's source stayed with the parent of a fork, and so
        perhaps did the locks.
        """
        if self._closed:
            raise SourceClosedError("the source is closed: make a new one")
        if self._pid != os.getpid():
            raise SourceClosedError(
                "the spiffe source was made before this process was forked, and is not renewed "
                f"here: in this process {_ADVICE}",
            )

    def _refresh(self) -> None:
        """Take over what the application's source holds, if that has changed."""
        try:
            theirs = self._source.get_x509_context()
        except Exception as error:
            raise SourceClosedError(
                f"the spiffe source is closed or has failed for good ({error}): {_ADVICE}",
            ) from error
        if self._intake.is_same(theirs):
            return
        try:
            context = self._intake.take(theirs)
        except SecurityError as error:
            self._cause, self._refusal = str(error), error
            self._rejected += 1
            _LOG.warning("an update of the spiffe source was refused: %s", error)
            return
        self._cause, self._refusal = "", None
        if context == self._context:
            return
        self._context = context
        self._updates += 1
        for subscription in tuple(self._subscriptions):
            subscription.offer(context)
        for wake in tuple(self._wakers):
            wake()

    def _noticed(self) -> None:
        """Look at once; the application's source calls this from its thread."""
        with contextlib.suppress(SourceError):
            self._check_usable()
            with self._lock:
                self._refresh()

    def _refused_text(self) -> str:
        return f", and its newest update was refused: {self._cause}" if self._cause else ""

    def _try_ready(self, timeout: float, deadline: float) -> X509Context | None:
        late = time.monotonic() >= deadline
        try:
            return self.current()
        except SourceClosedError:
            raise
        except SourceError as error:
            if late:
                raise SourceTimeoutError(f"no identity within {timeout:g} s: {error}") from error
            return None

    def _newest(self) -> X509Context | None:
        """Give the newest snapshot, or None if there is none now or this was closed meanwhile."""
        try:
            return self.current()
        except SourceClosedError:
            if not self._closed:
                raise
        except SourceError:
            pass  # a better one may come
        return None

    @contextlib.contextmanager
    def _woken(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call a function after each change, for as long as the block lasts."""
        self._check_usable()
        with self._lock:
            self._wakers.append(wake)
            self._follow()
        try:
            yield
        finally:
            self._wakers.remove(wake)
            self._unfollow()

    def _forget(self, subscription: Subscription[X509Context]) -> None:
        with contextlib.suppress(ValueError):  # closed twice
            self._subscriptions.remove(subscription)
            self._unfollow()

    def _follow(self) -> None:
        """Be told of updates while anybody waits for them."""
        if not self._following:
            self._source.subscribe_for_updates(self._noticed)
            self._following = True

    def _unfollow(self) -> None:
        """Leave no trace in the application's source once nobody waits."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._following and not self._subscriptions and not self._wakers:
                self._source.unsubscribe_for_updates(self._noticed)
                self._following = False


def _from_threads(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(event.set)

    return wake


def _deadline(timeout: float) -> float:
    if not isinstance(timeout, int | float) or not math.isfinite(timeout):
        raise ConfigError(f"timeout is {timeout!r}: give a number of seconds")
    return time.monotonic() + timeout


def _step(deadline: float) -> float:
    return min(_LOOK, max(0.0, deadline - time.monotonic()))
