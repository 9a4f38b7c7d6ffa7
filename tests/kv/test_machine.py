"""The machine of an overlay, under a clock that the tests control."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from serviceradar_security.kv.events import (
    Answered,
    Apply,
    Ask,
    Closed,
    Drop,
    Ended,
    Failed,
    Follow,
    Refusal,
    Settled,
    Started,
    Tick,
    Told,
    Unreadable,
)
from serviceradar_security.kv.failure import ADVICE, Failure, Kind, failure_of, retry_delay
from serviceradar_security.kv.machine import CALM, LASTING, SETTLING, Machine
from serviceradar_security.kv.status import KvDocument, KvState, Moment

if TYPE_CHECKING:
    from serviceradar_security.kv.events import Action, Event

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENT = b'{"a": 1}'
AWAY = Failure(Kind.UNREACHABLE, "Get: UNAVAILABLE: gone")
POLITE = Failure(Kind.ENDED, "Watch: OK")
NO = Failure(Kind.DENIED, "Get: PERMISSION_DENIED")
LIMIT = 100
INTERVAL = 60.0


@dataclass
class Drive:
    """A machine, its clock, and what it decided; documents are settled as the test says."""

    refusing: bool = False
    passing: bool = False  # whether what is refused may be taken another time
    random: float = 0.5  # no jitter
    time: float = 0.0
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the machine."""
        self.machine = Machine(
            "config/a.json",
            self.now,
            max_document_bytes=LIMIT,
            check_interval=INTERVAL,
            random=lambda: self.random,
        )

    @property
    def now(self) -> Moment:
        return Moment(self.time, EPOCH + timedelta(seconds=self.time))

    def state(self) -> KvState:
        return self.machine.status().state

    def step(self, *events: Event) -> tuple[Action, ...]:
        """Pass events, and settle what is applied; gives the actions of all."""
        done: list[Action] = []
        for event in events:
            for action in self.machine.step(event, self.now):
                done.append(action)
                if isinstance(action, Apply):
                    refusal = Refusal("no", ("a",), passing=self.passing)
                    self.step(Settled(refusal if self.refusing else None))
        self.actions += done
        return tuple(done)

    def wake(self) -> tuple[Action, ...]:
        """Let time pass until a tick is due, and tick."""
        assert self.machine.wake_at is not None
        self.time = max(self.time, self.machine.wake_at)
        return self.step(Tick())

    def count(self, kind: type[Action]) -> int:
        return sum(isinstance(each, kind) for each in self.actions)


def reach(phase: str) -> Drive:
    """Bring a machine into a phase."""
    drive = Drive()
    events: dict[str, tuple[Event, ...]] = {
        "new": (),
        "asking": (Started(),),
        "following": (Started(), Answered(DOCUMENT)),
        "checking": (Started(), Answered(DOCUMENT)),
        "waiting": (Started(), Failed(AWAY)),
        "closed": (Started(), Closed()),
    }
    drive.step(*events[phase])
    if phase == "checking":
        drive.wake()
    drive.actions.clear()
    return drive


