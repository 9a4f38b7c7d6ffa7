"""The rotation rehearsal: services that are well pass, and each way to be wrong is found."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import ConfigError
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi, Service, rehearse
from serviceradar_security.testing.rehearsal import (
    REHEARSAL_STEPS,
    Rehearsal,
    StepResult,
    _play,
    _stop,
)
from serviceradar_security.testing.stage import Stage
from serviceradar_security.testing.worker import Worker
from tests.testing.services import (
    PATIENCE,
    Client,
    Fragile,
    Frozen,
    Gullible,
    TlsService,
    opened,
    well,
)

if TYPE_CHECKING:
    from serviceradar_security import X509Source

HOLD = 0.05
SHORT = 1.0  # for steps that fail by it


def outcomes(done: Rehearsal) -> dict[str, str]:
    return {each.name: each.outcome for each in done.results}


# ---- who passes --------------------------------------------------------------------------------


def test_a_source_passes() -> None:
    """Our own source goes through the whole script, and each step is told of."""
    done = rehearse(well(), timeout=PATIENCE, hold=HOLD)

    done.raise_for_failures()
    assert done.failed == ()
    assert [each.name for each in done.results] == [*REHEARSAL_STEPS, "stop"]
    shown = str(done)
    assert shown.startswith(
        f"{len(REHEARSAL_STEPS) + 1} of {len(REHEARSAL_STEPS) + 1} steps passed"
    )
    assert all(each.name in shown and each.what in shown for each in done.results)


def test_a_tls_server_passes() -> None:
    """A service is tested through its door: by a client that trusts the authority of the moment."""
    authority = FakeAuthority("example.org")
    client = Client(authority)
    service = Service(
        start=TlsService,
        check=client.check,
        stop=TlsService.close,
        presented=client.presented,
    )

    done = rehearse(service, authority=authority, timeout=PATIENCE, hold=HOLD)

    done.raise_for_failures()


def test_several_identities() -> None:
    """The Workload API gives what it is told to give."""
    ids: list[Any] = ["spiffe://a.test/one", ("spiffe://a.test/two", "external")]
    seen: list[list[str]] = []
    service = well(
        check=lambda source: seen.append([str(s.spiffe_id) for s in source.current().svids])
    )

    rehearse(service, identities=ids, steps=["rotation"], timeout=PATIENCE, hold=HOLD)

    assert seen[0] == ["spiffe://a.test/one", "spiffe://a.test/two"]


# ---- who does not ------------------------------------------------------------------------------


def test_a_service_that_never_rotates_is_found_by_what_it_presents() -> None:
    """Each step that brings a new identity fails, and it is said why; the start passes."""
    service = Service(
        start=Frozen,
        check=lambda frozen: frozen.context.default,
        presented=lambda frozen: frozen.context.default.leaf,
    )

    done = rehearse(service, steps=["start", "rotation", "garbage"], timeout=SHORT, hold=HOLD)

    assert outcomes(done) == {
        "start": "passed",
        "rotation": "failed",
        "garbage": "failed",
        "stop": "passed",
    }
    assert "it still uses a certificate of before" in str(done)


def test_a_service_that_never_rotates_is_found_by_its_clients() -> None:
    """Without `presented` it fails when the authority that it was signed by is trusted no more."""
    authority = FakeAuthority("example.org")
    service = Service(
        start=Frozen,
        check=lambda frozen: frozen.context.default.leaf.verify_directly_issued_by(
            authority.bundle.authorities[0],
        ),
    )
    steps = ["rotation", "authority rotation", "authority retirement"]

    done = rehearse(service, authority=authority, steps=steps, timeout=SHORT, hold=HOLD)

    assert outcomes(done)["authority retirement"] == "failed"
    assert outcomes(done)["rotation"] == "passed"


def test_a_service_that_dies_with_its_agent() -> None:
    """A service that does not outlive its connection fails the outage and the restart, and no other."""
    service = Service(start=Fragile, check=Fragile.check, stop=Fragile.stop)
    steps = ["start", "garbage", "outage", "replaced socket"]

    done = rehearse(service, steps=steps, timeout=PATIENCE, hold=0.3)

    assert [each.name for each in done.failed] == ["outage", "replaced socket"]
    assert all(isinstance(each.error, ConnectionError) for each in done.failed)


def test_a_service_that_does_not_call_again() -> None:
    """A service without a second attempt is told that no call came."""
    service = Service(start=Frozen, check=lambda frozen: frozen.context)

    done = rehearse(service, steps=["end of stream"], timeout=SHORT, hold=HOLD)

    assert "does it call again after a failure" in str(done.failed[0].error)


@pytest.mark.parametrize("step", ["expired identity", "clock skew"])
def test_a_service_that_takes_what_it_should_refuse(step: str) -> None:
    """A service that uses an identity beyond its validity fails, though its check passes."""
    service = Service(
        start=Gullible,
        check=lambda gullible: gullible.newest,
        stop=Gullible.stop,
        presented=lambda gullible: gullible.newest,
    )

    done = rehearse(service, steps=["rotation", step], timeout=PATIENCE, hold=0.5)

    assert outcomes(done) == {"rotation": "passed", step: "failed", "stop": "passed"}
    assert "should have refused" in str(done.failed[0].error)


def test_a_service_is_started_anew_with_good_material() -> None:
    """After a failure the agent serves well again before the service is started, whatever it sent."""
    lives: list[float] = []

    def start(endpoint: str) -> Gullible:
        started = Gullible(endpoint)
        lives.append(started.newest.not_after.timestamp() - time.time())
        return started

    service = Service(
        start=start,
        check=lambda gullible: gullible.newest,
        stop=Gullible.stop,
        presented=lambda gullible: gullible.newest,
    )

    done = rehearse(service, steps=["expired identity", "slow drip"], timeout=PATIENCE, hold=0.5)

    assert [each.outcome for each in done.results] == ["failed", "passed", "passed"]
    assert len(lives) == 2
    assert min(lives) > 0


def test_a_step_that_fails_at_its_end_is_followed_by_a_start() -> None:
    """A service that was well in the middle of a step, and not at its end, is started anew too."""
    authority = FakeAuthority("example.org")
    started: list[Frozen] = []

    def start(endpoint: str) -> Frozen:
        started.append(Frozen(endpoint))
        return started[-1]

    service = Service(
        start=start,
        check=lambda frozen: frozen.context.default.leaf.verify_directly_issued_by(
            authority.bundle.authorities[0],
        ),
    )
    steps = ["authority retirement", "garbage"]

    done = rehearse(service, authority=authority, steps=steps, timeout=SHORT, hold=HOLD)

    assert outcomes(done) == {
        "authority retirement": "failed",
        "garbage": "passed",
        "stop": "passed",
    }
    assert len(started) == 2


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("no\nroute"), "ValueError: no route"),
        (SystemExit(3), "`check` raised SystemExit"),
        (KeyboardInterrupt(), "`check` raised KeyboardInterrupt"),
        (pytest.fail.Exception("by the test"), "by the test"),
        (RuntimeError("long " * 200), "long long"),
    ],
)
def test_what_a_check_raises(raised: BaseException, said: str) -> None:
    """Whatever a check raises fails the step, in one line of the table, and not the rehearsal."""

    def check(_source: X509Source) -> None:
        raise raised

    done = rehearse(well(check=check), steps=["rotation"], timeout=SHORT, hold=HOLD)

    assert outcomes(done) == {"rotation": "failed", "stop": "passed"}
    (line,) = [each for each in str(done).splitlines() if said in each]
    assert len(line) < 350
    with pytest.raises(AssertionError, match="1 of 2 steps passed") as caught:
        done.raise_for_failures()
    assert str(caught.value) == str(done)


@pytest.mark.parametrize("answer", [False, True, None, 0, ""])
def test_what_a_check_gives(answer: object) -> None:
    """False fails a step; everything else that is given does not."""
    done = rehearse(well(check=lambda _: answer), steps=["rotation"], timeout=SHORT, hold=HOLD)

    assert bool(done.failed) is (answer is False)


@pytest.mark.parametrize("given", ["a text", None, 7])
def test_what_presented_must_not_give(given: object) -> None:
    """Something that is no certificate is named."""
    service = well(presented=lambda _: given)

    done = rehearse(service, steps=["end of stream"], timeout=SHORT, hold=HOLD)

    assert f"gave a {type(given).__name__}" in str(done.failed[0].error)


def test_a_service_that_does_not_start() -> None:
    """When it cannot be started the start fails, and no other step is run; each says why."""

    def start(endpoint: str) -> X509Source:
        raise OSError(f"no port left beside {endpoint[:4]}")

    done = rehearse(well(start=start), timeout=SHORT, hold=HOLD)

    assert set(outcomes(done).values()) == {"failed", "not run", "passed"}
    assert [each.name for each in done.results if each.outcome == "failed"] == ["start"]
    assert all(each.error is not None for each in done.failed)
    assert "no port left beside unix" in str(done)


def test_a_service_is_started_anew_after_a_failure() -> None:
    """A failed step does not spoil the next one: the service that failed is stopped, and replaced."""
    started: list[X509Source] = []
    stopped: list[X509Source] = []

    def start(endpoint: str) -> X509Source:
        started.append(opened(endpoint))
        return started[-1]

    def check(source: X509Source) -> None:
        if source is started[0]:
            raise RuntimeError("the first one is broken")

    def stop(source: X509Source) -> None:
        source.close()
        stopped.append(source)

    done = rehearse(
        well(start=start, check=check, stop=stop),
        steps=["start", "rotation", "garbage"],
        timeout=SHORT,
        hold=HOLD,
    )

    assert list(outcomes(done).values()) == ["failed", "passed", "passed", "passed"]
    assert started == stopped
    assert len(started) == 2


@pytest.mark.parametrize("function", ["start", "check", "presented"])
def test_a_function_that_does_not_return(function: str) -> None:
    """A function that hangs costs its deadline once; what cannot be run any more is said."""
    released = threading.Event()
    functions: dict[str, Any] = {"start": str, "check": len}  # what a busy machine does in time
    try:
        service = Service(**{**functions, function: lambda _: released.wait(PATIENCE)})
        begin = time.monotonic()
        done = rehearse(service, steps=["start", "rotation"], timeout=SHORT, hold=HOLD)
        took = time.monotonic() - begin
    finally:
        released.set()

    assert f"`{function}` did not return in 1 s" in str(done.results[0].error)
    assert [each.outcome for each in done.results[:2]] == ["failed", "not run"]
    assert took < PATIENCE / 2


def test_a_stop_that_fails() -> None:
    """What a stop raises is told."""

    def fails(source: X509Source) -> None:
        source.close()
        raise RuntimeError("cannot stop")

    done = rehearse(well(stop=fails), steps=["start"], timeout=PATIENCE, hold=HOLD)

    assert outcomes(done) == {"start": "passed", "stop": "failed"}
    assert "cannot stop" in str(done.failed[0].error)


def test_a_stop_that_hangs() -> None:
    """A stop that hangs has a deadline, and is told."""
    released = threading.Event()
    patient, hurried = Worker(timeout=PATIENCE), Worker(timeout=0.01)
    service = Service(start=str, check=len, stop=lambda _: released.wait(PATIENCE))
    try:
        with FakeWorkloadApi(["spiffe://example.org/x"]) as api:
            stage = Stage(api, service, patient, timeout=PATIENCE, hold=HOLD)
            assert _play(stage, "start").outcome == "passed"
            stage._worker = hurried  # so that a machine that is busy fails nothing but the stop
            stopped = _stop(stage)
    finally:
        released.set()
        patient.close()
        hurried.close()

    assert (stopped.name, stopped.outcome) == ("stop", "failed")
    assert str(stopped.error) == "`stop` did not return in 0.01 s"


# ---- what is asked for -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [["rotation", "rotations"], [], "rotations", ["Start"]])
def test_steps_that_there_are_not(steps: Any) -> None:
    """A misspelt step, or none, is refused before anything starts."""
    with pytest.raises(ConfigError, match="late agent"):
        rehearse(well(), steps=steps)


def test_steps_come_in_their_order() -> None:
    """Whatever the order in which they are asked for; one may be named alone."""
    done = rehearse(well(), steps={"garbage", "start"}, timeout=PATIENCE, hold=HOLD)
    assert list(outcomes(done)) == ["start", "garbage", "stop"]
    done = rehearse(well(), steps="rotation", timeout=PATIENCE, hold=HOLD)
    assert list(outcomes(done)) == ["rotation", "stop"]


def test_identities_that_cannot_be_rotated() -> None:
    """An SVID that is served as it is cannot be issued anew: it is refused."""
    svid = FakeAuthority("example.org").issue("spiffe://example.org/x")

    with pytest.raises(ConfigError, match="give SPIFFE IDs"):
        rehearse(well(), identities=[svid])


def test_it_leaves_nothing_behind() -> None:
    """After a rehearsal no thread of it runs."""
    before = threading.active_count()

    rehearse(well(), steps=["start", "late agent"], timeout=PATIENCE, hold=HOLD)

    assert threading.active_count() == before


def test_results_are_values() -> None:
    """Results compare by what they say, and a table of them needs no rehearsal."""
    one = StepResult("start", "the service starts", "passed")

    assert one == StepResult("start", "the service starts", "passed")
    assert str(Rehearsal((one,))) == (
        "1 of 1 steps passed\npassed     0.0 s  start  the service starts"
    )
