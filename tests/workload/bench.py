"""A watch with its clock, and the situations it can be in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from serviceradar_security.workload.failure import Failure, Kind
from serviceradar_security.workload.watch import SourceStatus, State, Watch
from tests.workload.clock import START, Clock
from tests.workload.material import context_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security import X509Context

ENDPOINT: Final = "unix:///run/agent.sock"
GRACE: Final = 60.0
LIFE: Final = 3600.0
SHORT: Final = {
    "S": State.STARTING,
    "NA": State.NO_AGENT,
    "NI": State.NO_IDENTITY,
    "R": State.READY,
    "D": State.DEGRADED,
    "E": State.EXPIRED,
    "C": State.CLOSED,
}


@cache
def lasting(seconds: float, name: str = "web", *, begins: float | None = None) -> X509Context:
    """Give a snapshot whose identity ends, and perhaps begins, so many seconds after the start."""
    return context_until(seconds, start=START, name=name, begins=begins)


def failure(kind: Kind) -> Failure:
    """Give a failure of a kind, with the code that it has on the wire."""
    code = {
        Kind.DENIED: "PERMISSION_DENIED",
        Kind.FATAL: "INVALID_ARGUMENT",
        Kind.FAILED: "UNAVAILABLE",
    }.get(kind, "")
    return Failure(kind, f"told so ({kind.value})", code)


class Bench:
    """A watch with its clock."""

    def __init__(self, *, grace: float = GRACE, random: float = 0.5) -> None:
        self.clock = Clock()
        self.watch = Watch(
            endpoint=ENDPOINT,
            redaction_grace=grace,
            random=lambda: random,
            now=self.clock(),
        )

    def opened(self) -> None:
        self.watch.opened(self.clock())

    def deliver(self, context: X509Context) -> bool:
        return self.watch.delivered(context, self.clock())

    def reject(self, text: str = "it has no SVID") -> None:
        self.watch.rejected(text, self.clock())

    def fail(self, kind: Kind) -> None:
        self.watch.failed(failure(kind), self.clock())

    def close(self) -> None:
        self.watch.closed(self.clock())

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.watch.ticked(self.clock())

    def status(self) -> SourceStatus:
        return self.watch.status(self.clock())

    def context(self) -> X509Context:
        return self.watch.context(self.clock())

    def delay(self) -> float:
        """Seconds until the next attempt."""
        assert self.watch.next_attempt is not None
        return self.watch.next_attempt - self.clock.monotonic


def ready(bench: Bench) -> None:
    bench.opened()
    bench.deliver(lasting(LIFE))


def degraded(bench: Bench) -> None:
    ready(bench)
    bench.fail(Kind.UNREACHABLE)


def refusing(bench: Bench) -> None:
    ready(bench)
    bench.reject()


def taken_back(bench: Bench) -> None:
    ready(bench)
    bench.fail(Kind.DENIED)


def taken_back_then_gone(bench: Bench) -> None:
    taken_back(bench)
    bench.fail(Kind.UNREACHABLE)


def expired(bench: Bench) -> None:
    bench.opened()
    bench.deliver(lasting(10))
    bench.wait(10)


def expired_then_taken_back(bench: Bench) -> None:
    expired(bench)
    bench.fail(Kind.DENIED)


def heard_garbage(bench: Bench) -> None:
    bench.opened()
    bench.reject()


def fatal_when_ready(bench: Bench) -> None:
    ready(bench)
    bench.fail(Kind.FATAL)


SITUATIONS: Final[dict[str, Callable[[Bench], None]]] = {
    "starting": lambda _: None,
    "connected": lambda bench: bench.opened(),
    "no agent": lambda bench: bench.fail(Kind.UNREACHABLE),
    "garbage": heard_garbage,
    "fatal": lambda bench: bench.fail(Kind.FATAL),
    "no identity": lambda bench: bench.fail(Kind.DENIED),
    "ready": ready,
    "degraded": degraded,
    "refusing": refusing,
    "fatal later": fatal_when_ready,
    "taken back": taken_back,
    "taken, gone": taken_back_then_gone,
    "expired": expired,
    "expired, taken": expired_then_taken_back,
    "closed": lambda bench: bench.close(),
}
EVENTS: Final[dict[str, Callable[[Bench], object]]] = {
    "nothing": lambda _: None,
    "tick": lambda bench: bench.wait(0),
    "opened": lambda bench: bench.opened(),
    "valid": lambda bench: bench.deliver(lasting(3 * LIFE)),
    "stale": lambda bench: bench.deliver(lasting(-1)),
    "refused": lambda bench: bench.reject(),
    "unreach": lambda bench: bench.fail(Kind.UNREACHABLE),
    "ended": lambda bench: bench.fail(Kind.ENDED),
    "denied": lambda bench: bench.fail(Kind.DENIED),
    "fatal": lambda bench: bench.fail(Kind.FATAL),
    "failed": lambda bench: bench.fail(Kind.FAILED),
    "grace": lambda bench: bench.wait(GRACE),
    "life": lambda bench: bench.wait(LIFE),
    "close": lambda bench: bench.close(),
}
