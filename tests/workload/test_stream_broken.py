"""The stream without I/O: ends of every kind, other protocols, and any bytes at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import hyperframe.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.workload.stream import (
    Ended,
    Message,
    WorkloadStream,
)

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.workload.h2_memory import LIMIT, METHOD, Server, framed, started


@pytest.mark.parametrize("code", [h2.errors.ErrorCodes.NO_ERROR, h2.errors.ErrorCodes.CANCEL])
def test_reset(code: h2.errors.ErrorCodes) -> None:
    """A reset stream is an end without a status, which names the reason."""
    server = started()
    server.head()
    server.h2.reset_stream(1, code)
    assert server.say() == [Ended("", f"the agent reset the stream ({code.name})")]


@pytest.mark.parametrize("code", [0, 11, 4242])
def test_goaway(code: int) -> None:
    """GOAWAY is an end: what is under way would never finish."""
    server = started()
    server.head()
    server.say()
    frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=1, error_code=code)
    (end,) = server.stream.feed(frame.serialize())
    assert isinstance(end, Ended)
    assert (end.code, "going away" in end.text) == ("", True)


def test_ping_is_answered() -> None:
    """PING gets its ACK, or the agent would take the connection for dead."""
    server = started()
    server.h2.ping(b"12345678")
    assert server.say() == []
    (ack,) = [e for e in server.events if isinstance(e, h2.events.PingAckReceived)]
    assert ack.ping_data == b"12345678"


def test_settings_are_answered() -> None:
    """SETTINGS get their ACK, those of the beginning and later ones."""
    server = started()
    server.say()
    server.h2.update_settings({})
    server.say()
    acks = [e for e in server.events if isinstance(e, h2.events.SettingsAcknowledged)]
    assert len(acks) == 2


def test_server_closes() -> None:
    """The end of the connection is an end without a status, whenever it comes."""
    assert started().stream.feed(b"") == [Ended("", "the agent closed the connection")]
    server = started()
    server.head()
    server.data(framed(b"whole")[:-1])
    server.say()
    assert server.stream.feed(b"") == [Ended("", "the agent closed the connection")]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda server: server.h2.end_stream(1), id="no trailers"),
        pytest.param(lambda server: server.trailers(("other", "1")), id="other trailers"),
    ],
)
def test_end_without_status(end: Callable[[Server], None]) -> None:
    """An end of stream without a status says so, with trailers or without."""
    server = started()
    server.head()
    end(server)
    assert server.say() == [Ended("", "the stream ended without a status")]


def test_nothing_follows_the_end() -> None:
    """After the end every further byte is ignored, broken ones as well."""
    server = started()
    server.head()
    server.trailers(("grpc-status", "0"))
    assert server.say() == [Ended("OK", "")]
    assert server.stream.feed(b"garbage") == []
    assert server.stream.feed(b"") == []


@pytest.mark.parametrize("status", ["404", "503", "302", "401", "403", "000", "", "2OO"])
def test_http_status(status: str) -> None:
    """An HTTP status other than 200 is no status of gRPC, not even 403 (a proxy's answer)."""
    server = started()
    server.h2.send_headers(1, [(":status", status), ("content-type", "text/html")])
    assert server.say() == [Ended("", f"the peer answers HTTP status {status}, not gRPC")]


def test_informational_status() -> None:
    """A provisional answer is not the answer."""
    server = started()
    server.h2.send_headers(1, [(":status", "103")])
    assert server.say() == []
    server.head()
    server.data(framed(b"hello"))
    assert server.say() == [Message(b"hello")]


@pytest.mark.parametrize(
    ("content_type", "good"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc;charset=utf-8", True),
        ("application/grpc-web", False),
        ("application/grpc-web+proto", False),
        ("application/grpcx", False),
        ("application/json", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_content_type(content_type: str, *, good: bool) -> None:
    """Only gRPC's own content type carries messages that are framed as we read them."""
    server = started()
    server.h2.send_headers(1, [(":status", "200"), ("content-type", content_type)])
    server.data(framed(b"hello"))
    expected = Message(b"hello") if good else Ended("", "the peer answers HTTP, but not gRPC")
    assert server.say() == [expected]


def test_no_content_type() -> None:
    """An answer without a content type is none of gRPC."""
    server = started()
    server.h2.send_headers(1, [(":status", "200")])
    assert server.say() == [Ended("", "the peer answers HTTP, but not gRPC")]


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer speaks HTTP/1", id="HTTP/1.1"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n", "the peer speaks HTTP/1", id="HTTP/1.0"),
        pytest.param(bytes.fromhex("15030300020246"), "the peer speaks TLS", id="TLS alert"),
        pytest.param(bytes.fromhex("15030100020228"), "the peer speaks TLS", id="TLS 1.0 alert"),
        pytest.param(bytes.fromhex("1603010200010001"), "the peer speaks TLS", id="ClientHello"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP/2", id="SSH"),
        pytest.param(b"220 mail ESMTP\r\n", "does not speak HTTP/2", id="SMTP"),
        pytest.param(b"\0\0\0\0\0", "does not speak HTTP/2", id="DATA first"),
        pytest.param(b"\xff" * 9, "does not speak HTTP/2", id="ones"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "does not speak HTTP/2", id="an echo"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_other_protocols(wire: bytes, text: str, step: int) -> None:
    """A peer of another protocol is known by its first bytes, and named, without waiting."""
    stream = WorkloadStream(METHOD, max_message_bytes=LIMIT)
    results = [each for i in range(0, len(wire), step) for each in stream.feed(wire[i : i + step])]
    (end,) = results
    assert isinstance(end, Ended)
    assert text in end.text


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(hyperframe.frame.DataFrame(1, b"\0\0\0\0\0"), id="data before headers"),
        pytest.param(hyperframe.frame.DataFrame(3, b"\0"), id="data of another stream"),
        pytest.param(
            hyperframe.frame.HeadersFrame(1, b"\xff\xff", flags=["END_HEADERS"]), id="HPACK"
        ),
        pytest.param(
            hyperframe.frame.HeadersFrame(2, b"\x88", flags=["END_HEADERS"]), id="stream 2"
        ),
        pytest.param(hyperframe.frame.ContinuationFrame(1, b""), id="lone CONTINUATION"),
        pytest.param(
            hyperframe.frame.PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"]),
            id="PUSH_PROMISE",
        ),
        pytest.param(
            hyperframe.frame.WindowUpdateFrame(0, window_increment=2**31 - 1),
            id="window overflow",
        ),
        pytest.param(hyperframe.frame.SettingsFrame(0, settings={5: 1}), id="frame size of 1"),
    ],
)
def test_broken_http2(frame: hyperframe.frame.Frame) -> None:
    """What HTTP/2 forbids is an end without a status, never an exception."""
    server = started()
    server.say()
    (end,) = server.stream.feed(frame.serialize())
    assert isinstance(end, Ended)
    assert (end.code, "HTTP/2" in end.text) == ("", True)


def test_message_is_not_shown() -> None:
    """A message's repr tells its size and nothing of the key in it (R-WLAPI-36)."""
    assert repr(Message(b"secret")) == "Message(6 bytes)"


@settings(max_examples=250, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_arbitrary_bytes(chunks: list[bytes]) -> None:
    """Arbitrary bytes never raise, and at most one end is told."""
    stream = WorkloadStream(METHOD, max_message_bytes=LIMIT)
    results = [each for chunk in [*chunks, b""] for each in stream.feed(chunk)]
    assert [isinstance(each, Ended) for each in results].count(True) == 1
    assert isinstance(results[-1], Ended)
    stream.outgoing()


_FRAMES = st.builds(
    lambda kind, flags, stream, body: (
        len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body
    ),
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 1, 2, 3]),
    st.binary(max_size=30),
)
_SAID = st.sampled_from(
    [
        lambda s: s.head(),
        lambda s: s.data(framed(b"m")),
        lambda s: s.data(framed(b"m", flag=2)),
        lambda s: s.data(b"\0\0\0"),
        lambda s: s.data(b"", end_stream=True),
        lambda s: s.trailers(("grpc-status", "7"), ("grpc-message", b"\xff%0A")),
        lambda s: s.trailers(("x", b"\xfe")),
        lambda s: s.h2.reset_stream(1),
        lambda s: s.h2.ping(b"12345678"),
        lambda s: s.h2.close_connection(),
        lambda s: s.h2.update_settings({4: 70_000}),
    ],
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(_SAID | _FRAMES, max_size=10),
    st.integers(1, 200),
    st.booleans(),
)
def test_arbitrary_conversation(
    script: list[Callable[[Server], None] | bytes],
    step: int,
    closes: bool,
) -> None:
    """Any row of good and broken frames, cut anywhere, never raises and ends at most once."""
    server = started()
    wire = server.h2.data_to_send()
    for each in script:
        if isinstance(each, bytes):
            wire += each
            continue
        try:
            each(server)
        except h2.exceptions.ProtocolError:  # this server's own h2 would not say it
            continue
        wire += server.h2.data_to_send()
    chunks = [wire[i : i + step] for i in range(0, len(wire), step)] + ([b""] if closes else [])
    results: list[Message | Ended] = []
    for chunk in chunks:
        results += server.stream.feed(chunk)
        server.stream.outgoing()
    ends = [each for each in results if isinstance(each, Ended)]
    assert len(ends) <= 1
    assert not ends or results[-1] is ends[0]
    assert len(ends) == 1 or not closes
    assert all(each.text.isprintable() for each in ends)
