"""The server's side of one Workload API connection, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from serviceradar_security.workload.stream import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Pace", "ServerConnection"]

_METHOD: Final = "/SpiffeWorkloadAPI/FetchX509SVID"


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly bytes are written.

    Attributes:
        size: Bytes of each write.
        pause: Seconds between two writes.
    """

    size: int
    pause: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a message and an open stream, a status, or nothing at all."""

    message: bytes = b""
    code: str = ""
    text: str = ""
    hang: bool = False

    def __repr__(self) -> str:
        return f"Answer({len(self.message)} bytes, code={self.code!r}, hang={self.hang})"


class ServerConnection(asyncio.Protocol):
    """Serve the streams of one connection."""

    def __init__(
        self,
        called: Callable[[], Answer],
        *,
        opened: Callable[[ServerConnection], None],
        lost: Callable[[ServerConnection], None],
        pace: Pace | None = None,
    ) -> None:
        """Serve with what `called` gives for each call."""
        self._called = called
        self._pace = pace
        self._dripping = bytearray()  # what waits for its turn, if it is written slowly
        self._drop: asyncio.TimerHandle | None = None
        self._opened = opened
        self._lost = lost
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8"),
        )
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, bytearray] = {}  # what is still to be sent, by stream
        self._begun: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End."""
        if self._drop is not None:
            self._drop.cancel()
        self._streams.clear()
        self._dripping.clear()
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.abort()
            return
        if any(isinstance(event, h2.events.ConnectionTerminated) for event in events):
            self.abort()  # nothing can be sent after it
            return
        # A call that was cancelled in the same breath is over before it is answered.
        gone = {event.stream_id for event in events if isinstance(event, h2.events.StreamReset)}
        for event in events:
            match event:
                case h2.events.StreamReset(stream_id=int(stream)):
                    self._streams.pop(stream, None)
                case h2.events.RequestReceived(stream_id=stream) if stream in gone:
                    pass
                case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
                    self._request(stream, [(str(k), str(v)) for k, v in headers or ()])
                case _:
                    pass
        self._pump()
        self._flush()

    @property
    def settled(self) -> bool:
        """Whether all that was to be sent at full speed has left this process."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._pace is not None:
            return True
        return not any(self._streams.values()) and not transport.get_write_buffer_size()

    def set_pace(self, pace: Pace | None) -> None:
        """Write slowly from now on; None is full speed, also for what waits."""
        self._pace = pace
        self._flush()

    def answer(self, answer: Answer) -> None:
        """Give an answer on every open stream."""
        for stream in tuple(self._streams):
            self._answer(stream, answer)
        self._flush()

    def send(self, message: bytes) -> None:
        """Send a message on every open stream."""
        self.answer(Answer(message=message))

    def finish(self, code: str, text: str) -> None:
        """End every open stream with a status."""
        for stream in tuple(self._streams):
            self._finish(stream, code, text)
        self._flush()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            bound = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # a forked child has it too, and must not keep it
                bound.shutdown(socket.SHUT_RDWR)
            self._transport.abort()

    def _request(self, stream: int, headers: list[tuple[str, str]]) -> None:
        self._streams[stream] = bytearray()
        # As SPIRE answers: the header must be there exactly once (R-WLAPI-01).
        if [value for name, value in headers if name == "workload.spiffe.io"] != ["true"]:
            self._finish(stream, "INVALID_ARGUMENT", "security header missing from request")
        elif (":path", _METHOD) not in headers:
            self._finish(stream, "UNIMPLEMENTED", "this fake serves FetchX509SVID only")
        else:
            self._answer(stream, self._called())

    def _answer(self, stream: int, answer: Answer) -> None:
        if answer.code:
            self._finish(stream, answer.code, answer.text)
        elif not answer.hang:
            self._begin(stream)
            self._streams[stream] += b"\0" + len(answer.message).to_bytes(4) + answer.message
            self._pump()

    def _begin(self, stream: int) -> None:
        if stream not in self._begun:
            self._begun.add(stream)
            self._h2.send_headers(
                stream,
                [(":status", "200"), ("content-type", "application/grpc")],
            )

    def _finish(self, stream: int, code: str, text: str) -> None:
        status = [("grpc-status", str(CODES.index(code))), ("grpc-message", quote(text))]
        del self._streams[stream]
        if stream in self._begun:
            self._h2.send_headers(stream, status, end_stream=True)
        else:
            head = [(":status", "200"), ("content-type", "application/grpc")]
            self._h2.send_headers(stream, head + status, end_stream=True)

    def _pump(self) -> None:
        """Send what the client's flow control lets through."""
        for stream, waiting in self._streams.items():
            while waiting:
                window = self._h2.local_flow_control_window(stream)
                size = min(window, self._h2.max_outbound_frame_size, len(waiting))
                if size <= 0:
                    break
                self._h2.send_data(stream, bytes(waiting[:size]))
                del waiting[:size]

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._dripping += self._h2.data_to_send()
        if self._pace is None:
            self._transport.write(bytes(self._dripping))
            self._dripping.clear()
        elif self._drop is None:
            self._write_drop()

    def _write_drop(self) -> None:
        self._drop = None
        if self._pace is None or self._transport is None or self._transport.is_closing():
            return
        if self._dripping:
            self._transport.write(bytes(self._dripping[: self._pace.size]))
            del self._dripping[: self._pace.size]
            loop = asyncio.get_running_loop()
            self._drop = loop.call_later(self._pace.pause, self._write_drop)
