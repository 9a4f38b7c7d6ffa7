"""The live source across forks: the child starts afresh, the parent goes on."""

from __future__ import annotations

import pytest

from tests.workload.scripts import run


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
                assert in_child(lambda: source.wait_ready(timeout=10)) == 0  # a fork of the fork
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
            assert api.requests == 3
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
