"""An address where somebody listens is not taken over by a fake Workload API."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import X509Source
from serviceradar_security.errors import ConfigError
from serviceradar_security.testing import FakeWorkloadApi
from tests.testing.client import CORE, DEADLINE

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
