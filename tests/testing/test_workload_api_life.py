"""The fake Workload API, spoken to by gRPC core: the protocol, and its life."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import pytest

from serviceradar_security._proto.workload_pb2 import X509SVIDRequest
from serviceradar_security.errors import ConfigError, SpiffeIdError
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.server import Answer
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.testing.client import (
    CORE,
    DEADLINE,
    HEADER,
    METHOD,
    POLLER,
    Watch,
    connected,
    eventually,
)
from tests.workload.scripts import run

if TYPE_CHECKING:
    from pathlib import Path

    import grpc


# ---- the protocol ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param((), id="none"),
        pytest.param((("workload.spiffe.io", "false"),), id="false"),
        pytest.param((("workload.spiffe.io", "True"),), id="another case"),
        pytest.param((("workload.spiffe.io", ""),), id="empty"),
        pytest.param((*HEADER, *HEADER), id="twice"),
        pytest.param((*HEADER, ("workload.spiffe.io", "false")), id="true, then false"),
        pytest.param((("workload.spiffe.io", "false"), *HEADER), id="false, then true"),
        pytest.param((("x-workload.spiffe.io", "true"),), id="another name"),
    ],
)
def test_the_security_header(
    metadata: tuple[tuple[str, str], ...],
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """Without the header exactly once a call is refused as SPIRE does, fault or no fault (R-WLAPI-01)."""
    refused = ("INVALID_ARGUMENT", "security header missing from request")

    assert Watch(channel, metadata=metadata).status() == refused
    api.hang()
    assert Watch(channel, metadata=metadata).status() == refused
    assert api.requests == 0


@pytest.mark.parametrize(
    "method",
    [
        "/SpiffeWorkloadAPI/FetchX509Bundles",
        "/SpiffeWorkloadAPI/FetchJWTSVID",
        "/spiffe.workload.SpiffeWorkloadAPI/FetchX509SVID",
        "/SpiffeWorkloadAPI/fetchX509SVID",
        "/",
    ],
)
def test_other_methods(method: str, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """It serves the one method, and says so to the others."""
    assert Watch(channel, method=method).status()[0] == "UNIMPLEMENTED"
    assert api.requests == 0


def test_the_request_may_hold_anything(channel: grpc.Channel) -> None:
    """The request is an empty message; unknown fields in it are ignored (R-WLAPI-02)."""
    assert X509SVIDRequest().SerializeToString() == b""
    Watch(channel, request=b"\x0a\x03abc").next()


def test_connections_and_requests_are_counted(api: FakeWorkloadApi) -> None:
    """A test can see who is there, and how often was asked."""
    assert (api.connections, api.requests) == (0, 0)
    with connected(api) as one, connected(api) as other:
        watches = [Watch(one), Watch(one), Watch(other)]
        for each in watches:
            each.next()
        assert (api.connections, api.requests) == (2, 3)
        watches[0].cancel()
        Watch(one).next()
        assert (api.connections, api.requests) == (2, 4)
    eventually(lambda: api.connections == 0)
    assert api.requests == 4


def test_a_call_that_was_cancelled_gets_nothing_more(
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """Commands go on working on the streams that are left."""
    gone, there = Watch(channel), Watch(channel)
    gone.next()
    there.next()
    gone.cancel()

    for _ in range(3):
        api.rotate()
        there.next()
    api.deny()
    assert there.status()[0] == "PERMISSION_DENIED"


@pytest.mark.parametrize("last", ["cancel", "goaway", "garbage", "hang up"])
def test_a_client_that_leaves_in_the_same_breath(
    last: str,
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call with its cancellation, a farewell or garbage behind it disturbs nobody, and breaks nothing."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x")]
    connection.send_headers(1, [*headers, *HEADER])
    connection.send_data(1, b"\0\0\0\0\0", end_stream=True)
    if last == "cancel":
        connection.reset_stream(1)
    if last == "goaway":
        connection.close_connection()
    data = connection.data_to_send() + (b"\0" * 50 if last == "garbage" else b"")
    with socket.socket(socket.AF_UNIX) as plain, connected(api) as channel:
        plain.settimeout(DEADLINE)
        plain.connect(str(api.socket_path))
        plain.sendall(data)
        if last == "hang up":
            plain.close()
        elif last == "cancel":
            assert plain.recv(1)  # its settings: the connection lives
        else:
            while plain.recv(65536):
                pass  # it hangs up
        watch = Watch(channel)
        watch.next()
        api.rotate()
        watch.next()
        api.fail("INTERNAL")
        assert watch.status()[0] == "INTERNAL"
    assert [each for each in caplog.records if each.name == "asyncio"] == []


# ---- life --------------------------------------------------------------------------------------


def test_stop_and_start(api: FakeWorkloadApi) -> None:
    """A stop cuts every connection and removes the socket; a start serves on the same path again."""
    path = api.socket_path
    with connected(api) as channel:
        watch = Watch(channel)
        before = watch.raw()
        api.stop()
        assert watch.status()[0] == "UNAVAILABLE"
        assert not path.exists()
        assert api.connections == 0
        assert Watch(channel).status()[0] == "UNAVAILABLE"
        api.start()
        assert api.socket_path == path
    with connected(api) as again:
        assert Watch(again).raw() == before
    assert api.requests == 2


def test_commands_while_it_is_stopped(api: FakeWorkloadApi) -> None:
    """What is said to a stopped agent holds when it starts again."""
    api.stop()
    api.set_identities([POLLER])
    api.end_stream()
    api.send(b"to nobody")
    api.start()

    with connected(api) as channel:
        assert [each.spiffe_id for each in Watch(channel).next().svids] == [POLLER]
    api.stop()
    api.deny()
    api.start()
    with connected(api) as channel:
        assert Watch(channel).status()[0] == "PERMISSION_DENIED"


def test_start_and_stop_are_idempotent(api: FakeWorkloadApi) -> None:
    """Twice is once."""
    api.start()
    with connected(api) as channel:
        Watch(channel).next()
    api.stop()
    api.stop()
    api.start()


def test_its_folder_goes_with_it() -> None:
    """The socket's own private folder is gone after the context manager, and no thread is left."""
    before = threading.active_count()
    with FakeWorkloadApi([CORE]) as api:
        path = api.socket_path
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert api.endpoint == f"unix://{path}"

    assert not path.parent.exists()
    assert threading.active_count() == before


