"""A peer that was frozen on an open stream: found by a PING, on a real socket."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

import h2.events
import pytest

from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.failure import Failure, Kind
from serviceradar_security.workload.receiver import Receiver
from tests.workload import h2_memory as memory
from tests.workload.peers import DEADLINE, Peer, Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

MESSAGE = b"\0\0\0\0\x02hi"


class Ear:
    """Hear a receiver, which tries once."""

    def __init__(self) -> None:
        self.messages: SimpleQueue[bytes] = SimpleQueue()
        self.failures: SimpleQueue[Failure] = SimpleQueue()
        self._next: float | None = 0.0

    def waits(self) -> tuple[float | None, float | None]:
        return self._next, None

    def opened(self) -> None:
        self._next = None

    def message(self, data: bytes) -> None:
        self.messages.put(data)

    def failed(self, failure: Failure) -> None:
        self._next = None
        self.failures.put(failure)

    def ticked(self) -> None: ...

    def stopped(self) -> None: ...


@contextmanager
def following(
    path: Path,
    *,
    interval: float,
    timeout: float,
    answer: float = DEADLINE,
    ear: Ear | None = None,
) -> Iterator[Ear]:
    """Follow what listens on a socket."""
    ear = Ear() if ear is None else ear
    receiver = Receiver(
        WorkloadEndpoint.parse(f"unix://{path}"),
        ear,
        connect_timeout=DEADLINE,
        answer_timeout=answer,
        max_message_bytes=100_000,
        ping_interval=interval,
        ping_timeout=timeout,
    )
    receiver.start()
    try:
        yield ear
    finally:
        receiver.stop(timeout=DEADLINE)


class LateEar(Ear):
    """Sleep as a suspended process does: not look at the socket before all has come."""

    def __init__(self, sent: threading.Event) -> None:
        super().__init__()
        self._sent = sent

    def waits(self) -> tuple[float | None, float | None]:
        if self._next is None:  # a stream is open
            assert self._sent.wait(DEADLINE)
        return super().waits()


def test_an_answer_that_came_while_this_process_slept(socket_path: Path) -> None:
    """What is there to be read is read before a peer is called silent, however late it is."""
    sent = threading.Event()
    server = memory.started()
    server.head()
    server.data(MESSAGE)

    def serve(connection: socket.socket) -> None:
        connection.sendall(server.h2.data_to_send())
        sent.set()
        while connection.recv(65536):
            pass

    ear = LateEar(sent)
    with (
        Peer(serve, path=socket_path),
        following(socket_path, interval=DEADLINE, timeout=DEADLINE, answer=0.0, ear=ear),
    ):
        assert ear.messages.get(timeout=DEADLINE) == b"hi"
        assert ear.failures.empty()


def test_a_peer_that_talks_and_never_answers(socket_path: Path) -> None:
    """A peer that sends frame after frame, and no message, is silent in the end."""
    server = memory.started()
    ping = bytes([0, 0, 8, 6, 1, 0, 0, 0, 0]) + bytes(8)  # an answer to a PING nobody sent

    def serve(connection: socket.socket) -> None:
        connection.sendall(server.h2.data_to_send())
        with suppress(OSError):  # it is hung up on
            while True:
                connection.sendall(ping * 100)

    with (
        Peer(serve, path=socket_path),
        following(socket_path, interval=DEADLINE, timeout=DEADLINE, answer=0.0) as ear,
    ):
        assert ear.failures.get(timeout=DEADLINE) == Failure(Kind.SILENT, "no answer within 0 s")


def answering_pings(
    count: int,
    done: threading.Event,
) -> Callable[[socket.socket], None]:
    """Send a message, answer so many PINGs, and say nothing more on a stream that stays open."""

    def serve(connection: socket.socket) -> None:
        server = Server(connection)
        server.head()
        server.data(MESSAGE)
        answered = 0
        while answered < count:
            events = server.h2.receive_data(connection.recv(65536))
            answered += sum(isinstance(each, h2.events.PingReceived) for each in events)
            server.flush()
        done.set()
        server.drain()

    return serve


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_a_peer_that_falls_silent(answered: int, socket_path: Path) -> None:
    """Answers keep the stream open; the first that is missing ends it as SILENT, with its cause."""
    done = threading.Event()
    with (
        Peer(answering_pings(answered, done), path=socket_path),
        following(socket_path, interval=0.05, timeout=3.0) as ear,
    ):
        assert ear.messages.get(timeout=DEADLINE) == b"hi"
        failure = ear.failures.get(timeout=DEADLINE)
        assert failure == Failure(Kind.SILENT, "no sign of life within 3 s of a PING")
        assert done.is_set()


def test_a_peer_that_says_nothing_at_all(socket_path: Path) -> None:
    """Where the first message may take for ever, a missing sign of life ends the stream as well."""
    with (
        Peer(lambda connection: Server(connection).drain(), path=socket_path),
        following(socket_path, interval=0.05, timeout=0.1) as ear,
    ):
        assert ear.failures.get(timeout=DEADLINE).kind is Kind.SILENT
        assert ear.messages.empty()


def test_no_ping_before_its_time(socket_path: Path) -> None:
    """An idle stream is not asked before the interval is over."""
    heard: SimpleQueue[bytes] = SimpleQueue()

    def serve(connection: socket.socket) -> None:
        server = Server(connection)
        server.head()
        server.data(MESSAGE)
        # The answer to a PING of ours shows that all it said before has come.
        server.h2.ping(b"to-and-f")
        server.flush()
        while data := connection.recv(65536):
            events = server.h2.receive_data(data)
            if any(isinstance(each, h2.events.PingReceived) for each in events):
                heard.put(b"asked")
            if any(isinstance(each, h2.events.PingAckReceived) for each in events):
                heard.put(b"answered")

    with (
        Peer(serve, path=socket_path),
        following(socket_path, interval=DEADLINE, timeout=0.01) as ear,
    ):
        assert heard.get(timeout=DEADLINE) == b"answered"
        assert ear.failures.empty()
