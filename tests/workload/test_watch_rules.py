"""The watch's rules: when it tries again, what is an update, and how old material ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security import (
    NoIdentityIssuedError,
    SecurityError,
    SourceError,
    WorkloadApiError,
)
from serviceradar_security.workload.failure import Kind, retry_delay
from serviceradar_security.workload.watch import State
from tests.workload.bench import (
    ENDPOINT,
    GRACE,
    LIFE,
    Bench,
    degraded,
    lasting,
    ready,
    taken_back,
    taken_back_then_gone,
)
from tests.workload.clock import START
from tests.workload.material import context_until

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- retries -------------------------------------------------------------------------------------


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
    assert 0.0899 <= retry_delay(kind, attempt, random) <= 33.0001
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
        ready(bench)
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


# ---- updates -------------------------------------------------------------------------------------


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
    ready(bench)
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
    degraded(bench)
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


@pytest.mark.parametrize(("early", "delay"), [(2, 2.0), (3600, 5.0)])
def test_identity_that_has_not_begun_is_asked_for_again(early: int, delay: float) -> None:
    """An identity that comes too early is asked for anew when it begins: no message would tell."""
    bench = Bench()
    context = lasting(LIFE)
    bench.clock.wall = context.default.not_before - timedelta(seconds=early)
    bench.opened()
    assert bench.deliver(context) is False
    assert f"begins only in {early} s" in bench.status().cause
    assert bench.delay() == delay
    bench.clock.advance(delay)
    bench.opened()
    assert bench.watch.next_attempt is None
    assert bench.deliver(context) is (early == 2)


def test_good_message_ends_the_plan_to_ask_again() -> None:
    """When the stream itself brings a good identity, it is not opened anew."""
    bench = Bench()
    bench.clock.wall = lasting(LIFE).default.not_before
    good = context_until(LIFE, start=bench.clock.wall)
    bench.clock.wall -= timedelta(seconds=1)
    bench.opened()
    bench.deliver(lasting(LIFE))
    bench.clock.advance(1)
    assert bench.deliver(good) is True
    assert bench.watch.next_attempt is None
    assert bench.status().next_attempt is None


# ---- the end of old material ---------------------------------------------------------------------


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
    taken_back(bench)
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
    taken_back(bench)
    assert bench.status().state is State.NO_IDENTITY


def test_redaction_grace_is_not_prolonged() -> None:
    """Neither more denials nor other failures move the end of the grace period."""
    bench = Bench()
    taken_back(bench)
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
    taken_back_then_gone(bench)
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
    taken_back(bench)
    bench.clock.advance(GRACE / 2)
    assert bench.deliver(lasting(LIFE)) is False
    bench.clock.advance(GRACE * 2)
    assert bench.context() == lasting(LIFE)


def test_identity_that_comes_back_is_new() -> None:
    """An identity that was dropped and is given again is an update."""
    bench = Bench()
    taken_back(bench)
    bench.clock.advance(GRACE)
    assert bench.deliver(lasting(LIFE)) is True
    assert bench.status().updates == 2


def test_an_identity_that_is_not_yet_valid_is_refused_with_the_skew() -> None:
    """What is held stays, and the cause names the clocks (R-X509-15)."""
    early = Bench()
    early.clock.wall -= timedelta(hours=2)
    assert not early.deliver(lasting(LIFE, "web"))
    status = early.status()
    assert status.state is State.NO_AGENT
    assert "compare the clocks" in status.cause
    assert status.rejected == 1
