"""The fake Workload API beside children that were forked from its process."""

from __future__ import annotations

from tests.workload.scripts import run


def test_a_forked_child_keeps_no_connection_alive() -> None:
    """When the fake stops, every connection ends, though a child has its descriptors as well."""
    run(
        """
        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            source.wait_ready(timeout=10)
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            try:
                api.stop(leave_socket=True)
                until(lambda: source.status().state is State.DEGRADED)
                with X509Source(api.endpoint) as other:
                    until(lambda: "nobody listens" in other.status().cause)
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        """,
    )


def test_a_forked_child_cannot_command_it() -> None:
    """In the child a command is an error at once, and leaving its block changes nothing."""
    run(
        """
        def child():
            began = time.monotonic()
            try:
                api.rotate()
            except SecurityError as error:
                assert "forked" in str(error), error
            else:
                raise AssertionError("it was commanded")
            api.stop()
            assert time.monotonic() - began < 5

        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            before = source.wait_ready(timeout=10)
            assert in_child(child) == 0
            api.rotate()
            until(lambda: source.current() != before)
        """,
    )
