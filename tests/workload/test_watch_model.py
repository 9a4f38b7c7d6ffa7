"""The watch against a simple model of the facts, after any script."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serviceradar_security import (
    SecurityError,
)
from serviceradar_security.workload.failure import Kind
from serviceradar_security.workload.watch import State
from tests.workload.bench import (
    GRACE,
    LIFE,
    Bench,
    lasting,
)

if TYPE_CHECKING:
    from serviceradar_security import X509Context


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
        elif not context.default.not_before <= self.bench.clock.wall < context.default.not_after:
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


AnyScript.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnyScript = AnyScript.TestCase
