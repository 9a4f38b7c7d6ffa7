"""The watch on files against a simple model, after any script of readings and times."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serviceradar_security import SecurityError, X509Context
from serviceradar_security.workload.watch import State
from tests.workload.file_bench import (
    BROKEN,
    GRACE,
    INTERVAL,
    LIFE,
    MISSING,
    Bench,
    lasting,
)

if TYPE_CHECKING:
    from serviceradar_security.workload.file_reading import FileProblem


class AnyScript(RuleBasedStateMachine):
    """Compare the machine with a simple model of the facts, after any script."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.held: X509Context | None = None
        self.problem: FileProblem | None = None
        self.refused_at: float | None = None
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
            self.held, self.problem, self.refused_at = context, None, None
        else:
            self.fail(BROKEN)

    @rule(problem=st.sampled_from([MISSING, BROKEN]))
    def refuse(self, problem: FileProblem) -> None:
        self.bench.look(problem)
        if not self.closed:
            self.fail(problem)

    def fail(self, problem: FileProblem) -> None:
        now = self.bench.clock.monotonic
        if self.refused_at is None:
            self.refused_at = now
        if now >= self.refused_at + GRACE or self.state() is not State.READY:
            self.problem = problem

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.2, 5.0, 19.0, 60.0, 200.0]), tick=st.booleans())
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
