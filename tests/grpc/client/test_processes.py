"""Processes: how they end, fork, and keep their environment."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.grpc.client.child import run, unexpected, write_identity

if TYPE_CHECKING:
    from pathlib import Path

    from tests.grpc.client.conftest import World

ENDS = {
    "return": ("pass", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("raise SystemError('on purpose')", 1),
    "SIGTERM": ("import signal; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -15),
    "SIGINT": ("import signal; os.kill(os.getpid(), signal.SIGINT); time.sleep(0.5)", -2),
}
SYNC = """
made = dial(*sys.argv[1:])
assert call(made).startswith("answered"), call(made)
{close}
{end}
"""
AIO = """
import asyncio
from serviceradar_security.grpc.client import aio_channel
async def main():
    made = aio_channel(sys.argv[1], Source(sys.argv[2]), EXPECTED)
    assert await made.unary_unary("/t/unary")(b"child", timeout=10)
    {close}
    {end}
asyncio.run(main())
"""


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "left open"])
@pytest.mark.parametrize("kind", ["sync", "aio"])
@pytest.mark.parametrize("end", ENDS)
def test_a_process_ends_promptly_and_silently(
    world: World,
    tmp_path: Path,
    end: str,
    kind: str,
    is_closed: bool,
) -> None:
    """However a process ends, open channels neither hold it up nor write to stderr."""
    write_identity(world, tmp_path)
    statement, code = ENDS[end]
    close = {"sync": "made.close()", "aio": "await made.close()"}[kind] if is_closed else "pass"
    program = {"sync": SYNC, "aio": AIO}[kind].format(close=close, end=statement)
    done = run(program, world.serve().target, str(tmp_path), timeout=15)
    assert done.returncode == code
    lines = unexpected(done.stderr)
    if end in ("exception", "SIGINT"):
        # The traceback is the program's own.
        assert "on purpose" in done.stderr or "KeyboardInterrupt" in done.stderr
        assert "grpc/client" not in done.stderr
    else:
        assert lines == []


def test_a_killed_process_leaves_a_folder_that_the_next_one_removes(
    world: World,
    tmp_path: Path,
    short_folder: Path,
) -> None:
    """The folder of the control plane's socket does not pile up."""
    write_identity(world, tmp_path)
    environment = {"XDG_RUNTIME_DIR": str(short_folder)}
    killed = run(
        """
        made = dial(*sys.argv[1:])
        folder, = os.scandir(os.environ["XDG_RUNTIME_DIR"])
        print(oct(folder.stat().st_mode))
        os.utime(folder.path, (1, 1))
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
        """,
        world.serve().target,
        str(tmp_path),
        environment=environment,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout == "0o40700\n", killed.stderr
    assert len(list(short_folder.iterdir())) == 1
    done = run("dial(*sys.argv[1:])", "127.0.0.1:1", str(tmp_path), environment=environment)
    assert done.returncode == 0, done.stderr
    assert list(short_folder.iterdir()) == []


def test_a_lock_that_a_stopped_thread_left_does_not_hold_up_the_end(
    world: World,
    tmp_path: Path,
) -> None:
    """Threads of grpc may be stopped with a lock in their hands: the process ends as ever."""
    write_identity(world, tmp_path)
    done = run(
        """
        import atexit, threading
        from serviceradar_security.grpc.client import runtime

        late, held = threading.Event(), []

        def hold():
            late.wait()
            held[0].lock.acquire()

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        # Called after what is registered later, as by the first channel: the last before the end.
        atexit.register(lambda: (late.set(), holder.join()))
        made = dial(*sys.argv[1:])
        held.append(runtime.get_runtime()._pin._connectivity_state)
        """,
        "127.0.0.1:1",
        str(tmp_path),
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert unexpected(done.stderr) == []


FORK = """
import json, signal
def in_child(work):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        began = time.monotonic()
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps([said, time.monotonic() - began]).encode())
        sys.exit(0)
    os.close(writer)
    said = os.read(reader, 65536)
    status = os.waitpid(pid, 0)[1]
    return json.loads(said), status
target, folder = sys.argv[1:]
"""


def fork(world: World, tmp_path: Path, program: str) -> dict[str, object]:
    write_identity(world, tmp_path)
    # With core's own fork handlers on, as is its default, a fork beside open channels may hang or
    # crash the child before a line of Python runs: whoever forks then switches them off.
    environment = {
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        # Python 3.12 and newer warn of forks beside threads, which is what is tried here.
        "PYTHONWARNINGS": "ignore:This process:DeprecationWarning",
    }
    done = run(FORK + program, world.serve().target, str(tmp_path), environment=environment)
    assert done.returncode == 0, done.stderr
    assert unexpected(done.stderr) == []
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_child_of_a_process_with_channels_is_refused_at_once(
    world: World,
    tmp_path: Path,
) -> None:
    """New channels, old channels and old stubs say what is wrong, and the parent goes on."""
    found = fork(
        world,
        tmp_path,
        """
import asyncio
from serviceradar_security.grpc.client import aio_channel
made = dial(target, folder)
stub = made.unary_unary("/t/unary")
stub(b"parent", timeout=10)
async def make():
    global aio_made, aio_stub
    aio_made = aio_channel(target, Source(folder), EXPECTED)
    aio_stub = aio_made.unary_unary("/t/unary")
    await aio_stub(b"parent", timeout=10)
asyncio.run(make())
results = [
    in_child(lambda: aio_stub(b"child", timeout=5)),
    in_child(lambda: aio_made.get_state()),
    in_child(lambda: asyncio.run(make())),
    in_child(lambda: call(dial(target, folder))),
    in_child(lambda: stub(b"child", timeout=5)),
    in_child(lambda: stub.future(b"child", timeout=5)),
    in_child(lambda: made.unary_unary("/t/unary")),
    in_child(lambda: made.close()),
]
print(json.dumps({"children": results, "parent": call(made), "new": call(dial(target, folder))}))
""",
    )
    children = found["children"]
    assert isinstance(children, list)
    for (said, seconds), status in children:
        assert said.startswith("SecurityError: ")
        assert "created before fork: create it in the worker" in said
        assert seconds < 1
        assert status == 0
    assert str(found["parent"]).startswith("answered")
    assert str(found["new"]).startswith("answered")


def test_a_child_of_a_process_that_used_grpc_otherwise_is_refused_at_once(
    world: World,
    tmp_path: Path,
) -> None:
    """A use of gRPC without this library makes the child unusable as well, and it says so."""
    found = fork(
        world,
        tmp_path,
        """
plain = grpc.insecure_channel("127.0.0.1:1")
call(plain)
(said, seconds), status = in_child(lambda: call(dial(target, folder)))
print(json.dumps({"said": said, "seconds": seconds, "parent": call(dial(target, folder))}))
""",
    )
    assert "create it in the worker" in str(found["said"])
    assert isinstance(found["seconds"], float)
    assert found["seconds"] < 1
    assert str(found["parent"]).startswith("answered")


def test_a_child_of_a_process_without_grpc_makes_its_own_channels(
    world: World,
    tmp_path: Path,
) -> None:
    """Forked workers work if the parent never used gRPC."""
    found = fork(
        world,
        tmp_path,
        """
results = [in_child(lambda: call(dial(target, folder))) for _ in range(2)]
print(json.dumps({"children": results, "parent": call(dial(target, folder))}))
""",
    )
    children = found["children"]
    assert isinstance(children, list)
    assert all(said.startswith("answered") for (said, _), _ in children)
    assert str(found["parent"]).startswith("answered")


def test_a_spawned_process_inherits_nothing_of_ours(world: World, tmp_path: Path) -> None:
    """Programs that a process with channels starts make channels of their own."""
    write_identity(world, tmp_path)
    done = run(
        """
        import subprocess
        before = dict(os.environ)
        made = dial(*sys.argv[1:])
        print(call(made))
        assert dict(os.environ) == before
        program = "from tests.grpc.client.child import *; import sys; print(call(dial(*sys.argv[1:])))"
        print(subprocess.run([sys.executable, "-c", program, *sys.argv[1:]], capture_output=True, text=True))
        """,
        world.serve().target,
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("answered") == 2
