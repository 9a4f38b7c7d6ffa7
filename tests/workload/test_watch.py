"""The state of the watch under a clock we control: every state meets every event."""

from __future__ import annotations

import copy
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serviceradar_security import (
    NoIdentityIssuedError,
    SecurityError,
    SourceClosedError,
    SourceError,
    WorkloadApiError,
)
from serviceradar_security.workload.failure import Failure, Kind, retry_delay
from serviceradar_security.workload.watch import SourceStatus, State, Watch
from tests.workload.clock import START, Clock
from tests.workload.material import ID, context_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security import X509Context

ENDPOINT: Final = "unix:///run/agent.sock"
GRACE: Final = 60.0
LIFE: Final = 3600.0
SHORT: Final = {
    "S": State.STARTING,
    "NA": State.NO_AGENT,
    "NI": State.NO_IDENTITY,
    "R": State.READY,
    "D": State.DEGRADED,
    "E": State.EXPIRED,
    "C": State.CLOSED,
}


@cache
def lasting(seconds: float, name: str = "web") -> X509Context:
    """Give a snapshot whose identity ends so many seconds after the start."""
    return context_until(seconds, start=START, name=name)


def failure(kind: Kind) -> Failure:
    """Give a failure of a kind, with the code that it has on the wire."""
    code = {
        Kind.DENIED: "PERMISSION_DENIED",
        Kind.FATAL: "INVALID_ARGUMENT",
        Kind.FAILED: "UNAVAILABLE",
    }.get(kind, "")
    return Failure(kind, f"told so ({kind.value})", code)


class Bench:
    """A watch with its clock."""

    def __init__(self, *, grace: float = GRACE, random: float = 0.5) -> None:
        self.clock = Clock()
        self.watch = Watch(
            endpoint=ENDPOINT,
            redaction_grace=grace,
            random=lambda: random,
            now=self.clock(),
        )

    def opened(self) -> None:
        self.watch.opened(self.clock())

    def deliver(self, context: X509Context) -> bool:
        return self.watch.delivered(context, self.clock())

    def reject(self, text: str = "it has no SVID") -> None:
        self.watch.rejected(text, self.clock())

    def fail(self, kind: Kind) -> None:
        self.watch.failed(failure(kind), self.clock())

    def close(self) -> None:
        self.watch.closed(self.clock())

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.watch.ticked(self.clock())

    def status(self) -> SourceStatus:
        return self.watch.status(self.clock())

    def context(self) -> X509Context:
        return self.watch.context(self.clock())

    def delay(self) -> float:
        """Seconds until the next attempt."""
        assert self.watch.next_attempt is not None
        return self.watch.next_attempt - self.clock.monotonic


# ---- the table ----------------------------------------------------------------------------------


def _ready(bench: Bench) -> None:
    bench.opened()
    bench.deliver(lasting(LIFE))


def _degraded(bench: Bench) -> None:
    _ready(bench)
    bench.fail(Kind.UNREACHABLE)


def _refusing(bench: Bench) -> None:
    _ready(bench)
    bench.reject()


def _taken_back(bench: Bench) -> None:
    _ready(bench)
    bench.fail(Kind.DENIED)


def _taken_back_then_gone(bench: Bench) -> None:
    _taken_back(bench)
    bench.fail(Kind.UNREACHABLE)


def _expired(bench: Bench) -> None:
    bench.opened()
    bench.deliver(lasting(10))
    bench.wait(10)


def _expired_then_taken_back(bench: Bench) -> None:
    _expired(bench)
    bench.fail(Kind.DENIED)


def _heard_garbage(bench: Bench) -> None:
    bench.opened()
    bench.reject()


def _fatal_when_ready(bench: Bench) -> None:
    _ready(bench)
    bench.fail(Kind.FATAL)


