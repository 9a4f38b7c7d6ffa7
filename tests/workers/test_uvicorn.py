"""A source under uvicorn, opened and closed with the lifespan of each worker."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.workers.service import Service, serial
from tests.workload.peers import until

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def test_one_worker(api: FakeWorkloadApi, tmp_path: Path) -> None:
    """A single worker follows rotations, and closes its source before it ends."""
    with _service(1, api, tmp_path) as service:
        assert service.until_answers(1, serial(api)).keys() == {service.pid}
        api.rotate()
        service.until_answers(1, serial(api))
        assert api.connections == 1
        assert service.stop() in (0, -signal.SIGTERM)  # it ends by the signal that it was sent
        until(lambda: api.connections == 0)
    assert f"the source of {service.pid} is CLOSED" in service.output
    assert "Traceback" not in service.output


def test_workers(api: FakeWorkloadApi, tmp_path: Path) -> None:
    """Each of several workers has a source of its own; one that dies is replaced."""
    with _service(2, api, tmp_path) as service:
        first = service.until_answers(2, serial(api))
        until(lambda: api.connections == 2)  # none of the process that manages them
        api.rotate()
        assert service.until_answers(2, serial(api)).keys() == first.keys()

        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        second = service.until_answers(2, serial(api))
        assert second.keys() & first.keys() == first.keys() - {victim}

        assert service.stop() in (0, -signal.SIGTERM)
        until(lambda: api.connections == 0)
    for worker in second:
        assert f"the source of {worker} is CLOSED" in service.output
    assert "Traceback" not in service.output


def _service(workers: int, api: FakeWorkloadApi, folder: Path) -> Service:
    return Service(
        lambda listener: [
            "uvicorn",
            *("--workers", str(workers), "--fd", str(listener)),
            "tests.workers.asgi:application",
        ],
        endpoint=api.endpoint,
        log=folder / "log",
    )
