"""The live source against an agent that comes, goes, refuses and sends what is of no use."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security import (
    NoIdentityIssuedError,
    SourceError,
    WorkloadApiError,
    X509Source,
)
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.stream import CODES
from serviceradar_security.workload.watch import State
from tests.workload.clock import ShiftedClock
from tests.workload.material import DOMAIN, ID, OTHER_ID, entry, message
from tests.workload.peers import (
    Peer,
    Server,
    answering,
    until,
    until_refused,
    until_requests,
)

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from serviceradar_security.workload.watch import Instant


LOG: Final = "serviceradar_security.workload"

# ---- an agent that comes and goes ----------------------------------------------------------------


def test_agent_killed_and_back(api: FakeWorkloadApi) -> None:
    """An outage keeps the identity and is asked after at short intervals; then all is well again."""
    with X509Source(api.endpoint) as source:
        before = source.wait_ready(timeout=10)
        for _ in range(2):
            api.stop()
            until(lambda: source.status().state is State.DEGRADED)
            end = time.monotonic() + 0.45
            while time.monotonic() < end:  # not a wait to be right: several attempts are watched
                status, now = source.status(), time.time()
                assert status.state is State.DEGRADED
                assert status.next_attempt is not None
                assert status.next_attempt.timestamp() - now < 0.45
                assert source.current() == before
                time.sleep(0.01)
            api.start()
            until(lambda: source.status().state is State.READY)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)


def test_agent_replaced(socket_path: Path) -> None:
    """Another agent on the same path, with another authority, is followed."""
    with FakeWorkloadApi([ID], socket_path=socket_path) as api, X509Source(api.endpoint) as source:
        old = source.wait_ready(timeout=10)
        api.stop()
        with FakeWorkloadApi([ID], socket_path=socket_path) as other:
            until(lambda: source.current() != old)
            assert source.current().bundles[other.authority.trust_domain] == other.authority.bundle


def test_polite_end(api: FakeWorkloadApi) -> None:
    """A clean end of the stream is no end: the source asks again and stays ready (R-WLAPI-03)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        for number in (2, 3):
            api.end_stream()
            until_requests(api, number)
            until(lambda: source.status().state is State.READY)
            assert source.current() is context
        assert source.status().updates == 1


def test_polite_closer_gets_no_busy_loop(socket_path: Path) -> None:
    """An agent that answers and ends at once is asked less and less often (R-WLAPI-04)."""
    authority = FakeAuthority(DOMAIN)
    data = message(entry(authority.issue(ID), authority.bundle))

    def lead() -> float:
        attempt = source.status().next_attempt
        return attempt.timestamp() - time.time() if attempt else 0.0

    with (
        Peer(answering(data, "0"), path=socket_path) as peer,
        X509Source(f"unix://{socket_path}") as source,
    ):
        source.wait_ready(timeout=10)
        until(lambda: lead() > 0.5)  # the first delay is 0.1 s
        assert peer.served <= 6
        assert source.status().state is State.DEGRADED


# ---- refusals ------------------------------------------------------------------------------------

