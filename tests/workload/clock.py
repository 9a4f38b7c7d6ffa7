"""Both clocks of a source, under a test's control."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from serviceradar_security.workload.live import system_clock
from serviceradar_security.workload.watch import Instant

START = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """Give the moment that the test says it is; an `X509Source` takes it as its ``clock``."""

    def __init__(self, wall: datetime = START) -> None:
        self.monotonic = 1000.0
        self.wall = wall

    def __call__(self) -> Instant:
        return Instant(self.monotonic, self.wall)

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)

    def set_wall(self, seconds: float) -> None:
        """Correct the wall clock alone, by so many seconds."""
        self.wall += timedelta(seconds=seconds)


class ShiftedClock:
    """Go as the system's clocks do, with jumps ahead that the test makes."""

    def __init__(self) -> None:
        self._shift = 0.0

    def __call__(self) -> Instant:
        now, shift = system_clock(), self._shift
        return Instant(now.monotonic + shift, now.wall + timedelta(seconds=shift))

    def advance(self, seconds: float) -> None:
        """Jump ahead."""
        self._shift += seconds
