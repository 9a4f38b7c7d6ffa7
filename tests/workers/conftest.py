from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.workload.material import ID

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[FakeWorkloadApi]:
    """A Workload API that serves one identity."""
    with FakeWorkloadApi([ID]) as served:
        yield served
