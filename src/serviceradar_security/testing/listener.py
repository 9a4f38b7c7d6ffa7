"""A thread with a loop that listens on a socket, for tests; every wait on it has a deadline."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, TypeVar

from serviceradar_security.errors import ConfigError, WorkloadApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from serviceradar_security.testing.addresses import TcpAddress, UnixAddress

__all__ = ["Listener"]

_T = TypeVar("_T")


class Listener:
    """Serve connections in a thread with a loop of its own."""

    def __init__(
        self,
        address: UnixAddress | TcpAddress,
        connect: Callable[[], asyncio.Protocol],
        *,
        abort: Callable[[], bool],
        timeout: float,
    ) -> None:
        """Prepare.

        Args:
            address: Where to listen.
            connect: Makes the protocol of each connection.
            abort: Drops every connection, and tells whether there were any.
            timeout: Seconds for each wait.
        """
        self.address: UnixAddress | TcpAddress = address
        self._connect = connect
        self._abort = abort
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._pid = os.getpid()

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._thread is not None

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address cannot be listened on, or the process has no thread or
                descriptor left for it.
            WorkloadApiError: The thread does not begin in time.
        """
        if self._thread is not None:
            return
        self._pid = os.getpid()
        try:
            bound = self.address.bind()
        except ConfigError:
            self.address.release()
            raise
        except (OSError, ValueError) as error:
            self.address.release()
            raise ConfigError(
                f"the fake Workload API cannot listen on {self.address}: {error}",
            ) from error
        try:
            self._thread = self._begin(bound)
        except BaseException:
            self.address.release()  # while the socket is open, which takes no descriptor
            bound.close()
            raise

    def _begin(self, bound: socket.socket) -> threading.Thread:
        """Start the thread, which closes the socket at its end once it has begun."""
        begun: concurrent.futures.Future[None] = concurrent.futures.Future()
        thread = threading.Thread(
            target=self._work,
            args=(bound, begun),
            name="fake-workload-api",
            daemon=True,
        )
        try:
            thread.start()
            begun.result(self._timeout)
        except TimeoutError as error:
            if begun.cancel():  # it ends as soon as it begins; or else it has begun just now
                raise _late("begin to listen", self._timeout) from error
        except (RuntimeError, OSError) as error:
            raise ConfigError(
                f"the fake Workload API cannot listen on {self.address}: the process has no "
                f"thread or descriptor left for it ({error}): end some, or raise its limit",
            ) from error
        return thread

    def stop(self, *, leave_socket: bool = False) -> None:
        """Stop listening, and drop every connection.

        Args:
            leave_socket: Whether the socket's file stays.
        """
        thread, self._thread = self._thread, None
        if os.getpid() != self._pid:
            return  # it goes on in the process that started it
        if not leave_socket:
            self.address.release()  # first: while the socket is open, its file is surely ours
        if thread is not None:

            async def shut() -> None:
                if self._ended is not None:
                    self._ended.set()

            self.run(shut())
            thread.join(self._timeout)

    def run(self, coroutine: Coroutine[object, object, _T]) -> _T:
        """Run in the thread, and wait.

        Raises:
            WorkloadApiError: It is not done in time.
        """
        loop = self._loop
        if os.getpid() != self._pid:
            coroutine.close()
            raise ConfigError(
                "the fake Workload API runs in the process that started it, and this one was "
                "forked from it: command it there",
            )
        if loop is None or loop.is_closed():
            coroutine.close()
            raise ConfigError("the fake Workload API does not run: start it first")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(self._timeout)
        except (TimeoutError, concurrent.futures.CancelledError) as error:
            future.cancel()
            raise _late("send all it has to say: the client does not read", self._timeout) from (
                error
            )

    def _work(self, bound: socket.socket, begun: concurrent.futures.Future[None]) -> None:
        runner = asyncio.Runner()
        try:
            runner.get_loop()  # which takes descriptors
        except OSError as error:
            if begun.set_running_or_notify_cancel():
                begun.set_exception(error)
            return
        with bound, runner:
            runner.run(self._serve(bound, begun))

    async def _serve(
        self,
        bound: socket.socket,
        begun: concurrent.futures.Future[None],
    ) -> None:
        # Not asyncio's server: closed while it accepts, it leaves a connection open.
        self._loop = loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        welcomes: set[asyncio.Task[object]] = set()
        if not begun.set_running_or_notify_cancel():
            return  # nobody waits for it any more

        def accept() -> None:
            with contextlib.suppress(OSError):  # it has gone again
                connection, _ = bound.accept()
                connection.settimeout(0.0)
                welcome = loop.create_task(
                    loop.connect_accepted_socket(self._connect, connection),
                )
                welcomes.add(welcome)
                welcome.add_done_callback(welcomes.discard)

        with bound:
            bound.settimeout(0.0)
            loop.add_reader(bound, accept)
            begun.set_result(None)
            await self._ended.wait()
            loop.remove_reader(bound)
            with contextlib.suppress(OSError):  # a forked child has it too, and must not keep it
                bound.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(*welcomes, return_exceptions=True)
        while self._abort():  # noqa: ASYNC110 - protocols are told in the next turn of the loop
            await asyncio.sleep(0)


def _late(what: str, timeout: float) -> WorkloadApiError:
    return WorkloadApiError(
        f"the fake Workload API could not {what} (within {timeout:g} s)",
        code="DEADLINE_EXCEEDED",
    )
