"""The live source and its process: the end of the interpreter, signals, limits, imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workload.scripts import run, run_alone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("how", ["atexit", "with", "nothing", "daemon use"])
def test_end_of_the_interpreter(how: str, socket_path: Path) -> None:
    """The interpreter ends at once and in silence, whether the source is closed or not."""
    run(
        """
        how = sys.argv[1]
        api = FakeWorkloadApi([ID], socket_path=sys.argv[2]).start()
        source = X509Source(api.endpoint).open()
        source.subscribe(lambda _: None)
        source.wait_ready(timeout=10)
        if how == "atexit":
            atexit.register(source.close)
        elif how == "with":
            with source:
                pass
        elif how == "daemon use":

            def use():
                while True:
                    source.current()

            threading.Thread(target=use, daemon=True).start()
        signal.alarm(20)
        """,
        how,
        str(socket_path),
    )


def test_close_from_a_signal_handler() -> None:
    """A signal handler may close the source; whoever waits is woken with the error that says so."""
    run(
        """
        def pausing(source):
            signal.pause()
            source.current()


        waits = {
            "threads": lambda source: source.wait_ready(timeout=60),
            "asyncio": lambda source: asyncio.run(source.wait_ready_async(timeout=60)),
            "pause": pausing,
        }
        for name, wait in waits.items():
            with FakeWorkloadApi([ID]) as api:
                if name != "pause":
                    api.hang()
                source = X509Source(api.endpoint).open()
                if name == "pause":
                    source.wait_ready(timeout=10)
                signal.signal(signal.SIGTERM, lambda *_: source.close())
                threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
                before = time.monotonic()
                try:
                    wait(source)
                except SourceClosedError:
                    pass
                else:
                    raise AssertionError("not closed")
                assert time.monotonic() - before < 30
                until(lambda: api.connections == 0)
        """,
    )


def test_signals_at_any_moment() -> None:
    """A handler that reads and closes at any moment of the main thread's use hangs nothing."""
    run(
        """
        def handle(*_):
            before = time.monotonic()
            try:
                source.status()
            except SourceError:
                pass  # it is being opened
            source.close()
            taken.append(time.monotonic() - before)


        signal.signal(signal.SIGALRM, handle)
        with FakeWorkloadApi([ID]) as api:
            for number in range(100):
                source, taken = X509Source(api.endpoint), []
                uses = (
                    lambda: source.open(),
                    lambda: [source.status() for _ in range(9)] and source.current(),
                    lambda: source.current(),
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
            until(lambda: api.connections == 0)
            until(lambda: not [e for e in threading.enumerate() if "security" in e.name])
        """,
        measured=False,  # coverage has a lock of its own, which the handler would interrupt
    )


def test_process_is_full() -> None:
    """Without descriptors or threads opening fails with an error of ours, and works afterwards."""
    run(
        """
        import resource


        def fails(why):
            for _ in range(3):
                try:
                    source.open()
                except SourceError as error:
                    assert "cannot start" in str(error) and why in str(error), error
                else:
                    raise AssertionError("it opened")


        with FakeWorkloadApi([ID]) as api:
            source = X509Source(api.endpoint)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
            fails("Too many open files")
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            threading.stack_size(1 << 47)  # more than there are addresses
            fails("new thread")
            threading.stack_size(0)
            assert len(os.listdir("/proc/self/fd")) == used
            with source:
                source.wait_ready(timeout=10)
        """,
    )


def test_socket_of_others(socket_path: Path) -> None:
    """A socket that this user may not open is told as such."""
    run(
        """
        if os.geteuid() == 0:  # who may open everything
            os.chown(os.path.dirname(sys.argv[1]), 65534, 65534)
            os.setuid(65534)
        with FakeWorkloadApi([ID], socket_path=sys.argv[1]) as api:
            os.chmod(sys.argv[1], 0)
            with X509Source(api.endpoint) as source:
                until(lambda: "this user may not open the socket" in source.status().cause)
                os.chmod(sys.argv[1], 0o600)
                source.wait_ready(timeout=10)
        """,
        str(socket_path),
        measured=False,  # the other user may not write where the measurements are
    )


def test_no_heavy_imports() -> None:
    """A source needs neither gRPC nor `ssl` nor pydantic, and without asyncio no asyncio."""
    printed = run_alone(
        """
        import sys
        from serviceradar_security import X509Source

        with X509Source("unix:///nowhere/agent.sock") as source:
            try:
                source.wait_ready(timeout=0.01)
            except TimeoutError:
                pass
        print(sorted({"grpc", "ssl", "pydantic", "asyncio"} & set(sys.modules)))
        """,
    )
    assert printed == "[]\n"
