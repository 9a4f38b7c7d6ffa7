"""Where the fake Workload API listens: its addresses, and what it leaves behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security import WorkloadEndpoint, X509Source
from serviceradar_security.errors import ConfigError
from serviceradar_security.testing import FakeWorkloadApi
from tests.testing.client import CORE, DEADLINE, Watch, connected, eventually

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in {".", ".."})


# ---- Unix sockets ------------------------------------------------------------------------------


@given(st.lists(NAMES, min_size=1, max_size=2))
def test_the_endpoint_names_the_path(parts: list[str]) -> None:
    """Whatever characters a path has, the endpoint's URI is parsed back to it (R-EP-08)."""
    path = Path("/", *parts)

    api = FakeWorkloadApi([CORE], socket_path=path)

    assert api.socket_path == path
    parsed = WorkloadEndpoint.parse(api.endpoint)
    assert (parsed.kind, parsed.path) == ("unix", str(path))


@pytest.mark.parametrize("name", ["a b.sock", "100%.sock", "50%25.sock", "?#.sock", "é\n;.sock"])
def test_a_source_finds_it(name: str) -> None:
    """A source that is given the endpoint reaches the socket, whatever its name."""
    with tempfile.TemporaryDirectory(prefix="wl-") as folder:
        with (
            FakeWorkloadApi([CORE], socket_path=Path(folder) / name) as api,
            X509Source(api.endpoint) as source,
        ):
            assert source.wait_ready(timeout=DEADLINE).default == api.svids[0]
        assert os.listdir(folder) == []  # noqa: PTH208 - a list of names


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is taken from the folder of the moment, once."""
    monkeypatch.chdir(tmp_path)
    api = FakeWorkloadApi([CORE], socket_path="agent.sock")
    monkeypatch.chdir("/")

    assert api.socket_path == tmp_path / "agent.sock"
    assert WorkloadEndpoint.parse(api.endpoint).path == str(tmp_path / "agent.sock")


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=8).filter(lambda raw: b"\0" not in raw and b"/" not in raw))
def test_a_path_that_is_no_text(name: bytes) -> None:
    """A path of any bytes gives an endpoint; one that is not UTF-8 is refused by whoever parses it."""
    api = FakeWorkloadApi([CORE], socket_path=os.fsdecode(b"/wl/" + name))

    try:
        name.decode()
    except UnicodeDecodeError:
        with pytest.raises(ConfigError, match="UTF-8"):
            WorkloadEndpoint.parse(api.endpoint)
    else:
        assert WorkloadEndpoint.parse(api.endpoint).path == f"/wl/{name.decode()}"


def test_a_path_with_a_nul(tmp_path: Path) -> None:
    """A path that no file can have is refused by our error when it starts."""
    with pytest.raises(ConfigError, match="cannot listen on"):
        FakeWorkloadApi([CORE], socket_path=f"{tmp_path}/a\0b").start()


# ---- what it leaves behind ---------------------------------------------------------------------


def test_nothing_is_made_before_the_start() -> None:
    """Who only asks for the address leaves nothing behind."""
    api = FakeWorkloadApi([CORE])

    assert api.endpoint.endswith("/agent.sock")
    assert not api.socket_path.parent.exists()


def test_start_and_stop_leave_nothing() -> None:
    """Without a `with` block the private folder goes with `stop`, and is the same at the next start."""
    api = FakeWorkloadApi([CORE])
    path = api.socket_path
    for _ in range(3):
        api.start()
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with connected(api) as channel:
            Watch(channel).next()
        api.stop()
        assert not path.parent.exists()
        assert api.socket_path == path


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the private folder's path is too long for a socket, the folder does not stay."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    with pytest.raises(ConfigError, match="cannot listen on"):
        FakeWorkloadApi([CORE]).start()

    assert list(deep.iterdir()) == []


def test_who_forgets_to_stop_leaves_nothing(tmp_path: Path) -> None:
    """A process that ends with the agent running leaves no folder; nor does a child by its end."""
    script = f"""
import os, sys
from serviceradar_security.testing import FakeWorkloadApi
api = FakeWorkloadApi([{CORE!r}]).start()
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
assert api.socket_path.is_socket()
"""
    with tempfile.TemporaryDirectory(prefix="wl-") as folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore:This process", "-c", script],
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert list(Path(folder).iterdir()) == []


def test_another_file_in_its_place_stays(tmp_path: Path) -> None:
    """What somebody put in the place of the socket is not removed by a stop."""
    path = tmp_path / "agent.sock"
    api = FakeWorkloadApi([CORE], socket_path=path).start()
    path.unlink()
    path.write_text("precious")

    api.stop()

    assert path.read_text() == "precious"


def test_a_stop_without_a_start_removes_nothing(tmp_path: Path) -> None:
    """A file at the given path is not touched by a fake that never listened."""
    path = tmp_path / "agent.sock"
    path.write_text("precious")

    FakeWorkloadApi([CORE], socket_path=path).stop()

    assert path.read_text() == "precious"


def test_a_socket_is_left_behind_on_request(api: FakeWorkloadApi) -> None:
    """A killed agent leaves a socket where nobody listens; the next start replaces it."""
    path = api.socket_path
    api.stop(leave_socket=True)
    assert path.is_socket()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))

    api.start()

    with connected(api) as channel:
        Watch(channel).next()


def test_restart_replaces_the_socket(api: FakeWorkloadApi) -> None:
    """After a restart there is another socket on the same path, and a source finds it."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=DEADLINE)
        before = api.requests
        held = os.open(api.socket_path, os.O_PATH)  # so that its number is not used again
        old = os.fstat(held).st_ino
        api.restart()
        assert api.socket_path.stat().st_ino != old
        os.close(held)
        api.wait_requests(before + 1)
        (renewed,) = api.rotate()
        eventually(lambda: source.current().default == renewed)


# ---- TCP ---------------------------------------------------------------------------------------


def test_tcp() -> None:
    """On TCP a source is served as on a Unix socket, and a restart keeps the port."""
    api = FakeWorkloadApi([CORE], tcp=True)
    with pytest.raises(ConfigError, match="no port yet"):
        _ = api.endpoint
    with api:
        endpoint = WorkloadEndpoint.parse(api.endpoint)
        assert (endpoint.kind, endpoint.host) == ("tcp", "127.0.0.1")
        with X509Source(api.endpoint) as source:
            source.wait_ready(timeout=DEADLINE)
            api.restart()
            assert WorkloadEndpoint.parse(api.endpoint) == endpoint
            (renewed,) = api.rotate()
            eventually(lambda: source.current().default == renewed)
        with pytest.raises(ConfigError, match="TCP"):
            _ = api.socket_path


def test_a_port_that_is_taken() -> None:
    """A start on a port that somebody took meanwhile fails with our error."""
    api = FakeWorkloadApi([CORE], tcp=True).start()
    port = WorkloadEndpoint.parse(api.endpoint).port
    api.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            api.start()
    api.stop()


def test_one_address_only(tmp_path: Path) -> None:
    """TCP and a socket's path exclude each other."""
    with pytest.raises(ConfigError, match="one address"):
        FakeWorkloadApi([CORE], tcp=True, socket_path=tmp_path / "agent.sock")


def test_what_is_printed_of_it(tmp_path: Path) -> None:
    """It shows its identities and its address, and no key."""
    shown = repr(FakeWorkloadApi([CORE], socket_path=tmp_path / "agent.sock"))

    assert shown == f"FakeWorkloadApi([{CORE}], {tmp_path / 'agent.sock'})"
