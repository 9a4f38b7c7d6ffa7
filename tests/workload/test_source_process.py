"""The live source and its process: forks, the end of the interpreter, signals, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workload.scripts import run, run_alone

if TYPE_CHECKING:
    from pathlib import Path


def test_fork() -> None:
    """The child of a fork starts afresh on first use, follows rotations, and ends by itself."""
    run(
        """
        read, write = os.pipe()
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            parents = source.wait_ready(timeout=10)

            def child():
                assert [each.name for each in threading.enumerate()] == ["MainThread"]
                try:
                    context = source.current()  # the first use: it may not be there yet
                except SourceError:
                    context = source.wait_ready(timeout=10)
                assert str(context.default.spiffe_id) == ID
                assert context is not parents
                assert source.status().updates == 1
                os.write(write, b"x")
                until(lambda: source.current() != context)
                assert asyncio.run(source.wait_ready_async(timeout=10)) != context
                source.close()
                try:
                    source.current()
                except SourceClosedError:
                    pass
                else:
                    raise AssertionError("not closed")
                assert [each.name for each in threading.enumerate()] == ["MainThread"]

            def rotate():
                os.read(read, 1)
                api.rotate()

            rotating = threading.Thread(target=rotate)
            rotating.start()
            assert in_child(child) == 0
            rotating.join()
            until(lambda: api.connections == 1)

            # The parent is undisturbed, on the same connection.
            assert source.status().state is State.READY
            (new,) = api.rotate()
            until(lambda: source.current().default == new)
            assert api.requests == 2
        """,
    )


def test_fork_that_does_not_use_it() -> None:
    """A child that does not use the source neither holds the parent's connection nor talks on it."""
    run(
        """
        read, write = os.pipe()
        with FakeWorkloadApi([ID]) as api:
            source = X509Source(api.endpoint).open()
            source.wait_ready(timeout=10)
            pid = os.fork()
            if pid == 0:
                assert repr(source).endswith("not open)")
                os.read(read, 1)
                os._exit(0)
            source.close()
            until(lambda: api.connections == 0)
            assert api.requests == 1
            os.write(write, b"x")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """,
    )


def test_fork_with_subscribers() -> None:
    """Subscriptions stay with the parent; ending them and the source in the child harms nobody."""
    run(
        """
        read, write = os.pipe()
        seen = []
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            with source.subscribe(seen.append) as subscription:

                def child():
                    own = []
                    subscription.close()
                    source.wait_ready(timeout=10)
                    with source.subscribe(own.append):
                        os.write(write, b"x")
                        until(lambda: own)
                    assert seen == []
                    source.close()
                    source.close()

                def rotate():
                    os.read(read, 1)
                    api.rotate()

                rotating = threading.Thread(target=rotate)
                rotating.start()
                assert in_child(child) == 0
                rotating.join()
                until(lambda: seen)
        """,
    )


def test_fork_before_anything() -> None:
    """A source that was never opened, was closed, or has no agent forks as well."""
    run(
        """
        with FakeWorkloadApi([ID]) as api:
            never, closed = X509Source(api.endpoint), X509Source(api.endpoint).open()
            closed.close()
            waiting = X509Source("unix:///nowhere/agent.sock").open()

            def child():
                for source, kind in ((never, SourceError), (closed, SourceClosedError)):
                    try:
                        source.current()
                    except kind:
                        pass
                    else:
                        raise AssertionError
                until(lambda: waiting.status().state is State.NO_AGENT)
                waiting.close()
                with never:
                    never.wait_ready(timeout=10)

            assert in_child(child) == 0
            assert waiting.status().state is not State.CLOSED
            waiting.close()
        """,
    )


def test_fork_of_a_fork() -> None:
    """The child of a child starts afresh as well."""
    run(
        """
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)

            def child():
                source.wait_ready(timeout=10)
                assert in_child(lambda: source.wait_ready(timeout=10)) == 0
                source.current()

            assert in_child(child) == 0
            source.current()
            until(lambda: api.connections == 1)
        """,
    )


def test_first_use_of_many_threads_in_a_child() -> None:
    """Threads of a child that use the source at once share one fresh start."""
    run(
        """
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)

            def child():
                got = []
                start = threading.Barrier(8)

                def use():
                    start.wait(10)
                    got.append(source.wait_ready(timeout=10))

                threads = [threading.Thread(target=use) for _ in range(8)]
                for each in threads:
                    each.start()
                for each in threads:
                    each.join(10)
                assert len(got) == 8
                assert len({id(each) for each in got}) == 1
                names = [each.name for each in threading.enumerate()]
                assert names.count("serviceradar-security-workload") == 1

            assert in_child(child) == 0
            assert api.requests == 2
        """,
    )


def test_forks_under_load() -> None:
    """Forks while every lock is in use neither hang nor freeze an identity."""
    run(
        """
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            stop = threading.Event()

            def use():
                while not stop.is_set():
                    source.status()
                    with source.subscribe(lambda _: None):
                        source.wait_ready(timeout=1)

            def rotate():
                while not stop.is_set():
                    api.rotate()

            threads = [threading.Thread(target=each) for each in (use, use, rotate)]
            for each in threads:
                each.start()

            def child():
                context = source.wait_ready(timeout=10)
                assert str(context.default.spiffe_id) == ID
                source.close()

            codes = [in_child(child) for _ in range(25)]
            stop.set()
            for each in threads:
                each.join(10)
            assert codes == [0] * 25
            until(lambda: api.connections == 1)
            source.current()
        """,
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    """Workers of `multiprocessing` have an identity of their own, by any way of starting them."""
    run(
        """
        from tests.workload.scripts import put_identity

        method = multiprocessing.get_context(sys.argv[1])
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            results = method.Queue()
            given = source if sys.argv[1] == "fork" else api.endpoint
            workers = [method.Process(target=put_identity, args=[given, results]) for _ in range(2)]
            for each in workers:
                each.start()
            assert [results.get(timeout=30) for _ in workers] == [ID] * 2
            for each in workers:
                each.join(30)
            assert [each.exitcode for each in workers] == [0] * 2
            source.current()
            if sys.argv[1] != "fork":
                try:
                    method.Process(target=put_identity, args=[source, results]).start()
                except TypeError as error:
                    assert "open one in the process that uses it" in str(error)
                else:
                    raise AssertionError("a source was pickled")
        """,
        method,
    )


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


@pytest.mark.parametrize("waiting", ["wait_ready", "asyncio", "pause"])
def test_close_from_a_signal_handler(waiting: str) -> None:
    """A signal handler may close the source; whoever waits is woken with the error that says so."""
    run(
        """
        waiting = sys.argv[1]
        with FakeWorkloadApi([ID]) as api:
            if waiting != "pause":
                api.hang()
            source = X509Source(api.endpoint).open()
            signal.signal(signal.SIGTERM, lambda *_: source.close())
            threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
            before = time.monotonic()
            try:
                if waiting == "pause":
                    source.wait_ready(timeout=10)
                    signal.pause()
                    source.current()
                elif waiting == "asyncio":
                    asyncio.run(source.wait_ready_async(timeout=60))
                else:
                    source.wait_ready(timeout=60)
            except SourceClosedError:
                pass
            else:
                raise AssertionError("not closed")
            assert time.monotonic() - before < 30
            until(lambda: api.connections == 0)
        """,
        waiting,
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
            for number in range(160):
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
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + number * 0.00003)
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
