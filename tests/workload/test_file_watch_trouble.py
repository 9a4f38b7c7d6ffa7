"""Trouble with files: what is worth a word, from when on, and how it is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from serviceradar_security import SourceError, X509Context
from serviceradar_security.workload.file_reading import FileProblem, FileSnapshot
from serviceradar_security.workload.watch import State
from tests.workload.file_bench import (
    BROKEN,
    DOUBTFUL,
    GRACE,
    INTERVAL,
    LIFE,
    MISSING,
    SITUATIONS,
    Bench,
    doubted,
    lasting,
    situation,
)


def test_passing_problem() -> None:
    """A problem that is over a moment later is worth no word while the identity is valid."""
    bench = situation("ready")
    before = bench.status()
    for left in (GRACE, GRACE / 2, GRACE / 4):  # a look that is asked for meanwhile changes nothing
        bench.look(BROKEN)
        assert bench.status() == before
        assert bench.delay() == left
        bench.clock.advance(left / 2)
    bench.look(lasting(LIFE, name="db"))
    assert bench.status().state is State.READY
    assert bench.status().rejected == 0
    bench.look(MISSING)
    assert bench.status().rejected == 0


@pytest.mark.parametrize("problems", [[BROKEN, BROKEN], [BROKEN, MISSING], [lasting(-5)] * 2])
def test_lasting_problem(problems: list[FileProblem | FileSnapshot[X509Context]]) -> None:
    """A lasting problem degrades a valid identity, which stays until its end (R-WLAPI-25)."""
    bench = situation("ready")
    for each in problems:
        assert bench.status().state is State.READY
        assert not bench.look(each)
        bench.clock.advance(GRACE)
    bench.clock.advance(-GRACE)
    status = bench.status()
    assert status.state is State.DEGRADED
    assert status.since == bench.clock.wall
    assert status.rejected == 1
    assert bench.context() == lasting(LIFE).context
    bench.clock.advance(LIFE - GRACE - 0.001)
    assert bench.context() == lasting(LIFE).context
    bench.clock.advance(0.001)
    assert bench.status().state is State.EXPIRED
    with pytest.raises(SourceError, match="has expired"):
        bench.context()


def test_refusals_are_counted_once() -> None:
    """The same problem counts once, and again when another came in between."""
    bench = Bench()
    for number, problem in ((1, BROKEN), (1, BROKEN), (2, MISSING), (3, BROKEN), (3, BROKEN)):
        bench.look(problem)
        assert bench.status().rejected == number


@pytest.mark.parametrize("name", ["missing", "broken", "too late"])
def test_looks_become_rarer(name: str) -> None:
    """Files that stay unusable are looked at soon, then less and less often, to the interval."""
    bench = Bench()
    delays = []
    for _ in range(8):
        SITUATIONS[name][0](bench)
        delays.append(bench.delay())
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert bench.status().next_attempt == bench.clock.wall + timedelta(seconds=5)


def test_clearing_a_problem() -> None:
    """The set in force read again, after a problem, is well and no update."""
    bench = situation("degraded")
    assert not bench.look(lasting(LIFE))
    status = bench.status()
    assert (status.state, status.updates, status.cause) == (State.READY, 1, "")


def test_a_doubt_is_in_the_record() -> None:
    """An identity that its bundle does not prove serves, and the record says so (R-X509-29)."""
    bench = Bench()
    assert bench.look(doubted(lasting(LIFE)))
    status = bench.status()
    assert (status.state, status.cause) == (State.DEGRADED, DOUBTFUL.text)
    assert (status.advice, status.rejected, status.failures) == (DOUBTFUL.advice, 0, {})
    assert bench.context() == lasting(LIFE).context
    assert bench.delay() == INTERVAL
    assert not bench.look(lasting(LIFE))
    assert bench.status().state is State.READY


def test_a_doubt_of_a_moment() -> None:
    """A bundle that is written after its certificate is late for a moment, and no word is lost."""
    bench = situation("ready")
    assert bench.look(doubted(lasting(LIFE + 1)))
    assert bench.status().state is State.READY
    assert bench.delay() == 0.2
    assert bench.look(lasting(LIFE + 2))
    assert bench.status().state is State.READY
    assert bench.look(doubted(lasting(LIFE + 3)))
    bench.clock.advance(GRACE)
    assert not bench.look(doubted(lasting(LIFE + 3)))
    assert bench.status().state is State.DEGRADED
    assert bench.delay() == INTERVAL


WRITES: Final = [
    pytest.param([BROKEN, lasting(LIFE + 1)], id="key after certificate"),
    pytest.param([MISSING, BROKEN, lasting(LIFE + 1)], id="two refusals"),
    pytest.param([doubted(lasting(LIFE + 1)), lasting(LIFE + 2)], id="bundle after both"),
    pytest.param(
        [BROKEN, doubted(lasting(LIFE + 1)), lasting(LIFE + 2)], id="each after the other"
    ),
]


@pytest.mark.parametrize("pause", [0.01, 0.05, 0.099, 0.199])
@pytest.mark.parametrize("interval", [0.001, 0.02, 0.1, 0.2, 0.3, INTERVAL])
@pytest.mark.parametrize("readings", WRITES)
def test_files_one_after_the_other(
    readings: list[FileProblem | FileSnapshot[X509Context]],
    interval: float,
    pause: float,
) -> None:
    """Files of which each follows the one before within 0.2 s are no trouble, at any interval."""
    if readings[:2] == [MISSING, BROKEN]:
        pause /= 2  # both before the key is there
    bench = Bench(interval)
    bench.look(lasting(LIFE))
    begin = bench.clock.monotonic
    for _ in range(len(readings) + 1):
        written = int((bench.clock.monotonic - begin) / pause)
        bench.look(readings[min(written, len(readings) - 1)])
        assert bench.status().state is State.READY
        bench.clock.advance(bench.delay())
    assert bench.context() is _context(readings[-1])
    assert (bench.status().rejected, bench.status().failures) == (0, {})


def _context(reading: FileProblem | FileSnapshot[X509Context]) -> X509Context:
    assert isinstance(reading, FileSnapshot)
    return reading.context


@pytest.mark.parametrize("interval", [0.001, 0.02, 0.1, 0.2, 0.3, INTERVAL])
@pytest.mark.parametrize("kind", ["refusal", "doubt", "doubts that differ"])
def test_trouble_that_lasts_is_told_in_time(kind: str, interval: float) -> None:
    """Trouble that is there 0.2 s later is told then, and not later, be its text another each time."""
    bench = Bench(interval)
    bench.look(lasting(LIFE))
    for number in range(2):
        assert bench.status().state is State.READY
        doubt = replace(DOUBTFUL, text=f"{number} s") if "differ" in kind else DOUBTFUL
        bench.look(BROKEN if kind == "refusal" else replace(lasting(LIFE), doubt=doubt))
        if not number:
            assert bench.delay() == GRACE
            bench.clock.advance(GRACE)
    assert bench.status().state is State.DEGRADED


def test_counts() -> None:
    """Failed looks are counted by kind, and the record knows when the last new set came."""
    bench = Bench()
    assert (bench.status().failures, bench.status().last_update) == ({}, None)
    for problem in (MISSING, MISSING, BROKEN):
        bench.look(problem)
    assert bench.status().failures == {"unreadable": 2, "unusable": 1}
    bench.clock.advance(7)
    bench.look(lasting(LIFE))
    assert bench.status().last_update == bench.clock.wall
    before = bench.clock.wall
    bench.clock.advance(7)
    bench.look(lasting(LIFE))
    bench.look(MISSING)  # the first one is worth no word while all is well
    status = bench.status()
    assert (status.failures, status.last_update) == ({"unreadable": 2, "unusable": 1}, before)
    bench.clock.advance(GRACE)
    bench.look(MISSING)
    assert bench.status().failures == {"unreadable": 3, "unusable": 1}
