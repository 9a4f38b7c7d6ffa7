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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from serviceradar_security.workload.failure import Failure, Kind
from serviceradar_security.workload.keepalive import (
    PING_INTERVAL,
    PING_TIMEOUT,
    FirstAnswer,
    KeepAlive,
)
from serviceradar_security.workload.reading import say
from serviceradar_security.workload.sockets import describe, keep_alive, receive, send
from serviceradar_security.workload.stream import CODES, Ended, Message, WorkloadStream

if TYPE_CHECKING:
    from serviceradar_security.workload.endpoint import WorkloadEndpoint

__all__ = ["Handler", "Receiver"]

FETCH_X509_SVID: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
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
            self._handler.failed(Failure(Kind.UNREACHABLE, describe(error)))
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
                keep_alive(sock)
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
        now = time.monotonic()
        stream = WorkloadStream(FETCH_X509_SVID, max_message_bytes=self._max_message_bytes)
        most = self._max_message_bytes
        talk = _Talk(
            stream=stream,
            pending=stream.outgoing(),
            answer=FirstAnswer(timeout=self._answer_timeout, most_bytes=most, now=now),
            alive=KeepAlive(interval=self._ping_interval, timeout=self._ping_timeout, now=now),
        )
        try:
            while not self._stopping and self._turn(sock, talk):
                pass
        except _OverError as over:
            return over.failure
        return None

    def _turn(self, sock: socket.socket, talk: _Talk) -> bool:
        """Wait for the next thing and take it; False if the stream is to be opened anew."""
        attempt, tick = self._handler.waits()
        if attempt is not None and attempt <= 0:
            return False  # what this stream brought is to be asked for once more
        now = time.monotonic()
        waits = (attempt, tick, talk.answer.left(now), talk.alive.wait(now))
        data = self._exchange(sock, talk, min(each for each in waits if each is not None))
        if data is None:  # only now: what came while this process slept is read before
            self._handler.ticked()
            self._check_silence(talk)
        else:
            self._take(data, talk)
            self._handler.ticked()  # not before: users wait for what came
        talk.pending += talk.stream.outgoing()
        if len(talk.pending) > _MAX_PENDING:
            text = "the peer asks for answers and reads none of them"
            raise _OverError(Failure(Kind.ENDED, text))
        return True

    def _exchange(self, sock: socket.socket, talk: _Talk, wait: float) -> bytes | None:
        """Send what can be sent and give what came; None if that is nothing."""
        try:
            if not self._select(sock, wait, writing=bool(talk.pending)):
                return None
            # Read first: who says no and hangs up at once must be heard.
            data = receive(sock)
            talk.pending = talk.pending[send(sock, talk.pending) :]
        except OSError as error:
            text = f"the connection broke: {describe(error)}"
            raise _OverError(Failure(Kind.ENDED, text)) from error
        return data

    def _take(self, data: bytes, talk: _Talk) -> None:
        talk.alive.heard(time.monotonic())
        for event in talk.stream.feed(data):
            if not isinstance(event, Message):
                raise _OverError(_failure(event))
            talk.answer.came()
            self._handler.message(event.data)
        if talk.answer.talked_past(len(data), time.monotonic()):
            raise self._no_answer()

    def _check_silence(self, talk: _Talk) -> None:
        """Give up a peer that says nothing, or ask it for a sign of life."""
        now = time.monotonic()
        if talk.answer.left(now) == 0:
            raise self._no_answer()
        if talk.alive.lost(now):
            text = f"no sign of life within {self._ping_timeout:g} s of a PING"
            raise _OverError(Failure(Kind.SILENT, text))
        if talk.alive.asks(now):
            talk.stream.ping()

    def _no_answer(self) -> _OverError:
        text = f"no answer within {self._answer_timeout:g} s"
        return _OverError(Failure(Kind.SILENT, text))


@dataclass(slots=True)
class _Talk:
    """What belongs to one connection.

    Attributes:
        stream: The call on it.
        pending: Bytes that are not sent yet.
        answer: Whether the first message comes in time.
        alive: Whether the peer is there.
    """

    stream: WorkloadStream
    pending: bytes
    answer: FirstAnswer
    alive: KeepAlive


class _OverError(Exception):
    """The connection is over."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def _failure(ended: Ended) -> Failure:
    kind = _KINDS.get(ended.code, Kind.FAILED)
    if ended.code in ("", "OK"):
        text = ended.text or "the agent ended the stream"
    else:
        text = f"{ended.code} ({CODES.index(ended.code)})"
        text += f": {ended.text}" if ended.text else ""
    return Failure(kind, text, ended.code)
