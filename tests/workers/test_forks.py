"""Many forks of a process that is busy with its source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security.testing.authority import FakeAuthority
from tests.workload.peers import until
from tests.workload.scripts import run, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.testing.workload_api import FakeWorkloadApi

FORKS: Final = 200
FOREIGN: Final = FakeAuthority("b.test")


@pytest.mark.timeout(110)
def test_two_hundred_forks_under_load() -> None:
    """No child hangs, none starts with an identity of before its fork, each follows rotations."""
    run(
        """
        forks = int(sys.argv[1])
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            stop = threading.Event()
            issued = [api.svids[0].leaf.serial_number]

            def serial(context):
                return context.default.leaf.serial_number

            def read():
                while not stop.is_set():
                    source.current()
                    source.status()
                    time.sleep(0.0002)

            def rotate():
                while not stop.is_set():
                    issued.append(api.rotate()[0].leaf.serial_number)
                    time.sleep(0.003)

            threads = [threading.Thread(target=each) for each in (read, read, read, rotate)]
            for each in threads:
                each.start()

            def child():
                old = set(issued[:-1])  # all but the one that was served when it was forked
                first = serial(source.wait_ready(timeout=20))
                assert first not in old, "an identity of before the fork"
                until(lambda: serial(source.current()) != first, timeout=20)
                os._exit(0)

            def start():
                pid = os.fork()
                if pid:
                    return pid
                try:
                    signal.alarm(50)
                    child()
                except BaseException as error:
                    print("child:", type(error).__name__, error, file=sys.stderr, flush=True)
                finally:
                    os._exit(99)

            codes, running = [], []
            for _ in range(forks):
                running.append(start())
                if len(running) == 4:
                    codes.append(os.waitstatus_to_exitcode(os.waitpid(running.pop(0), 0)[1]))
            codes += [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in running]
            stop.set()
            for each in threads:
                each.join(10)
            assert codes == [0] * forks, codes
            until(lambda: serial(source.current()) == issued[-1])
            until(lambda: api.connections == 1)
        """,
        str(FORKS),
    )


@pytest.mark.parametrize("delay", [each * 0.0004 for each in range(25)])
def test_a_fork_while_the_source_starts(delay: float, api: FakeWorkloadApi) -> None:
    """A fork at any moment of a process's first reading leaves the child nothing locked for ever."""
    run_alone(
        """
        import os, sys, time
        from serviceradar_security import X509Source

        source = X509Source(sys.argv[1]).open()
        time.sleep(float(sys.argv[2]))
        pid = os.fork()
        if pid == 0:
            try:
                source.wait_ready(timeout=20)
                os._exit(0)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        source.wait_ready(timeout=20)
        """,
        api.endpoint,
        str(delay),
        measured=False,
    )


CASES: Final[dict[str, tuple[Callable[[FakeWorkloadApi], object], str]]] = {
    "an identity": (lambda api: None, "state is State.READY"),
    "no identity": (lambda api: api.deny(), "cause"),
    "refused for good": (lambda api: api.fail("UNIMPLEMENTED"), "cause"),
    "a message that is none": (lambda api: api.send(b"\xff" * 9), "rejected > 0"),
    "another root": (lambda api: api.rotate_authority(), "updates == 2"),
    "another trust domain": (lambda api: api.federate(FOREIGN.bundle), "updates == 2"),
    "an agent that goes": (lambda api: api.stop(), "state is State.DEGRADED"),
}


@pytest.mark.parametrize("case", CASES)
def test_thread_imports_nothing(case: str, api: FakeWorkloadApi) -> None:
    """The source's thread imports nothing: the lock of an import that a fork cuts off stays locked."""
    drive, reached = CASES[case]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_alone,
            f"""
            import sys, threading, time
            from serviceradar_security import X509Source
            from serviceradar_security.workload.status import State

            class Finder:
                def find_spec(self, name, path=None, target=None):
                    thread = threading.current_thread().name
                    if "serviceradar" in thread:
                        found.append(name)

            found, end = [], time.monotonic() + 20
            source = X509Source(sys.argv[1])
            sys.meta_path.insert(0, Finder())
            with source:
                while not (status := source.status()).{reached}:
                    assert time.monotonic() < end, status
                    time.sleep(0.002)
            print(*found)
            """,
            api.endpoint,
        )
        api.wait_requests(1)
        until(lambda: api.connections == 1)
        drive(api)
        assert running.result(60).split() == []
