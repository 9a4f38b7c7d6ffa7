"""A test of a service with a SPIFFE identity: its fixtures come with the installed library."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serviceradar_security import X509Context, X509Source
    from serviceradar_security.testing import FakeWorkloadApi


def test_a_rotation_arrives(
    spiffe_workload_api: FakeWorkloadApi,
    spiffe_source: X509Source,
) -> None:
    """The service learns of its new identity while it runs."""
    seen: queue.Queue[X509Context] = queue.Queue()
    with spiffe_source.subscribe(seen.put):
        (renewed,) = spiffe_workload_api.rotate()
        assert seen.get(timeout=5).default == renewed
