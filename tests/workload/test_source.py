"""The live source on a real socket: opening, waiting and reading."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from serviceradar_security import (
    ConfigError,
    SourceError,
    SourceTimeoutError,
    WorkloadApiError,
    WorkloadEndpoint,
    X509Context,
    X509Source,
)
from serviceradar_security.identity.context import X509ContextSource
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State
from tests.workload.material import DOMAIN, ID, OTHER_ID
from tests.workload.peers import until
from tests.workload.users import uses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from serviceradar_security import X509Svid


# ---- opening -------------------------------------------------------------------------------------


def test_start_without_agent(socket_path: Path) -> None:
    """A source opens without its agent, says so, and is ready when the agent comes (R-EP-14)."""
    with X509Source(f"unix://{socket_path}") as source:
        until(lambda: source.status().state is State.NO_AGENT)
        status = source.status()
        assert status.cause == f"unix://{socket_path}: there is no such socket"
        assert status.next_attempt is not None
        with pytest.raises(WorkloadApiError, match="start the SPIRE agent"):
            source.current()
        with FakeWorkloadApi([ID], socket_path=socket_path):
            assert str(source.wait_ready(timeout=10).default.spiffe_id) == ID
            assert source.status().state is State.READY
            assert source.status().cause == ""


@pytest.mark.parametrize("form", ["text", "endpoint", "environment"])
def test_endpoint(form: str, api: FakeWorkloadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address comes as a text, as an endpoint, or from the environment (R-EP-01)."""
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    given: str | WorkloadEndpoint | None = api.endpoint
    if form == "endpoint":
        given = WorkloadEndpoint.parse(api.endpoint)
    elif form == "environment":
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", api.endpoint)
        given = None
    with X509Source(given) as source:
        source.wait_ready(timeout=10)
        assert str(source.endpoint) == api.endpoint


def test_explicit_address_wins(api: FakeWorkloadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is given wins over the environment, and an empty one is refused (R-EP-01)."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere")
    assert str(X509Source(api.endpoint).endpoint) == api.endpoint
    with pytest.raises(ConfigError, match="is not an address"):
        X509Source("")
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    with pytest.raises(ConfigError, match="SPIFFE_ENDPOINT_SOCKET"):
        X509Source()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"redaction_grace": -1.0}, "redaction_grace"),
        ({"redaction_grace": float("nan")}, "redaction_grace"),
        ({"redaction_grace": "60"}, "redaction_grace"),
        ({"redaction_grace": None}, "redaction_grace"),
        ({"connect_timeout": 0.0}, "connect_timeout"),
        ({"connect_timeout": -5}, "connect_timeout"),
        ({"answer_timeout": 0}, "answer_timeout"),
        ({"answer_timeout": float("nan")}, "answer_timeout"),
    ],
)
def test_wrong_options(options: dict[str, Any], name: str) -> None:
    """An option that is no number of seconds is refused by name, before anything starts."""
    with pytest.raises(ConfigError, match=f"{name} is"):
        X509Source("unix:///p", **options)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "1", None])
def test_wrong_deadlines(timeout: Any, api: FakeWorkloadApi) -> None:
    """A deadline that never comes is refused, by every call that waits."""
    with X509Source(api.endpoint) as source:
        for call in (source.wait_ready, source.close):
            with pytest.raises(ConfigError, match="timeout is"):
                call(timeout=timeout)
        with pytest.raises(ConfigError, match="timeout is"):
            asyncio.run(source.wait_ready_async(timeout=timeout))
        source.wait_ready(timeout=10)


def test_not_open() -> None:
    """A source that was not opened says so, in every call."""
    source = X509Source("unix:///nowhere")
    for call in uses(source):
        with pytest.raises(SourceError, match=r"not open: use it in a `with` block, or call open"):
            call()
    assert repr(source) == "X509Source('unix:///nowhere', not open)"


def test_open_twice(api: FakeWorkloadApi) -> None:
    """Opening an open source does nothing."""
    with X509Source(api.endpoint) as source:
        assert source.open() is source
        source.wait_ready(timeout=10)
        assert api.connections == 1


def test_is_what_transports_take(api: FakeWorkloadApi) -> None:
    """A source has the one method that transports ask for, and is neither copied nor pickled."""
    with X509Source(api.endpoint) as source:
        assert isinstance(source, X509ContextSource)
        source.wait_ready(timeout=10)
        for each in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="open one in the process that uses it"):
                each(source)


# ---- waiting -------------------------------------------------------------------------------------


WAIT: Final[dict[str, Callable[[X509Source, float], X509Context]]] = {
    "sync": lambda source, timeout: source.wait_ready(timeout=timeout),
    "async": lambda source, timeout: asyncio.run(source.wait_ready_async(timeout=timeout)),
}


def _deny(api: FakeWorkloadApi) -> None:
    api.deny()


def _hang(api: FakeWorkloadApi) -> None:
    api.hang()


