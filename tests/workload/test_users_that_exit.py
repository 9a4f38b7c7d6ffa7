"""Functions of users that do not only fail but want to end the interpreter, from our threads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from serviceradar_security import X509Context, X509Source
from serviceradar_security.workload.watch import State
from tests.workload.peers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serviceradar_security import X509Svid
    from serviceradar_security.testing.workload_api import FakeWorkloadApi


def _lookup() -> NoReturn:
    raise LookupError("told so")


def _leave() -> NoReturn:
    sys.exit(3)


RAISE = pytest.mark.parametrize("fail", [_lookup, _leave])


@RAISE
def test_a_picker(fail: Callable[[], NoReturn], api: FakeWorkloadApi) -> None:
    """Whatever a picker raises refuses its message, and the watch goes on (R-WLAPI-33)."""
    failing = False

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        if failing:
            fail()
        return svids[0]

    with X509Source(api.endpoint, pick=pick) as source:
        context = source.wait_ready(timeout=10)
        failing = True
        api.rotate()
        until(lambda: source.status().state is not State.READY)

        assert source.current() is context
        assert "`pick` failed with" in source.status().cause
        failing = False
        (new,) = api.rotate()
        until(lambda: source.current().default == new)


@RAISE
def test_a_subscriber(
    fail: Callable[[], NoReturn],
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a subscriber raises is logged, and it is called again (R-WLAPI-34)."""
    calls: list[X509Context] = []

    def call(context: X509Context) -> None:
        calls.append(context)
        fail()

    with X509Source(api.endpoint) as source, source.subscribe(call):
        source.wait_ready(timeout=10)
        api.rotate()
        until(lambda: calls)
        before = len(calls)
        api.rotate()
        until(lambda: len(calls) > before)
        assert source.status().state is State.READY
    assert any("a subscriber of the identity source failed" in each for each in caplog.messages)
