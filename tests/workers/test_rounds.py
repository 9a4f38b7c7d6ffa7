"""A thousand rounds of opening and closing, in a process that does nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.workload.peers import until
from tests.workload.scripts import run

if TYPE_CHECKING:
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def test_nothing_leaks(api: FakeWorkloadApi) -> None:
    """Threads and descriptors are as before, and memory does not grow with the rounds."""
    printed = run(
        """
        import gc


        def descriptors():
            return len(os.listdir("/proc/self/fd"))


        def resident():
            gc.collect()
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


        async def with_asyncio():
            async with X509Source(sys.argv[1]) as source:
                await source.wait_ready_async(timeout=10)
                async for _ in source.updates():
                    break


        def round_of_life(number):
            if number % 10 == 0:
                asyncio.run(with_asyncio())
                return
            with X509Source(sys.argv[1]) as source:
                if number % 2:
                    with source.subscribe(lambda _: None):
                        source.wait_ready(timeout=10)
                elif number % 3:
                    source.wait_ready(timeout=10)
                # else it is closed while it connects


        for number in range(300):
            round_of_life(number)
        gc.collect()
        threads, before = threading.active_count(), descriptors()
        memory, objects = resident(), len(gc.get_objects())
        for number in range(1000):
            round_of_life(number)
        grown = resident() - memory
        assert threading.active_count() == threads
        assert descriptors() == before
        assert len(gc.get_objects()) - objects < 100, len(gc.get_objects()) - objects
        print(grown, len(gc.get_objects()) - objects)
        """,
        api.endpoint,
        measured=False,  # a measurement of coverage grows by itself
    )
    until(lambda: api.connections == 0)
    assert int(printed.split()[0]) < 2 * 1024 * 1024, printed