def test_a_socket_path_of_ones_own(tmp_path: Path) -> None:
    """A given path is used, an old socket there is replaced, and the folder stays."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with FakeWorkloadApi([CORE], socket_path=str(path)) as api, connected(api) as channel:
        assert api.socket_path == path
        Watch(channel).next()

    assert not path.exists()
    assert tmp_path.exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    """Where there is something other than a socket, the start fails and the file stays."""
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ConfigError, match="cannot listen"):
        FakeWorkloadApi([CORE], socket_path=path).start()

    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["missing/agent.sock", "x" * 200])
def test_a_path_that_cannot_be_listened_on(path: str, tmp_path: Path) -> None:
    """The start fails with our error, which names the path, and can be tried again."""
    api = FakeWorkloadApi([CORE], socket_path=tmp_path / path)

    for _ in range(2):
        with pytest.raises(ConfigError, match="cannot listen on") as caught:
            api.start()
        assert isinstance(caught.value.__cause__, OSError)
    api.stop()


def test_a_process_without_a_thread_left(tmp_path: Path) -> None:
    """Where no thread can be started the start says so, leaves nothing, and can be tried again."""
    path = tmp_path / "agent.sock"
    api = FakeWorkloadApi([CORE], socket_path=path)
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a list of names
    before = threading.stack_size(2**47)  # more than there are addresses
    try:
        with pytest.raises(ConfigError, match="no thread or descriptor left") as caught:
            api.start()
    finally:
        threading.stack_size(before)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208 - as above
    api.stop()

    with api, connected(api) as channel:
        Watch(channel).next()


def test_a_process_without_a_descriptor_left() -> None:
    """Where the thread gets no loop the start says so at once, and leaves nothing."""
    run(
        """
        import resource
        sys.unraisablehook = lambda _: None  # asyncio complains of the loop that it half made
        api = FakeWorkloadApi([ID], timeout=30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for free in range(2):
            os.close(held.pop())
        began = time.monotonic()
        try:
            api.start()
        except SecurityError as error:
            assert "no thread or descriptor left" in str(error), error
        else:
            raise AssertionError("it was started")
        assert time.monotonic() - began < 25
        for each in held:
            os.close(each)
        assert not api.socket_path.parent.exists()
        with api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
        """,
    )


def test_an_answer_shows_no_message() -> None:
    """What is printed of an answer is its size: there is a private key in it."""
    assert repr(Answer(message=b"secret")) == "Answer(6 bytes, code='', hang=False)"


def test_what_it_needs() -> None:
    """Neither identity nor authority, or an identity that is none, is refused by our errors.

    An authority without identities refuses its callers as SPIRE does (R-WLAPI-10).
    """
    with pytest.raises(ConfigError, match="identity or an authority"):
        FakeWorkloadApi([])
    with pytest.raises(SpiffeIdError):
        FakeWorkloadApi(["core"])
    with (
        FakeWorkloadApi([], authority=FakeAuthority("example.org")) as api,
        connected(api) as channel,
    ):
        assert Watch(channel).status() == ("PERMISSION_DENIED", "no identity issued")
