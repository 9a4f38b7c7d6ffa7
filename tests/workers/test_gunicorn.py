"""A source under gunicorn, opened before its workers are forked."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.workers.service import Service, serial
from tests.workload.peers import until

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.testing.workload_api import FakeWorkloadApi


@pytest.mark.parametrize("kind", [["sync"], ["gthread", "--threads", "2"]], ids=lambda k: k[0])
def test_gunicorn(kind: list[str], api: FakeWorkloadApi, tmp_path: Path) -> None:
    """Each worker starts afresh, follows rotations, and is replaced by one that does the same."""

    def arguments(listener: int) -> list[str]:
        options = ["--preload", "--workers", "2", "--bind", f"fd://{listener}", "--worker-class"]
        return [
            "gunicorn",
            "--no-control-socket",
            *options,
            *kind,
            "tests.workers.wsgi:application",
        ]

    with Service(arguments, endpoint=api.endpoint, log=tmp_path / "log") as service:
        first = service.until_answers(2, serial(api))
        # The parent's own source goes on beside theirs.
        assert {each.opened_by for each in first.values()} == {service.pid}
        assert service.pid not in first
        until(lambda: api.connections == 3)

        api.rotate()
        assert service.until_answers(2, serial(api)).keys() == first.keys()

        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        second = service.until_answers(2, serial(api))
        assert second.keys() & first.keys() == first.keys() - {victim}
        until(lambda: api.connections == 3)
        api.rotate()
        assert service.until_answers(2, serial(api)).keys() == second.keys()

        assert service.stop() == 0
        until(lambda: api.connections == 0)
    assert "Traceback" not in service.output
