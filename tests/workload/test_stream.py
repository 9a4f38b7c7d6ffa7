"""The stream without I/O: requests, messages, statuses and flow control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from serviceradar_security.workload.stream import (
    CODES,
    Ended,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.workload.h2_memory import HEAD, LIMIT, METHOD, Server, framed, started


def test_request() -> None:
    """The request is what a SPIRE agent wants, with the security header exactly once."""
    server = started()
    (request,) = [e for e in server.events if isinstance(e, h2.events.RequestReceived)]
    headers = [(str(name), str(value)) for name, value in request.headers or ()]
    assert (
        dict(headers).items()
        >= {
            ":method": "POST",
            ":scheme": "http",
            ":path": METHOD,
            "te": "trailers",
            "content-type": "application/grpc",
        }.items()
    )
    assert [each for each in headers if each[0] == "workload.spiffe.io"] == [
        ("workload.spiffe.io", "true"),
    ]  # R-WLAPI-01
    (body,) = [e for e in server.events if isinstance(e, h2.events.DataReceived)]
    assert body.data == framed(b"")
    assert any(isinstance(each, h2.events.StreamEnded) for each in server.events)


def test_message() -> None:
    """A whole message in one read is given at once."""
    server = started()
    server.head()
    server.data(framed(b"hello"))
    assert server.say() == [Message(b"hello")]


def test_byte_by_byte() -> None:
    """Bytes that come one at a time give the same messages and the same end."""
    server = started()
    server.head()
    server.data(framed(b"one") + framed(b"") + framed(b"two"))
    server.trailers(("grpc-status", "14"), ("grpc-message", "gone"))
    wire = server.h2.data_to_send()
    results = [each for byte in wire for each in server.stream.feed(bytes([byte]))]
    assert results == [
        Message(b"one"),
        Message(b""),
        Message(b"two"),
        Ended("UNAVAILABLE", "gone"),
    ]


def test_message_over_many_frames() -> None:
    """A message may be cut at any place, its head as well."""
    server = started()
    server.head()
    message = framed(b"abcdefgh")
    for start in range(len(message) - 1):
        server.data(message[start : start + 1])
        assert server.say() == []
    server.data(message[-1:])
    assert server.say() == [Message(b"abcdefgh")]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda server: server.trailers(("grpc-status", "0")), id="trailers"),
        pytest.param(lambda server: server.h2.reset_stream(1), id="RST_STREAM"),
        pytest.param(lambda server: server.h2.close_connection(), id="GOAWAY"),
        pytest.param(lambda server: server.h2.end_stream(1), id="END_STREAM"),
    ],
)
def test_message_and_end_in_one_read(end: Callable[[Server], None]) -> None:
    """A message is not lost when the end of the stream comes in the same read."""
    server = started()
    server.head()
    server.data(framed(b"last"))
    end(server)
    results = server.stream.feed(server.h2.data_to_send())
    assert results[0] == Message(b"last")
    assert [type(each) for each in results[1:]] == [Ended]


PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
WINDOW_UPDATE = bytes([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0])
GOING: list[Message | Ended] = [Ended("", "the agent is going away (NO_ERROR)")]
REFUSED: list[Message | Ended] = [Ended("INVALID_ARGUMENT", "")]


def refused(server: Server) -> None:
    """Prepare a status."""
    server.trailers(("grpc-status", "3"))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(lambda server: None, GOING, id="nothing"),
        pytest.param(
            lambda server: server.data(framed(b"last")),
            [Message(b"last"), *GOING],
            id="a message",
        ),
        pytest.param(refused, REFUSED, id="a status"),
    ],
)
@pytest.mark.parametrize(
    "after",
    [b"", PING, WINDOW_UPDATE, PING * 3, PING[:5]],
    ids=["nothing", "PING", "WINDOW_UPDATE", "three", "half a PING"],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_comes_with_a_goaway(
    before: Callable[[Server], None],
    expected: list[Message | Ended],
    after: bytes,
    *,
    bytewise: bool,
) -> None:
    """Nothing before a GOAWAY is lost, and what a draining server sends after it does no harm."""
    server = started()
    server.head()
    before(server)
    server.h2.close_connection()
    wire = server.h2.data_to_send() + after
    parts = [bytes([each]) for each in wire] if bytewise else [wire]
    assert [each for part in parts for each in server.stream.feed(part)] == expected


def test_an_event_before_a_wrong_frame() -> None:
    """What came before a frame that is wrong is told first."""
    server = started()
    server.head()
    server.data(framed(b"good"))
    wrong = bytes([0, 0, 1, 6, 0, 0, 0, 0, 0, 7])  # a PING has eight bytes
    first, second = server.stream.feed(server.h2.data_to_send() + wrong)
    assert first == Message(b"good")
    assert isinstance(second, Ended)
    assert "does not speak HTTP/2" in second.text


@pytest.mark.parametrize(("number", "name"), list(enumerate(CODES)))
@pytest.mark.parametrize("trailers_only", [True, False])
def test_status(number: int, name: str, *, trailers_only: bool) -> None:
    """Each status code is known by name, with or without a body before it."""
    server = started()
    status = [("grpc-status", str(number)), ("grpc-message", "as told")]
    if trailers_only:
        server.h2.send_headers(1, HEAD + status, end_stream=True)
    else:
        server.head()
        server.trailers(*status)
    assert server.say() == [Ended(name, "as told")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("17", "status 17: as told"),
        ("99", "status 99: as told"),
        ("-1", "status -1: as told"),
        ("+7", "status +7: as told"),
        ("07", "status 07: as told"),
        ("7.0", "status 7.0: as told"),
        ("\u0667", "status \u0667: as told"),
        ("seven", "status seven: as told"),
        ("", "status : as told"),
        ("9" * 5000, f"status {'9' * 20}: as told"),  # int() refuses so many digits
    ],
)
def test_status_that_is_none(number: str, text: str) -> None:
    """A number that is no status code is UNKNOWN, and is shown (R-WLAPI-23)."""
    server = started()
    server.head()
    server.trailers(("grpc-status", number.encode()), ("grpc-message", "as told"))
    assert server.say() == [Ended("UNKNOWN", text)]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"no%20identity%20issued", "no identity issued"),
        (b"no identity issued", "no identity issued"),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        (b"%C3%A9", "é"),
        (b"%FF", "\ufffd"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("é".encode(), "é"),
        (b"a%0Ab%0D%1B[31mc%00", "a b  [31mc "),
        (b"%E2%80%A8", " "),
        (b"x" * 5000, "x" * 300),
    ],
)
def test_status_message(sent: bytes, text: str) -> None:
    """The server's text is decoded, and can neither break a line nor fill a log."""
    server = started()
    server.head()
    server.trailers(("grpc-status", "7"), ("grpc-message", sent))
    assert server.say() == [Ended("PERMISSION_DENIED", text)]


