"""An address where somebody listens is not taken over by a fake Workload API."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import X509Source
from serviceradar_security.errors import ConfigError
from serviceradar_security.testing import FakeWorkloadApi
from tests.testing.client import CORE, DEADLINE, Watch, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER = "spiffe://example.org/other"


@pytest.fixture
def path() -> Iterator[Path]:
    """A path for a socket, short enough for a socket's address."""
    with tempfile.TemporaryDirectory(prefix="wl-") as folder:
        yield Path(folder) / "agent.sock"


def test_another_one_of_this_process(path: Path) -> None:
    """The second one is refused with the reason and the remedy, and the first one goes on."""
    with FakeWorkloadApi([CORE], socket_path=path) as first:
        second = FakeWorkloadApi([OTHER], socket_path=path)
        with pytest.raises(ConfigError) as told:
            second.start()
        assert str(told.value) == (
            f"the fake Workload API cannot listen on {path}: another socket of this process "
            "listens there, whose socket is not taken over: stop that one, or give another "
            "socket_path"
        )
        second.stop()
        with X509Source(first.endpoint) as source:
            assert str(source.wait_ready(timeout=DEADLINE).default.spiffe_id) == str(CORE)
    with second, X509Source(second.endpoint) as source:
        assert str(source.wait_ready(timeout=DEADLINE).default.spiffe_id) == OTHER
    assert not path.exists()


def test_another_process(path: Path) -> None:
    """One of another process is named by its process."""
    script = (
        "import sys\n"
        "from serviceradar_security.testing import FakeWorkloadApi\n"
        f"with FakeWorkloadApi([{OTHER!r}], socket_path={str(path)!r}):\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigError, match=f"the process {process.pid} listens there"):
            FakeWorkloadApi([CORE], socket_path=path).start()
        with X509Source(f"unix://{path}") as source:
            assert str(source.wait_ready(timeout=DEADLINE).default.spiffe_id) == OTHER
        process.communicate(timeout=DEADLINE)


def _bound(path: Path, stack: ExitStack) -> None:
    stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))


def _busy(path: Path, stack: ExitStack) -> None:
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    server.listen(0)
    waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
    waiting.connect(str(path))  # and is not accepted


def _datagrams(path: Path, stack: ExitStack) -> None:
    stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(str(path))


@pytest.mark.parametrize(
    ("take", "who"),
    [
        pytest.param(_busy, "somebody, who does not accept connections", id="busy"),
        pytest.param(_datagrams, "perhaps somebody (Protocol wrong type", id="datagrams"),
    ],
)
def test_whoever_it_is(take: Callable[[Path, ExitStack], None], who: str, path: Path) -> None:
    """Also somebody who cannot answer keeps the socket."""
    with ExitStack() as stack:
        take(path, stack)
        with pytest.raises(ConfigError, match=f"cannot listen on .*{re.escape(who)}"):
            FakeWorkloadApi([CORE], socket_path=path).start()
        assert path.is_socket()


def test_what_somebody_left_behind(path: Path) -> None:
    """The file of a socket that is closed is in nobody's use, and is replaced."""
    with ExitStack() as stack:
        _bound(path, stack)
    assert path.is_socket()
    with (
        FakeWorkloadApi([CORE], socket_path=path) as api,
        X509Source(api.endpoint) as source,
    ):
        source.wait_ready(timeout=DEADLINE)


def test_its_own_of_before(path: Path) -> None:
    """One that was told to leave its socket behind comes back to it, again and again."""
    with FakeWorkloadApi([CORE], socket_path=path) as api:
        for _ in range(3):
            api.stop(leave_socket=True)
            assert path.is_socket()
            api.start()
            api.restart()
        with X509Source(api.endpoint) as source:
            source.wait_ready(timeout=DEADLINE)


def test_one_that_was_refused_leaves_alone_what_is_there(path: Path) -> None:
    """After a refusal neither `stop` nor the end of the object touches the other's socket."""
    mine = FakeWorkloadApi([CORE], socket_path=path)
    mine.start()
    mine.stop(leave_socket=True)
    with FakeWorkloadApi([OTHER], socket_path=path) as theirs:
        with pytest.raises(ConfigError, match="another socket of this process"):
            mine.start()
        mine.stop()
        del mine
        with X509Source(theirs.endpoint) as source:
            source.wait_ready(timeout=DEADLINE)


# ---- at once -----------------------------------------------------------------------------------

ROUNDS = 40  # without a lock one in four lets both listen


def test_two_at_once(path: Path) -> None:
    """Of two that start on what somebody left behind one listens, and the other is refused."""
    pair = [FakeWorkloadApi([each], socket_path=path) for each in (CORE, OTHER)]
    together = threading.Barrier(2, timeout=DEADLINE)
    outcomes: list[str] = []

    def start(api: FakeWorkloadApi) -> None:
        together.wait()
        try:
            api.start()
        except ConfigError as error:
            outcomes.append("refused" if "another socket of this process" in str(error) else "?")
        else:
            outcomes.append("listens")

    for _ in range(ROUNDS):
        outcomes.clear()
        with ExitStack() as stack:
            _bound(path, stack)
        threads = [threading.Thread(target=start, args=(each,)) for each in pair]
        for each in threads:
            each.start()
        for each in threads:
            each.join(DEADLINE)
        assert sorted(outcomes) == ["listens", "refused"]
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - a list of names
        for api in pair:
            api.stop()
        assert os.listdir(path.parent) == []  # noqa: PTH208 - as above


def test_a_folder_that_stays_locked(path: Path) -> None:
    """Who keeps the folder locked is waited for no longer than the fake may wait."""
    api = FakeWorkloadApi([CORE], socket_path=path, timeout=0.05)
    held = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="others keep the folder locked"):
            api.start()
    finally:
        os.close(held)
    assert not path.exists()
    FakeWorkloadApi([CORE], socket_path=path).start().stop()


# ---- in the private folder of another one --------------------------------------------------------


def _stop(first: FakeWorkloadApi) -> None:
    first.stop()


def _refused(first: FakeWorkloadApi) -> None:
    with pytest.raises(ConfigError, match="another socket of this process"):
        first.start()


def _forget(_first: FakeWorkloadApi) -> None:
    pass


@pytest.mark.parametrize("end", [_stop, _refused, _forget])
def test_a_guest_in_a_private_folder(end: Callable[[FakeWorkloadApi], None]) -> None:
    """However the owner of the folder ends, the socket of another one in it stays, and serves."""
    first = FakeWorkloadApi([CORE]).start()
    path = first.socket_path
    first.stop(leave_socket=True)
    with FakeWorkloadApi([OTHER], socket_path=path) as second:
        end(first)
        if end is _forget:
            del first
            gc.collect()
        assert path.is_socket()
        with connected(second) as channel:
            assert [each.spiffe_id for each in Watch(channel).next().svids] == [OTHER]
    assert not path.exists()
    if end is not _forget:
        first.stop()
        assert not path.parent.exists()
    else:
        path.parent.rmdir()


def test_what_others_left_in_a_private_folder() -> None:
    """A file of somebody in the folder keeps it, also the dead socket of another one."""
    first = FakeWorkloadApi([CORE]).start()
    path = first.socket_path
    first.stop(leave_socket=True)
    second = FakeWorkloadApi([OTHER], socket_path=path).start()
    second.stop(leave_socket=True)
    precious = path.parent / "precious"
    precious.write_text("data")

    first.stop()

    assert path.is_socket()
    assert precious.read_text() == "data"
    precious.unlink()
    second.stop()
    first.stop()
    assert not path.parent.exists()
