"""Sources that nobody closes, ends of secondary identities, and deadlines beyond every clock."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security import ConfigError, X509Source
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from tests.workload.clock import Clock
from tests.workload.peers import until

if TYPE_CHECKING:
    from serviceradar_security import X509Context

ID = "spiffe://example.org/web"


def workers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "workload" in each.name]


def test_a_source_that_is_dropped_takes_its_thread_with_it() -> None:
    """Whoever forgets to close a source leaves no thread and no connection behind."""
    with FakeWorkloadApi([ID]) as api:
        before = len(workers())
        source = X509Source(api.endpoint).open()
        source.wait_ready(timeout=10)
        assert len(workers()) == before + 1

        del source
        gc.collect()

        until(lambda: len(workers()) == before)
        until(lambda: api.connections == 0)


@pytest.mark.parametrize(
    "timeout", [10**400, -(10**400), float("inf"), float("nan"), "5", None, 1e10]
)
def test_a_deadline_that_no_clock_reaches(timeout: Any) -> None:
    """A deadline is a number of seconds that comes; anything else is refused as such."""
    with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
        with pytest.raises(ConfigError, match="timeout"):
            source.wait_ready(timeout=timeout)
        with pytest.raises(ConfigError, match="timeout"):
            asyncio.run(source.wait_ready_async(timeout=timeout))


def test_subscribers_hear_of_the_end_of_a_secondary_identity() -> None:
    """They are given what `current` gives: without an SVID that has ended, and when it ends."""
    clock = Clock()
    authority = FakeAuthority("example.org", now=lambda: clock.wall)
    served = [
        authority.issue(ID),
        authority.issue("spiffe://example.org/old", not_after=clock.wall - timedelta(seconds=5)),
        authority.issue("spiffe://example.org/db", not_after=clock.wall + timedelta(seconds=50)),
    ]
    heard: SimpleQueue[X509Context] = SimpleQueue()
    with (
        FakeWorkloadApi(served, authority=authority) as api,
        X509Source(api.endpoint, clock=clock) as source,
    ):
        source.wait_ready(timeout=10)
        with source.subscribe(heard.put):
            api.send(b"junk")  # wakes the thread, which looks at the clock
            until(lambda: source.status().rejected == 1)
            assert [each.spiffe_id.path for each in source.current().svids] == ["/web", "/db"]
            clock.advance(60)
            api.send(b"junk")
            assert [each.spiffe_id.path for each in heard.get(timeout=10).svids] == ["/web"]
            assert [each.spiffe_id.path for each in source.current().svids] == ["/web"]