def test_no_message_for_status() -> None:
    """A status without a text has an empty one."""
    server = started()
    server.head()
    server.trailers(("grpc-status", "3"))
    assert server.say() == [Ended("INVALID_ARGUMENT", "")]


@pytest.mark.parametrize("before", [b"", framed(b"one")])
def test_compressed(before: bytes) -> None:
    """A compressed message is refused, since it was not asked for; what came before counts."""
    server = started()
    server.head()
    server.data(before + framed(b"two", flag=1) + framed(b"three"))
    *messages, end = server.say()
    assert messages == ([Message(b"one")] if before else [])
    assert isinstance(end, Ended)
    assert (end.code, "compressed" in end.text) == ("INTERNAL", True)


@pytest.mark.parametrize("size", [LIMIT + 1, 2**32 - 1])
def test_oversized(size: int) -> None:
    """A message that is too large is refused at its head, before it is kept (R-WLAPI-30)."""
    server = started()
    server.head()
    server.data(b"\0" + size.to_bytes(4))
    assert server.say() == [
        Ended(
            "RESOURCE_EXHAUSTED",
            f"a message of {size} bytes is too large: at most {LIMIT}",
        ),
    ]


def test_the_limit_is_an_option() -> None:
    """A smaller limit refuses what the usual one lets pass."""
    server = started(limit=10)
    server.head()
    server.data(framed(b"x" * 10) + framed(b"x" * 11))
    message, end = server.say()
    assert message == Message(b"x" * 10)
    assert isinstance(end, Ended)
    assert end.code == "RESOURCE_EXHAUSTED"


def test_large_message() -> None:
    """Flow control stays open for 20 MB, far above gRPC's 4 MiB (R-WLAPI-30)."""
    server = started()
    server.head()
    message = bytes(range(256)) * (20 * 1024 * 1024 // 256)
    left = memoryview(framed(message))
    results: list[Message | Ended] = []
    while left:
        room = min(
            server.h2.local_flow_control_window(1),
            server.h2.max_outbound_frame_size,
            len(left),
        )
        assert room > 0, "the window is closed"
        server.data(bytes(left[:room]))
        left = left[room:]
        results += server.say()
    assert results == [Message(message)]


def test_padding_counts() -> None:
    """Padding is given back to the window as well, or a padding peer would come to a halt."""
    server = started()
    server.head()
    for _ in range(60):
        server.h2.send_data(1, framed(b"x" * 16_000), pad_length=255)
        assert server.say() == [Message(b"x" * 16_000)]
    assert server.h2.local_flow_control_window(1) >= 1024 * 1024


def test_ping() -> None:
    """A PING goes out on demand, its answer is no message, and the stream goes on."""
    server = started()
    server.head()
    server.data(framed(b"one"))
    server.stream.ping()
    server.hear()
    (ping,) = [each for each in server.events if isinstance(each, h2.events.PingReceived)]
    assert len(ping.ping_data) == 8
    assert server.say() == [Message(b"one")]  # and the answer, which is in the same bytes
    server.data(framed(b"two"))
    assert server.say() == [Message(b"two")]


def test_ping_after_the_end() -> None:
    """A stream that is over asks for nothing."""
    server = started()
    server.stream.feed(b"")
    server.stream.ping()
    assert server.stream.outgoing() == b""