EVENTS: dict[str, Event] = {
    "started": Started(),
    "same": Answered(DOCUMENT),
    "other": Answered(b"{}"),
    "nothing": Answered(None),
    "told": Told(b"{}"),
    "repeated": Told(DOCUMENT),
    "deleted": Told(b""),
    "unreadable": Unreadable("no message"),
    "failed": Failed(AWAY),
    "denied": Failed(NO),
    "ended": Ended(POLITE),
    "tick": Tick(),
    "closed": Closed(),
}
APPLIED = (Apply(b"{}"),)
CLEARED = (Apply(None),)
S = KvState
# For each phase and event: the state afterwards and the actions. What is not here changes nothing.
TRANSITIONS: dict[tuple[str, str], tuple[KvState, tuple[Action, ...]]] = {
    ("new", "started"): (S.STARTING, (Ask(),)),
    ("asking", "same"): (S.FOLLOWING, (Follow(), Apply(DOCUMENT))),
    ("asking", "other"): (S.FOLLOWING, (Follow(), *APPLIED)),
    ("asking", "nothing"): (S.ABSENT, (Follow(), *CLEARED)),
    ("asking", "failed"): (S.OUTAGE, ()),
    ("asking", "denied"): (S.DENIED, ()),
    ("following", "told"): (S.FOLLOWING, APPLIED),
    ("following", "deleted"): (S.ABSENT, CLEARED),
    ("following", "unreadable"): (S.REFUSED, ()),
    ("following", "ended"): (S.OUTAGE, (Drop(),)),
    ("checking", "other"): (S.FOLLOWING, APPLIED),
    ("checking", "nothing"): (S.ABSENT, CLEARED),
    ("checking", "told"): (S.FOLLOWING, APPLIED),
    ("checking", "deleted"): (S.ABSENT, CLEARED),
    ("checking", "unreadable"): (S.REFUSED, ()),
    ("checking", "failed"): (S.OUTAGE, (Drop(),)),
    ("checking", "denied"): (S.DENIED, (Drop(),)),
    ("checking", "ended"): (S.OUTAGE, (Drop(),)),
    **{
        (phase, "closed"): (S.CLOSED, (Drop(),))
        for phase in ("new", "asking", "following", "checking", "waiting")
    },
}
PHASES = ("new", "asking", "following", "checking", "waiting", "closed")


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_event_in_every_phase(phase: str, event: str) -> None:
    """Each pair gives the state and the actions of the table, or changes nothing at all."""
    drive = reach(phase)
    before = drive.machine.status()
    actions = drive.step(EVENTS[event])
    if (phase, event) in TRANSITIONS:
        state, expected = TRANSITIONS[phase, event]
        assert (drive.state(), actions) == (state, expected)
    else:
        assert actions == ()
        assert drive.machine.status().state is before.state
        assert drive.machine.status().updates == before.updates


@pytest.mark.parametrize("phase", PHASES)
def test_what_every_phase_waits_for(phase: str) -> None:
    """A phase wakes by itself, unless an answer or nothing is awaited."""
    drive = reach(phase)
    assert (drive.machine.wake_at is None) == (phase in ("new", "asking", "closed"))
    assert drive.machine.is_closed == (phase == "closed")
    status = drive.machine.status()
    assert (status.next_attempt is not None) == (phase == "waiting")


def test_next_attempt_is_when_it_will_be() -> None:
    """The record names the moment at which the store is asked, and not a moment before it is."""
    drive = reach("waiting")
    status = drive.machine.status()
    assert drive.machine.wake_at == pytest.approx(0.2)
    assert status.next_attempt == EPOCH + timedelta(seconds=0.2)
    drive.time = 0.19
    assert drive.step(Tick()) == ()
    drive.time = 0.2
    assert drive.step(Tick()) == (Ask(),)


# ---- attempts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        (Kind.UNREACHABLE, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        (Kind.SILENT, [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]),
        (Kind.ENDED, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]),
        (Kind.DENIED, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]),
        (Kind.UNSUPPORTED, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]),
        (Kind.TOO_LARGE, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]),
        (Kind.FAILED, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
        (Kind.BROKEN, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
    ],
)
def test_attempts_become_rarer(kind: Kind, delays: list[float]) -> None:
    """The wait doubles up to its cap, for each kind of failure, and has an advice."""
    drive = Drive()
    drive.step(Started())
    waited = []
    for _ in delays:
        drive.step(Failed(Failure(kind, "")))
        before = drive.time
        assert drive.wake() == (Ask(),)
        waited.append(drive.time - before)
    assert waited == pytest.approx(delays)
    assert ADVICE[kind]


@pytest.mark.parametrize("attempt", [1, 2, 100, 10**9])
@pytest.mark.parametrize("kind", Kind)
def test_jitter_is_within_a_quarter(kind: Kind, attempt: int) -> None:
    """The wait varies by a quarter around its middle, and never more."""
    middle = retry_delay(kind, attempt, 0.5)
    assert retry_delay(kind, attempt, 0.0) == pytest.approx(0.75 * middle)
    assert retry_delay(kind, attempt, 1.0) == pytest.approx(1.25 * middle)
    assert middle <= 300.0


