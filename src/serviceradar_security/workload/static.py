"""A source that holds one snapshot for ever: for tests, and for material from elsewhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.errors import ConfigError, SourceClosedError, SourceError
from serviceradar_security.identity.context import X509Context
from serviceradar_security.workload.live import LiveSource
from serviceradar_security.workload.source_engine import SourceEngine
from serviceradar_security.workload.status import Instant, SourceStatus, State
from serviceradar_security.workload.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from serviceradar_security.errors import SecurityError

__all__ = ["StaticSource"]

_ADVICE: Final = "use an X509Source"
_CLOCKS: Final = "compare the clocks of this host and of the issuer"


class _StaticWatch:
    """The state of a snapshot that never changes: time alone begins and ends it."""

    def __init__(self, context: X509Context, now: Instant) -> None:
        svid = context.default
        self._context: X509Context | None = context
        self._spiffe_id = svid.spiffe_id
        self._not_before, self._not_after = svid.not_before, svid.not_after
        self._since = now.wall
        self._state = State.READY
        self._settle(now)

    @property
    def state(self) -> State:
        return self._state

    @property
    def updates(self) -> int:
        return 1

    @property
    def fatal(self) -> SecurityError | None:
        """The error, if it was found not to be valid: nothing new will ever come."""
        return self._error() if self._cause() else None

    def context(self, now: Instant) -> X509Context:
        self._settle(now)
        if self._context is None:
            raise SourceClosedError("the source is closed: open a new one")
        if self._state is not State.READY:
            raise self._error()
        return self._context

    def status(self, now: Instant) -> SourceStatus:
        self._settle(now)
        closed = self._state is State.CLOSED
        return SourceStatus(
            state=self._state,
            since=self._began(),
            cause=self._cause(),
            advice=self._advice(),
            next_attempt=None,
            spiffe_id=None if closed else self._spiffe_id,
            not_after=None if closed else self._not_after,
            updates=self.updates,
            rejected=0,
        )

    def closed(self, now: Instant) -> None:
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            self._since = now.wall
            self._context = None

    def _settle(self, now: Instant) -> None:
        if self._state is State.CLOSED:
            return
        if self._not_after <= now.wall:  # R-WLAPI-26
            self._state = State.EXPIRED
        else:
            self._state = State.READY if self._not_before <= now.wall else State.NO_IDENTITY

    def _began(self) -> datetime:
        if self._state is State.EXPIRED:
            return max(self._since, self._not_after)
        return max(self._since, self._not_before) if self._state is State.READY else self._since

    def _cause(self) -> str:
        if self._state is State.EXPIRED:
            return "a fixed source does not renew its identity"
        if self._state is State.NO_IDENTITY:
            return f"the identity begins only at {self._not_before:%FT%TZ}"
        return ""

    def _advice(self) -> str:
        return {State.EXPIRED: _ADVICE, State.NO_IDENTITY: _CLOCKS}.get(self._state, "")

    def _error(self) -> SourceError:
        if self._state is State.NO_IDENTITY:
            return SourceError(
                f"the identity {self._spiffe_id} begins only at {self._not_before:%FT%TZ}: "
                f"{_CLOCKS}",
            )
        return SourceError(
            f"the identity {self._spiffe_id} expired at {self._not_after:%FT%TZ}, and a fixed "
            f"source does not renew it: {_ADVICE}",
        )


class _StaticEngine(SourceEngine[_StaticWatch, X509Context]):
    """What runs behind a fixed source: nothing."""

    name = "fixed identity source"
    _end: Instant | None = None

    def start(self) -> None: ...

    def stop(self, *, timeout: float) -> None: ...

    def abandon(self) -> None: ...

    def close(self, *, timeout: float) -> None:
        """End it for good, without the lock as well.

        In a signal handler that may be held by the frame that was interrupted, and there is no
        thread that would see to it afterwards.
        """
        first, self._end = self._end is None, self._end or self._clock()
        super().close(timeout=timeout)
        if first:
            self.watch.closed(self._end)
            for listener in tuple(self.listeners):
                listener()

    def look(self) -> _StaticWatch:
        watch = super().look()
        if self._end is not None:  # whatever the interrupted frame left there
            watch.closed(self._end)
        return watch

    def _announce(self, before: State, status: SourceStatus) -> None:
        """Say nothing: no transition of it is news to whoever made it."""


class StaticSource(LiveSource[_StaticEngine, X509Context]):
    """Offer a fixed snapshot through the methods of a live source; open from the start.

    It runs no thread, and nothing of it is ever renewed: what is new comes as another source.
    """

    def __init__(
        self,
        context: X509Context,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Hold a snapshot.

        Args:
            context: The snapshot.
            now: The clock that decides whether the identity is valid; gives aware datetimes.

        Raises:
            X509SvidError: The snapshot has no identity.
            ConfigError: It is no snapshot, or the clock is none.
        """
        given: object = context
        if not isinstance(given, X509Context):
            raise ConfigError(f"a snapshot is an X509Context, not {type(given).__name__}")
        if not callable(now):
            raise ConfigError(f"a clock is a function, not {type(now).__name__}")
        moment: Any = now()
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise ConfigError("a clock gives aware datetimes, as datetime.now(UTC) is one")
        held = [context]  # until it is closed, for the children of forks

        def clock() -> Instant:
            return Instant(time.monotonic(), now())

        def make() -> _StaticEngine:
            return _StaticEngine(_StaticWatch(held[0], clock()), clock=clock, observer=None)

        self._held = held
        self._shown = f"StaticSource({context!r})"
        super().__init__(make, origin=str(context.default.spiffe_id))
        self.open()

    def _end(self) -> None:
        super()._end()
        self._held.clear()

    def __repr__(self) -> str:
        return self._shown

    def subscribe(self, callback: Callable[[X509Context], object]) -> Subscription[X509Context]:
        """Give a subscription that is never called, since nothing changes; it has no thread.

        Raises:
            ConfigError: The subscriber is no function.
            SourceClosedError: The source was closed.
        """
        self._running()
        subscription = Subscription(callback, on_close=self._forget, start=False)
        self._subscriptions.append(subscription)
        return subscription

    def updates(self) -> AsyncIterator[X509Context]:
        """Iterate in asyncio over the one snapshot, and then wait until the source is closed.

        Raises:
            SourceError: The identity has expired; or a `SourceClosedError`.
        """
        self.current()  # nothing would ever come
        return super().updates()
