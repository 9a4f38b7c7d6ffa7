from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.workload.identity_files import Folder
from tests.workload.material import ID

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[FakeWorkloadApi]:
    """A Workload API that serves one identity."""
    with FakeWorkloadApi([ID]) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    """A folder with files of an identity: the first of the row that the module names as FIRST."""
    made = Folder(tmp_path / "identity")
    made.write(request.module.FIRST(1))
    return made


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path for a socket, short enough for a socket's address."""
    with tempfile.TemporaryDirectory(prefix="wl-") as folder:
        yield Path(folder) / "agent.sock"