def test_attempts_start_over_after_an_answer() -> None:
    """After valid data an outage begins with the shortest wait again."""
    drive = Drive()
    drive.step(Started())
    for _ in range(10):
        drive.step(Failed(AWAY))
        drive.wake()
    drive.step(Answered(DOCUMENT))
    drive.wake()  # the check
    began = drive.time
    drive.step(Failed(AWAY))
    drive.wake()
    assert drive.time - began == pytest.approx(0.2)


@pytest.mark.parametrize("failure", [POLITE, AWAY], ids=["OK", "UNAVAILABLE"])
def test_a_server_that_hangs_up_causes_no_hot_loop(failure: Failure) -> None:
    """Streams that end at once, each after a valid value, are opened ever more rarely."""
    drive = Drive()
    drive.step(Started())
    states = []
    while drive.time < 3600.0:
        drive.step(Answered(DOCUMENT), Told(DOCUMENT), Ended(failure))
        states.append(drive.state())
        assert drive.wake() == (Ask(),)
    most = 3600 / (30 if failure is POLITE else 5) + 10
    assert drive.count(Ask) == len(states) + 1 <= most
    assert set(states) == {KvState.OUTAGE}
    assert drive.machine.status().updates == 1


def test_a_server_that_hangs_up_does_not_look_well_in_between() -> None:
    """From the second short stream on the outage lasts until a stream has lasted."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT), Ended(POLITE))
    drive.wake()
    drive.step(Answered(DOCUMENT))
    assert drive.state() is KvState.FOLLOWING  # once is how every restart looks
    drive.step(Ended(POLITE))
    drive.wake()
    drive.step(Answered(DOCUMENT), Told(DOCUMENT))
    assert drive.state() is KvState.OUTAGE
    drive.time += LASTING
    drive.step(Tick())
    assert drive.state() is KvState.FOLLOWING


@pytest.mark.parametrize("failure", [POLITE, AWAY, Failure(Kind.FAILED, "x")], ids=lambda f: f.text)
def test_a_stream_that_lasted_is_renewed_quietly(failure: Failure) -> None:
    """Servers bound the age of connections: such an end is no outage, unless nobody answers then."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.time += LASTING
    assert drive.step(Ended(failure)) == (Drop(),)
    assert drive.state() is KvState.FOLLOWING
    began = drive.time
    assert drive.wake() == (Ask(),)
    assert drive.time - began == pytest.approx(0.2)
    drive.step(Failed(AWAY))
    assert drive.state() is KvState.OUTAGE


def test_a_watch_that_is_denied_is_shown_though_the_question_is_answered() -> None:
    """Whoever may Get and not Watch is told so, and polls at the gentle pace."""
    drive = Drive()
    drive.step(Started())
    for number in range(8):
        drive.step(Answered(b"%d" % number), Ended(NO))
        assert drive.state() is KvState.DENIED
        drive.wake()
    assert drive.time == pytest.approx(5 + 10 + 20 + 40 + 80 + 160 + 300 + 300)
    assert drive.machine.status().updates == 8


def test_a_denial_is_shown_however_long_the_stream_lasted() -> None:
    """Being told no is never the quiet end of a connection."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.time += LASTING
    drive.step(Ended(NO))
    assert drive.state() is KvState.DENIED


def test_a_stream_that_lasts_makes_up_for_those_that_did_not() -> None:
    """After it, an outage is over with the first answer again."""
    drive = Drive()
    drive.step(Started())
    for _ in range(4):
        drive.step(Answered(DOCUMENT), Ended(POLITE))
        drive.wake()
    drive.step(Answered(DOCUMENT))
    while drive.state() is KvState.OUTAGE:
        if Ask() in drive.wake():
            drive.step(Answered(DOCUMENT))
    while Ask() not in drive.wake():
        pass
    drive.step(Failed(AWAY))
    drive.wake()
    drive.step(Answered(DOCUMENT))
    assert drive.state() is KvState.FOLLOWING


def test_every_stream_must_last_anew() -> None:
    """That the one before lasted says nothing of the next, and each gets its chance."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.time += LASTING
    drive.step(Tick(), Ended(POLITE))
    for _ in range(3):
        drive.wake()
        drive.step(Answered(DOCUMENT), Ended(POLITE))
    drive.wake()
    drive.step(Answered(DOCUMENT))
    opened = drive.time
    assert drive.state() is KvState.OUTAGE
    while drive.time < opened + LASTING:
        if Ask() in drive.wake():
            drive.step(Answered(DOCUMENT))
    assert drive.state() is KvState.FOLLOWING