SITUATIONS: Final[dict[str, Callable[[Bench], None]]] = {
    "starting": lambda _: None,
    "connected": lambda bench: bench.opened(),
    "no agent": lambda bench: bench.fail(Kind.UNREACHABLE),
    "garbage": _heard_garbage,
    "fatal": lambda bench: bench.fail(Kind.FATAL),
    "no identity": lambda bench: bench.fail(Kind.DENIED),
    "ready": _ready,
    "degraded": _degraded,
    "refusing": _refusing,
    "fatal later": _fatal_when_ready,
    "taken back": _taken_back,
    "taken, gone": _taken_back_then_gone,
    "expired": _expired,
    "expired, taken": _expired_then_taken_back,
    "closed": lambda bench: bench.close(),
}
EVENTS: Final[dict[str, Callable[[Bench], object]]] = {
    "nothing": lambda _: None,
    "tick": lambda bench: bench.wait(0),
    "opened": lambda bench: bench.opened(),
    "valid": lambda bench: bench.deliver(lasting(3 * LIFE)),
    "stale": lambda bench: bench.deliver(lasting(-1)),
    "refused": lambda bench: bench.reject(),
    "unreach": lambda bench: bench.fail(Kind.UNREACHABLE),
    "ended": lambda bench: bench.fail(Kind.ENDED),
    "denied": lambda bench: bench.fail(Kind.DENIED),
    "fatal": lambda bench: bench.fail(Kind.FATAL),
    "failed": lambda bench: bench.fail(Kind.FAILED),
    "grace": lambda bench: bench.wait(GRACE),
    "life": lambda bench: bench.wait(LIFE),
    "close": lambda bench: bench.close(),
}
TABLE: Final = """
situation       nothing tick opened valid stale refused unreach ended denied fatal failed grace life close
starting              S    S      S     R    NA      NA      NA    NA     NI    NA     NA     S    S     C
connected             S    S      S     R    NA      NA      NA    NA     NI    NA     NA     S    S     C
no agent             NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
garbage              NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
fatal                NA   NA     NA     R    NA      NA      NA    NA     NI    NA     NA    NA   NA     C
no identity          NI   NI     NI     R    NA      NA      NA    NA     NI    NA     NA    NI   NI     C
ready                 R    R      R     R     D       D       D     D      D     D      D     R    E     C
degraded              D    D      D     R     D       D       D     D      D     D      D     D    E     C
refusing              D    D      D     R     D       D       D     D      D     D      D     D    E     C
fatal later           D    D      D     R     D       D       D     D      D     D      D     D    E     C
taken back            D    D      D     R     D       D       D     D      D     D      D    NI   NI     C
taken, gone           D    D      D     R     D       D       D     D      D     D      D    NA   NA     C
expired               E    E      E     R     E       E       E     E      E     E      E     E    E     C
expired, taken        E    E      E     R     E       E       E     E      E     E      E    NI   NI     C
closed                C    C      C     C     C       C       C     C      C     C      C     C    C     C
"""


def _cells() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    events = head.split()[1:]
    return [
        (row[:15].strip(), event, expected)
        for row in rows
        for event, expected in zip(events, row[15:].split(), strict=True)
    ]


def test_table_is_complete() -> None:
    """Every state is met by every event."""
    assert {(cell[0], cell[1]) for cell in _cells()} == {(s, e) for s in SITUATIONS for e in EVENTS}
    assert {SHORT[cell[2]] for cell in _cells() if cell[1] == "nothing"} == set(State)


@pytest.mark.parametrize(("situation", "event", "expected"), _cells())
def test_transition(situation: str, event: str, expected: str) -> None:
    """The state after an event is that of the table, whoever asks, and the record agrees."""
    bench = Bench()
    SITUATIONS[situation](bench)
    EVENTS[event](bench)
    state = SHORT[expected]
    status = bench.status()
    assert status.state is state
    assert bench.watch.state is state
    assert bool(status.cause) == bool(status.advice)  # advice whenever there is a cause
    assert bool(status.cause) == (state not in {State.STARTING, State.READY, State.CLOSED})
    assert (status.cause + status.advice).isprintable()
    if state in {State.READY, State.DEGRADED}:
        assert bench.context().default.not_after > bench.clock.wall
    else:
        with pytest.raises(SecurityError):
            bench.context()


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "kind", "code", "words"),
    [
        ("starting", SourceError, None, ["no identity yet", ENDPOINT, "not connected yet"]),
        (
            "connected",
            SourceError,
            None,
            ["connected, and no answer yet", "log of the SPIRE agent"],
        ),
        ("no agent", WorkloadApiError, "", ["does not answer", ENDPOINT, "start the SPIRE agent"]),
        ("garbage", WorkloadApiError, "", ["it has no SVID", "this host's clock"]),
        ("fatal", WorkloadApiError, "INVALID_ARGUMENT", ["check that the address"]),
        (
            "no identity",
            NoIdentityIssuedError,
            "PERMISSION_DENIED",
            ["no identity is issued", "create a registration entry"],
        ),
        ("expired", SourceError, None, [ID, "expired at 2030-01-01T00:00:10Z", "clock"]),
        ("expired, taken", SourceError, None, ["expired", "create a registration entry"]),
        ("closed", SourceClosedError, None, ["the source is closed", "open a new one"]),
    ],
)
def test_error_says_why(
    situation: str,
    kind: type[SecurityError],
    code: str | None,
    words: list[str],
) -> None:
    """What is raised instead of a snapshot names the cause and what to do, in one line."""
    bench = Bench()
    SITUATIONS[situation](bench)
    with pytest.raises(kind) as caught:
        bench.context()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert [word for word in words if word not in message] == []
    assert message.isprintable()
    if isinstance(caught.value, WorkloadApiError):
        assert caught.value.code == code


# ---- retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        (Kind.UNREACHABLE, [0.1, 0.2, 0.4, 0.4, 0.4]),
        (Kind.ENDED, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        (Kind.DENIED, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]),
        (Kind.FAILED, [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]),
    ],
)
def test_backoff(kind: Kind, delays: list[float]) -> None:
    """Each kind of failure is tried again later and later, up to its cap (R-WLAPI-27)."""
    bench = Bench()
    seen = []
    for _ in delays:
        bench.opened()  # a connection resets nothing (R-WLAPI-28)
        bench.fail(kind)
        seen.append(round(bench.delay(), 6))
        bench.clock.advance(bench.delay())
    assert seen == delays


@given(
    st.sampled_from([each for each in Kind if each is not Kind.FATAL]),
    st.integers(1, 10**9),
    st.floats(0, 1),
)
def test_jitter(kind: Kind, attempt: int, random: float) -> None:
    """Chance moves a delay by a tenth at most, after any number of attempts."""
    middle = retry_delay(kind, attempt, 0.5)
    assert 0.0899 <= retry_delay(kind, attempt, random) <= 11.0001
    assert abs(retry_delay(kind, attempt, random) - middle) <= middle * 0.10001
    assert retry_delay(kind, attempt, 0.0) < middle < retry_delay(kind, attempt, 1.0)


def test_jitter_is_used() -> None:
    """The watch asks its source of chance for each delay."""
    low, high = Bench(random=0.0), Bench(random=1.0)
    for bench in (low, high):
        bench.fail(Kind.FAILED)
    assert (round(low.delay(), 6), round(high.delay(), 6)) == (0.45, 0.55)


def test_polite_closer_is_asked_less_and_less() -> None:
    """A peer that delivers and hangs up at once does not get a busy loop (R-WLAPI-04)."""
    bench = Bench()
    seen = []
    for _ in range(8):
        bench.opened()
        bench.deliver(lasting(LIFE))
        bench.clock.advance(0.01)
        bench.fail(Kind.ENDED)
        seen.append(round(bench.delay(), 6))
        bench.clock.advance(bench.delay())
    assert seen == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_peer_that_fails_in_turns_is_asked_less_and_less() -> None:
    """Changing the kind of failure resets nothing: only a valid message does (R-WLAPI-28)."""
    bench = Bench()
    kinds = (Kind.ENDED, Kind.DENIED, Kind.FAILED)
    for _ in range(10):
        for kind in kinds:
            bench.opened()
            bench.fail(kind)
    seen = []
    for kind in kinds:
        bench.opened()
        bench.fail(kind)
        seen.append(round(bench.delay(), 6))
    assert seen == [5.0, 5.0, 10.0]


@pytest.mark.parametrize(
    ("during", "expected"),
    [
        pytest.param(lambda bench: bench.deliver(lasting(LIFE)), 0.1, id="valid message"),
        pytest.param(lambda bench: bench.reject(), 5.0, id="refused message"),
        pytest.param(lambda bench: bench.deliver(lasting(-1)), 5.0, id="expired message"),
        pytest.param(lambda _: None, 5.0, id="no message"),
    ],
)
def test_reset(during: Callable[[Bench], object], expected: float) -> None:
    """Delays start over after a stream that held and delivered, and only then (R-WLAPI-28)."""
    bench = Bench()
    for _ in range(10):
        bench.fail(Kind.ENDED)
    bench.opened()
    during(bench)
    bench.clock.advance(1.0)
    bench.fail(Kind.ENDED)
    assert round(bench.delay(), 6) == expected


def test_next_attempt() -> None:
    """The next attempt is due at once at first, unknown while connected, and told otherwise."""
    bench = Bench()
    assert bench.delay() == 0
    assert bench.status().next_attempt == START
    bench.opened()
    assert bench.watch.next_attempt is None
    assert bench.status().next_attempt is None
    bench.fail(Kind.FAILED)
    assert bench.status().next_attempt == START + timedelta(seconds=0.5)


@pytest.mark.parametrize("held", [False, True])
def test_fatal(*, held: bool) -> None:
    """INVALID_ARGUMENT is not tried again, and keeps what is held until it expires."""
    bench = Bench()
    if held:
        _ready(bench)
    bench.fail(Kind.FATAL)
    assert bench.watch.next_attempt is None
    assert bench.status().next_attempt is None
    error = bench.watch.fatal
    assert isinstance(error, WorkloadApiError)
    assert error.code == "INVALID_ARGUMENT"
    assert "check that the address is that of a Workload API" in str(error)
    assert bench.watch.next_tick(bench.clock()) == (LIFE if held else None)
    if held:
        assert bench.context() == lasting(LIFE)


@pytest.mark.parametrize("kind", [each for each in Kind if each is not Kind.FATAL])
def test_not_fatal(kind: Kind) -> None:
    """Every other failure is tried again for ever (R-WLAPI-25)."""
    bench = Bench()
    for _ in range(1000):
        bench.fail(kind)
    assert bench.watch.fatal is None
    assert bench.watch.next_attempt is not None


# ---- updates ------------------------------------------------------------------------------------


def test_updates() -> None:
    """A snapshot that is the same is no update, and is healthy traffic all the same (R-WLAPI-32)."""
    bench = Bench()
    assert bench.deliver(lasting(LIFE)) is True
    assert bench.deliver(lasting(LIFE)) is False
    bench.fail(Kind.ENDED)
    assert bench.status().state is State.DEGRADED
    assert bench.deliver(lasting(LIFE)) is False
    assert bench.status().state is State.READY
    assert bench.deliver(lasting(2 * LIFE)) is True
    assert bench.status().updates == bench.watch.updates == 2


def test_refused_message_keeps_what_is_held() -> None:
    """A refused message is counted, shown, and changes nothing else (R-WLAPI-09)."""
    bench = Bench()
    _ready(bench)
    bench.reject("it has no SVID")
    status = bench.status()
    assert (status.state, status.rejected, status.updates) == (State.DEGRADED, 1, 1)
    assert status.cause == "it has no SVID"
    assert bench.context() == lasting(LIFE)
    bench.deliver(lasting(LIFE))
    assert (bench.status().cause, bench.status().rejected) == ("", 1)


def test_refused_message_ends_an_older_cause() -> None:
    """Whoever sends garbage is there: that nobody listened is no longer the cause."""
    bench = Bench()
    bench.fail(Kind.UNREACHABLE)
    bench.opened()
    bench.reject("it has no SVID")
    status = bench.status()
    assert status.cause == "it has no SVID"
    assert "start the SPIRE agent" not in status.advice


def test_connection_ends_an_older_cause() -> None:
    """Once connected, the advice is not to start the agent; and all is not well before a message."""
    bench = Bench()
    _degraded(bench)
    bench.opened()
    status = bench.status()
    assert status.state is State.DEGRADED
    assert status.cause == f"{ENDPOINT}: connected again, and no answer yet"
    assert status.advice == "look at the log of the SPIRE agent"


def test_connection_does_not_end_a_denial() -> None:
    """A denial stays the cause until something else is heard."""
    bench = Bench()
    bench.fail(Kind.DENIED)
    bench.opened()
    assert bench.status().state is State.NO_IDENTITY


@pytest.mark.parametrize(("late", "skew"), [(0, 0), (1, 1), (3600, 3600)])
@pytest.mark.parametrize("held", [False, True])
def test_expired_update(late: int, skew: int, *, held: bool) -> None:
    """An update that is expired as it comes is refused, with the skew of the clocks (R-WLAPI-26)."""
    bench = Bench()
    if held:
        bench.deliver(lasting(LIFE))
    assert bench.deliver(lasting(-late, "late")) is False
    status = bench.status()
    assert status.rejected == 1
    assert f"spiffe://a.test/late expired {skew} s before it came" in status.cause
    assert "compare the clocks" in status.cause
    assert status.state is (State.DEGRADED if held else State.NO_AGENT)
    if held:
        assert bench.context() == lasting(LIFE)


# ---- the end of old material --------------------------------------------------------------------


def test_expiry() -> None:
    """An identity is given to its last moment, and never after it (R-WLAPI-26)."""
    bench = Bench()
    bench.deliver(lasting(10))
    bench.clock.advance(9.999)
    assert bench.context() == lasting(10)
    bench.clock.advance(0.001)
    with pytest.raises(SourceError, match="expired"):
        bench.context()  # although nothing ticked


def test_expired_since_its_end() -> None:
    """EXPIRED began at the end of the identity, whoever notices it and when."""
    bench = Bench()
    bench.deliver(lasting(10))
    bench.clock.advance(500)
    status = bench.status()
    assert (status.state, status.since) == (State.EXPIRED, START + timedelta(seconds=10))


def test_expiry_follows_the_wall_clock() -> None:
    """A corrected wall clock counts at once, in both directions."""
    bench = Bench()
    bench.deliver(lasting(10))
    bench.clock.set_wall(20)
    assert bench.status().state is State.EXPIRED
    bench.clock.set_wall(-20)
    assert bench.status().state is State.READY
    assert bench.context() == lasting(10)


def test_redaction_grace() -> None:
    """An identity that is taken back serves for the grace period and not longer (R-WLAPI-24)."""
    bench = Bench()
    _taken_back(bench)
    bench.clock.advance(GRACE - 0.001)
    assert bench.context() == lasting(LIFE)
    assert "dropped 60 s after that" in bench.status().cause
    bench.clock.advance(0.001)
    with pytest.raises(NoIdentityIssuedError):
        bench.context()  # although nothing ticked
    status = bench.status()
    assert (status.state, status.spiffe_id, status.not_after) == (State.NO_IDENTITY, None, None)


def test_redaction_without_grace() -> None:
    """With no grace an identity is dropped as it is taken back."""
    bench = Bench(grace=0.0)
    _taken_back(bench)
    assert bench.status().state is State.NO_IDENTITY


def test_redaction_grace_is_not_prolonged() -> None:
    """Neither more denials nor other failures move the end of the grace period."""
    bench = Bench()
    _taken_back(bench)
    for kind in (Kind.DENIED, Kind.UNREACHABLE, Kind.ENDED, Kind.DENIED, Kind.FAILED):
        bench.clock.advance(10)
        bench.opened()
        bench.fail(kind)
    bench.reject()
    bench.clock.advance(10)
    with pytest.raises(SecurityError):
        bench.context()


def test_redaction_is_told_behind_another_cause() -> None:
    """That the identity was taken back is told also when the agent has gone since."""
    bench = Bench()
    _taken_back_then_gone(bench)
    cause = bench.status().cause
    assert "taken back by the agent" in cause
    assert "told so (unreachable)" in cause


def test_redaction_grace_ends_with_the_identity() -> None:
    """The grace period never reaches beyond the end of the identity (D6)."""
    bench = Bench()
    bench.opened()
    bench.deliver(lasting(30))
    bench.fail(Kind.DENIED)
    bench.clock.advance(30)
    with pytest.raises(SourceError, match="expired"):
        bench.context()


def test_redaction_that_was_a_mistake() -> None:
    """An identity that is given again within the grace period stays, and no clock runs on."""
    bench = Bench()
    _taken_back(bench)
    bench.clock.advance(GRACE / 2)
    assert bench.deliver(lasting(LIFE)) is False
    bench.clock.advance(GRACE * 2)
    assert bench.context() == lasting(LIFE)


def test_identity_that_comes_back_is_new() -> None:
    """An identity that was dropped and is given again is an update."""
    bench = Bench()
    _taken_back(bench)
    bench.clock.advance(GRACE)
    assert bench.deliver(lasting(LIFE)) is True
    assert bench.status().updates == 2


# ---- the record ---------------------------------------------------------------------------------


def test_status_when_ready() -> None:
    """The record of a healthy source names the identity and its end, and nothing to do."""
    bench = Bench()
    bench.clock.advance(5)
    bench.opened()
    bench.deliver(lasting(LIFE))
    bench.clock.advance(5)
    assert bench.status() == SourceStatus(
        state=State.READY,
        since=START + timedelta(seconds=5),
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=lasting(LIFE).default.spiffe_id,
        not_after=START + timedelta(seconds=LIFE),
        updates=1,
        rejected=0,
    )


def test_status_when_degraded() -> None:
    """The record of a troubled source says what, since when, what to do and when we do."""
    bench = Bench()
    _ready(bench)
    bench.clock.advance(7)
    bench.fail(Kind.UNREACHABLE)
    bench.clock.advance(7)
    bench.fail(Kind.UNREACHABLE)
    assert bench.status() == SourceStatus(
        state=State.DEGRADED,
        since=START + timedelta(seconds=7),
        cause=f"{ENDPOINT}: told so (unreachable)",
        advice="start the SPIRE agent, or correct the address of its socket",
        next_attempt=START + timedelta(seconds=14.2),
        spiffe_id=lasting(LIFE).default.spiffe_id,
        not_after=START + timedelta(seconds=LIFE),
        updates=1,
        rejected=0,
    )


def test_status_when_closed() -> None:
    """The record of a closed source holds no identity; closing twice changes nothing."""
    bench = Bench()
    _degraded(bench)
    bench.clock.advance(5)
    bench.close()
    first = bench.status()
    bench.clock.advance(5)
    bench.close()
    assert bench.status() == first
    assert first == SourceStatus(
        state=State.CLOSED,
        since=START + timedelta(seconds=5),
        cause="",
        advice="",
        next_attempt=None,
        spiffe_id=None,
        not_after=None,
        updates=1,
        rejected=0,
    )
    assert bench.watch.next_tick(bench.clock()) is None


def test_closed_is_final() -> None:
    """After closing, no event and no time changes anything."""
    bench = Bench()
    _ready(bench)
    bench.close()
    before = bench.status()
    for event in EVENTS.values():
        event(bench)
    assert bench.status() == before
    assert bench.watch.next_attempt is None
    with pytest.raises(SourceClosedError):
        bench.context()


def test_reading_moves_nothing_on() -> None:
    """Asking early and often gives what asking once does."""
    one, other = Bench(), Bench()
    for bench in (one, other):
        bench.opened()
        bench.deliver(lasting(30))
        bench.fail(Kind.DENIED)
    for _ in range(30):
        one.clock.advance(1)
        one.status()
    other.clock.advance(30)
    assert one.status() == other.status()


# ---- any script ---------------------------------------------------------------------------------


class AnyScript(RuleBasedStateMachine):
    """Compare the machine with a simple model of the facts, after any script."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.held: X509Context | None = None
        self.denied_at: float | None = None
        self.failure: Kind | None = None
        self.refused = False
        self.closed = False
        self.updates = 0
        self.rejected = 0

    @rule()
    def open(self) -> None:
        self.bench.opened()

    @rule(
        life=st.sampled_from([-5, 0, 1, 5, 20, 70, 200, 1000]),
        name=st.sampled_from(["web", "db"]),
    )
    def deliver(self, life: int, name: str) -> None:
        context = lasting(life, name)
        changed = self.bench.deliver(context)
        if self.closed:
            assert not changed
        elif context.default.not_after <= self.bench.clock.wall:
            assert not changed
            self.refuse_in_model()
        else:
            assert changed == (context != self.held)
            self.updates += changed
            self.held, self.denied_at, self.failure, self.refused = context, None, None, False

    @rule()
    def refuse(self) -> None:
        self.bench.reject()
        if not self.closed:
            self.refuse_in_model()

    def refuse_in_model(self) -> None:
        self.rejected += 1
        self.refused, self.failure = True, None

    @rule(kind=st.sampled_from(Kind))
    def fail(self, kind: Kind) -> None:
        self.bench.fail(kind)
        if self.closed:
            return
        self.failure = kind
        if kind is Kind.DENIED and self.held is not None and self.denied_at is None:
            self.denied_at = self.bench.clock.monotonic

    @rule(
        seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0, 59.0, 60.0, 100.0]), tick=st.booleans()
    )
    def wait(self, seconds: float, tick: bool) -> None:
        self.bench.clock.advance(seconds)
        if tick:
            self.bench.watch.ticked(self.bench.clock())
        since = self.bench.clock.monotonic
        if self.denied_at is not None and since - self.denied_at >= GRACE:
            self.held = self.denied_at = None

    @rule(seconds=st.sampled_from([-30.0, -1.0, 1.0, 30.0]))
    def correct_the_wall_clock(self, seconds: float) -> None:
        self.bench.clock.set_wall(seconds)

    @precondition(lambda self: not self.closed and self.updates > 2)
    @rule()
    def close(self) -> None:
        self.bench.close()
        self.closed, self.held, self.failure, self.refused = True, None, None, False

    def state(self) -> State:
        """Tell the state from the facts."""
        troubled = self.failure is not None or self.refused
        if self.closed:
            return State.CLOSED
        if self.held is not None:
            if self.held.default.not_after <= self.bench.clock.wall:
                return State.EXPIRED
            return State.DEGRADED if troubled else State.READY
        if self.failure is Kind.DENIED:
            return State.NO_IDENTITY
        return State.NO_AGENT if troubled else State.STARTING

    @invariant()
    def agrees_with_the_model(self) -> None:
        # On a copy, so that looking does not settle what an event should.
        watch, now = copy.copy(self.bench.watch), self.bench.clock()
        expected = self.state()
        if expected in {State.READY, State.DEGRADED}:
            assert watch.context(now) is not None
            assert watch.context(now) == self.held
        else:
            with pytest.raises(SecurityError):
                watch.context(now)
        status = watch.status(now)
        assert status.state is expected
        assert (status.updates, status.rejected) == (self.updates, self.rejected)
        held = self.held.default if self.held is not None else None
        assert status.spiffe_id == (held.spiffe_id if held else None)
        assert status.not_after == (held.not_after if held else None)
        assert bool(status.cause) == bool(status.advice)

    @invariant()
    def time_alone_changes_the_state_when_told(self) -> None:
        watch, clock = copy.copy(self.bench.watch), copy.copy(self.bench.clock)
        watch.ticked(clock())
        before, left = watch.state, watch.next_tick(clock())
        if left is None:
            clock.advance(10 * LIFE)
            watch.ticked(clock())
            assert watch.state is before
            return
        clock.advance(max(0.0, left - 0.01))
        watch.ticked(clock())
        assert left < 0.01 or watch.state is before
        clock.advance(0.02)
        watch.ticked(clock())
        assert watch.state is not before


AnyScript.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyScript = AnyScript.TestCase
