"""Forks: the child of a process that follows the store says clearly that nothing is followed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kv.conftest import Store

ROOT = Path(__file__).resolve().parents[2]


def test_a_forked_child_is_told(plain_store: tuple[Store, str]) -> None:
    """Its state is FORKED, uses are refused with a remedy, close returns; the parent goes on."""
    _, target = plain_store
    done = subprocess.run(
        [sys.executable, "-m", "tests.kv.fork_child", target],
        cwd=ROOT,
        # gRPC core's own fork handlers are not to be relied on, as docs/processes.md says.
        env={**os.environ, "PYTHONPATH": str(ROOT), "GRPC_ENABLE_FORK_SUPPORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in said] == [
        "parent",
        "state",
        "refused",
        "refused",
        "closed",
        "after",
    ], done.stdout + done.stderr
    assert said[0] == "parent ABSENT"
    assert said[1] == "state FORKED"
    assert all("forked" in line and "spawn" in line for line in said[2:4])
    assert said[4] == "closed KvOverlay('config/a.json', FORKED)"
    assert said[5] == "after ABSENT 0"
