"""What is worth a line of the log, under a clock that the tests control."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from serviceradar_security.kv.log import Journal
from serviceradar_security.kv.status import KvDocument, KvState, KvStatus

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FOLLOWING = KvStatus(
    key="a.json",
    state=KvState.FOLLOWING,
    since=EPOCH,
    cause="",
    advice="",
    next_attempt=None,
    document=KvDocument.APPLIED,
    updates=1,
    refused=0,
    refusal="",
    refused_paths=(),
    last_refusal=None,
    last_update=EPOCH,
    last_contact=EPOCH,
)


def become(state: KvState, *, cause: str = "", refused: int = 0) -> KvStatus:
    """Give a record in another state."""
    return replace(FOLLOWING, state=state, cause=cause, refused=refused)


@pytest.mark.parametrize(
    ("state", "cause", "died", "level"),
    [
        (KvState.STARTING, "", False, logging.INFO),
        (KvState.ABSENT, "no document", False, logging.INFO),
        (KvState.REFUSED, "no", False, logging.WARNING),
        (KvState.OUTAGE, "gone", False, logging.WARNING),
        (KvState.DENIED, "no", False, logging.WARNING),
        (KvState.CLOSED, "", False, logging.INFO),
        (KvState.CLOSED, "no channel", False, logging.WARNING),
        (KvState.CLOSED, "SystemExit", True, logging.ERROR),
    ],
)
def test_how_grave_it_is(state: KvState, cause: str, died: bool, level: int) -> None:
    """Only an owner's close is no warning among the ends, and a dead thread is an error."""
    line = Journal().line(FOLLOWING, become(state, cause=cause), 0.0, died=died)
    assert line is not None
    assert line.level == level
    assert line.text == f"KV overlay a.json is {state.value}{': ' if cause else ''}{cause}"


def test_nothing_new_is_no_line() -> None:
    """A record with the same state and no refusal says nothing."""
    assert Journal().line(FOLLOWING, replace(FOLLOWING, updates=2), 0.0) is None


def test_refusals_are_told_ever_more_rarely_and_counted() -> None:
    """Of 20 a second for ten minutes a few get a line, each with the number of the others."""
    journal, record = Journal(), FOLLOWING
    said: list[tuple[float, int]] = []
    for number in range(12_000):
        now = number / 20
        new = become(KvState.REFUSED, cause="no", refused=number + 1)
        line = journal.line(record, new, now)
        record = new
        if line is not None:
            said.append((now, line.extra["unsaid"]))
            more = line.extra["unsaid"]
            assert (f"({more} more were refused since" in line.text) == (more > 0)
    assert [now for now, _ in said[:8]] == pytest.approx([0, 1, 3, 7, 15, 31, 63, 123], abs=0.5)
    assert len(said) <= 8 + 600 / 60
    last = round(said[-1][0] * 20)
    assert sum(more for _, more in said) + len(said) == last + 1


def test_a_refusal_after_a_calm_is_told_at_once() -> None:
    """Then the waits begin anew."""
    journal = Journal()
    one, two, three = (become(KvState.REFUSED, refused=n) for n in (1, 2, 3))
    assert journal.line(FOLLOWING, one, 0.0) is not None
    assert journal.line(one, two, 100.0) is not None
    assert journal.line(two, three, 101.0) is not None


def test_a_transition_is_always_told() -> None:
    """A state that is new gets its line, and with it what was not said before."""
    journal = Journal()
    one, two = (become(KvState.REFUSED, refused=n) for n in (1, 2))
    assert journal.line(FOLLOWING, one, 0.0) is not None
    assert journal.line(one, two, 0.1) is None
    line = journal.line(two, become(KvState.FOLLOWING, refused=2), 0.2)
    assert line is not None
    assert line.text.endswith("is FOLLOWING (1 more were refused since the last line)")


def test_a_line_is_short_whatever_a_document_holds() -> None:
    """Of many paths and long words the first are shown, with how many there are."""
    huge = replace(
        become(KvState.REFUSED, cause="c" * 300_000, refused=1),
        refused_paths=tuple("p" * 1000 + str(number) for number in range(9000)),
    )
    line = Journal().line(FOLLOWING, huge, 0.0)
    assert line is not None
    assert len(line.text) < 4100
    assert len(line.extra["paths"]) == 20
    assert line.extra["path_count"] == 9000
    assert max(map(len, line.extra["paths"])) <= 203