# ---- checks ------------------------------------------------------------------------------------


def test_a_silent_stream_is_checked_again_and_again() -> None:
    """A new stream is checked soon, an old one at intervals, and silence is no fault."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    asked: list[float] = []
    while len(asked) < 4:
        if Ask() in drive.wake():
            asked.append(drive.time)
            drive.step(Answered(DOCUMENT))
        assert drive.state() is KvState.FOLLOWING
    assert asked == pytest.approx([SETTLING, SETTLING + 60, SETTLING + 120, SETTLING + 180])
    assert drive.machine.status().updates == 1


def test_the_answer_of_a_check_does_not_undo_what_the_stream_told() -> None:
    """An answer that was overtaken by the stream is only a sign of life."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.wake()
    assert drive.step(Told(b"{}")) == (Apply(b"{}"),)
    assert drive.step(Answered(DOCUMENT)) == ()
    assert drive.machine.status().updates == 2


def test_a_check_finds_what_the_stream_did_not_tell() -> None:
    """An answer that nothing overtook counts, also where the stream told something before."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.wake()
    drive.step(Told(b"{}"), Answered(b"{}"))
    while Ask() not in drive.wake():
        pass
    assert drive.step(Answered(None)) == (Apply(None),)


def test_after_bytes_that_are_no_message_the_same_document_counts_again() -> None:
    """Whoever sends it anew says that it is the newest."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT), Unreadable("no message"))
    assert drive.state() is KvState.REFUSED
    drive.step(Told(DOCUMENT))
    assert drive.state() is KvState.FOLLOWING


# ---- documents ---------------------------------------------------------------------------------


