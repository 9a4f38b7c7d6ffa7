"""The plane: one thread with one event loop, which owns everything about channels that changes.

Other threads hand it work and wait with a deadline, or leave a note and go on. Its state is
touched nowhere else, so there are no locks, and a note may be left even by the garbage collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.control_plane import ControlPlane
from serviceradar_security.grpc.client.materials import Materials
from serviceradar_security.grpc.client.resources import LISTENER, resource_name
from serviceradar_security.grpc.client.routes import Policy, Route, Routes, listener_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from serviceradar_security.grpc.client.materials import Slot
    from serviceradar_security.grpc.client.targets import Target
    from serviceradar_security.grpc.client.trust import TrustKind
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentialsSource
    from serviceradar_security.identity.host import HostName

__all__ = ["Plane", "Wish"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_TICK: Final = 1.0
_SOON: Final = 0.1
_LINGER: Final = 10.0
_SETTLE_TIMEOUT: Final = 5.0
_PATIENCE: Final = 8.0  # longer than all waits inside, so that those can say what is wrong
_LAST_PATIENCE: Final = 2.0
_ENDED: Final = "the control plane of gRPC channels has ended: the program is about to exit"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants to dial.

    Attributes:
        target: Where to.
        authority: What the server shall see.
        expected: Who may answer.
        patterns: The same, for core.
        source: Whose identity to show.
        kind: What the source gives.
        server_name: The name for SNI; empty to send none.
    """

    target: Target
    authority: str
    expected: Authorizer | HostName
    patterns: tuple[str, ...]
    source: X509ContextSource | TlsCredentialsSource
    kind: TrustKind
    server_name: str


