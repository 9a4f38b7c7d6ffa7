"""A watch on files with its clock, and the situations it can be in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

from serviceradar_security import X509Context
from serviceradar_security.workload.file_material import Held
from serviceradar_security.workload.file_reading import FileProblem, FileSnapshot
from serviceradar_security.workload.file_watch import FileWatch
from serviceradar_security.workload.files import IdentityFiles
from serviceradar_security.workload.watch import SourceStatus, State
from tests.workload.clock import START, Clock
from tests.workload.identity_files import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL: Final = 5.0
GRACE: Final = 0.2  # in which trouble is worth no word
LIFE: Final = 3600.0
FILES: Final = IdentityFiles.of(cert_file="/c.pem", key_file="/k.pem", bundle_file="/b.pem")
MISSING: Final = FileProblem(
    "the key file /k.pem is not there", "start its writer", unreadable=True
)
BROKEN: Final = FileProblem(
    "the key file /k.pem with the certificate file: no key", "write it anew"
)


@cache
def lasting(end: float, *, begin: float = -10.0, name: str = "web") -> FileSnapshot[X509Context]:
    """Give a reading of an identity that begins and ends so many seconds after the start."""
    svid = AUTHORITY.issue(
        f"spiffe://a.test/{name}",
        not_before=START + timedelta(seconds=begin),
        not_after=START + timedelta(seconds=end),
    )
    bundles = {AUTHORITY.trust_domain: AUTHORITY.bundle}
    held = Held(str(svid.spiffe_id), svid.spiffe_id, svid.not_before, svid.not_after)
    return FileSnapshot(X509Context(svids=[svid], bundles=bundles), held)


class Bench:
    """A watch with its clock."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.clock = Clock()
        self.watch: FileWatch[X509Context] = FileWatch(
            FILES, poll_interval=interval, now=self.clock()
        )

    def look(self, outcome: FileSnapshot[X509Context] | FileProblem) -> bool:
        return self.watch.looked(outcome, self.clock())

    def refuse(self, problem: FileProblem) -> None:
        """See a problem long enough that it is no passing one."""
        self.look(problem)
        self.clock.advance(GRACE)
        self.look(problem)

    def status(self) -> SourceStatus:
        return self.watch.status(self.clock())

    def context(self) -> X509Context:
        return self.watch.context(self.clock())

    def delay(self) -> float:
        """Seconds until the next look."""
        assert self.watch.next_look is not None
        return round(self.watch.next_look - self.clock.monotonic, 6)


def degraded(bench: Bench) -> None:
    bench.look(lasting(LIFE))
    bench.refuse(BROKEN)


def expired(bench: Bench) -> None:
    bench.look(lasting(10))
    bench.clock.advance(10)


def expired_and_broken(bench: Bench) -> None:
    expired(bench)
    bench.look(BROKEN)


SITUATIONS: Final[dict[str, tuple[Callable[[Bench], object], State]]] = {
    "starting": (lambda _: None, State.STARTING),
    "missing": (lambda bench: bench.look(MISSING), State.NO_AGENT),
    "broken": (lambda bench: bench.look(BROKEN), State.NO_IDENTITY),
    "too late": (lambda bench: bench.look(lasting(-5)), State.NO_IDENTITY),
    "at its end": (lambda bench: bench.look(lasting(0)), State.NO_IDENTITY),
    "too early": (lambda bench: bench.look(lasting(LIFE, begin=60)), State.NO_IDENTITY),
    "ready": (lambda bench: bench.look(lasting(LIFE)), State.READY),
    "degraded": (degraded, State.DEGRADED),
    "expired": (expired, State.EXPIRED),
    "expired and broken": (expired_and_broken, State.EXPIRED),
    "closed": (lambda bench: bench.watch.closed(bench.clock()), State.CLOSED),
}


def situation(name: str) -> Bench:
    """Bring a watch into a situation."""
    bench = Bench()
    SITUATIONS[name][0](bench)
    return bench


DOUBTFUL: Final = FileProblem("the certificate file /c.pem is not proven", "write the bundle")


def doubted(reading: FileSnapshot[X509Context]) -> FileSnapshot[X509Context]:
    """Give a reading whose bundle does not prove its identity."""
    return replace(reading, doubt=DOUBTFUL)
