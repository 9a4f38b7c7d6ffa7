"""The live source against peers that are no agents, and over TCP."""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import hyperframe.frame
import pytest

from serviceradar_security import (
    SourceError,
    WorkloadApiError,
    X509Source,
)
from serviceradar_security.workload.watch import State
from tests.workload.peers import (
    Peer,
    Server,
    relay,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _saying(*chunks: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        for chunk in chunks:
            connection.sendall(chunk)
        _silent(connection)

    return serve


def _dripping(connection: socket.socket) -> None:
    settings = hyperframe.frame.SettingsFrame(0).serialize() * 10_000
    for byte in settings:
        connection.sendall(bytes([byte]))
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        pytest.param(_silent, "no answer within 0.3 s", id="says nothing"),
        pytest.param(_dripping, "no answer within 0.3 s", id="drips"),
        pytest.param(lambda _: None, "the agent closed the connection", id="hangs up"),
        pytest.param(
            _saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
            "the peer speaks HTTP/1, not HTTP/2",
            id="HTTP/1",
        ),
        pytest.param(
            _saying(bytes.fromhex("15030300020246")),
            "the peer speaks TLS: a Workload API is plaintext",
            id="TLS alert",
        ),
        pytest.param(_saying(b"\0\0", b"\0", b"\1garbage"), "does not speak HTTP/2", id="garbage"),
        pytest.param(_saying(b"\0\0\x01\x04\0\0\0\0\0x"), "does not speak HTTP/2", id="bad frame"),
    ],
)
def test_peer(serve: Callable[[socket.socket], None], cause: str, socket_path: Path) -> None:
    """A peer that is no agent gives a state with its cause, and is asked again."""
    with (
        Peer(serve, path=socket_path) as peer,
        X509Source(f"unix://{socket_path}", answer_timeout=0.3) as source,
    ):
        until(lambda: cause in source.status().cause, cause)
        assert source.status().state is State.NO_AGENT
        with pytest.raises(WorkloadApiError, match=cause):
            source.current()
        until(lambda: peer.served >= 2)


def _first_failure(endpoint: str) -> State:
    with X509Source(endpoint) as source:
        until(lambda: source.status().cause)
        return source.status().state


def test_peer_that_says_no_and_hangs_up(socket_path: Path) -> None:
    """A refusal is heard although the connection is closed right behind it."""
    settings = hyperframe.frame.SettingsFrame(0).serialize()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.send_headers(
        1, [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
    )
    server.receive_data(client.data_to_send())
    server.data_to_send()
    server.send_headers(1, [(":status", "200"), ("grpc-status", "7")], end_stream=True)
    refusal = server.data_to_send()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(settings)
        connection.sendall(refusal)

    with Peer(serve, path=socket_path):
        for _ in range(40):
            assert _first_failure(f"unix://{socket_path}") is State.NO_IDENTITY


def test_peer_that_asks_and_does_not_listen(socket_path: Path) -> None:
    """A peer that wants answers and reads none does not fill our memory."""

    def serve(connection: socket.socket) -> None:
        server = Server(connection)
        server.head()
        ping = hyperframe.frame.PingFrame(0, b"12345678").serialize() * 1000
        while True:
            connection.sendall(ping)

    with Peer(serve, path=socket_path), X509Source(f"unix://{socket_path}") as source:
        until(lambda: "reads none of them" in source.status().cause)


def test_queue_is_full(socket_path: Path) -> None:
    """A socket whose queue of connections is full is as one where nobody listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(0)
        waiting = []
        with pytest.raises(BlockingIOError):  # noqa: PT012 - until it is full
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)  # noqa: FBT003 - the name says what it is
                waiting[-1].connect(str(socket_path))
        with X509Source(f"unix://{socket_path}") as source:
            until(lambda: "its queue of connections is full" in source.status().cause)
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        pytest.param(lambda path: path.write_text(""), "nobody listens there", id="a file"),
        pytest.param(lambda path: path.mkdir(), "nobody listens there", id="a folder"),
        pytest.param(lambda path: path.symlink_to(path), "symbolic links", id="a loop of links"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "no such socket", id="a dead link"),
    ],
)
def test_no_socket(make: Callable[[Path], object], cause: str, socket_path: Path) -> None:
    """A path that is no socket has its cause told, and is tried again."""
    make(socket_path)
    with X509Source(f"unix://{socket_path}") as source:
        until(lambda: cause in source.status().cause, cause)
        assert source.status().next_attempt is not None


# ---- TCP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp(
    family: socket.AddressFamily,
    api: FakeWorkloadApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tcp address is usable, and goes through no proxy (R-EP-13, R-EP-15)."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Peer(relay(api.socket_path), family=family) as peer:
        host = "127.0.0.1" if family == socket.AF_INET else "[::1]"
        with X509Source(f"tcp://{host}:{peer.port}") as source:
            source.wait_ready(timeout=10)
            (new,) = api.rotate()
            until(lambda: source.current().default == new)
            assert source._engine is not None
            sock = source._engine._receiver._socket  # a host that vanishes is found out
            assert sock is not None
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_tcp_refused() -> None:
    """A port where nobody listens is told as such."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with X509Source(f"tcp://127.0.0.1:{held.getsockname()[1]}") as source:
            until(lambda: "nobody listens there" in source.status().cause)


def test_tcp_that_does_not_connect() -> None:
    """A connection that is not opened in time is a failure; closing does not wait for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(8):  # the kernel drops what no longer fits into the queue
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)  # noqa: FBT003 - the name says what it is
            assert waiting[-1].connect_ex(address) in {0, errno.EINPROGRESS}
        with X509Source(f"tcp://127.0.0.1:{address[1]}", connect_timeout=0.2) as source:
            until(lambda: "no connection within 0.2 s" in source.status().cause)
        with X509Source(f"tcp://127.0.0.1:{address[1]}", connect_timeout=60) as source:
            with pytest.raises(SourceError, match="not connected yet"):
                source.wait_ready(timeout=0.05)
            before = time.monotonic()
        assert time.monotonic() - before < 4
        for each in waiting:
            each.close()
