"""A source that holds one snapshot for ever: for tests, and for material from elsewhere."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from serviceradar_security.errors import SourceClosedError, SourceError
from serviceradar_security.workload.managed import ManagedSource
from serviceradar_security.workload.subscription import Subscription
from serviceradar_security.workload.watch import SourceStatus, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from serviceradar_security.identity.context import X509Context

__all__ = ["StaticSource"]


class StaticSource(ManagedSource):
    """Offer a fixed snapshot through the methods of a live source; open from the start."""

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
        """
        self._context = context
        self._svid = context.default
        self._now = now
        self._since = now()
        self._closed = False
        self._subscriptions: list[Subscription] = []

    def open(self) -> Self:
        """Do nothing, unless it is closed.

        Raises:
            SourceClosedError: The source was closed.
        """
        self._check_open()
        return self

    def close(self, *, timeout: float = 5.0) -> None:
        """Refuse every use from now on, and end the subscriptions; may be called twice.

        Args:
            timeout: Seconds to wait for the threads of subscribers.
        """
        if not self._closed:
            self._since = self._now()
            self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close(timeout=timeout)

    def __repr__(self) -> str:
        return f"StaticSource({self._context!r})"

    def current(self) -> X509Context:
        """Give the snapshot.

        Raises:
            SourceError: Its default identity has expired; or a `SourceClosedError`.
        """
        self._check_open()
        svid = self._svid
        if svid.not_after <= self._now():
            raise SourceError(
                f"the identity {svid.spiffe_id} expired at {svid.not_after:%FT%TZ}, and a fixed "
                "source does not renew it: use an X509Source",
            )
        return self._context

    def status(self) -> SourceStatus:
        """Give the state."""
        end = self._svid.not_after
        expired = not self._closed and end <= self._now()
        return SourceStatus(
            state=State.CLOSED if self._closed else State.EXPIRED if expired else State.READY,
            since=max(self._since, end) if expired else self._since,
            cause="a fixed source does not renew its identity" if expired else "",
            advice="use an X509Source" if expired else "",
            next_attempt=None,
            spiffe_id=None if self._closed else self._svid.spiffe_id,
            not_after=None if self._closed else end,
            updates=1,
            rejected=0,
        )

    def wait_ready(self, *, timeout: float = 30.0) -> X509Context:  # noqa: ARG002 - as every source
        """Give the snapshot at once, or raise as `current` does."""
        return self.current()

    async def wait_ready_async(self, *, timeout: float = 30.0) -> X509Context:  # noqa: ARG002, ASYNC109 - as every source
        """Give the snapshot at once, or raise as `current` does."""
        return self.current()

    def subscribe(self, callback: Callable[[X509Context], object]) -> Subscription:
        """Give a subscription that is never called, since nothing changes."""
        self._check_open()
        subscription = Subscription(callback, on_close=self._forget)
        self._subscriptions.append(subscription)
        return subscription

    async def updates(self) -> AsyncIterator[X509Context]:
        """Give the one snapshot."""
        yield self.current()

    def _forget(self, subscription: Subscription) -> None:
        with contextlib.suppress(ValueError):  # closed twice
            self._subscriptions.remove(subscription)

    def _check_open(self) -> None:
        if self._closed:
            raise SourceClosedError("the source is closed: make a new one")
