"""An identity outlives what happens to SPIRE: parts that end, freeze, are replaced, or forget us.

Calls go on all the while, on an old connection and on new ones; both ends live on one source.
Nothing of ours is restarted.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import X509Source
from serviceradar_security.workload.watch import State
from tests.realparts.agent import SpireAgent
from tests.spire.outage import DEADLINE, WEB, Traffic, Witness, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.realparts.spire import Spire

pytestmark = pytest.mark.spire

LIFE = 10  # seconds; with SPIRE's intervals here, a new SVID comes every second
AGED = 3  # seconds without one
LONG_LIFE = 60
READY, DEGRADED = State.READY, State.DEGRADED
EXPIRED, NO_IDENTITY = State.EXPIRED, State.NO_IDENTITY


@dataclass(frozen=True)
class Outage:
    """What happens, what the source says of it, and how it ends.

    Attributes:
        begin: Begins it.
        noticed: Waits until the workload has noticed.
        end: Brings back what is away.
        states: What the source goes through from READY on.
        life: The life of SVIDs in seconds.
        grace: For how many seconds the source uses what was taken back.
    """

    begin: Callable[[Stage], object]
    noticed: Callable[[Stage], object]
    end: Callable[[Stage], object]
    states: tuple[State, ...]
    life: int = LIFE
    grace: float = 60.0


@dataclass
class Stage:
    """A workload whose identity is used all the time, and the SPIRE that it depends on."""

    outage: Outage
    spire: Spire
    entry: str
    source: X509Source
    witness: Witness
    traffic: Traffic
    stack: ExitStack

    def register(self) -> None:
        """Register the workload."""
        self.entry = self.spire.create_entry(str(WEB), x509_svid_ttl=self.outage.life)

    def stop_server(self) -> None:
        """Stop the server and its datastore."""
        self.spire.server.stop()
        self.spire.postgres.stop()

    def start_server(self) -> None:
        """Start both again, on the same data."""
        self.spire.postgres.start()
        self.spire.server.start()

    def left(self) -> float:
        """Return how long the identity lives on, in seconds; none: it is over."""
        end = self.source.status().not_after
        return (end - datetime.now(UTC)).total_seconds() if end else 0.0

    def await_age(self) -> None:
        """Wait until the identity is older than it gets while all is well."""
        until(lambda: self.left() < LIFE - AGED, "an identity that is not renewed")

    def replace_socket(self) -> None:
        """Put the socket of another agent in the place of the agent's, which goes on without."""
        other = self.stack.enter_context(SpireAgent(self.spire.server, name="other"))
        entry = self.spire.create_entry(
            str(WEB), parent=other.spiffe_id, x509_svid_ttl=self.outage.life
        )
        other.await_entry(entry, timeout=DEADLINE)
        other.workload_socket.replace(self.spire.workload_socket)

    def kill_replaced(self) -> None:
        """Kill the agent whose socket was replaced: only now its stream ends."""
        assert self.witness.heard == []
        self.spire.agent.kill()
        self.witness.wait_for(DEGRADED, r"agent\.sock: .*(agent|connection).*look at the log")


