"""The machine under any sequence of events: what holds always."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.kv.events import (
    Answered,
    Apply,
    Ask,
    Closed,
    Drop,
    Ended,
    Event,
    Failed,
    Follow,
    Started,
    Tick,
    Told,
    Unreadable,
)
from serviceradar_security.kv.failure import Failure, Kind
from serviceradar_security.kv.status import KvDocument, KvState, KvStatus
from tests.kv.test_machine import Drive

VALUES = [b"{}", b'{"a": 1}', b"", b"x" * 101]
FAILURES = st.builds(Failure, st.sampled_from(Kind), st.just("why"))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Answered, st.sampled_from([*VALUES, None])),
    st.builds(Told, st.sampled_from(VALUES)),
    st.builds(Failed, FAILURES),
    st.builds(Ended, FAILURES),
    st.just(Unreadable("no message")),
    st.just(Tick()),
    st.just(Started()),
)
STEPS = st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.1, 1.0, 6.0, 100.0])), max_size=60)


class World:
    """The calls that a machine makes: which are open, and whether it asks for what it may."""

    def __init__(self) -> None:
        self.question = False
        self.stream = False

    def allows(self, event: Event) -> bool:
        """Tell whether the event can happen now: nobody answers what was not asked."""
        if isinstance(event, Answered | Failed):
            return self.question
        if isinstance(event, Told | Ended | Unreadable):
            return self.stream
        return True

    def happen(self, event: Event) -> None:
        """Note what the event ends."""
        if isinstance(event, Answered | Failed):
            self.question = False
        if isinstance(event, Ended):
            self.stream = False

    def act(self, action: object) -> None:
        """Do what the machine wants; never two of one kind are open."""
        if isinstance(action, Ask):
            assert not self.question
            self.question = True
        elif isinstance(action, Follow):
            assert not self.stream
            self.stream = True
        elif isinstance(action, Drop):
            self.question = self.stream = False


def check_record(status: KvStatus, world: World, in_force: bytes | None) -> None:
    """Compare a record with what is open and in force."""
    assert (status.next_attempt is None) == (world.question or world.stream)
    if status.document is KvDocument.APPLIED:
        assert in_force is not None
    if status.document is KvDocument.ABSENT:
        assert in_force is None
    if status.state in (KvState.OUTAGE, KvState.DENIED, KvState.REFUSED):
        assert status.cause
        assert status.advice
    if status.state is KvState.FOLLOWING:
        assert (status.document, status.cause) == (KvDocument.APPLIED, "")
    assert (status.refused > 0) == bool(status.refusal)
    if status.next_apply is not None:
        assert status.document is KvDocument.REFUSED


@settings(max_examples=300, deadline=None)
@given(
    steps=STEPS,
    refusing=st.lists(st.booleans(), min_size=60, max_size=60),
    passing=st.booleans(),
)
def test_whatever_happens(
    steps: list[tuple[Event, float]], refusing: list[bool], passing: bool
) -> None:
    """One question and one stream at most; it never stalls, and its record fits what was applied."""
    drive, world = Drive(passing=passing), World()
    for action in drive.step(Started()):
        world.act(action)
    in_force: bytes | None = None
    for (event, passed), refuse in zip(steps, refusing, strict=False):
        drive.time += passed
        drive.refusing = refuse
        if not world.allows(event):
            continue
        world.happen(event)
        for action in drive.step(event):
            world.act(action)
            if isinstance(action, Apply) and not refuse:
                in_force = action.document
        # It can always go on: an open question ends by its deadline, all else by a tick.
        assert world.question or drive.machine.wake_at is not None
        check_record(drive.machine.status(), world, in_force)
    for action in drive.step(Closed()):
        world.act(action)
    assert not world.question
    assert not world.stream
    assert drive.step(Tick(), Started(), Answered(b"{}")) == ()


@settings(max_examples=100, deadline=None)
@given(outcomes=st.lists(st.one_of(FAILURES, st.sampled_from(VALUES)), min_size=1, max_size=20))
def test_no_server_makes_a_hot_loop(outcomes: list[Failure | bytes]) -> None:
    """Whatever a server does at once to each question and each stream, questions are bounded."""
    drive = Drive(random=0.0)  # the shortest waits
    drive.step(Started())
    number = 0
    while drive.time < 600.0:
        outcome = outcomes[number % len(outcomes)]
        number += 1
        if isinstance(outcome, Failure):
            drive.step(Failed(outcome))
        else:
            drive.step(Answered(outcome), Told(outcome), Ended(Failure(Kind.ENDED, "Watch: OK")))
        drive.wake()
    # A store that is away is asked most often: every 3.75 s at its longest wait.
    assert drive.count(Ask) <= 600.0 / 3.75 + 20