class Plane:
    """The thread, its loop, and what lives on it."""

    def __init__(self) -> None:
        """Start the thread; nothing is served yet."""
        self.materials: Materials = Materials()
        # A loop of our own kind, whatever policy the application has installed.
        self._loop = asyncio.SelectorEventLoop()
        self._control: ControlPlane | None = None
        self._routes: Routes | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._lingering: list[Route] = []
        self._thread = threading.Thread(
            target=self._loop.run_forever,
            name="serviceradar-grpc",
            daemon=True,
        )
        self._thread.start()

    # --- from any thread

    def call(
        self,
        work: Coroutine[Any, Any, _T],
        *,
        undo: Callable[[_T], None] | None = None,
        patience: float = _PATIENCE,
    ) -> _T:
        """Let the plane do some work and wait for it.

        Args:
            work: A coroutine for the plane's loop.
            undo: Takes back a result that came too late for the caller.
            patience: How long to wait.

        Raises:
            SecurityError: As the work raises it, or because it was not done in time.
        """
        if not self._thread.is_alive():
            work.close()
            raise SecurityError(_ENDED)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(patience)
        except TimeoutError as error:
            self._abandon(future, undo)
            raise SecurityError(
                f"the control plane of gRPC channels did not answer within {patience:g} s: the "
                "machine is overloaded, or this process was forked from one that used gRPC",
            ) from error
        except BaseException:  # an interrupt of the waiting thread
            self._abandon(future, undo)
            raise

    def leave_note(self, action: Callable[..., None], *arguments: object) -> None:
        """Let the plane do something soon, without waiting; safe in a finalizer."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to do
            self._loop.call_soon_threadsafe(action, *arguments)

    def shut_down(self) -> None:
        """End the thread and all that core holds for it, as far as that goes in a short time.

        The memory files stay: channels that are still open go on reading them.
        """
        with contextlib.suppress(SecurityError):
            self.call(self._stop(), patience=_LAST_PATIENCE)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LAST_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()

    # --- on the plane's loop

    async def start(self, path: str) -> None:
        """Serve on a Unix socket."""
        self._control = ControlPlane()
        self._routes = Routes(self._control)
        await self._control.start(path)
        self._ticker = asyncio.create_task(self._tick())

    async def is_followed(self, *, timeout: float) -> bool:  # noqa: ASYNC109 - a deadline is part of each wait here
        """Wait until gRPC core follows the first listener, or tell that it does not yet.

        Raises:
            SecurityError: Core refuses the listener.
        """
        control, _ = self._parts()
        name = resource_name(LISTENER, listener_name(0))
        if not await control.subscribed(LISTENER, name, timeout=timeout):
            return False
        await control.settled(LISTENER, name, timeout=_SETTLE_TIMEOUT)
        return True

    async def open(self, wish: Wish) -> Route:
        """Publish a route and return once core knows it.

        Raises:
            SecurityError: All slots are taken, or core did not follow.
        """
        control, routes = self._parts()
        if not self.materials.has_room_for(wish.source, wish.kind):
            for route in list(self._lingering):
                self._end_lingering(route)
        slot = self.materials.acquire(wish.source, self._wake, time.monotonic(), wish.kind)
        try:
            self._look_at(slot)
            while slot.is_waiting():
                await asyncio.sleep(_SOON)
                self._look_at(slot)
            policy = Policy(
                wish.target,
                wish.authority,
                wish.expected,
                wish.patterns,
                slot,
                wish.server_name,
            )
            route = routes.add(policy)
        except BaseException:
            self._release_slot(slot)
            raise
        try:
            self._flush()
            name = resource_name(LISTENER, listener_name(route.listener))
            await control.settled(LISTENER, name, timeout=_SETTLE_TIMEOUT)
        except BaseException:
            self.release(route)
            raise
        return route

    def release(self, route: Route) -> None:
        """Take back one use of a route; the last one removes it."""
        _, routes = self._parts()
        routes.drop(route)
        self._release_slot(route.policy.slot)
        if self._sweep is None:  # many channels are often closed at once
            self._sweep = self._loop.call_later(_SOON, self._flush)

    def release_later(self, route: Route) -> None:
        """Take back the use of a channel that was dropped: calls in flight may need it yet."""
        self._lingering.append(route)
        self._loop.call_later(_LINGER, self._end_lingering, route)

    def _release_slot(self, slot: Slot) -> None:
        try:
            self.materials.release(slot, time.monotonic())
        except SecurityError as error:
            _LOG.error("an identity of gRPC channels could not be withdrawn: %s", error)

    def _end_lingering(self, route: Route) -> None:
        if route in self._lingering:
            self._lingering.remove(route)
            self.release(route)

    def _flush(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        control, routes = self._parts()
        routes.write()
        control.flush()

    def _wake(self, slot: Slot) -> None:
        self.leave_note(self._look_at, slot)

    def _look_at(self, slot: Slot) -> None:
        """Let a slot follow its source, and core follow the slot."""
        if not slot.users:
            return
        _, routes = self._parts()
        try:
            if slot.step(datetime.now(UTC), time.monotonic()):
                routes.point_anew(slot)
                self._flush()
        except Exception:  # noqa: BLE001 - one slot's trouble must not end the ticks of all
            _LOG.exception("gRPC channels cannot follow their identity")

    async def _tick(self) -> None:
        while True:
            slots = self.materials.in_use()
            for slot in slots:
                self._look_at(slot)
            now = datetime.now(UTC)
            # Not a whole tick past the end of an identity.
            ends = min((slot.expires_in(now) for slot in slots), default=_TICK)
            is_urgent = any(slot.is_waiting() for slot in slots)
            await asyncio.sleep(min(_SOON if is_urgent else _TICK, max(ends, 0.01)))

    async def _stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self._routes is not None:
            self._routes.close()
        if self._control is not None:
            await self._control.stop()
        self._ticker = self._control = self._routes = None
        # A task that is pending when its loop ends would be complained of.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for patience in (_SOON, _SOON):
            if rest:
                _, rest = await asyncio.wait(rest, timeout=patience)
            for task in rest:
                task.cancel()

    def _parts(self) -> tuple[ControlPlane, Routes]:
        if self._control is None or self._routes is None:
            raise SecurityError(_ENDED)
        return self._control, self._routes

    def _abandon(self, future: Any, undo: Callable[[_T], None] | None) -> None:
        def take_back(done: Any) -> None:
            if undo is not None and not done.cancelled() and done.exception() is None:
                self.leave_note(undo, done.result())

        future.cancel()
        future.add_done_callback(take_back)
