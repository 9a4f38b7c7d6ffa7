"""The rotation rehearsal: a service of yours goes through all that an agent can do to it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from serviceradar_security.errors import ConfigError
from serviceradar_security.testing.arguments import check
from serviceradar_security.testing.served import Identity, all_wanted
from serviceradar_security.testing.stage import Stage
from serviceradar_security.testing.steps import STEPS
from serviceradar_security.testing.worker import Worker
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.live import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.served import Given

__all__ = ["REHEARSAL_STEPS", "Rehearsal", "Service", "StepResult", "rehearse"]

_T = TypeVar("_T")
_Outcome = Literal["passed", "failed", "not run"]
_LONGEST_ERROR: Final = 300
_STOP: Final = "the service is told to stop"

REHEARSAL_STEPS: Final = tuple(STEPS)
"""The names of the steps, in their order."""


def _nothing(_running: object) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Generic[_T]):
    """How to run a service in a rehearsal; all of it is called in one thread.

    Attributes:
        start: Starts it on the address of a Workload API, and gives what the others take.
        check: Uses it as its clients do; raises, or gives False, if it does not work.
        stop: Stops it.
        presented: Gives the certificate that it uses now, as an `X509Svid`, a certificate of
            `cryptography`, or DER bytes (``ssl.SSLSocket.getpeercert(binary_form=True)`` of a
            client). Without it a service that never rotates is found only by a `check` that trusts
            the authority of the moment.

    Raises:
        ConfigError: One of them is no function.
    """

    start: Callable[[str], _T]
    check: Callable[[_T], object]
    stop: Callable[[_T], object] = _nothing
    presented: Callable[[_T], object] | None = None

    def __post_init__(self) -> None:
        check(start=self.start, check=self.check, stop=self.stop, presented=self.presented)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step.

    Attributes:
        name: The step, as in `REHEARSAL_STEPS`.
        what: What the agent did.
        outcome: ``passed``, ``failed`` or ``not run``.
        error: Why it failed, or why it was not run.
        seconds: How long it took.
    """

    name: str
    what: str
    outcome: _Outcome
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The results of a rehearsal; as text, a table.

    Attributes:
        results: One for each step, in order.
    """

    results: tuple[StepResult, ...]

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """The steps that did not pass."""
        return tuple(each for each in self.results if each.outcome != "passed")

    def raise_for_failures(self) -> None:
        """Do nothing if each step passed.

        Raises:
            AssertionError: A step did not; the message is the table.
        """
        if self.failed:
            raise AssertionError(str(self)) from self.failed[0].error

    def __str__(self) -> str:
        width = max((len(each.name) for each in self.results), default=0)
        lines = [
            f"{len(self.results) - len(self.failed)} of {len(self.results)} steps passed",
        ]
        for each in self.results:
            lines.append(
                f"{each.outcome:7}  {each.seconds:5.1f} s  {each.name:{width}}  {each.what}",
            )
            if each.error is not None:
                lines.append(f"{'':19}{_one_line(each.error)}")
        return "\n".join(lines)


def rehearse(
    service: Service[Any],
    *,
    identities: Sequence[Given] = ("spiffe://example.org/service",),
    authority: FakeAuthority | None = None,
    steps: Iterable[str] = REHEARSAL_STEPS,
    timeout: float = 10.0,
    hold: float = 0.3,
) -> Rehearsal:
    """Take a service through every step, and tell what failed.

    After a failed step the service is started anew, so that each failure stands for itself.

    Args:
        service: How to run it.
        identities: What the Workload API issues to it: IDs, or pairs of ID and hint.
        authority: Who issues them; give one of your own to make peers in `check`.
        steps: The steps to take; those that are left out are not in the result.
        timeout: Seconds within which the service must be well after a step, and within which
            each of its functions must return.
        hold: Seconds for which it is watched while something is wrong.

    Raises:
        ConfigError: There is no such step, or no step at all; or an identity is not to be issued;
            or an argument is of the wrong kind.
        SpiffeIdError: An identity is no SPIFFE ID.
    """
    given: object = service
    if not isinstance(given, Service):
        raise ConfigError(f"a service is given as Service(...), not {type(given).__name__}")
    check_seconds("timeout", timeout, least=0.001, finite=True)
    check_seconds("hold", hold, least=0.0, finite=True)
    chosen = _chosen(steps)
    if not all(isinstance(each, Identity) for each in all_wanted(identities)):
        raise ConfigError("a rehearsal issues its identities: give SPIFFE IDs")
    worker = Worker(timeout=timeout)
    try:
        with FakeWorkloadApi(identities, authority=authority, timeout=timeout) as api:
            stage = Stage(api, service, worker, timeout=timeout, hold=hold)
            results = [_play(stage, name) for name in chosen]
            return Rehearsal((*results, _stop(stage)))
    finally:
        worker.close()


def _chosen(steps: Iterable[str]) -> list[str]:
    asked: object = [steps] if isinstance(steps, str) else steps
    if not isinstance(asked, Iterable):
        raise ConfigError(f"steps are given as a list of names, not {type(asked).__name__}")
    listed = list(asked)
    if not all(isinstance(each, str) for each in listed):
        raise ConfigError("steps are given as a list of names, and one of these is no text")
    names = set(listed)
    unknown = sorted(names - set(STEPS))
    if unknown or not names:
        raise ConfigError(
            f"no such steps of a rehearsal: {', '.join(unknown) or 'none given'}; "
            f"take some of {', '.join(STEPS)}",
        )
    return [name for name in STEPS if name in names]


def _play(stage: Stage, name: str) -> StepResult:
    what, act = STEPS[name]
    begin = time.monotonic()
    outcome: _Outcome = "failed" if name == "start" else "not run"
    try:
        stage.ready()
        outcome = "failed"
        act(stage)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - what pytest.fail raises is no Exception
        return StepResult(name, what, outcome, error, time.monotonic() - begin)
    return StepResult(name, what, "passed", None, time.monotonic() - begin)


def _stop(stage: Stage) -> StepResult:
    begin = time.monotonic()
    try:
        stage.stop()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        return StepResult("stop", _STOP, "failed", error, time.monotonic() - begin)
    return StepResult("stop", _STOP, "passed", None, time.monotonic() - begin)


def _one_line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]} ..."
