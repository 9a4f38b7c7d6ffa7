"""The channels that callers hold: grpcio's own, with a hook on their end.

A handle passes everything on to the channel that it holds. Calls do not go through it: the objects
that make them are grpcio's, so that a call costs what it costs on any channel. When a handle is
closed, or the last thing that could make a call is gone, its route is given back.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import grpc
import grpc.aio

from serviceradar_security.errors import SecurityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.grpc.client.routes import Route
    from serviceradar_security.identity.context import X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentialsSource

__all__ = ["AioHandle", "Handle", "Lease", "disable_all", "keep_for_ever"]


class Lease:
    """One use of a route; it ends by `give_back`, or with the last object that holds it."""

    def __init__(
        self,
        route: Route,
        source: X509ContextSource | TlsCredentialsSource,
        *,
        closed: Callable[[Route], None],
        dropped: Callable[[Route], None],
    ) -> None:
        """Hold a route, and the source that its identity comes from.

        Args:
            route: The route.
            source: Kept alive as long as the channel.
            closed: Called with the route when the channel was closed.
            dropped: Called with the route when nobody holds the channel any more, from whatever
                thread notices.
        """
        self.route = route
        self.source = source
        self._closed = closed
        # It must not lead to the source, which may hold the channel itself.
        self._end = weakref.finalize(self, dropped, route)
        self._end.atexit = False  # the process ends: nobody waits for tidiness

    def give_back(self) -> None:
        """End the use, once."""
        if self._end.detach() is not None:
            self._closed(self.route)

    def held_by(self, maker: Any) -> Any:
        """Let an object that makes calls keep the lease alive, as it keeps grpcio's channel."""
        maker._serviceradar_lease = self  # noqa: SLF001 - an attribute of ours on grpcio's object
        _MAKERS.add(maker)
        return maker


class Handle(grpc.Channel):
    """A synchronous channel."""

    def __init__(self, raw: grpc.Channel, lease: Lease) -> None:
        """Hold grpcio's channel."""
        self._raw = raw
        self._lease = lease
        _HANDLES.add(self)

    def subscribe(self, *args: Any, **kwargs: Any) -> None:
        """Subscribe to the connectivity of the channel."""
        self._raw.subscribe(*args, **kwargs)

    def unsubscribe(self, *args: Any, **kwargs: Any) -> None:
        """End a subscription."""
        self._raw.unsubscribe(*args, **kwargs)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of one request and one response."""
        return self._lease.held_by(self._raw.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of one request and many responses."""
        return self._lease.held_by(self._raw.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of many requests and one response."""
        return self._lease.held_by(self._raw.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of many requests and many responses."""
        return self._lease.held_by(self._raw.stream_stream(*args, **kwargs))

    def close(self) -> None:
        """Close the channel: calls in flight are cancelled, as on any channel."""
        try:
            self._raw.close()
        finally:
            self._lease.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AioHandle(grpc.aio.Channel):
    """A channel for asyncio."""

    def __init__(self, raw: grpc.aio.Channel, lease: Lease) -> None:
        """Hold grpcio's channel."""
        self._raw = raw
        self._lease = lease
        # Calls in flight keep grpcio's channel alive, and through it the lease.
        raw._serviceradar_lease = lease  # type: ignore[attr-defined]  # noqa: SLF001 - an attribute of ours
        _HANDLES.add(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel.

        Args:
            grace: Seconds that calls in flight may take to end by themselves.
        """
        try:
            await self._raw.close(grace)
        finally:
            self._lease.give_back()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpcio's signature
        """Give the connectivity of the channel."""
        return self._raw.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another."""
        await self._raw.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel is connected."""
        await self._raw.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of one request and one response."""
        return self._lease.held_by(self._raw.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of one request and many responses."""
        return self._lease.held_by(self._raw.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of many requests and one response."""
        return self._lease.held_by(self._raw.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Give the object that makes calls of many requests and many responses."""
        return self._lease.held_by(self._raw.stream_stream(*args, **kwargs))


_HANDLES: Final[weakref.WeakSet[Handle | AioHandle]] = weakref.WeakSet()
_MAKERS: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


class _Refusal:
    """Stands where a channel was, in a child process."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, _name: str) -> NoReturn:
        raise SecurityError(self._reason)


def disable_all(reason: str) -> None:
    """Let every handle and every object that makes calls refuse; for a forked child.

    grpcio's own objects would hang, and end the process when they end.
    """

    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise SecurityError(reason)

    for handle in list(_HANDLES):
        keep_for_ever(handle._raw)  # noqa: SLF001 - the handles are this module's
        handle._raw = _Refusal(reason)  # type: ignore[assignment]  # noqa: SLF001 - it refuses as any channel
    for maker in list(_MAKERS):
        keep_for_ever(maker)
        refusals: dict[str, Any] = dict.fromkeys(("__call__", "future", "with_call"), refuse)
        with contextlib.suppress(TypeError):  # a kind of object that cannot change its class
            maker.__class__ = type("AfterFork", (type(maker),), refusals)


def keep_for_ever(thing: object) -> None:
    """Let an object outlive the interpreter: its end would call into gRPC core."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
