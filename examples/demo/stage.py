"""Two stages for one story: an embedded Workload API, or real SPIRE on Postgres."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRUST_DOMAIN = "carverauto.dev"
IDS = {
    name: f"spiffe://{TRUST_DOMAIN}/ns/demo/sa/serviceradar-{name}"
    for name in ("core", "poller", "intruder")
}
LIFE = 12.0  # seconds; short, so that rotations can be watched


@dataclass(frozen=True)
class Workload:
    """How to start a process that has an identity.

    Attributes:
        python: The interpreter to run it with.
        endpoint: Address of its Workload API.
    """

    python: str
    endpoint: str


class Stage(Protocol):
    """Where the story plays."""

    title: str
    workloads: dict[str, Workload]

    def rotate_authority(self) -> Iterator[str]:
        """Go through an authority rotation, naming each step after it was taken."""
        ...


class Embedded:
    """A Workload API per workload, in this process, with one authority."""

    title = "embedded Workload API"

    def __init__(self) -> None:
        """Make the authority and the sockets."""
        self._authority = FakeAuthority(TRUST_DOMAIN, ttl=LIFE)
        self._apis = {
            name: FakeWorkloadApi([spiffe_id], authority=self._authority, ttl=LIFE)
            for name, spiffe_id in IDS.items()
        }
        self._lock = threading.Lock()
        self.workloads = {
            name: Workload(sys.executable, api.endpoint) for name, api in self._apis.items()
        }

    def rotate_authority(self) -> Iterator[str]:
        """Publish a new root, sign with it, take the old one away."""
        for step, act in (
            ("prepared: a second authority is in every bundle", self._authority.prepare),
            ("activated: SVIDs are signed by the new one", self._authority.activate),
            ("revoked: the old one is out of every bundle", self._authority.revoke),
        ):
            with self._lock:
                act()
                for api in self._apis.values():
                    api.rotate()
            yield step

    def _renew(self, stopped: threading.Event) -> None:
        """Renew SVIDs at a third of their life, as an agent does at half of it."""
        while not stopped.wait(LIFE / 3):
            with self._lock:
                for api in self._apis.values():
                    api.rotate()


@contextlib.contextmanager
def embedded(_folder: Path) -> Iterator[Embedded]:
    """Open the embedded stage."""
    stage = Embedded()
    stopped = threading.Event()
    renewer = threading.Thread(target=stage._renew, args=(stopped,), daemon=True)  # noqa: SLF001 - its own stage
    with contextlib.ExitStack() as stack:
        for api in stage._apis.values():  # noqa: SLF001 - its own stage
            stack.enter_context(api)
        renewer.start()
        try:
            yield stage
        finally:
            stopped.set()
            renewer.join()
