"""One server-streaming call of the Workload API over HTTP/2, without I/O.

Bytes in, events and bytes out. HTTP/2 itself is the `h2` package's; the gRPC framing on top of it
is here: a byte 0, four bytes of length, a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

__all__ = ["CODES", "MAX_MESSAGE_BYTES", "Ended", "Message", "WorkloadStream"]

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024  # far above gRPC's 4 MiB (R-WLAPI-30)
_WINDOW: Final = 1024 * 1024
_HEADER: Final = 5
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


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message of the server."""

    data: bytes

    def __repr__(self) -> str:
        return f"Message({len(self.data)} bytes)"  # it holds a private key


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

    def __init__(self, method: str) -> None:
        """Begin the call; `outgoing` has the first bytes to send.

        Args:
            method: The full method name, as ``/SpiffeWorkloadAPI/FetchX509SVID``. The request
                is an empty message.
        """
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8"),
        )
        self._buffer = bytearray()
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
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "serviceradar-security"),
                ("workload.spiffe.io", "true"),  # exactly once (R-WLAPI-01)
            ],
        )
        self._h2.send_data(self._stream_id, bytes(_HEADER), end_stream=True)

    def outgoing(self) -> bytes:
        """Take the bytes that must be sent now."""
        return self._h2.data_to_send()

    def feed(self, data: bytes) -> list[Message | Ended]:
        """Take bytes from the server, empty when it closed, and tell what they mean.

        After `Ended` nothing follows.
        """
        if self._ended is not None:
            return []
        if not data:
            return [self._end("", "the agent closed the connection")]
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            what = "is it HTTP/2 without TLS?" if self._status is None else "the stream is broken"
            return [self._end("", f"the peer does not speak HTTP/2 as expected ({error}): {what}")]
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
        if size:
            self._h2.increment_flow_control_window(size)
            if event.stream_ended is None:
                self._h2.increment_flow_control_window(size, self._stream_id)

    def _headers(
        self,
        event: h2.events.ResponseReceived | h2.events.TrailersReceived,
    ) -> list[Message | Ended]:
        headers = {str(name): str(value) for name, value in event.headers or ()}
        if isinstance(event, h2.events.ResponseReceived):
            self._status = headers.get(":status", "")
        number = headers.get("grpc-status")
        if number is not None:
            code = (
                CODES[int(number)]
                if number.isascii() and number.isdigit() and int(number) < len(CODES)
                else "UNKNOWN"
            )
            return [self._end(code, unquote(headers.get("grpc-message", "")))]
        if self._status != "200":
            return [self._end("", f"the peer answers HTTP status {self._status}, not gRPC")]
        if not headers.get("content-type", "application/grpc").startswith("application/grpc"):
            return [self._end("", "the peer answers HTTP, but not gRPC")]
        return []

    def _messages(self, data: bytes) -> list[Message | Ended]:
        self._buffer += data
        results: list[Message | Ended] = []
        while len(self._buffer) >= _HEADER:
            size = int.from_bytes(self._buffer[1:_HEADER])
            if self._buffer[0] != 0:
                return [*results, self._end("INTERNAL", "the message is compressed, unasked")]
            if size > MAX_MESSAGE_BYTES:  # before a byte of it is kept (R-WLAPI-30)
                return [
                    *results,
                    self._end(
                        "RESOURCE_EXHAUSTED",
                        f"a message of {size} bytes is too large: at most {MAX_MESSAGE_BYTES}",
                    ),
                ]
            if len(self._buffer) < _HEADER + size:
                break
            results.append(Message(bytes(self._buffer[_HEADER : _HEADER + size])))
            del self._buffer[: _HEADER + size]
        return results

    def _end(self, code: str, text: str) -> Ended:
        self._ended = Ended(code, text[:_MAX_TEXT])
        return self._ended


def _name(code: int | h2.errors.ErrorCodes | None) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else str(code)