@pytest.fixture
def stage(spire: Spire, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Run the workload, READY and under calls, for the outage that is the parameter."""
    outage: Outage = request.param
    entry = spire.create_entry(str(WEB), x509_svid_ttl=outage.life, wait=DEADLINE)
    with ExitStack() as stack:
        source = stack.enter_context(X509Source(spire.endpoint, redaction_grace=outage.grace))
        source.wait_ready(timeout=DEADLINE)
        witness = stack.enter_context(Witness(source))
        traffic = stack.enter_context(Traffic(source))
        traffic.await_success(since=0.0)
        yield Stage(outage, spire, entry, source, witness, traffic, stack)


def recover(stage: Stage) -> float:
    """Bring back what is away, wait until the source is READY with a new SVID, and return when."""
    updates, heard = stage.source.status().updates, len(stage.witness.heard)
    stage.outage.end(stage)
    until(lambda: stage.source.status().updates > updates, "a new SVID")
    until(lambda: stage.source.status().state is READY, "READY")
    again = [each.at for each in stage.witness.heard[heard:] if each.state is READY]
    ready = again[0] if again else time.monotonic()
    stage.traffic.await_success(since=ready)
    return ready


def said(state: State, why: str) -> Callable[[Stage], object]:
    """Wait for the source's words, which hold a pattern."""
    return lambda stage: stage.witness.wait_for(state, why)


SHORT = {
    "agent killed": Outage(
        begin=lambda stage: stage.spire.agent.kill(),
        noticed=said(DEGRADED, r"nobody listens there: start the SPIRE agent"),
        end=lambda stage: stage.spire.agent.start(),
        states=(DEGRADED, READY),
        life=LONG_LIFE,
    ),
    "agent restarted": Outage(
        begin=lambda stage: stage.spire.agent.stop(),
        noticed=said(DEGRADED, r"(no such socket|nobody listens there): start the SPIRE agent"),
        end=lambda stage: stage.spire.agent.start(),
        states=(DEGRADED, READY),
        life=LONG_LIFE,
    ),
    "agent frozen": Outage(
        begin=lambda stage: stage.spire.agent.pause(),
        noticed=Stage.await_age,
        end=lambda stage: stage.spire.agent.resume(),
        states=(),
    ),
    "socket replaced": Outage(
        begin=Stage.replace_socket,
        noticed=lambda stage: stage.traffic.await_calls(),
        end=Stage.kill_replaced,
        states=(DEGRADED, READY),
        life=LONG_LIFE,
    ),
    "entry deleted": Outage(
        begin=lambda stage: stage.spire.delete_entry(stage.entry),
        noticed=said(DEGRADED, r"taken back by the agent.*PERMISSION_DENIED.*registration entry"),
        end=Stage.register,
        states=(DEGRADED, READY),
        life=LONG_LIFE,
    ),
    "server and Postgres stopped": Outage(
        begin=Stage.stop_server,
        noticed=Stage.await_age,
        end=Stage.start_server,
        states=(),
    ),
}


@pytest.mark.parametrize("stage", SHORT.values(), ids=SHORT, indirect=True)
def test_within_its_life_no_call_fails(stage: Stage) -> None:
    """While the SVID at hand lives, no outage fails a call; the cause is named, and it recovers."""
    stage.outage.begin(stage)
    stage.outage.noticed(stage)
    stage.traffic.await_calls()
    recover(stage)
    assert stage.traffic.failures == []
    assert tuple(stage.witness.states()) == stage.outage.states
    assert stage.witness.errors == set()
    assert stage.witness.expired_given == []


LONG = {
    "agent killed": replace(
        SHORT["agent killed"],
        noticed=said(EXPIRED, r"expired at .*nobody listens there.*: start the SPIRE agent"),
        states=(DEGRADED, EXPIRED, READY),
        life=LIFE,
    ),
    "agent frozen": replace(
        SHORT["agent frozen"], noticed=said(EXPIRED, r"expired at "), states=(EXPIRED, READY)
    ),
    "server and Postgres stopped": replace(
        SHORT["server and Postgres stopped"],
        # The stream was silent, so it was asked again, and the agent gave what it had.
        noticed=said(EXPIRED, r"expired at .*expired \d+ s before it came"),
        states=(EXPIRED, READY),
    ),
    "entry deleted": replace(
        SHORT["entry deleted"],
        noticed=said(NO_IDENTITY, r"PERMISSION_DENIED.*: create a registration entry"),
        states=(DEGRADED, NO_IDENTITY, READY),
        grace=0.5,
    ),
}

REASONS = {
    EXPIRED: "the identity has expired and no new one came (",
    NO_IDENTITY: "no identity is issued to this workload (",
}


@pytest.mark.parametrize("stage", LONG.values(), ids=LONG, indirect=True)
def test_beyond_its_life_calls_are_refused_until_a_new_svid(stage: Stage) -> None:
    """With no valid SVID calls are refused and the cause is named; with the next one they work."""
    over = stage.outage.states[-2]
    stage.outage.begin(stage)
    stage.outage.noticed(stage)
    stage.traffic.await_calls()
    assert stage.source.status().state is over
    assert stage.traffic.recent[-1].error.startswith("UNAVAILABLE")
    ready = recover(stage)

    failures = stage.traffic.failures
    assert {each.state for each in failures} <= {over, READY}
    assert {each.error.partition(":")[0] for each in failures} == {"UNAVAILABLE"}
    # While there is an identity, none is refused but the one that is under way as it comes.
    assert len([each for each in failures if each.state is READY or each.began >= ready]) <= 1
    assert tuple(stage.witness.states()) == stage.outage.states
    assert {text.startswith(REASONS[over]) for text in stage.witness.errors} == {True}
    assert stage.witness.expired_given == []
