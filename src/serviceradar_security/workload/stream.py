"""One server-streaming call of the Workload API over HTTP/2, without I/O.

Bytes in, events and bytes out. HTTP/2 itself is the `h2` package's; the gRPC framing on top of it
is here: a byte 0, four bytes of length, a message.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CODES", "Ended", "Message", "WorkloadStream"]

_WINDOW: Final = 1024 * 1024
_CONTENT_TYPE: Final = "application/grpc"
_HEADER: Final = 5
_FRAME_HEADER: Final = 9
_PREFACE: Final = 4  # bytes that tell a server's first frame from other protocols
_SETTINGS_FRAME: Final = 4
_PING_BYTES: Final = 8
_MAX_TEXT: Final = 300

CODES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of gRPC's status codes, by number."""

# Looked up as text: a number of thousands of digits is no number that `int` takes.
_CODE_NAMES: Final = {str(number): name for number, name in enumerate(CODES)}


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message of the server."""

    data: bytes

    def __repr__(self) -> str:
        return f"Message({len(self.data)} bytes)"  # it holds a private key (R-WLAPI-36)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the call.

    Attributes:
        code: Name of the status code; empty if the connection broke before there was one.
        text: The server's message, or what went wrong.
    """

    code: str
    text: str


class WorkloadStream:
    """Speak the client's side of one call on one connection."""

    def __init__(self, method: str, *, max_message_bytes: int) -> None:
        """Begin the call; `outgoing` has the first bytes to send.

        Args:
            method: The full method name, as ``/SpiffeWorkloadAPI/FetchX509SVID``. The request
                is an empty message.
            max_message_bytes: How large a message may be.
        """
        self._max_message_bytes = max_message_bytes
        self._h2 = h2.connection.H2Connection(
            # Headers as bytes: h2 would raise on those that are not UTF-8.
            h2.config.H2Configuration(client_side=True, header_encoding=None),
        )
        self._preface = bytearray()
        self._partial = bytearray()  # of a frame
        self._buffer = bytearray()  # of a message
        self._ended: Ended | None = None
        self._status: str | None = None
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 64 * 1024,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self._stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            self._stream_id,
            [
                (":method", "POST"),
                (":scheme", "http"),  # in clear, and nothing proves who asks (R-EP-11)
                (":path", method),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", _CONTENT_TYPE),
                ("user-agent", "serviceradar-security"),
                ("workload.spiffe.io", "true"),  # exactly once (R-WLAPI-01)
            ],
        )
        self._h2.send_data(self._stream_id, bytes(_HEADER), end_stream=True)

    def outgoing(self) -> bytes:
        """Take the bytes that must be sent now."""
        return self._h2.data_to_send()

    def ping(self) -> None:
        """Ask the server for a sign of life, which it must give (RFC 9113 section 6.7).

        `outgoing` has the bytes. Whatever comes from it is one, so the answer itself means nothing.
        """
        if self._ended is None:
            self._h2.ping(bytes(_PING_BYTES))

    def feed(self, data: bytes) -> list[Message | Ended]:
        """Take bytes from the server, empty when it closed, and tell what they mean.

        After `Ended` nothing follows.
        """
        if self._ended is not None:
            return []
        if not data:
            return [self._end("", "the agent closed the connection")]
        if len(self._preface) < _PREFACE:
            self._preface += data[: _PREFACE - len(self._preface)]
            foreign = _foreign_protocol(self._preface)
            if foreign:
                return [self._end("", foreign)]
        results: list[Message | Ended] = []
        for frame in self._frames(data):
            results += self._receive(frame)
            if results and isinstance(results[-1], Ended):
                break  # by GOAWAY, too: what follows it is passed over
        return results

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Cut what came at the ends of frames (RFC 9113 section 4.1).

        `h2` gives no event at all of bytes in which one frame is wrong, and takes any frame after
        a GOAWAY for wrong: what came before it would be lost.
        """
        self._partial += data
        held, start = bytes(self._partial), 0
        while len(held) - start >= _FRAME_HEADER:
            size = int.from_bytes(held[start : start + 3])
            stop = start + _FRAME_HEADER + size
            if size > self._h2.max_inbound_frame_size:
                stop = len(held)  # which is refused, and must not be waited for
            elif stop > len(held):
                break
            yield held[start:stop]
            start = stop
        self._partial = bytearray(held[start:])

    def _receive(self, frame: bytes) -> list[Message | Ended]:
        try:
            events = self._h2.receive_data(frame)
        except h2.exceptions.ProtocolError as error:
            return [self._end("", f"the peer does not speak HTTP/2 as expected ({error})")]
        results: list[Message | Ended] = []
        for event in events:
            if self._ended is None:
                results += self._handle(event)
        return results

    def _handle(self, event: h2.events.Event) -> list[Message | Ended]:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                return self._headers(event)
            case h2.events.DataReceived():
                self._acknowledge(event)
                return self._messages(event.data or b"")
            case h2.events.StreamEnded():
                return [self._end("", "the stream ended without a status")]
            case h2.events.StreamReset():
                return [self._end("", f"the agent reset the stream ({_name(event.error_code)})")]
            case h2.events.ConnectionTerminated():
                # GOAWAY: what is under way may finish, but an endless stream never does.
                return [self._end("", f"the agent is going away ({_name(event.error_code)})")]
            case _:
                return []

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        """Keep the window open, whatever a message's size."""
        size = event.flow_controlled_length
        # Trailers, a reset or a GOAWAY of the same read may have closed what is acknowledged here.
        with contextlib.suppress(h2.exceptions.ProtocolError):
            if size:
                self._h2.increment_flow_control_window(size)
                self._h2.increment_flow_control_window(size, self._stream_id)

    def _headers(
        self,
        event: h2.events.ResponseReceived | h2.events.TrailersReceived,
    ) -> list[Message | Ended]:
        headers = {_text(name): _text(value) for name, value in event.headers or ()}
        if isinstance(event, h2.events.ResponseReceived):
            self._status = headers.get(":status", "")
        number = headers.get("grpc-status")
        if number is not None:
            text = unquote(headers.get("grpc-message", ""))
            if number not in _CODE_NAMES:
                text = f"status {number[:20]}" + (f": {text}" if text else "")
            return [self._end(_CODE_NAMES.get(number, "UNKNOWN"), text)]
        if isinstance(event, h2.events.TrailersReceived):
            return []  # the end of the stream follows, and says that a status is missing
        if self._status != "200":
            return [self._end("", f"the peer answers HTTP status {self._status}, not gRPC")]
        # Not "application/grpc-web", which frames its messages otherwise.
        if headers.get("content-type", "").partition(";")[0].partition("+")[0] != _CONTENT_TYPE:
            return [self._end("", "the peer answers HTTP, but not gRPC")]
        return []

    def _messages(self, data: bytes) -> list[Message | Ended]:
        self._buffer += data
        results: list[Message | Ended] = []
        while len(self._buffer) >= _HEADER:
            size = int.from_bytes(self._buffer[1:_HEADER])
            if self._buffer[0] != 0:
                return [*results, self._end("INTERNAL", "the message is compressed, unasked")]
            if size > self._max_message_bytes:  # before a byte of it is kept (R-WLAPI-30)
                return [
                    *results,
                    self._end(
                        "RESOURCE_EXHAUSTED",
                        f"a message of {size} bytes is too large: at most "
                        f"{self._max_message_bytes}",
                    ),
                ]
            if len(self._buffer) < _HEADER + size:
                break
            results.append(Message(bytes(self._buffer[_HEADER : _HEADER + size])))
            del self._buffer[: _HEADER + size]
        return results

    def _end(self, code: str, text: str) -> Ended:
        # One line, whatever the peer wrote: it goes into logs and errors.
        line = "".join(each if each.isprintable() else " " for each in text[:_MAX_TEXT])
        self._ended = Ended(code, line)
        return self._ended


def _foreign_protocol(preface: bytes | bytearray) -> str:
    """Name what is not HTTP/2, by its first bytes; empty while it may be.

    A server's first frame is SETTINGS (RFC 9113 section 3.4). The frame that other protocols'
    bytes would make is megabytes long, and HTTP/2 would wait for all of it.
    """
    if preface[:1] in (b"\x15", b"\x16") and preface[1:2] in (b"", b"\x03"):
        return "the peer speaks TLS: a Workload API is plaintext" if len(preface) > 1 else ""
    if b"HTTP"[: len(preface)] == preface:
        return "the peer speaks HTTP/1, not HTTP/2" if len(preface) == _PREFACE else ""
    if preface[0] or (len(preface) == _PREFACE and preface[3] != _SETTINGS_FRAME):
        return "the peer does not speak HTTP/2"
    return ""


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _name(code: int | h2.errors.ErrorCodes | None) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else str(code)
