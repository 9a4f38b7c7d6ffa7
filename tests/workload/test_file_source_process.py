"""The source of files and its process: forks, signals, the end of the interpreter, imports."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import pytest

from tests.workload.scripts import PRELUDE, run_alone

if TYPE_CHECKING:
    from pathlib import Path

FILES: Final = """
from pathlib import Path
from serviceradar_security.workload.file_source import FileSource
from tests.workload.identity_files import Folder, current

folder = Folder(Path(sys.argv[1]))
folder.write(current(1))
current(2)  # made once, for the children as well


def opened(poll_interval=0.01):
    return FileSource.spiffe_helper(folder.path, poll_interval=poll_interval).open()

"""


def run(script: str, *arguments: str, measured: bool = True) -> None:
    """Run a script with a folder of files."""
    run_alone(PRELUDE + FILES + textwrap.dedent(script), *arguments, measured=measured)


def test_fork(tmp_path: Path) -> None:
    """The child of a fork starts afresh on first use, follows the files, and ends by itself."""
    run(
        """
        with opened() as source:
            parents = source.wait_ready(timeout=10)
            seen = []
            with source.subscribe(seen.append) as subscription:

                def child():
                    assert [each.name for each in threading.enumerate()] == ["MainThread"]
                    assert repr(source).endswith("not open)")
                    subscription.close()
                    try:
                        context = source.current()  # the first use: it may not be there yet
                    except SourceError:
                        context = source.wait_ready(timeout=10)
                    assert context == parents and context is not parents
                    assert source.status().updates == 1
                    own = []
                    with source.subscribe(own.append):
                        folder.replace(current(2))
                        until(lambda: current(2).context in own)
                    assert asyncio.run(source.wait_ready_async(timeout=10)) == current(2).context
                    assert in_child(lambda: source.wait_ready(timeout=10)) == 0
                    source.close()
                    assert [each.name for each in threading.enumerate()] == ["MainThread"]
                    assert seen == []

                assert in_child(child) == 0
                until(lambda: current(2).context in seen)  # the parent is undisturbed
            assert source.status().state is State.READY
        """,
        str(tmp_path),
    )


def test_forks_under_load(tmp_path: Path) -> None:
    """Forks while every lock is in use neither hang nor freeze an identity."""
    run(
        """
        with opened() as source:
            source.wait_ready(timeout=10)
            stop = threading.Event()
            pairs = [current(1), current(2)]

            def use():
                while not stop.is_set():
                    source.status()
                    source.reload()
                    with source.subscribe(lambda _: None):
                        source.wait_ready(timeout=10)

            def rotate():
                while not stop.is_set():
                    folder.replace(pairs[0])
                    pairs.reverse()

            threads = [threading.Thread(target=each) for each in (use, use, rotate)]
            for each in threads:
                each.start()

            def child():
                source.wait_ready(timeout=20)
                source.close()

            codes = [in_child(child) for _ in range(20)]
            stop.set()
            for each in threads:
                each.join(10)
            assert codes == [0] * 20
            source.current()
        """,
        str(tmp_path),
    )


def test_signals(tmp_path: Path) -> None:
    """A signal handler may reload and close at any moment of the main thread's use."""
    run(
        """
        def handle(*_):
            before = time.monotonic()
            try:
                source.status()
                source.reload()
            except SourceError:
                pass  # it is being opened
            source.close()
            taken.append(time.monotonic() - before)


        signal.signal(signal.SIGALRM, handle)
        for number in range(60):
            source, taken = FileSource.spiffe_helper(folder.path, poll_interval=0.01), []
            uses = (
                lambda: source.open(),
                lambda: [source.status() for _ in range(9)] and source.current(),
                lambda: source.reload(),
                lambda: source.wait_ready(timeout=30),
                lambda: source.subscribe(lambda _: None).close(),
            )
            use = uses[number % len(uses)]
            if use is not uses[0]:
                source.open().wait_ready(timeout=10)
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + number * 0.00005)
            try:
                while True:
                    use()
            except SourceClosedError:
                pass
            until(lambda: taken)
            assert taken[0] < 4, (number, taken)
        until(lambda: not [e for e in threading.enumerate() if "security" in e.name])
        """,
        str(tmp_path),
        measured=False,  # coverage has a lock of its own, which the handler would interrupt
    )


@pytest.mark.parametrize("how", ["atexit", "nothing"])
def test_end_of_the_interpreter(tmp_path: Path, how: str) -> None:
    """The interpreter ends at once and in silence, whether the source is closed or not."""
    run(
        """
        source = opened()
        source.subscribe(lambda _: None)
        source.wait_ready(timeout=10)
        if sys.argv[2] == "atexit":
            atexit.register(source.close)
        signal.alarm(20)
        """,
        str(tmp_path),
        how,
    )


def test_imports() -> None:
    """Who reads files pays for no HTTP/2, no messages, no TLS and no gRPC."""
    run_alone(
        """
        import sys

        from serviceradar_security.workload.file_source import FileSource

        heavy = {"h2", "google.protobuf", "grpc", "ssl", "asyncio", "pydantic"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        """,
    )
