"""Observers: what they are told, in which order, and that none is in the way."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.metrics import NullObserver, ObserverGroup, Relay
from serviceradar_security.workload.failure import Failure, Kind
from serviceradar_security.workload.watch import Instant, State, Watch
from tests.metrics.records import READY, record
from tests.workload.material import context_until

if TYPE_CHECKING:
    import pytest

    from serviceradar_security.metrics import SourceObserver
    from serviceradar_security.workload.watch import SourceStatus

GONE = Failure(Kind.UNREACHABLE, "nobody listens")
START = datetime(2030, 1, 1, tzinfo=UTC)
CONTEXTS = [context_until(100, start=START), context_until(200, start=START)]
METHODS = ("transition", "update", "rejection", "failure")


class Recorder:
    """Keep what is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def transition(self, before: State, status: SourceStatus) -> None:
        self.heard.append(("transition", before, status.state))

    def update(self, status: SourceStatus) -> None:
        self.heard.append(("update", status.updates))

    def rejection(self, status: SourceStatus) -> None:
        self.heard.append(("rejection", status.rejected))

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        self.heard.append(("failure", failure.kind))

    def of(self, method: str) -> list[tuple[Any, ...]]:
        """Give what one method was told."""
        return [tuple(rest) for name, *rest in self.heard if name == method]


class Raiser:
    """Raise in every method."""

    def transition(self, before: State, status: SourceStatus) -> None:
        raise ZeroDivisionError("transition")

    def update(self, status: SourceStatus) -> None:
        raise ZeroDivisionError("update")

    def rejection(self, status: SourceStatus) -> None:
        raise ZeroDivisionError("rejection")

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        raise ZeroDivisionError("failure")


def tell_all(observer: SourceObserver) -> None:
    """Call each method once."""
    observer.transition(State.STARTING, READY)
    observer.update(READY)
    observer.rejection(READY)
    observer.failure(GONE, READY)


class Shell:
    """Drive a watch as the thread of a source does, with a relay behind it."""

    def __init__(self, observer: SourceObserver) -> None:
        self.now = Instant(1000.0, START)
        self.watch = Watch(
            endpoint="unix:///a.sock",
            redaction_grace=60.0,
            random=lambda: 0.5,
            now=self.now,
        )
        self.relay = Relay(observer, self.watch.status(self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        wall = self.now.wall + timedelta(seconds=seconds)
        self.now = Instant(self.now.monotonic + seconds, wall)

    def event(self, name: str, *arguments: Any) -> None:
        """Pass an event to the watch, and the record after it to the relay."""
        getattr(self.watch, name)(*arguments, self.now)
        failure = arguments[0] if name == "failed" else None
        self.relay.note(self.watch.status(self.now), failure=failure)


def test_a_life() -> None:
    """An observer hears the life of a source in order: causes before the state they lead to."""
    recorder = Recorder()
    shell = Shell(recorder)

    shell.event("failed", GONE)
    shell.event("failed", GONE)
    shell.event("opened")
    shell.event("delivered", CONTEXTS[0])
    shell.event("delivered", CONTEXTS[0])
    shell.event("delivered", CONTEXTS[1])
    shell.event("rejected", "not a message")
    shell.advance(500)
    shell.event("ticked")
    shell.event("closed")
    shell.relay.deliver()

    assert recorder.heard == [
        ("failure", Kind.UNREACHABLE),
        ("transition", State.STARTING, State.NO_AGENT),
        ("failure", Kind.UNREACHABLE),
        ("update", 1),
        ("transition", State.NO_AGENT, State.READY),
        ("update", 2),
        ("rejection", 1),
        ("transition", State.READY, State.DEGRADED),
        ("transition", State.DEGRADED, State.EXPIRED),
        ("transition", State.EXPIRED, State.CLOSED),
    ]


EVENTS = st.one_of(
    st.tuples(st.just("opened")),
    st.tuples(st.just("ticked")),
    st.tuples(st.just("closed")),
    st.tuples(st.just("delivered"), st.sampled_from(CONTEXTS)),
    st.tuples(st.just("rejected"), st.just("not a message")),
    st.tuples(st.just("failed"), st.builds(Failure, st.sampled_from(Kind), st.just("text"))),
)


@given(st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 1.0, 70.0]))))
def test_any_life(life: list[tuple[tuple[Any, ...], float]]) -> None:
    """What is heard adds up to the last record, whatever happened and whenever it is delivered."""
    recorder = Recorder()
    shell = Shell(recorder)
    for event, pause in life:
        shell.event(*event)
        shell.advance(pause)
        if pause:
            shell.relay.deliver()
    shell.relay.deliver()
    last = shell.relay._last

    assert len(recorder.of("update")) == last.updates
    assert len(recorder.of("rejection")) == last.rejected
    assert len(recorder.of("failure")) == sum(event[0] == "failed" for event, _ in life)
    states = [State.STARTING]
    for before, after in recorder.of("transition"):
        assert before is states[-1]
        assert after is not before
        states.append(after)
    assert states[-1] is last.state


def test_note_calls_nobody() -> None:
    """Events wait until they are delivered, and are told once."""
    recorder = Recorder()
    relay = Relay(recorder, READY)
    relay.note(record(state=State.DEGRADED))
    assert recorder.heard == []
    relay.deliver()
    relay.deliver()
    assert recorder.heard == [("transition", State.READY, State.DEGRADED)]


def test_what_waits_is_bounded() -> None:
    """Events that nobody takes do not pile up for ever: the newest 1000 are kept."""
    recorder = Recorder()
    relay = Relay(recorder, record(updates=0))
    for updates in range(1, 1501):
        relay.note(record(updates=updates))
    relay.deliver()
    assert recorder.heard == [("update", number) for number in range(501, 1501)]


def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Others are told, the caller sees nothing, and each method's failure is logged once."""
    before, after = Recorder(), Recorder()
    group = ObserverGroup(before, Raiser(), after)
    caplog.set_level(logging.DEBUG, "serviceradar_security.metrics")

    for _ in range(3):
        tell_all(group)

    assert before.heard == after.heard
    assert [name for name, *_ in after.heard] == [*METHODS] * 3
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.args for each in errors] == [(method,) for method in METHODS]
    assert all(each.exc_info for each in errors)
    assert len(caplog.records) == 3 * len(METHODS)


def test_a_relay_goes_on_behind_an_observer_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """An event whose observer raised is past, and the next ones are told."""
    shell = Shell(Raiser())
    shell.event("failed", GONE)
    shell.event("delivered", CONTEXTS[0])
    shell.relay.deliver()
    told = [each.args for each in caplog.records]
    assert told == [("failure",), ("transition",), ("update",)]


def test_only_what_is_cared_for(caplog: pytest.LogCaptureFixture) -> None:
    """The base ignores every event, and a class on top of it hears what it overrides."""

    class Updates(NullObserver):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def update(self, status: SourceStatus) -> None:
            self.seen.append(status.updates)

    updates = Updates()
    tell_all(ObserverGroup(NullObserver(), updates))
    assert updates.seen == [READY.updates]
    assert not caplog.records
    assert repr(ObserverGroup()) == "ObserverGroup()"
