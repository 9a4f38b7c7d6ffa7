from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.spiffe.agent import Agent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path for a socket, short enough for a socket's address."""
    with tempfile.TemporaryDirectory(prefix="jw-") as folder:
        yield Path(folder) / "agent.sock"


@pytest.fixture
def agent(socket_path: Path) -> Iterator[Agent]:
    """A Workload API that gives and validates JWT-SVIDs."""
    with Agent(socket_path) as served:
        yield served
