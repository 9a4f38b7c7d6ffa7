"""Measure two things in turn, so that a drifting machine is fair to both."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        what: What was measured.
        against: The baseline.
        ours: Median seconds of ours per operation.
        theirs: Median seconds of the baseline per operation.
        ratio: Median of the rounds' ratios of speed: above 1, ours is faster.
    """

    what: str
    against: str
    ours: float
    theirs: float
    ratio: float


def compare(
    what: str,
    ours: Callable[[], None],
    against: str,
    theirs: Callable[[], None],
    *,
    number: int,
    rounds: int = 9,
) -> Row:
    """Run both `number` times in each of the rounds, in alternating order."""
    ours()
    theirs()
    pairs = []
    for index in range(rounds):
        if index % 2:
            second = _seconds(theirs, number)
            pairs.append((_seconds(ours, number), second))
        else:
            pairs.append((_seconds(ours, number), _seconds(theirs, number)))
    return Row(
        what,
        against,
        statistics.median(mine for mine, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(other / mine for mine, other in pairs),
    )


def _seconds(run: Callable[[], None], number: int) -> float:
    began = time.perf_counter()
    for _ in range(number):
        run()
    return (time.perf_counter() - began) / number