def test_repeats_are_normal() -> None:
    """The same document is applied once, whoever brings it and however often."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT), Told(DOCUMENT), Told(DOCUMENT), Ended(AWAY))
    drive.wake()
    drive.step(Answered(DOCUMENT), Told(DOCUMENT))
    assert drive.count(Apply) == 1
    assert drive.machine.status().updates == 1


def test_a_refused_document_is_judged_once() -> None:
    """It is counted once however often it comes, and the next document begins anew."""
    drive = Drive(refusing=True)
    drive.step(Started(), Answered(DOCUMENT), Told(DOCUMENT))
    status = drive.machine.status()
    assert (status.state, status.refused, status.refused_paths) == (KvState.REFUSED, 1, ("a",))
    assert status.cause == status.refusal == "no"
    drive.refusing = False
    drive.step(Told(b"{}"))
    status = drive.machine.status()
    assert (status.state, status.refused, status.cause) == (KvState.FOLLOWING, 1, "")
    assert status.refused_paths == ("a",)  # the last refusal stays on record
    drive.step(Told(DOCUMENT))
    assert drive.count(Apply) == 3  # it is no longer the newest, and is judged again


def until_applied(drive: Drive) -> float:
    """Let time pass until a document is handed over again, and give how long that took."""
    began, before = drive.time, drive.count(Apply)
    while drive.count(Apply) == before:
        if Ask() in drive.wake():
            drive.step(Answered(DOCUMENT))
    return drive.time - began


def test_what_could_not_be_applied_is_tried_again_ever_more_rarely() -> None:
    """The wait doubles to five minutes, and the document counts as refused once until it is taken."""
    drive = Drive(refusing=True, passing=True)
    drive.step(Started(), Answered(DOCUMENT))
    waited = [until_applied(drive) for _ in range(11)]
    assert waited == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])
    status = drive.machine.status()
    assert (status.state, status.refused, status.updates) == (KvState.REFUSED, 1, 0)
    assert "tried again" in status.advice
    assert status.next_apply == EPOCH + timedelta(seconds=drive.time + 300)
    drive.refusing = False
    until_applied(drive)
    status = drive.machine.status()
    assert (status.state, status.updates, status.next_apply) == (KvState.FOLLOWING, 1, None)
    assert drive.actions.count(Apply(DOCUMENT)) == drive.count(Apply) == 13


def test_what_the_service_judged_is_not_tried_again() -> None:
    """The same document would be refused the same way."""
    drive = Drive(refusing=True)
    drive.step(Started(), Answered(DOCUMENT))
    while drive.time < 3600.0:
        if Ask() in drive.wake():
            drive.step(Answered(DOCUMENT))
    assert drive.count(Apply) == 1
    assert drive.machine.status().next_apply is None


@pytest.mark.parametrize(
    ("event", "applied"),
    [
        (Told(b"{}"), Apply(b"{}")),
        (Told(b""), Apply(None)),
        (Told(b"x" * (LIMIT + 1)), None),
        (Unreadable("no message"), None),
        (Closed(), None),
    ],
    ids=["other", "deleted", "too large", "unreadable", "closed"],
)
def test_only_the_newest_document_is_tried_again(event: Event, applied: Apply | None) -> None:
    """Whatever comes after a document that could not be applied takes its place, and its wait."""
    drive = Drive(refusing=True, passing=True)
    drive.step(Started(), Answered(DOCUMENT))
    until_applied(drive)
    drive.actions.clear()
    drive.refusing = False
    drive.step(event)
    assert drive.machine.status().next_apply is None
    drive.time += 10.0
    drive.step(Tick())
    assert [each for each in drive.actions if isinstance(each, Apply)] == (
        [] if applied is None else [applied]
    )


def test_a_deletion_that_could_not_be_applied_is_tried_again() -> None:
    """Going back to the local configuration is asked of the service until it does."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.refusing = drive.passing = True
    drive.step(Told(b""))
    drive.refusing = False
    drive.time += 1.0
    assert Apply(None) in drive.step(Tick())
    assert drive.state() is KvState.ABSENT


def test_the_newest_document_is_tried_again_while_the_store_is_away() -> None:
    """What failed in the service needs no store to be mended."""
    drive = Drive(refusing=True, passing=True)
    drive.step(Started(), Answered(DOCUMENT), Ended(AWAY))
    drive.refusing = False
    drive.time += 1.0
    assert drive.step(Tick()) == (Ask(), Apply(DOCUMENT))
    status = drive.machine.status()
    assert (status.state, status.document) == (KvState.OUTAGE, KvDocument.APPLIED)


def test_refusals_that_follow_each_other_are_held_back() -> None:
    """Each within a minute doubles the wait before the next look, up to two seconds, and calm ends it."""
    drive = Drive(refusing=True)
    drive.step(Started())
    held = []
    for number in range(8):
        drive.step(Answered(b"%d" % number) if not number else Told(b"%d" % number))
        held.append(drive.machine.hold_until - drive.time)
    assert held == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    drive.refusing = False
    drive.step(Told(DOCUMENT))
    drive.refusing = True
    drive.step(Told(b"again"))  # a good one in between is no calm
    assert drive.machine.hold_until - drive.time == pytest.approx(2.0)
    drive.time += CALM
    drive.step(Told(b"{}"))
    assert drive.machine.hold_until - drive.time == pytest.approx(0.05)


@pytest.mark.parametrize("event", [Told(b"TOPSECRET"), Answered(b"TOPSECRET"), Apply(b"TOPSECRET")])
def test_documents_are_not_shown(event: object) -> None:
    """Whoever prints an event or an action sees nothing of the document."""
    assert "TOPSECRET" not in repr(event)
    assert repr(event) == f"{type(event).__name__}()"


@pytest.mark.parametrize("bring", [Answered, Told])
@pytest.mark.parametrize(("size", "applied"), [(LIMIT, 1), (LIMIT + 1, 0)])
def test_the_size_limit(bring: type[Answered | Told], size: int, applied: int) -> None:
    """A document of the limit is handed over, one byte more is not, whichever call brings it."""
    drive = Drive()
    drive.step(Started())
    if bring is Told:
        drive.step(Answered(None))
        drive.actions.clear()
    drive.step(bring(b"x" * size))
    assert drive.count(Apply) == applied
    assert drive.machine.status().refused == 1 - applied


