"""A sign of life: when a silent peer is asked for one, and when it is given up; no clock runs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.workload.keepalive import (
    PING_INTERVAL,
    PING_TIMEOUT,
    FirstAnswer,
    KeepAlive,
)

FIVE_MINUTES = 300.0  # what grpc-go and gRPC core ask for between two PINGs of a client


def made() -> KeepAlive:
    """Begin at 1000 s, with 10 s of silence allowed and 2 s for an answer."""
    return KeepAlive(interval=10.0, timeout=2.0, now=1000.0)


def test_the_defaults_offend_no_server() -> None:
    """By default PINGs are further apart than servers of gRPC ask for."""
    assert PING_INTERVAL >= FIVE_MINUTES * 1.1
    assert 1.0 <= PING_TIMEOUT < PING_INTERVAL


@pytest.mark.parametrize("at", [1000.0, 1009.999])
def test_not_yet(at: float) -> None:
    """Before the interval is over nothing is asked, and the wait is the rest of it."""
    alive = made()
    assert alive.wait(at) == pytest.approx(1010.0 - at)
    assert not alive.asks(at)
    assert not alive.lost(at)


def test_asked_once() -> None:
    """A silent peer is asked once, and waited for."""
    alive = made()
    assert alive.wait(1010.0) == 0.0
    assert alive.asks(1010.0)
    assert not alive.asks(1010.0)
    assert alive.wait(1010.0) == 2.0
    assert not alive.asks(1010.0)
    assert alive.wait(1010.5) == 1.5
    assert not alive.lost(1011.999)
    assert alive.lost(1012.0)
    assert alive.wait(1013.0) == 0.0


def test_the_time_for_an_answer_begins_with_the_wait() -> None:
    """A process that was suspended between its question and the wait does not blame its peer."""
    alive = made()
    assert alive.asks(1010.0)
    assert not alive.lost(5000.0)
    assert not alive.asks(5000.0)
    assert alive.wait(5000.0) == 2.0
    assert not alive.lost(5001.999)
    assert alive.lost(5002.0)


def test_a_first_answer_in_time() -> None:
    """Until the answer came the rest of its time is told; afterwards there is no hurry."""
    answer = FirstAnswer(timeout=3.0, most_bytes=10, now=1000.0)
    assert answer.left(1000.0) == 3.0
    assert answer.left(1002.5) == 0.5
    assert answer.left(1003.0) == 0.0
    assert answer.left(5000.0) == 0.0
    answer.came()
    assert answer.left(5000.0) is None
    assert not answer.talked_past(10**9, 5000.0)


def test_who_talks_and_never_answers() -> None:
    """Bytes count once the time is over, and as many as an answer may have are let pass."""
    answer = FirstAnswer(timeout=3.0, most_bytes=10, now=1000.0)
    assert not answer.talked_past(10**9, 1002.999)
    assert not answer.talked_past(6, 1003.0)
    assert not answer.talked_past(4, 1004.0)
    assert answer.talked_past(1, 1005.0)


def test_an_answer() -> None:
    """An answer in time begins a new interval."""
    alive = made()
    assert alive.asks(1010.0)
    alive.heard(1011.0)
    assert not alive.lost(1500.0)
    assert alive.wait(1011.0) == 10.0
    assert not alive.asks(1020.999)
    assert alive.asks(1021.0)


def test_any_byte_is_a_sign_of_life() -> None:
    """A peer that speaks is not asked."""
    alive = made()
    for second in range(1001, 1100):
        alive.heard(float(second))
        assert not alive.asks(second + 0.5)
        assert not alive.lost(second + 0.5)


def test_endless() -> None:
    """Without an interval nothing is ever asked."""
    alive = KeepAlive(interval=float("inf"), timeout=2.0, now=0.0)
    assert alive.wait(1e9) == float("inf")
    assert not alive.asks(1e9)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 400.0),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_two_questions_are_an_interval_apart(steps: list[tuple[float, bool]]) -> None:
    """Whatever is heard and when, PINGs are never closer than the interval; silence is found."""
    now = silent_since = 0.0
    alive = KeepAlive(interval=PING_INTERVAL, timeout=PING_TIMEOUT, now=now)
    asked: list[float] = []
    waiting = False
    for seconds, speaks in steps:
        now += seconds
        if speaks:
            alive.heard(now)
            silent_since, waiting = now, False
        assert alive.lost(now) == (waiting and now >= asked[-1] + PING_TIMEOUT)
        due = not waiting and now >= silent_since + PING_INTERVAL
        assert alive.asks(now) == due
        if due:
            asked.append(now)
            waiting = True
            assert alive.wait(now) == pytest.approx(PING_TIMEOUT)
    assert all(b - a > PING_INTERVAL - 0.001 for a, b in pairwise(asked))
