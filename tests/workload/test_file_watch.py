"""The state of a watch on files: each situation has its state, identity, cause and advice."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from serviceradar_security import SourceClosedError, SourceError
from serviceradar_security.workload.watch import State
from tests.workload.clock import START
from tests.workload.file_bench import (
    BROKEN,
    INTERVAL,
    LIFE,
    SITUATIONS,
    Bench,
    lasting,
    situation,
)

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
