"""One way to write for anyio on asyncio, anyio on trio, and trio alone what a source needs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from serviceradar_security import X509Context, X509Source

    Received = Callable[[], Awaitable[X509Context]]

_T = TypeVar("_T")


@dataclass(frozen=True)
class AnyioLoop:
    """anyio on one of its backends."""

    backend: str

    def run(self, main: Callable[[], Awaitable[_T]]) -> _T:
        return anyio.run(main, backend=self.backend)

    async def in_thread(self, function: Callable[[], _T], *, abandon: bool = False) -> _T:
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=abandon)

    def move_on_after(self, seconds: float) -> contextlib.AbstractContextManager[Any]:
        return anyio.move_on_after(seconds)

    @contextlib.asynccontextmanager
    async def following(self, source: X509Source) -> AsyncIterator[Received]:
        """Pass new snapshots from the subscriber's thread into the loop."""
        send, receive = anyio.create_memory_object_stream[Any](16)
        async with anyio.from_thread.BlockingPortal() as portal, send, receive:
            with source.subscribe(lambda context: portal.call(send.send_nowait, context)):
                yield receive.receive


@dataclass(frozen=True)
class TrioLoop:
    """trio by itself."""

    def run(self, main: Callable[[], Awaitable[_T]]) -> _T:
        return trio.run(main)

    async def in_thread(self, function: Callable[[], _T], *, abandon: bool = False) -> _T:
        return await trio.to_thread.run_sync(function, abandon_on_cancel=abandon)

    def move_on_after(self, seconds: float) -> contextlib.AbstractContextManager[Any]:
        return trio.move_on_after(seconds)

    @contextlib.asynccontextmanager
    async def following(self, source: X509Source) -> AsyncIterator[Received]:
        """Pass new snapshots from the subscriber's thread into the loop."""
        send, receive = trio.open_memory_channel[Any](16)
        token = trio.lowlevel.current_trio_token()

        def put(context: X509Context) -> None:
            trio.from_thread.run_sync(send.send_nowait, context, trio_token=token)

        async with send, receive:
            with source.subscribe(put):
                yield receive.receive


Loop = AnyioLoop | TrioLoop