@pytest.mark.parametrize("gone", [Told(b""), Ended(AWAY)], ids=["stream", "question"])
def test_a_deletion_is_an_update(gone: Event) -> None:
    """The local configuration comes back once, whether the stream or the next question tells."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT), gone)
    if isinstance(gone, Ended):
        drive.wake()
        drive.step(Answered(None))
    status = drive.machine.status()
    assert (status.state, status.document) == (KvState.ABSENT, KvDocument.ABSENT)
    assert (status.updates, drive.actions.count(Apply(None))) == (2, 1)
    drive.step(Told(b""))
    assert drive.machine.status().updates == 2


def test_an_empty_value_is_no_document() -> None:
    """An empty value counts as deleted for both calls."""
    drive = Drive()
    drive.step(Started(), Answered(b""))
    assert drive.state() is KvState.ABSENT
    assert drive.machine.status().updates == 0


def test_an_outage_says_what_is_in_force() -> None:
    """Counts and the fate of the newest document stay on record while the store is away."""
    drive = Drive()
    drive.step(Started(), Answered(DOCUMENT))
    drive.time = 1.0
    drive.step(Ended(AWAY))
    status = drive.machine.status()
    assert (status.state, status.document) == (KvState.OUTAGE, KvDocument.APPLIED)
    assert (status.cause, status.advice) == (AWAY.text, ADVICE[Kind.UNREACHABLE])
    assert status.since == EPOCH + timedelta(seconds=1)
    assert status.last_contact == status.last_update == EPOCH


@pytest.mark.parametrize(
    ("end", "advice"),
    [
        (Closed(), ""),
        (Closed("no channel"), "open a new overlay on an open channel"),
        (Closed("its thread was ended", died=True), "restart the service"),
    ],
    ids=["owner", "channel", "thread"],
)
def test_the_end_is_explained(end: Closed, advice: str) -> None:
    """An owner's close needs no words, any other end has a cause and an advice."""
    drive = reach("following")
    drive.step(end)
    status = drive.machine.status()
    assert (status.state, status.cause) == (KvState.CLOSED, end.cause)
    assert status.advice.startswith(advice)
    assert bool(status.advice) == bool(end.cause)


# ---- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("OK", Kind.ENDED),
        ("CANCELLED", Kind.ENDED),
        ("UNAVAILABLE", Kind.UNREACHABLE),
        ("DEADLINE_EXCEEDED", Kind.SILENT),
        ("PERMISSION_DENIED", Kind.DENIED),
        ("UNAUTHENTICATED", Kind.DENIED),
        ("UNIMPLEMENTED", Kind.UNSUPPORTED),
        ("RESOURCE_EXHAUSTED", Kind.TOO_LARGE),
        *(
            (each, Kind.FAILED)
            for each in (
                "UNKNOWN",
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "INTERNAL",
                "ALREADY_EXISTS",
                "FAILED_PRECONDITION",
                "ABORTED",
                "OUT_OF_RANGE",
                "DATA_LOSS",
                "SOMETHING_NEW",
            )
        ),
    ],
)
def test_every_status_code_has_a_kind(code: str, kind: Kind) -> None:
    """Each code is of one kind and is named in the text."""
    failure = failure_of(code, "why", call="Get")
    assert failure == Failure(kind, f"Get: {code}: why")


@pytest.mark.parametrize(
    ("details", "text"),
    [
        (None, "Get: INTERNAL"),
        ("a\nb\x1b[31m\u2028c", "Get: INTERNAL: a b [31m c"),
        ("x" * 10_000, "Get: INTERNAL: " + "x" * 400 + "..."),
    ],
    ids=["none", "control", "long"],
)
def test_details_from_outside_are_one_short_line(details: str | None, text: str) -> None:
    """A server's words cannot forge lines of our log."""
    assert failure_of("INTERNAL", details, call="Get").text == text
