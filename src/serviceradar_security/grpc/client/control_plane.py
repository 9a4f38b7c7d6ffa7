"""The control plane of this process: serves xDS resources to gRPC core over a private socket.

One aggregated discovery stream for each target that core dials. Everything runs on one event
loop, so there are no locks. Core acknowledges each response or refuses it; `settled` waits for
that, so that a channel is only made once core can route it.

Nothing secret travels here: host names, patterns of SPIFFE IDs, names of certificate providers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import grpc.aio

from serviceradar_security._proto import control_plane_pb2 as pb
from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.resources import CLUSTER, LISTENER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["ControlPlane"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHOD: Final = "StreamAggregatedResources"
_LAST_WORDS: Final = 0.5
# In a response of these kinds a missing resource is a removed one: all that is subscribed is sent.
_WHOLE: Final = frozenset((LISTENER, CLUSTER))


@dataclass(eq=False)
class _Subscription:
    """What one stream asked for of one kind, and how far core has followed."""

    names: frozenset[str] = frozenset()
    nonce: str = ""
    sent: int = -1
    accepted: int = -1
    refused: int = -1
    complaint: str = ""


@dataclass(eq=False)
class _Stream:
    """One stream from core: its inbox, and its subscriptions by kind."""

    # A request, "changed", or None at the end.
    inbox: asyncio.Queue[pb.DiscoveryRequest | str | None] = field(default_factory=asyncio.Queue)
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Resource:
    body: pb.Any
    version: int


class ControlPlane:
    """A table of resources and the streams that follow it."""

    def __init__(self) -> None:
        """Make an empty table."""
        self._table: dict[str, dict[str, _Resource]] = {}
        self._version = 0
        self._nonces = itertools.count(1)
        self._changed_at: dict[str, int] = {}
        self._streams: set[_Stream] = set()
        self._moved = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self, path: str) -> None:
        """Serve on a Unix socket."""
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            # The stubs of types-grpcio know handlers of synchronous servers only.
            cast("Any", self._serve),
            request_deserializer=pb.DiscoveryRequest.FromString,
            response_serializer=pb.DiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),),
        )
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End the streams in order, then the server: cancelled handlers would print tracebacks."""
        for stream in self._streams:
            stream.inbox.put_nowait(None)
        server, self._server = self._server, None
        if server is not None:
            await server.stop(_LAST_WORDS)

    def put(self, type_url: str, name: str, body: pb.Any) -> None:
        """Set a resource; `flush` sends it."""
        table = self._table.setdefault(type_url, {})
        held = table.get(name)
        if held is None or held.body != body:
            table[name] = _Resource(body, self._change(type_url))

    def remove(self, type_url: str, name: str) -> None:
        """Take a resource out of the table; `flush` lets core know."""
        if self._table.get(type_url, {}).pop(name, None) is not None:
            self._change(type_url)

    def flush(self) -> None:
        """Let every stream send what changed."""
        for stream in self._streams:
            stream.inbox.put_nowait("changed")

    async def subscribed(self, type_url: str, name: str, *, timeout: float) -> bool:  # noqa: ASYNC109 - a deadline is part of each wait here
        """Wait until some stream asks for a resource."""

        def is_there() -> bool:
            return any(name in _names(stream, type_url) for stream in self._streams)

        return await self._wait(is_there, timeout)

    async def settled(self, type_url: str, name: str, *, timeout: float) -> None:  # noqa: ASYNC109 - likewise
        """Wait until every stream that follows a resource has accepted it as it is now.

        Raises:
            SecurityError: Core refused it, or did not answer in time.
        """
        version = self._table[type_url][name].version

        def followers() -> list[_Subscription]:
            found = (stream.subscriptions.get(type_url) for stream in self._streams)
            return [each for each in found if each is not None and name in each.names]

        def is_settled() -> bool:
            return all(max(each.accepted, each.refused) >= version for each in followers())

        in_time = await self._wait(is_settled, timeout)
        for each in followers():
            if each.refused >= version:
                raise SecurityError(
                    f"gRPC core refused what was prepared for this channel: {each.complaint}. This "
                    "is a fault of this library with this version of grpcio: please report it",
                )
        if not in_time:
            raise SecurityError(
                f"gRPC core did not take up the new channel within {timeout:g} s: the machine is "
                "overloaded, or the process was stopped meanwhile; try again",
            )

    def _change(self, type_url: str) -> int:
        self._version += 1
        self._changed_at[type_url] = self._version
        return self._version

    async def _wait(self, condition: Any, timeout: float) -> bool:  # noqa: ASYNC109 - likewise
        async with self._moved:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._moved.wait_for(condition)
                    return True
        return False

    async def _note_progress(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _serve(
        self,
        requests: AsyncIterator[pb.DiscoveryRequest],
        _context: object,
    ) -> AsyncIterator[pb.DiscoveryResponse]:
        """Serve one stream until core ends it or the plane stops."""
        stream = _Stream()
        reader = asyncio.create_task(_read(requests, stream.inbox))
        self._streams.add(stream)
        try:
            while (event := await stream.inbox.get()) is not None:
                if isinstance(event, str):
                    due = list(stream.subscriptions)
                else:
                    due = [event.type_url] if self._note(stream, event) else []
                    await self._note_progress()
                for type_url in due:
                    response = self._respond(type_url, stream.subscriptions[type_url])
                    if response is not None:
                        yield response
        finally:
            reader.cancel()
            self._streams.discard(stream)
            await self._note_progress()

    def _note(self, stream: _Stream, request: pb.DiscoveryRequest) -> bool:
        """Take in a request; tell whether it asks for something that was not asked for before."""
        held = stream.subscriptions.setdefault(request.type_url, _Subscription())
        if request.response_nonce and request.response_nonce == held.nonce:
            held.complaint = request.error_detail.message
            if held.complaint:
                held.refused = held.sent
                _LOG.error("gRPC core refused a resource of ours: %s", held.complaint)
            else:
                held.accepted = held.sent
        names = frozenset(request.resource_names)
        is_new = bool(names - held.names)
        held.names = names
        if is_new:
            held.sent = -1
        return is_new

    def _respond(self, type_url: str, held: _Subscription) -> pb.DiscoveryResponse | None:
        """Give what a subscription lacks, or None if it lacks nothing."""
        table = self._table.get(type_url, {})
        found = [table[name] for name in sorted(held.names) if name in table]
        if held.sent >= self._changed_at.get(type_url, 0):
            return None
        if type_url not in _WHOLE:
            found = [each for each in found if each.version > held.sent]
            if not found:
                return None
        held.sent = self._version
        held.nonce = str(next(self._nonces))
        return pb.DiscoveryResponse(
            version_info=str(held.sent),
            nonce=held.nonce,
            type_url=type_url,
            resources=[each.body for each in found],
        )


def _names(stream: _Stream, type_url: str) -> frozenset[str]:
    held = stream.subscriptions.get(type_url)
    return held.names if held is not None else frozenset()


async def _read(
    requests: AsyncIterator[pb.DiscoveryRequest],
    inbox: asyncio.Queue[pb.DiscoveryRequest | str | None],
) -> None:
    try:
        async for request in requests:
            inbox.put_nowait(request)
    finally:
        inbox.put_nowait(None)
