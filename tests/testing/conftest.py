"""A running fake and a channel to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.testing.client import (
    CORE,
    connected,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


@pytest.fixture
def api() -> Iterator[FakeWorkloadApi]:
    with FakeWorkloadApi([CORE]) as running:
        yield running


@pytest.fixture
def channel(api: FakeWorkloadApi) -> Iterator[grpc.Channel]:
    with connected(api) as opened:
        yield opened
