"""An identity of ten seconds for a long time: every rotation is seen, and nothing grows.

``SOAK_SECONDS`` says for how long, 60 if it is not set. What was counted is printed at the end
(``pytest -s``).
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import X509Source
from tests.realparts.spire import Spire
from tests.spire.outage import DEADLINE, WEB, Traffic, Witness, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security import X509Context

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
LIFE = 10
SAMPLES = 40
# Between the medians of the second and of the last quarter.
ALLOWED = {"threads": 2.0, "descriptors": 4.0, "mebibytes": 8.0}


@dataclass(frozen=True)
class Sample:
    """What this process uses."""

    threads: int
    descriptors: int
    mebibytes: float

    @classmethod
    def now(cls) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            threads=len(list(Path("/proc/self/task").iterdir())),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            mebibytes=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        )


def growth(samples: list[Sample], name: str) -> float:
    """Return how much more there is in the last quarter than in the second."""
    quarter = len(samples) // 4
    values = [float(getattr(each, name)) for each in samples]
    early, late = values[quarter : 2 * quarter], values[-quarter:]
    return statistics.median(late) - statistics.median(early)


@pytest.mark.spire
@pytest.mark.timeout(SECONDS + 120)
def test_every_rotation_is_seen_and_nothing_grows() -> None:
    """With SVIDs of 10 s under calls, each one that comes is seen, no call fails, nothing grows."""
    with Spire(default_x509_svid_ttl=LIFE) as spire:
        entry = spire.create_entry(str(WEB), wait=DEADLINE)
        seen: set[int] = set()

        def see(context: X509Context) -> None:
            seen.add(context.default.leaf.serial_number)

        def missed() -> int:
            return spire.agent.answers(os.getpid()) - source.status().updates

        with X509Source(spire.endpoint) as source:
            see(source.wait_ready(timeout=DEADLINE))
            held = spire.agent.renewals(entry)
            with source.subscribe(see), Witness(source) as witness, Traffic(source) as traffic:
                traffic.await_success(since=0.0)
                samples = _sample_for(SECONDS, beat=traffic.await_calls)
                until(lambda: missed() == 0, "what the agent has sent has come")
                until(lambda: len(seen) == source.status().updates, "and is told")
                status = source.status()
                renewed = spire.agent.renewals(entry) - held
            calls, failed = traffic.made, traffic.failures

    first, middle, last = samples[0], samples[len(samples) // 2], samples[-1]
    sys.stdout.write(
        f"\n{SECONDS:g} s: {renewed} renewals by the agent, {status.updates} SVIDs sent and seen,"
        f" {len(seen)} told, {calls} calls, {len(failed)} failed\n"
        f"  begin  {first}\n  middle {middle}\n  end    {last}\n"
    )
    assert status.rejected == 0
    # A second may pass between the two counts, and an agent in a hurry may send the newest only.
    assert abs(renewed + 1 - status.updates) <= 1 + renewed // 20
    assert renewed >= SECONDS / LIFE
    assert [(each.state, each.text) for each in witness.heard] == []
    assert witness.expired_given == []
    assert failed == []
    found = {name: growth(samples, name) for name in ALLOWED}
    assert {name: by for name, by in found.items() if by > ALLOWED[name]} == {}


def _sample_for(seconds: float, *, beat: Callable[[], None]) -> list[Sample]:
    """Take samples at even distances, while calls go on."""
    begin = time.monotonic()
    samples = [Sample.now()]
    while (gone := time.monotonic() - begin) < seconds:
        if gone >= seconds * len(samples) / SAMPLES:
            samples.append(Sample.now())
        beat()
    samples.append(Sample.now())
    return samples
