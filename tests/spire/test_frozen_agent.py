"""A real agent that was frozen: it answers PINGs while it lives, and is given up when it does not."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security.workload.failure import Kind
from tests.spire.outage import DEADLINE, WEB
from tests.workload.peers import Peer
from tests.workload.test_frozen import following

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.realparts.spire import Spire

pytestmark = pytest.mark.spire

LIFE: Final = 3600  # seconds: the agent has nothing to say on the stream
INTERVAL: Final = 1.0
TIMEOUT: Final = 2.0
# The frame by which an agent answers our PING (RFC 9113 section 6.7).
ANSWER: Final = bytes.fromhex("000008060100000000") + bytes(8)


def passing_on(target: Path, answered: threading.Event) -> Callable[[socket.socket], None]:
    """Pass everything on between a client and an agent, and tell of the answer to a PING."""

    def back(agent: socket.socket, client: socket.socket) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := agent.recv(65536):
                client.sendall(data)
                if ANSWER in tail + data:
                    answered.set()
                tail = (tail + data)[-len(ANSWER) :]

    def serve(client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(str(target))
            thread = threading.Thread(target=back, args=[agent, client], daemon=True)
            thread.start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    agent.sendall(data)
            agent.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)

    return serve


def test_a_frozen_agent_is_given_up(spire: Spire) -> None:
    """An agent that lives answers a PING on its silent stream; a frozen one is found by the next.

    SPIRE's agent allows two PINGs that come too early, so one of each kind is no offence.
    """
    spire.create_entry(str(WEB), x509_svid_ttl=LIFE, wait=DEADLINE)
    answered = threading.Event()
    with tempfile.TemporaryDirectory(prefix="fa-") as folder:
        path = Path(folder) / "agent.sock"
        with (
            Peer(passing_on(spire.workload_socket, answered), path=path),
            following(path, interval=INTERVAL, timeout=TIMEOUT) as ear,
        ):
            assert ear.messages.get(timeout=DEADLINE)
            assert answered.wait(DEADLINE)
            assert ear.failures.empty()
            spire.agent.pause()
            failure = ear.failures.get(timeout=DEADLINE)
            spire.agent.resume()
    assert failure.kind is Kind.SILENT
    assert failure.text == f"no sign of life within {TIMEOUT:g} s of a PING"
