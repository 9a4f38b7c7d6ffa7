"""A source in the pools of `multiprocessing` and `concurrent.futures`, by each way of starting."""

from __future__ import annotations

import pytest

from tests.workload.scripts import run

METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
def test_pool(method: str) -> None:
    """Each process of a pool follows rotations by itself, whoever imported the module first."""
    run(
        """
        method = multiprocessing.get_context(sys.argv[1])
        with FakeWorkloadApi([ID]) as api:
            os.environ["SPIFFE_ENDPOINT_SOCKET"] = api.endpoint
            if sys.argv[1] == "fork":
                from tests.workers import inherited

                inherited.source.wait_ready(timeout=10)
            elif sys.argv[1] == "forkserver":
                method.set_forkserver_preload(["tests.workers.inherited"])
            with method.Manager() as manager, method.Pool(2) as pool:
                from tests.workers import inherited

                together = manager.Barrier(2)
                for _ in range(3):
                    (svid,) = api.rotate()
                    serial = str(svid.leaf.serial_number)
                    jobs = pool.starmap_async(inherited.follow, [(serial, together)] * 2, 1)
                    results = jobs.get(timeout=60)
                    workers = {worker for worker, _, _ in results}
                    assert len(workers) == 2, results
                    assert [seen for _, _, seen in results] == [serial] * 2, results
                    openers = {opener for _, opener, _ in results}
                    if sys.argv[1] == "spawn":
                        assert openers == workers  # each imports for itself
                    elif sys.argv[1] == "fork":
                        assert openers == {os.getpid()}
                    else:
                        assert len(openers) == 1 and not openers & {*workers, os.getpid()}
            inherited.source.close()
            until(lambda: not multiprocessing.active_children())
        """,
        method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_source_as_an_argument(method: str) -> None:
    """A source that would be pickled for another process is refused with what to do instead."""
    run(
        """
        from concurrent.futures import ProcessPoolExecutor

        with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
            os.environ["SPIFFE_ENDPOINT_SOCKET"] = api.endpoint
            from tests.workers import inherited

            context = multiprocessing.get_context(sys.argv[1])
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                error = pool.submit(inherited.use, source).exception(timeout=60)
                assert isinstance(error, TypeError), error
                assert "in the process that uses it" in str(error), error
                serial = str(api.svids[0].leaf.serial_number)
                result = pool.submit(inherited.follow, serial).result(timeout=60)
                assert result[2] == serial, result
            inherited.source.close()
            assert source.wait_ready(timeout=10)
        """,
        method,
    )
