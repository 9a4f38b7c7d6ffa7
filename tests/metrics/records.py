"""Records of sources, and sources that give what a test says."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from serviceradar_security import SpiffeId
from serviceradar_security.workload.watch import SourceStatus, State

START = datetime(2030, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=1)
SOON = START + timedelta(seconds=5)
ID = SpiffeId.parse("spiffe://a.test/web")

READY = SourceStatus(
    state=State.READY,
    since=START,
    cause="",
    advice="",
    next_attempt=None,
    spiffe_id=ID,
    not_after=END,
    updates=3,
    rejected=2,
    failures={"ended": 4, "denied": 1},
    last_update=START + timedelta(seconds=2),
)


def record(**changes: Any) -> SourceStatus:
    """Give the record of a good source, with changes."""
    return dataclasses.replace(READY, **changes)


class Told:
    """A source whose record, or failure to give one, is set by the test; counts its readers."""

    def __init__(self, answer: SourceStatus | Exception = READY) -> None:
        self.answer = answer
        self.reads = 0

    def status(self) -> SourceStatus:
        """Give the record, or raise."""
        self.reads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer
