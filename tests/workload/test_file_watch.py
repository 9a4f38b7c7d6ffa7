"""The state of a watch on files: readings and times in, a record out."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serviceradar_security import SecurityError, SourceClosedError, SourceError, X509Context
from serviceradar_security.workload.file_material import Held
from serviceradar_security.workload.file_reading import FileProblem, FileSnapshot
from serviceradar_security.workload.file_watch import FileWatch
from serviceradar_security.workload.files import IdentityFiles
from serviceradar_security.workload.watch import SourceStatus, State
from tests.workload.clock import START, Clock
from tests.workload.identity_files import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 5.0
LIFE: Final = 3600.0
FILES: Final = IdentityFiles.of(cert_file="/c.pem", key_file="/k.pem", bundle_file="/b.pem")
MISSING: Final = FileProblem(
    "the key file /k.pem is not there", "start its writer", unreadable=True
)
BROKEN: Final = FileProblem(
    "the key file /k.pem with the certificate file: no key", "write it anew"
)


@cache
def lasting(end: float, *, begin: float = -10.0, name: str = "web") -> FileSnapshot[X509Context]:
    """Give a reading of an identity that begins and ends so many seconds after the start."""
    svid = AUTHORITY.issue(
        f"spiffe://a.test/{name}",
        not_before=START + timedelta(seconds=begin),
        not_after=START + timedelta(seconds=end),
    )
    bundles = {AUTHORITY.trust_domain: AUTHORITY.bundle}
    held = Held(str(svid.spiffe_id), svid.spiffe_id, svid.not_before, svid.not_after)
    return FileSnapshot(X509Context(svids=[svid], bundles=bundles), held)


class Bench:
    """A watch with its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.watch: FileWatch[X509Context] = FileWatch(
            FILES, poll_interval=INTERVAL, now=self.clock()
        )

    def look(self, outcome: FileSnapshot[X509Context] | FileProblem) -> bool:
        return self.watch.looked(outcome, self.clock())

    def refuse(self, problem: FileProblem) -> None:
        """See a problem often enough that it is no passing one."""
        self.look(problem)
        self.look(problem)

    def status(self) -> SourceStatus:
        return self.watch.status(self.clock())

    def context(self) -> X509Context:
        return self.watch.context(self.clock())

    def delay(self) -> float:
        """Seconds until the next look."""
        assert self.watch.next_look is not None
        return round(self.watch.next_look - self.clock.monotonic, 6)


def degraded(bench: Bench) -> None:
    bench.look(lasting(LIFE))
    bench.refuse(BROKEN)


def expired(bench: Bench) -> None:
    bench.look(lasting(10))
    bench.clock.advance(10)


def expired_and_broken(bench: Bench) -> None:
    expired(bench)
    bench.look(BROKEN)


SITUATIONS: Final[dict[str, tuple[Callable[[Bench], object], State]]] = {
    "starting": (lambda _: None, State.STARTING),
    "missing": (lambda bench: bench.look(MISSING), State.NO_AGENT),
    "broken": (lambda bench: bench.look(BROKEN), State.NO_IDENTITY),
    "too late": (lambda bench: bench.look(lasting(-5)), State.NO_IDENTITY),
    "at its end": (lambda bench: bench.look(lasting(0)), State.NO_IDENTITY),
    "too early": (lambda bench: bench.look(lasting(LIFE, begin=60)), State.NO_IDENTITY),
    "ready": (lambda bench: bench.look(lasting(LIFE)), State.READY),
    "degraded": (degraded, State.DEGRADED),
    "expired": (expired, State.EXPIRED),
    "expired and broken": (expired_and_broken, State.EXPIRED),
    "closed": (lambda bench: bench.watch.closed(bench.clock()), State.CLOSED),
}
TOLD: Final = {
    "starting": "no identity yet: the files are not read yet",
    "missing": "the files give no identity (the key file /k.pem is not there): start its writer",
    "broken": "the files give no identity (the key file /k.pem with the certificate file: no key): "
    "write it anew",
    "too late": "the files give no identity (the certificate file /c.pem is for spiffe://a.test/web "
    "and expired at 2029-12-31T23:59:55Z): see that what writes it is running, and compare the "
    "clocks of this host and of the issuer",
    "at its end": "the files give no identity (the certificate file /c.pem is for "
    "spiffe://a.test/web and expired at 2030-01-01T00:00:00Z): see that what writes it is running, "
    "and compare the clocks of this host and of the issuer",
    "too early": "the files give no identity (the certificate file /c.pem is for "
    "spiffe://a.test/web and begins only at 2030-01-01T00:01:00Z): compare the clocks of this host "
    "and of the issuer",
    "expired": "the identity has expired and the files hold no new one (the identity "
    "spiffe://a.test/web expired at 2030-01-01T00:00:10Z): see that what writes the certificate "
    "file /c.pem is running",
    "expired and broken": "the identity has expired and the files hold no new one (the identity "
    "spiffe://a.test/web expired at 2030-01-01T00:00:10Z; the key file /k.pem with the certificate "
    "file: no key): write it anew",
    "closed": "the source is closed: open a new one",
}


def situation(name: str) -> Bench:
    """Bring a watch into a situation."""
    bench = Bench()
    SITUATIONS[name][0](bench)
    return bench


@pytest.mark.parametrize("name", SITUATIONS)
def test_state(name: str) -> None:
    """Each situation has its state, with cause and advice where something is wrong."""
    status = situation(name).status()
    assert status.state is SITUATIONS[name][1]
    well = status.state in (State.STARTING, State.READY, State.CLOSED)
    assert bool(status.cause) == bool(status.advice) == (not well)
    assert (status.next_attempt is None) == (status.state in (State.READY, State.CLOSED))
    assert "\n" not in status.cause + status.advice


@pytest.mark.parametrize("name", SITUATIONS)
def test_context(name: str) -> None:
    """There is an identity while it is valid; else the error says which file and what to do."""
    bench = situation(name)
    if name not in TOLD:
        assert bench.context() == lasting(LIFE).context
        return
    with pytest.raises(SourceError) as caught:
        bench.context()
    assert str(caught.value) == TOLD[name]
    assert isinstance(caught.value, SourceClosedError) == (name == "closed")


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_good_reading(name: str) -> None:
    """A good reading heals everything but a closed watch."""
    bench = situation(name)
    before = bench.status()
    new = lasting(2 * LIFE)
    changed = bench.look(new)
    status = bench.status()
    if name == "closed":
        assert not changed
        assert status == before
        return
    assert changed
    assert bench.context() is new.context
    assert (status.state, status.cause, status.advice) == (State.READY, "", "")
    assert status.updates == before.updates + 1
    assert status.not_after == START + timedelta(seconds=2 * LIFE)
    assert bench.delay() == INTERVAL
    assert not bench.look(new)  # the same again (R-WLAPI-32)
    assert bench.status() == status


@pytest.mark.parametrize("name", SITUATIONS)
def test_closing(name: str) -> None:
    """A closed watch holds nothing, plans nothing and takes nothing."""
    bench = situation(name)
    bench.watch.closed(bench.clock())
    bench.look(BROKEN)
    bench.watch.ticked(bench.clock())
    status = bench.status()
    assert status.state is State.CLOSED
    assert (status.spiffe_id, status.not_after, status.cause, status.advice) == (None, None, "", "")
    assert bench.watch.next_look is None
    assert bench.watch.next_tick(bench.clock()) is None


def test_passing_problem() -> None:
    """A problem that is over at the next look is worth no word while the identity is valid."""
    bench = situation("ready")
    before = bench.status()
    bench.look(BROKEN)
    assert bench.status() == before
    assert bench.delay() == 0.2
    bench.look(lasting(LIFE, name="db"))
    assert bench.status().state is State.READY
    assert bench.status().rejected == 0
    bench.look(MISSING)
    assert bench.status().rejected == 0


@pytest.mark.parametrize("problems", [[BROKEN, BROKEN], [BROKEN, MISSING], [lasting(-5)] * 2])
def test_lasting_problem(problems: list[FileProblem | FileSnapshot[X509Context]]) -> None:
    """A problem of two looks degrades a valid identity, which stays until its end (R-WLAPI-25)."""
    bench = situation("ready")
    for each in problems:
        assert not bench.look(each)
    status = bench.status()
    assert status.state is State.DEGRADED
    assert status.since == bench.clock.wall
    assert status.rejected == 1
    assert bench.context() == lasting(LIFE).context
    bench.clock.advance(LIFE - 0.001)
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


@pytest.mark.parametrize(("begin", "delay"), [(1, 1.0), (4, 4.0), (100, INTERVAL)])
def test_identity_that_begins_later(begin: float, delay: float) -> None:
    """An identity that has not begun is not used, and looked at again when it begins."""
    bench = Bench()
    assert not bench.look(lasting(LIFE, begin=begin))
    assert bench.delay() == delay
    bench.clock.advance(begin)
    assert bench.look(lasting(LIFE, begin=begin))


def test_the_identity_in_force_expires_in_its_files() -> None:
    """An identity that expires while its files stay is no refusal: the advice is about its writer."""
    bench = situation("expired")
    assert not bench.look(lasting(10))
    status = bench.status()
    assert (status.state, status.rejected) == (State.EXPIRED, 0)
    assert status.since == status.not_after == START + timedelta(seconds=10)
    assert status.advice == "see that what writes the certificate file /c.pem is running"


def test_clock_that_is_set_back() -> None:
    """A wall clock that is corrected makes the identity valid again: the facts decide."""
    bench = situation("expired")
    assert bench.status().state is State.EXPIRED
    bench.clock.set_wall(-5)
    assert bench.status().state is State.READY


def test_clearing_a_problem() -> None:
    """The set in force read again, after a problem, is well and no update."""
    bench = situation("degraded")
    assert not bench.look(lasting(LIFE))
    status = bench.status()
    assert (status.state, status.updates, status.cause) == (State.READY, 1, "")


DOUBTFUL: Final = FileProblem("the certificate file /c.pem is not proven", "write the bundle")


def doubted(reading: FileSnapshot[X509Context]) -> FileSnapshot[X509Context]:
    """Give a reading whose bundle does not prove its identity."""
    return replace(reading, doubt=DOUBTFUL)


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
    assert not bench.look(doubted(lasting(LIFE + 3)))
    assert bench.status().state is State.DEGRADED
    assert bench.delay() == INTERVAL


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
    bench.look(MISSING)
    assert bench.status().failures == {"unreadable": 3, "unusable": 1}


class AnyScript(RuleBasedStateMachine):
    """Compare the machine with a simple model of the facts, after any script."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.held: X509Context | None = None
        self.problem: FileProblem | None = None
        self.failures = 0
        self.closed = False
        self.updates = 0

    @rule(
        end=st.sampled_from([-5.0, 1.0, 20.0, 200.0, LIFE]),
        begin=st.sampled_from([-10.0, 30.0]),
        name=st.sampled_from(["web", "db"]),
    )
    def read(self, end: float, begin: float, name: str) -> None:
        snapshot = lasting(end, begin=min(begin, end - 1), name=name)
        context, wall = snapshot.context, self.bench.clock.wall
        valid = context.default.not_before <= wall < context.default.not_after
        changed = self.bench.look(snapshot)
        assert changed == (not self.closed and valid and context != self.held)
        if self.closed:
            return
        if valid or context == self.held:
            self.updates += changed
            self.held, self.problem, self.failures = context, None, 0
        else:
            self.fail(BROKEN)

    @rule(problem=st.sampled_from([MISSING, BROKEN]))
    def refuse(self, problem: FileProblem) -> None:
        self.bench.look(problem)
        if not self.closed:
            self.fail(problem)

    def fail(self, problem: FileProblem) -> None:
        self.failures += 1
        if self.failures > 1 or self.state() is not State.READY:
            self.problem = problem

    @rule(seconds=st.sampled_from([0.0, 0.2, 5.0, 19.0, 60.0, 200.0]), tick=st.booleans())
    def wait(self, seconds: float, tick: bool) -> None:
        self.bench.clock.advance(seconds)
        if tick:
            self.bench.watch.ticked(self.bench.clock())

    @rule(seconds=st.sampled_from([-30.0, 30.0]))
    def correct_the_wall_clock(self, seconds: float) -> None:
        self.bench.clock.set_wall(seconds)

    @precondition(lambda self: self.updates > 2)
    @rule()
    def close(self) -> None:
        self.bench.watch.closed(self.bench.clock())
        self.closed, self.held, self.problem = True, None, None

    def state(self) -> State:
        """Tell the state from the facts."""
        if self.closed:
            return State.CLOSED
        if self.held is not None:
            if self.held.default.not_after <= self.bench.clock.wall:
                return State.EXPIRED
            return State.READY if self.problem is None else State.DEGRADED
        if self.problem is None:
            return State.STARTING
        return State.NO_AGENT if self.problem.unreadable else State.NO_IDENTITY

    @invariant()
    def agrees_with_the_model(self) -> None:
        # On a copy, so that looking does not settle what an event should.
        watch, now = copy.copy(self.bench.watch), self.bench.clock()
        expected = self.state()
        if expected in {State.READY, State.DEGRADED}:
            assert watch.context(now) == self.held
            assert watch.context(now).default.not_after > now.wall
        else:
            with pytest.raises(SecurityError):
                watch.context(now)
        status = watch.status(now)
        assert status.state is expected
        assert status.updates == self.updates
        assert status.spiffe_id == (self.held.default.spiffe_id if self.held else None)
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
        assert before is not State.EXPIRED
        clock.advance(max(0.0, left - 0.01))
        watch.ticked(clock())
        assert left < 0.01 or watch.state is before
        clock.advance(0.02)
        watch.ticked(clock())
        assert watch.state is State.EXPIRED

    @invariant()
    def the_next_look_is_planned(self) -> None:
        if self.closed:
            assert self.bench.watch.next_look is None
        else:
            assert self.bench.delay() <= INTERVAL


AnyScript.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnyScript = AnyScript.TestCase
