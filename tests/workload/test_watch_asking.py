"""What an open stream does not bring is asked for: the ends of identities, default and other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security import SourceError, X509Context
from serviceradar_security.workload.failure import Kind, ask_again_delay
from serviceradar_security.workload.watch import State
from tests.workload.bench import Bench, lasting
from tests.workload.clock import START

WEB, DB, LATE = (lasting(life, name) for life, name in ((100, "web"), (40, "db"), (70, "late")))
ALL = X509Context(
    svids=[WEB.default, DB.default, LATE.default],
    bundles=WEB.bundles,
)


def ready(context: X509Context) -> Bench:
    """Give a watch that holds a snapshot, with an open stream."""
    bench = Bench()
    bench.opened()
    assert bench.deliver(context)
    assert bench.watch.next_attempt is None
    return bench


def planned(bench: Bench) -> float | None:
    """Give the seconds until the stream is opened anew; None if that is not planned."""
    at = bench.watch.next_attempt
    return None if at is None else at - bench.clock().monotonic


def test_an_open_stream_that_lets_the_identity_expire_is_opened_anew() -> None:
    """Silence past the end of the identity is no state to wait in: the stream is asked again."""
    bench = ready(WEB)
    bench.wait(99.9)
    assert planned(bench) is None

    bench.wait(0.2)

    assert bench.status().state is State.EXPIRED
    assert planned(bench) == ask_again_delay(1, 0.5)
    assert bench.status().next_attempt is not None


def test_a_stream_that_brings_only_what_expired_is_asked_less_and_less() -> None:
    """Between the attempts lies a growing time, and a good identity starts it over."""
    bench = ready(WEB)
    bench.wait(101)
    waits = []
    for _ in range(10):
        wait = planned(bench)
        assert wait is not None
        waits.append(wait)
        bench.wait(wait)
        bench.opened()
        assert planned(bench) is None
        assert not bench.deliver(WEB)

    assert waits == sorted(waits)
    assert waits[0] == ask_again_delay(1, 0.5)
    assert waits[-1] == 30.0
    assert bench.status().rejected == 10
    assert bench.status().state is State.EXPIRED
    with pytest.raises(SourceError, match="expired"):
        bench.watch.context(bench.clock())

    assert bench.deliver(lasting(3600))
    assert bench.status().state is State.READY
    bench.wait(3600)
    assert bench.watch.next_attempt is not None
    assert bench.watch.next_attempt - bench.clock().monotonic == ask_again_delay(1, 0.5)


def test_an_identity_that_came_expired_is_asked_for_again() -> None:
    """An agent whose first answer is too old is not waited for in silence."""
    bench = Bench()
    bench.opened()

    assert not bench.deliver(lasting(-5))

    assert bench.status().state is State.NO_AGENT
    assert bench.watch.next_attempt is not None


@pytest.mark.parametrize("kind", [each for each in Kind if each is not Kind.FATAL])
def test_a_planned_attempt_is_not_planned_anew_by_the_end(kind: Kind) -> None:
    """Where the stream is down already, the end of the identity changes no plan."""
    bench = ready(WEB)
    bench.fail(kind)
    planned = bench.watch.next_attempt

    bench.wait(101)

    assert bench.watch.next_attempt == planned


def test_after_a_fatal_answer_nothing_is_asked() -> None:
    """What cannot be served is not asked again at the end of the identity either."""
    bench = ready(WEB)
    bench.fail(Kind.FATAL)
    bench.wait(101)

    assert bench.status().state is State.EXPIRED
    assert bench.watch.next_attempt is None


def test_secondary_identities_end_too() -> None:
    """Each SVID is given until its end and not after it; the default is not concerned."""
    bench = ready(ALL)
    given = []
    for _ in range(3):
        tick = bench.watch.next_tick(bench.clock())
        assert tick is not None
        given.append((round(tick), bench.watch.context(bench.clock())))
        bench.wait(tick)

    assert [each for each, _ in given] == [40, 30, 30]
    assert [[svid.spiffe_id.path for svid in context.svids] for _, context in given] == [
        ["/web", "/db", "/late"],
        ["/web", "/late"],
        ["/web"],
    ]
    assert all(context.default is WEB.default for _, context in given)
    assert bench.status().state is State.EXPIRED


def test_one_snapshot_is_given_while_nothing_ends() -> None:
    """Transports know a snapshot by its identity: it stays the same object between two ends."""
    bench = ready(ALL)
    bench.wait(50)

    assert bench.watch.context(bench.clock()) is bench.watch.context(bench.clock())


def test_the_same_message_again_is_no_update() -> None:
    """What ended meanwhile is compared as it came: a second delivery changes nothing (R-WLAPI-32)."""
    bench = ready(ALL)
    bench.wait(50)

    assert not bench.deliver(ALL)
    assert bench.status().updates == 1
    assert len(bench.watch.context(bench.clock()).svids) == 2


def test_a_secondary_that_came_expired_is_left_out_at_once() -> None:
    """A snapshot is given without the SVIDs that had ended when it came."""
    bench = Bench()
    bench.wait(50)
    bench.opened()

    assert bench.deliver(ALL)
    assert [each.spiffe_id.path for each in bench.watch.context(bench.clock()).svids] == [
        "/web",
        "/late",
    ]


def test_a_secondary_is_given_from_its_begin_on() -> None:
    """A secondary SVID that has not begun is not there yet, and comes without a new message."""
    soon = lasting(200, "soon", begins=30)
    bench = Bench()
    bench.opened()
    whole = X509Context(svids=[WEB.default, soon.default], bundles=WEB.bundles)
    assert bench.deliver(whole)
    before = bench.watch.context(bench.clock())
    tick = bench.watch.next_tick(bench.clock())
    assert tick is not None
    bench.wait(tick)

    assert [each.spiffe_id.path for each in before.svids] == ["/web"]
    assert round(tick) == 30
    assert bench.watch.context(bench.clock()) is whole
    assert bench.status().state is State.READY


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    """What ended by a clock that ran ahead is given again when the clock is right."""
    bench = ready(ALL)
    bench.wait(50)
    assert len(bench.watch.context(bench.clock()).svids) == 2

    bench.clock.wall -= timedelta(seconds=45)
    bench.watch.ticked(bench.clock())

    assert bench.watch.context(bench.clock()) is ALL
    assert not bench.deliver(ALL)


def test_an_identity_that_begins_late_is_asked_for_less_and_less() -> None:
    """However near or far its begin, there is a pause between two attempts, and it grows."""
    bench = Bench()
    bench.clock.wall = WEB.default.not_before - timedelta(hours=1)
    waits = []
    for _ in range(12):
        bench.opened()
        assert not bench.deliver(WEB)
        wait = planned(bench)
        assert wait is not None
        waits.append(wait)
        bench.wait(wait)

    assert waits[0] == 5.0
    assert waits[-1] == 30.0
    bench.clock.wall = WEB.default.not_before - timedelta(microseconds=1)
    bench.opened()
    assert not bench.deliver(WEB)
    assert bench.watch.next_attempt == bench.clock().monotonic + 0.5


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(0, 60), max_size=6),
)
def test_nothing_expired_is_ever_given(lives: list[int], waits: list[float]) -> None:
    """Whatever the ends and the moments, each SVID of a given snapshot is within its life."""
    made = [lasting(life, f"w{number}") for number, life in enumerate(lives)]
    bench = ready(X509Context(svids=[each.default for each in made], bundles=made[0].bundles))
    for seconds in waits:
        bench.wait(seconds)
        if bench.status().state is State.READY:
            context = bench.watch.context(bench.clock())
            assert all(each.not_after > bench.clock.wall for each in context.svids)
            assert context.default is made[0].default
        else:
            assert bench.clock.wall >= START + timedelta(seconds=lives[0])
