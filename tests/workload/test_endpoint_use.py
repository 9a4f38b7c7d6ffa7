"""Workload API addresses in use: every accepted form is reached, in clear, now or later."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import h2.events
import pytest

from serviceradar_security import WorkloadEndpoint, X509Source
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State
from tests.workload.h2_memory import METHOD, started
from tests.workload.material import ID
from tests.workload.peers import Peer, relay, until

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "standards.md"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param("unix://{folder}/agent.sock", "agent.sock", id="three slashes"),
        pytest.param("unix:{folder}/agent.sock", "agent.sock", id="one slash"),
        pytest.param("UNIX://{folder}/agent.sock", "agent.sock", id="upper case"),
        pytest.param("unix://{folder}/%61gent%2Esock", "agent.sock", id="escapes without need"),
        pytest.param("unix://{folder}/a%20b", "a b", id="space"),
        pytest.param("unix://{folder}/a%2541", "a%41", id="percent sign"),
        pytest.param("unix://{folder}/a%3Fb%23c", "a?b#c", id="marks of a query"),
        pytest.param("unix://{folder}/%C3%A9", "é", id="UTF-8"),
        pytest.param("unix://{folder}/a%0Ab", "a\nb", id="newline"),
        pytest.param("unix://{folder}/-._~!$&'()*+,;=:@", "-._~!$&'()*+,;=:@", id="marks"),
        pytest.param("unix://{folder}//a", "a", id="two slashes inside"),
        pytest.param("unix://{folder}/../{last}/a", "a", id="dots"),
    ],
)
def test_unix_forms(form: str, name: str, socket_path: Path) -> None:
    """Each form of a unix address reaches its socket (R-EP-03, R-EP-08, R-EP-15)."""
    folder = socket_path.parent
    text = form.format(folder=folder, last=folder.name)
    with FakeWorkloadApi([ID], socket_path=folder / name), X509Source(text) as source:
        assert str(source.wait_ready(timeout=10).default.spiffe_id) == ID


def test_the_longest_path(socket_path: Path) -> None:
    """A path of 107 bytes is accepted, and reached (R-EP-10, R-EP-15)."""
    path = socket_path.parent / ("a" * (106 - len(os.fsencode(socket_path.parent))))
    assert len(os.fsencode(path)) == 107
    with FakeWorkloadApi([ID], socket_path=path), X509Source(f"unix://{path}") as source:
        source.wait_ready(timeout=10)


@pytest.mark.parametrize(
    ("form", "family"),
    [
        pytest.param("tcp://127.0.0.1:{port}", socket.AF_INET, id="dotted quad"),
        pytest.param("TCP://127.0.0.1:{port}", socket.AF_INET, id="upper case"),
        pytest.param("tcp://127.0.0.1:{port:05}", socket.AF_INET, id="five digits"),
        pytest.param("tcp://[::ffff:127.0.0.1]:{port}", socket.AF_INET, id="mapped"),
        pytest.param("tcp://[::1]:{port}", socket.AF_INET6, id="IPv6"),
        pytest.param("tcp://[0:0:0:0:0:0:0:1]:{port}", socket.AF_INET6, id="IPv6 in full"),
        pytest.param("tcp://[::0.0.0.1]:{port}", socket.AF_INET6, id="IPv6 with a quad"),
    ],
)
def test_tcp_forms(
    form: str,
    family: socket.AddressFamily,
    api: FakeWorkloadApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each form of a tcp address reaches its port; no name is looked up (R-EP-05, -13, -15)."""

    def refuse(*_: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with (
        Peer(relay(api.socket_path), family=family) as peer,
        X509Source(form.format(port=peer.port)) as source,
    ):
        assert str(source.wait_ready(timeout=10).default.spiffe_id) == ID


# ---- in clear ------------------------------------------------------------------------------------


def test_the_whole_request() -> None:
    """No header but these is sent: nothing that proves who asks (R-EP-11), and the one of R-WLAPI-01."""
    (request,) = [e for e in started().events if isinstance(e, h2.events.RequestReceived)]
    assert [(str(name), str(value)) for name, value in request.headers or ()] == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "serviceradar-security"),
        ("workload.spiffe.io", "true"),
    ]


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_the_first_bytes(kind: str, socket_path: Path) -> None:
    """What is sent first is HTTP/2 in clear, and no handshake (R-EP-11)."""
    heard = bytearray()
    whole = threading.Event()

    def serve(connection: socket.socket) -> None:
        while len(heard) < len(PREFACE):
            heard.extend(connection.recv(65536))
        whole.set()

    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    path = socket_path if kind == "unix" else None
    with Peer(serve, path=path, family=family) as peer:
        text = f"unix://{path}" if path else f"tcp://127.0.0.1:{peer.port}"
        with X509Source(text):
            assert whole.wait(10)
    assert heard.startswith(PREFACE)


def test_that_tcp_is_in_clear_is_said() -> None:
    """Whoever reads of tcp addresses reads that keys travel in clear, and where to use it (R-EP-12)."""
    page = next(line for line in PAGE.read_text().splitlines() if line.startswith("| R-EP-12 "))
    for text in (WorkloadEndpoint.parse.__doc__ or "", page):
        words = re.sub(r"\s+", " ", text)
        assert "keys travel in clear" in words
        assert "by their address" in words


# ---- now or later --------------------------------------------------------------------------------


def _stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        pytest.param(lambda path: path.parent.rmdir(), "no such socket", id="no folder"),
        pytest.param(lambda _: None, "no such socket", id="no socket"),
        pytest.param(_stale, "nobody listens there", id="a socket left behind"),
    ],
)
def test_a_socket_that_comes_later(
    before: Callable[[Path], object],
    cause: str,
    socket_path: Path,
) -> None:
    """A source is made and opened without its socket, and finds it when it comes (R-EP-14)."""
    path = socket_path.parent / "run" / "agent.sock"
    path.parent.mkdir()
    before(path)
    with X509Source(f"unix://{path}") as source:
        until(lambda: cause in source.status().cause, cause)
        assert source.status().state is State.NO_AGENT
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        with FakeWorkloadApi([ID], socket_path=path):
            source.wait_ready(timeout=10)