def _stop(api: FakeWorkloadApi) -> None:
    api.stop()


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        pytest.param(
            _stop,
            State.NO_AGENT,
            ["there is no such socket", "start the SPIRE agent"],
            id="no agent",
        ),
        pytest.param(
            _deny,
            State.NO_IDENTITY,
            ["PERMISSION_DENIED (7): no identity issued", "create a registration entry"],
            id="denied",
        ),
        pytest.param(
            _hang,
            State.STARTING,
            ["connected, and no answer yet", "look at the log of the SPIRE agent"],
            id="hanging",
        ),
    ],
)
@pytest.mark.parametrize("twin", ["sync", "async"])
def test_wait_ready_timeout(
    fault: Callable[[FakeWorkloadApi], None],
    state: State,
    words: list[str],
    twin: str,
    api: FakeWorkloadApi,
) -> None:
    """A wait that passes its deadline names the address, the cause and the advice (R-WLAPI-31)."""
    fault(api)
    with X509Source(api.endpoint) as source:
        if state is not State.STARTING:
            until(lambda: source.status().state is state)
        else:
            until(lambda: source.status().next_attempt is None)
        with pytest.raises(SourceTimeoutError) as caught:
            WAIT[twin](source, 0.05)
        message = str(caught.value)
        assert message.startswith("no identity within 0.05 s: ")
        assert [each for each in [api.endpoint, *words] if each not in message] == []
        assert isinstance(caught.value, TimeoutError)
        assert source.status().state is state  # the source goes on


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_wait_ready_without_time(timeout: float, api: FakeWorkloadApi) -> None:
    """A deadline that has passed already gives what is there, or fails at once."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        assert source.wait_ready(timeout=timeout) is source.current()
        assert asyncio.run(source.wait_ready_async(timeout=timeout)) is source.current()
    api.stop()
    with X509Source(api.endpoint) as source, pytest.raises(SourceTimeoutError):
        source.wait_ready(timeout=timeout)


def test_wait_ready_of_many_threads(socket_path: Path) -> None:
    """All threads that wait get the identity as it comes."""
    with X509Source(f"unix://{socket_path}") as source:
        got: list[X509Context] = []
        threads = [
            threading.Thread(target=lambda: got.append(source.wait_ready(timeout=20)))
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        with FakeWorkloadApi([ID], socket_path=socket_path):
            for each in threads:
                each.join(20)
        assert len(got) == 8
        assert len({id(each) for each in got}) == 1


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNIMPLEMENTED"])
def test_wait_ready_fails_at_once(code: str, api: FakeWorkloadApi) -> None:
    """A call that the agent refuses for good ends the wait long before its deadline (R-WLAPI-23)."""
    api.fail(code, "told so")
    with X509Source(api.endpoint) as source:
        before = time.monotonic()
        with pytest.raises(WorkloadApiError, match=f"{code}.*told so") as caught:
            source.wait_ready(timeout=60)
        assert caught.value.code == code
        with pytest.raises(WorkloadApiError, match="check that the address"):
            asyncio.run(source.wait_ready_async(timeout=60))
        assert time.monotonic() - before < 30
        assert source.status().next_attempt is None
        assert api.requests == 1


# ---- reading -------------------------------------------------------------------------------------


def test_rotation(api: FakeWorkloadApi) -> None:
    """A rotation is seen by `current`, and the old snapshot stays whole for who holds it."""
    with X509Source(api.endpoint) as source:
        old = source.wait_ready(timeout=10)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().updates == 2
        assert source.status().not_after == new.not_after
        assert old.default != new


def test_authority_rotation(api: FakeWorkloadApi) -> None:
    """A new authority stands beside the old one, and a revoked one is gone (R-WLAPI-07)."""
    trust_domain = api.authority.trust_domain
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.rotate_authority()
        until(lambda: len(source.current().bundles[trust_domain].authorities) == 2)
        api.authority.revoke()
        api.publish()
        until(lambda: len(source.current().bundles[trust_domain].authorities) == 1)


def test_federation(api: FakeWorkloadApi) -> None:
    """A federated bundle comes and goes with the messages (R-WLAPI-07)."""
    other = FakeAuthority("b.test")
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.federate(other.bundle)
        until(lambda: other.trust_domain in source.current().bundles)
        api.defederate(other.trust_domain)
        until(lambda: other.trust_domain not in source.current().bundles)


def test_pick(socket_path: Path) -> None:
    """The function given chooses the default; when it finds nothing, the last good one stays."""
    authority = FakeAuthority(DOMAIN)
    web, db = authority.issue(ID, hint="web"), authority.issue(OTHER_ID, hint="db")

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        return next(each for each in svids if each.hint == "db")

    with (
        FakeWorkloadApi([web, db], authority=authority, socket_path=socket_path) as api,
        X509Source(api.endpoint, pick=pick) as source,
    ):
        assert source.wait_ready(timeout=10).default == db
        api.set_identities([web])
        until(lambda: source.status().rejected == 1)
        assert source.current().default == db
        assert "`pick` failed with StopIteration" in source.status().cause
        api.set_identities([db, web])
        until(lambda: source.status().state is State.READY)