FINAL: Final = {"INVALID_ARGUMENT", "UNIMPLEMENTED"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("held", [False, True])
def test_status_code(
    code: str,
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
    *,
    held: bool,
) -> None:
    """Each status code leads where the standard's table says, and is logged (R-WLAPI-23)."""
    caplog.set_level(logging.DEBUG, LOG)
    if not held:
        api.fail(code, "told so")
    with X509Source(api.endpoint) as source:
        if held:
            source.wait_ready(timeout=10)
            api.fail(code, "told so")
        until(lambda: source.status().cause)
        status = source.status()
        number = CODES.index(code)
        if code == "OK":
            assert status.cause == f"{api.endpoint}: told so"
        else:
            assert f"{api.endpoint}: {code} ({number}): told so" in status.cause
            assert any(f"{code} ({number}): told so" in each for each in caplog.messages)
        assert (status.next_attempt is None) == (code in FINAL)
        if held:
            assert status.state is State.DEGRADED
            assert str(source.current().default.spiffe_id) == ID
            assert ("taken back" in status.cause) == (code == "PERMISSION_DENIED")
        else:
            denied = code == "PERMISSION_DENIED"
            assert status.state is (State.NO_IDENTITY if denied else State.NO_AGENT)
            with pytest.raises(NoIdentityIssuedError if denied else WorkloadApiError) as caught:
                source.current()
            assert caught.value.code == code


def test_denied_and_dropped(api: FakeWorkloadApi) -> None:
    """An identity that is taken back serves for the grace period, is dropped, and may come back."""
    clock = ShiftedClock()
    with X509Source(api.endpoint, redaction_grace=60.0, clock=clock) as source:
        context = source.wait_ready(timeout=10)
        api.deny()
        until(lambda: source.status().state is State.DEGRADED)
        assert source.current() == context
        clock.advance(30)
        assert source.current() == context
        clock.advance(31)
        with pytest.raises(NoIdentityIssuedError, match="create a registration entry"):
            source.current()
        assert source.status().state is State.NO_IDENTITY
        assert source.status().spiffe_id is None
        api.allow()
        clock.advance(10)
        assert source.wait_ready(timeout=10) == context
        assert source.status().updates == 2


def test_denied_and_dropped_by_time_alone(
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The end of the grace period is logged although nobody asks and the agent is silent."""
    caplog.set_level(logging.INFO, LOG)
    with X509Source(api.endpoint, redaction_grace=0.05) as source:
        source.wait_ready(timeout=10)
        api.deny()
        until(lambda: any("NO_IDENTITY" in each for each in caplog.messages))
        assert source.status().state is State.NO_IDENTITY


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_expiry(fault: str, api: FakeWorkloadApi) -> None:
    """Whatever the agent does, an identity ends at its end; the next one starts over."""
    clock = ShiftedClock()
    with X509Source(api.endpoint, clock=clock) as source:
        source.wait_ready(timeout=10)
        getattr(api, fault)()
        clock.advance(3590)
        source.current()
        clock.advance(20)
        with pytest.raises(SourceError, match="expired at"):
            source.current()
        status = source.status()
        assert status.state is State.EXPIRED
        assert status.since == status.not_after
        if fault == "stop":
            api.start()
        authority = api.authority
        api.set_identities([authority.issue(ID, ttl=7200)])
        source.wait_ready(timeout=10)
        assert source.status().state is State.READY


def test_expiry_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The end of an identity is logged once, though readers notice it before the watch does."""
    caplog.set_level(logging.INFO, LOG)
    with FakeWorkloadApi([ID], ttl=2.0) as api, X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.hang()
        until(lambda: source.status().state is State.EXPIRED)
        until(lambda: any("source is EXPIRED" in each for each in caplog.messages))
    expired = [each for each in caplog.messages if "source is EXPIRED" in each]
    assert len(expired) == 1
    assert ID in expired[0]


# ---- messages ------------------------------------------------------------------------------------


def test_garbage_is_counted(api: FakeWorkloadApi) -> None:
    """A message that cannot be used is counted, and the last good one stays (R-WLAPI-12)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        for number, garbage in enumerate((b"\xff", b"", message(), b"\x0a\x00"), 1):
            api.send(garbage)
            until_refused(source, number)
            assert source.status().state is State.DEGRADED
            assert source.current() is context
        assert "a message that cannot be used" in source.status().cause
        assert api.requests == 1  # the stream is kept (R-WLAPI-09)
        api.publish()
        until(lambda: source.status().state is State.READY)


def test_garbage_first(api: FakeWorkloadApi) -> None:
    """At the start a source waits on for a good message (R-WLAPI-12)."""
    api.hang()
    with X509Source(api.endpoint) as source:
        until(lambda: api.requests == 1)
        api.send(message())
        until(lambda: source.status().rejected == 1)
        assert source.status().state is State.NO_AGENT
        with pytest.raises(WorkloadApiError, match="it has no SVID"):
            source.current()
        api.publish()
        source.wait_ready(timeout=10)


def test_expired_update(api: FakeWorkloadApi) -> None:
    """An update that comes expired is refused with the skew of the clocks (R-WLAPI-26)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        api.set_identities([api.authority.issue(ID, ttl=-600)])
        until(lambda: source.status().rejected == 1)
        assert source.current() is context
        assert "compare the clocks" in source.status().cause


def test_early_update(socket_path: Path) -> None:
    """An identity that comes before it begins is taken when it has, though nobody sends it again."""
    authority = FakeAuthority(DOMAIN)
    begin = datetime.now(UTC) + timedelta(seconds=2)
    svid = authority.issue(ID, not_before=begin)
    with (
        FakeWorkloadApi([svid], authority=authority, socket_path=socket_path) as api,
        X509Source(api.endpoint) as source,
    ):
        until(lambda: "begins only in" in source.status().cause)
        assert source.status().state is State.NO_AGENT
        assert source.wait_ready(timeout=10).default == svid
        assert datetime.now(UTC) >= svid.not_before
        assert api.requests >= 2


@pytest.mark.parametrize("days", [30, 400, 9000])
def test_long_life(days: int) -> None:
    """An identity that lives for months is followed as any other."""
    with (
        FakeWorkloadApi([ID], ttl=days * 86400.0) as api,
        X509Source(api.endpoint) as source,
    ):
        source.wait_ready(timeout=10)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().state is State.READY
        assert api.requests == 1


def test_large_message(api: FakeWorkloadApi) -> None:
    """A message of 20 MB comes through (R-WLAPI-30)."""
    svid = api.authority.issue(OTHER_ID)
    data = message(entry(svid, api.authority.bundle), crl=[b"x" * 1024 * 1024] * 20)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.send(data)
        until(lambda: source.current().default == svid)


def test_oversized_message(api: FakeWorkloadApi, socket_path: Path) -> None:
    """A message beyond the limit is reported at its head, and the state is kept (R-WLAPI-30)."""

    def serve(connection: socket.socket) -> None:
        server = Server(connection)
        server.head()
        server.data(b"\0" + (2**31).to_bytes(4))
        server.drain()

    with Peer(serve, path=socket_path), X509Source(f"unix://{socket_path}") as source:
        until(lambda: "RESOURCE_EXHAUSTED (8)" in source.status().cause)


# ---- defects of our own --------------------------------------------------------------------------


class _FailingClock(ShiftedClock):
    """A clock that fails in the receiving thread while it is told to."""

    broken = False

    def __call__(self) -> Instant:
        if self.broken and threading.current_thread().name == "serviceradar-security-workload":
            raise LookupError("no time")
        return super().__call__()


def test_defect(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """What should never fail in the receiving thread is logged, and the thread outlives it."""
    clock = _FailingClock()
    with X509Source(api.endpoint, clock=clock) as source:
        source.wait_ready(timeout=10)
        clock.broken = True
        api.rotate()
        until(lambda: any("fails again and goes on" in each for each in caplog.messages))
        source.current()
        clock.broken = False
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().state is State.READY
        assert len(caplog.messages) < 30  # no busy loop
