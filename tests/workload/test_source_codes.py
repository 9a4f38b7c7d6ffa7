"""The standard's table of status codes, row by row, on a real socket (R-WLAPI-23)."""

from __future__ import annotations

import logging
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security import X509Source
from serviceradar_security.metrics.observer import NullObserver
from serviceradar_security.workload.failure import Kind, retry_delay
from serviceradar_security.workload.stream import CODES
from tests.workload.peers import Peer, answering, until

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.testing.workload_api import FakeWorkloadApi
    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.status import SourceStatus

LOG: Final = "serviceradar_security.workload"
# Workload Endpoint section 6 and appendix A; what it does not name is tried again.
TABLE: Final = dict.fromkeys(CODES, Kind.FAILED) | {
    "OK": Kind.ENDED,
    "CANCELLED": Kind.ENDED,
    "INVALID_ARGUMENT": Kind.FATAL,
    "UNIMPLEMENTED": Kind.FATAL,
    "PERMISSION_DENIED": Kind.DENIED,
    "RESOURCE_EXHAUSTED": Kind.EXHAUSTED,  # R-WLAPI-30
}


class Ear(NullObserver):
    """Keep the failures that are heard."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[Failure] = SimpleQueue()

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        self.heard.put(failure)


@pytest.mark.parametrize(("code", "kind"), TABLE.items())
@pytest.mark.parametrize("held", [False, True])
def test_a_row(
    code: str,
    kind: Kind,
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
    *,
    held: bool,
) -> None:
    """A code is of its kind, told to observer and log with number and text, and tried again or not."""
    caplog.set_level(logging.DEBUG, LOG)
    ear = Ear()
    if not held:
        api.fail(code, "told so")
    with X509Source(api.endpoint, observer=ear) as source:
        if held:
            source.wait_ready(timeout=10)
            api.fail(code, "told so")
        failure = ear.heard.get(timeout=10)
        assert set(source.status().failures) == {kind.value}
        if kind is Kind.FATAL:
            assert source.status().next_attempt is None
        else:  # for a moment there is none planned, when one is under way
            until(lambda: source.status().next_attempt is not None)
        assert source._engine is not None
        fatal = source._engine.look().fatal
        assert (fatal is None) == (kind is not Kind.FATAL)
        assert fatal is None or not fatal.retryable

    assert (failure.kind, failure.code) == (kind, code)
    told = "told so" if code == "OK" else f"{code} ({CODES.index(code)}): told so"
    assert failure.text == told
    assert any(f"{kind.value}: {told}" in each for each in caplog.messages)


@pytest.mark.parametrize("number", ["17", "99", "x", "-1"])
def test_a_number_that_there_is_not(number: str, socket_path: Path) -> None:
    """A status that the table does not know is told as it came, and tried again."""
    ear = Ear()
    with (
        Peer(answering(b"", number), path=socket_path),
        X509Source(f"unix://{socket_path}", observer=ear),
    ):
        first, second = ear.heard.get(timeout=10), ear.heard.get(timeout=10)

    assert first == second
    assert (first.kind, first.code) == (Kind.FAILED, "UNKNOWN")
    assert first.text == f"UNKNOWN (2): status {number}"


@pytest.mark.parametrize("attempt", [1, 5, 1000])
def test_who_says_no_is_asked_less_often(attempt: int) -> None:
    """After a refusal the wait is longer than after an end, and than where nobody listens."""
    unreachable, ended, denied = (
        retry_delay(kind, attempt, 0.5) for kind in (Kind.UNREACHABLE, Kind.ENDED, Kind.DENIED)
    )
    assert unreachable <= ended <= denied
    assert unreachable < denied


@pytest.mark.parametrize(
    "kind", [each for each in Kind if each not in (Kind.FATAL, Kind.EXHAUSTED)]
)
@pytest.mark.parametrize("attempt", [1, 2, 5, 1000])
def test_who_has_too_much_to_do_is_asked_least(attempt: int, kind: Kind) -> None:
    """After RESOURCE_EXHAUSTED the wait is longer than after anything else (R-WLAPI-30)."""
    gentle = retry_delay(Kind.EXHAUSTED, attempt, 0.0)  # the shortest that jitter makes it
    assert gentle > retry_delay(kind, attempt, 1.0)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (5, 16), (6, 30), (1000, 30)])
def test_how_long_who_has_too_much_to_do_is_left_alone(attempt: int, seconds: float) -> None:
    """The wait after RESOURCE_EXHAUSTED begins with a second, doubles, and ends at half a minute."""
    assert retry_delay(Kind.EXHAUSTED, attempt, 0.5) == seconds
