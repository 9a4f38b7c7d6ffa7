"""A source that holds one snapshot for ever: for tests, and for material from elsewhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

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

_CAUSE: Final = "a fixed source does not renew its identity"
_ADVICE: Final = "use an X509Source"


class _StaticWatch:
    """The state of a snapshot that never changes: time alone ends it."""

    def __init__(self, context: X509Context, now: Instant) -> None:
        self._context: X509Context | None = context
        self._svid = context.default
        self._since = now.wall
        self._closed = False
        self._expired = False

    @property
    def state(self) -> State:
        if self._closed:
            return State.CLOSED
        return State.EXPIRED if self._expired else State.READY

    @property
    def updates(self) -> int:
        return 1

    @property
    def fatal(self) -> SecurityError | None:
        """The error, if it was found to have expired: nothing new will ever come."""
        return self._end() if self.state is State.EXPIRED else None

    def context(self, now: Instant) -> X509Context:
        self._settle(now)
        if self._context is None:
            raise SourceClosedError("the source is closed: open a new one")
        if self._expired:
            raise self._end()
        return self._context

    def status(self, now: Instant) -> SourceStatus:
        self._settle(now)
        expired = self.state is State.EXPIRED
        end = self._svid.not_after
        return SourceStatus(
            state=self.state,
            since=max(self._since, end) if expired else self._since,
            cause=_CAUSE if expired else "",
            advice=_ADVICE if expired else "",
            next_attempt=None,
            spiffe_id=None if self._closed else self._svid.spiffe_id,
            not_after=None if self._closed else end,
            updates=self.updates,
            rejected=0,
        )

    def closed(self, now: Instant) -> None:
        if not self._closed:
            self._closed = True
            self._since = now.wall
            self._context = None

    def _settle(self, now: Instant) -> None:
        self._expired = self._svid.not_after <= now.wall  # R-WLAPI-26

    def _end(self) -> SourceError:
        svid = self._svid
        return SourceError(
            f"the identity {svid.spiffe_id} expired at {svid.not_after:%FT%TZ}, and a fixed source "
            f"does not renew it: {_ADVICE}",
        )


class _StaticEngine(SourceEngine[_StaticWatch]):
    """What runs behind a fixed source: nothing."""

    name = "fixed identity source"

    def start(self) -> None: ...

    def stop(self, *, timeout: float) -> None: ...

    def abandon(self) -> None: ...

    def _announce(self, before: State, status: SourceStatus) -> None:
        """Say nothing: no transition of it is news to whoever made it."""


class StaticSource(LiveSource[_StaticEngine]):
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
            now: The clock that decides whether the identity has expired.

        Raises:
            X509SvidError: The snapshot has no identity.
            ConfigError: It is no snapshot, or the clock is no function.
        """
        given: object = context
        if not isinstance(given, X509Context):
            raise ConfigError(f"a snapshot is an X509Context, not {type(given).__name__}")
        if not callable(now):
            raise ConfigError(f"a clock is a function, not {type(now).__name__}")

        def clock() -> Instant:
            return Instant(time.monotonic(), now())

        def make() -> _StaticEngine:
            watch = _StaticWatch(context, clock())
            return _StaticEngine(watch, clock=clock, observer=None)

        self._shown = f"StaticSource({context!r})"
        super().__init__(make, origin=str(context.default.spiffe_id))
        self.open()

    def __repr__(self) -> str:
        return self._shown

    def subscribe(self, callback: Callable[[X509Context], object]) -> Subscription:
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
