"""What may stand behind a Workload API's address, and how to wait for what it does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Self

import h2.config
import h2.connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from serviceradar_security import X509Source
    from serviceradar_security.testing.workload_api import FakeWorkloadApi

DEADLINE: Final = 15.0


def until(holds: Callable[[], object], what: str = "", *, timeout: float = DEADLINE) -> None:
    """Wait until something holds; fail when it does not within the deadline."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout:g} s: {what}"
        time.sleep(0.002)


def until_requests(api: FakeWorkloadApi, number: int) -> None:
    """Wait for so many calls."""
    until(lambda: api.requests >= number)


def until_refused(source: X509Source, number: int) -> None:
    """Wait for so many refused messages."""
    until(lambda: source.status().rejected == number)


def source_threads() -> list[threading.Thread]:
    """Give the threads of sources and subscriptions that run."""
    names = {"serviceradar-security-workload", "serviceradar-security-subscriber"}
    return [each for each in threading.enumerate() if each.name in names]


class Peer:
    """A socket where each connection is served by a function in a thread of its own.

    When the function returns the connection is closed.
    """

    def __init__(
        self,
        serve: Callable[[socket.socket], None],
        *,
        path: Path | None = None,
        family: int = socket.AF_UNIX,
        backlog: int = 16,
    ) -> None:
        self.served = 0
        self._serve = serve
        self._listener = socket.socket(family)
        self._connections: list[socket.socket] = []
        self._listener.bind(
            str(path) if path else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
        )
        self._listener.listen(backlog)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve_one, args=[connection], daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        self.served += 1
        with connection, contextlib.suppress(OSError):
            self._serve(connection)


def relay(target: Path) -> Callable[[socket.socket], None]:
    """Pass everything on to a Unix socket."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as inner:
            inner.connect(str(target))
            back = threading.Thread(target=pump, args=[inner, connection], daemon=True)
            back.start()
            pump(connection, inner)
            back.join(DEADLINE)

    return serve


class Server:
    """The server's side of HTTP/2 on a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.flush()
        while self.h2.highest_inbound_stream_id == 0:
            self.h2.receive_data(connection.recv(65536))
        self.flush()

    def flush(self) -> None:
        self.connection.sendall(self.h2.data_to_send())

    def head(self) -> None:
        self.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        self.flush()

    def data(self, data: bytes) -> None:
        for start in range(0, len(data), 16_000):
            self.h2.send_data(1, data[start : start + 16_000])
        self.flush()

    def trailers(self, status: str) -> None:
        self.h2.send_headers(1, [("grpc-status", status)], end_stream=True)
        self.flush()

    def drain(self) -> None:
        while self.connection.recv(65536):
            pass


def answering(data: bytes, status: str) -> Callable[[socket.socket], None]:
    """Answer with a message and a status, and hang up."""

    def serve(connection: socket.socket) -> None:
        server = Server(connection)
        server.head()
        server.data(b"\0" + len(data).to_bytes(4) + data)
        server.trailers(status)

    return serve
