"""The thread that talks to the Workload API: one socket, one wake-up, no decision of its own.

What to do and when is asked of the handler; what happened is reported to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from serviceradar_security.workload.failure import Failure, Kind
from serviceradar_security.workload.keepalive import PING_INTERVAL, PING_TIMEOUT, KeepAlive
from serviceradar_security.workload.reading import say
from serviceradar_security.workload.stream import CODES, Ended, Message, WorkloadStream

if TYPE_CHECKING:
    from serviceradar_security.workload.endpoint import WorkloadEndpoint

__all__ = ["Handler", "Receiver"]

FETCH_X509_SVID: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
_CHUNK: Final = 256 * 1024
_LONGEST_WAIT: Final = 60.0  # poll() takes no month, and the wall clock may be set meanwhile
_PAUSE: Final = 1.0
_MAX_PENDING: Final = 1024 * 1024
_LOG: Final = logging.getLogger("serviceradar_security.workload")

# The table of the Workload Endpoint standard, section 6 and appendix A (R-WLAPI-23).
_KINDS: Final = {
    "": Kind.ENDED,
    "OK": Kind.ENDED,
    "CANCELLED": Kind.ENDED,
    "INVALID_ARGUMENT": Kind.FATAL,
    "UNIMPLEMENTED": Kind.FATAL,
    "PERMISSION_DENIED": Kind.DENIED,
    "RESOURCE_EXHAUSTED": Kind.EXHAUSTED,
}


class Handler(Protocol):
    """What the receiver reports to; called in its thread only."""

    def waits(self) -> tuple[float | None, float | None]:
        """Seconds until the next attempt and until the next tick; None for never."""
        ...

    def opened(self) -> None:
        """Take note that a stream is open."""
        ...

    def message(self, data: bytes) -> None:
        """Take a message."""
        ...

    def failed(self, failure: Failure) -> None:
        """Take the end of the stream, or of the attempt to open one."""
        ...

    def ticked(self) -> None:
        """Let time pass."""
        ...

    def stopped(self) -> None:
        """Take note that the thread ends."""
        ...


class Receiver:
    """Run the thread."""

    def __init__(
        self,
        endpoint: WorkloadEndpoint,
        handler: Handler,
        *,
        connect_timeout: float,
        answer_timeout: float,
        max_message_bytes: int,
        ping_interval: float = PING_INTERVAL,
        ping_timeout: float = PING_TIMEOUT,
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            endpoint: The address.
            handler: What to report to.
            connect_timeout: Seconds for which opening a connection may take.
            answer_timeout: Seconds within which the first message must come: it is sent
                without delay (Workload API section 4.3, R-WLAPI-05).
            max_message_bytes: How large a message may be.
            ping_interval: Seconds of silence after which the peer is asked for a sign of life.
            ping_timeout: Seconds within which the sign must come.
        """
        self._endpoint = endpoint
        self._handler = handler
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        self._max_message_bytes = max_message_bytes
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._stopping = False
        self._socket: socket.socket | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Held around every use of the pipe from outside: the thread closes it as it ends, and a
        # descriptor's number may be somebody else's a moment later. Reentrant for signal handlers.
        self._pipe = threading.RLock()
        self._thread = threading.Thread(
            target=self._run,
            name="serviceradar-security-workload",
            daemon=True,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, timeout: float) -> None:
        """Stop the thread and wait for it; may be called twice, in it and at exit (R-WLAPI-35).

        The thread closes the descriptors as it ends, also if that is after the timeout.
        """
        self._stopping = True
        with self._pipe:
            if self._wake_write >= 0:
                with contextlib.suppress(BlockingIOError):  # it is full: the thread is woken
                    os.write(self._wake_write, b"x")
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def abandon(self) -> None:
        """Close the descriptors where no thread runs: in the child of a fork, or before a start."""
        descriptors = self._wake_read, self._wake_write
        self._wake_read = self._wake_write = -1  # first: a fork in between must not close others'
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        if self._socket is not None:
            self._socket.close()  # only this process's end: the parent's connection goes on

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001 - see below
                    # A defect of ours must not freeze an identity in silence: say so and go on.
                    say(
                        _LOG,
                        logging.ERROR,
                        "the Workload API watch failed, and goes on",
                        trace=True,
                    )
                    self._recover(error)
        finally:
            try:
                self._handler.stopped()
            finally:
                with self._pipe:
                    self.abandon()

    def _step(self) -> None:
        attempt, tick = self._handler.waits()
        if attempt is not None and attempt <= 0:
            self._attempt()
            return
        waits = [each for each in (attempt, tick) if each is not None]
        self._select(None, min(waits) if waits else None, writing=False)
        self._handler.ticked()

    def _recover(self, error: Exception) -> None:
        """Report the failure until it is heard: or the stream would be taken for open."""
        text = f"unexpected {type(error).__name__} in the watch: please report it"
        level = logging.ERROR
        while not self._stopping:
            try:
                self._handler.failed(Failure(Kind.FAILED, text))
            except Exception:  # noqa: BLE001 - the thread outlives this as well
                say(_LOG, level, "the Workload API watch fails again and goes on", trace=True)
                level = logging.DEBUG  # once is enough
                self._select(None, _PAUSE, writing=False)
            else:
                return

    def _select(self, sock: socket.socket | None, timeout: float | None, *, writing: bool) -> bool:
        """Wait; tell whether the socket is ready for what was asked."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if writing else 0))
        # Rounded up: a wait that ends a fraction early would spin.
        ready = poll.poll(
            None if timeout is None else int(min(timeout, _LONGEST_WAIT) * 1000) + 1,
        )
        if any(descriptor == self._wake_read for descriptor, _ in ready):
            os.read(self._wake_read, 64)
        return sock is not None and any(descriptor == sock.fileno() for descriptor, _ in ready)

    def _attempt(self) -> None:
        try:
            sock = self._connect()
        except OSError as error:
            # Also where there is no socket yet (R-EP-14).
            self._handler.failed(Failure(Kind.UNREACHABLE, _describe(error)))
            return
        if sock is None:
            return
        with sock:
            self._handler.opened()
            failure = self._stream(sock)
        if failure is not None:
            self._handler.failed(failure)

    def _connect(self) -> socket.socket | None:
        """Open a connection, or give None when stopped meanwhile.

        A new one for each attempt, so that no delay but ours counts (R-WLAPI-29); in clear
        (R-EP-11), through no proxy (R-EP-13), for both kinds of address (R-EP-15).
        """
        address: str | tuple[str, int]
        if self._endpoint.kind == "unix":
            family, address = socket.AF_UNIX, self._endpoint.path
        else:
            family = socket.AF_INET6 if ":" in self._endpoint.host else socket.AF_INET
            address = (self._endpoint.host, self._endpoint.port)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket = sock
        try:
            if self._endpoint.kind == "tcp":
                _keep_alive(sock)
            sock.setblocking(False)  # noqa: FBT003 - the name says what it is
            try:
                sock.connect(address)
            except BlockingIOError:
                if self._endpoint.kind == "unix":
                    raise OSError("its queue of connections is full") from None
                if not self._wait_connected(sock):
                    sock.close()
                    return None
        except BaseException:
            sock.close()
            raise
        return sock

    def _wait_connected(self, sock: socket.socket) -> bool:
        deadline = time.monotonic() + self._connect_timeout
        while not self._stopping:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no connection within {self._connect_timeout:g} s")
            if self._select(sock, left, writing=True):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                return True
        return False

    def _stream(self, sock: socket.socket) -> Failure | None:
        """Follow the stream to its end; None when stopped, or when it is to be opened anew."""
        stream = WorkloadStream(FETCH_X509_SVID, max_message_bytes=self._max_message_bytes)
        pending = stream.outgoing()
        deadline: float | None = time.monotonic() + self._answer_timeout
        alive = KeepAlive(
            interval=self._ping_interval,
            timeout=self._ping_timeout,
            now=time.monotonic(),
        )
        while not self._stopping:
            attempt, tick = self._handler.waits()
            if attempt is not None and attempt <= 0:
                return None  # what this stream brought is to be asked for once more
            try:
                waits = (attempt, tick, self._left(deadline), alive.wait(time.monotonic()))
                shortest = min(each for each in waits if each is not None)
                ready = self._select(sock, shortest, writing=bool(pending))
                if not ready:  # only now: what came while this process slept is read before
                    self._handler.ticked()
                    pending += self._ask(stream, alive)
                    continue
                # Read first: who says no and hangs up at once must be heard.
                data = _receive(sock)
                pending = pending[_send(sock, pending) :]
            except _SilentError as error:
                return Failure(Kind.SILENT, str(error))
            except OSError as error:
                return Failure(Kind.ENDED, f"the connection broke: {_describe(error)}")
            if data is None:
                self._handler.ticked()
                continue
            alive.heard(time.monotonic())
            for event in stream.feed(data):
                if isinstance(event, Message):
                    deadline = None
                    self._handler.message(event.data)
                else:
                    return _failure(event)
            self._handler.ticked()  # not before: users wait for what came
            pending += stream.outgoing()
            if len(pending) > _MAX_PENDING:
                return Failure(Kind.ENDED, "the peer asks for answers and reads none of them")
        return None

    def _left(self, deadline: float | None) -> float | None:
        """Give the seconds that are left for the first message, if it has not come."""
        if deadline is None:
            return None
        left = deadline - time.monotonic()
        if left <= 0:
            raise _SilentError(f"no answer within {self._answer_timeout:g} s")
        return left

    def _ask(self, stream: WorkloadStream, alive: KeepAlive) -> bytes:
        """Give what asks for a sign of life, if it is time to; a frozen agent gives none."""
        now = time.monotonic()
        if alive.lost(now):
            raise _SilentError(f"no sign of life within {self._ping_timeout:g} s of a PING")
        if alive.asks(now):
            stream.ping()
        return stream.outgoing()


class _SilentError(Exception):
    """The peer said nothing in time."""


def _keep_alive(sock: socket.socket) -> None:
    """Let the system find out that a peer's host has gone: its silence looks like a quiet agent."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    ):
        sock.setsockopt(level, option, value)


def _send(sock: socket.socket, data: bytes) -> int:
    try:
        return sock.send(data, socket.MSG_NOSIGNAL) if data else 0
    except BlockingIOError:
        return 0
    except (BrokenPipeError, ConnectionResetError):
        return len(data)  # what the peer still said is read next, then the end


def _receive(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(_CHUNK)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""  # it closed with bytes of ours unread: an end as any other


def _describe(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, PermissionError):
        return "this user may not open the socket"
    return error.strerror or str(error)


def _failure(ended: Ended) -> Failure:
    kind = _KINDS.get(ended.code, Kind.FAILED)
    if ended.code in ("", "OK"):
        text = ended.text or "the agent ended the stream"
    else:
        text = f"{ended.code} ({CODES.index(ended.code)})"
        text += f": {ended.text}" if ended.text else ""
    return Failure(kind, text, ended.code)
