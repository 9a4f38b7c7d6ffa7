"""The stage on real SPIRE: server, agent and Postgres, each workload a program of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from examples.demo.service import DemoError
from examples.demo.stage import IDS, LIFE, TRUST_DOMAIN, Workload
from tests.realparts.errors import RealPartError
from tests.realparts.spire import Spire
from tests.realparts.workload import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RealSpire:
    """SPIRE tells the workloads apart by the path of their interpreter."""

    title = "real SPIRE server and agent, on Postgres"

    def __init__(self, spire: Spire, folder: Path) -> None:
        """Register the workloads."""
        self._spire = spire
        self.workloads = {}
        entries = []
        for name, spiffe_id in IDS.items():
            python = interpreter(folder, name)
            entries.append(
                spire.create_entry(
                    spiffe_id,
                    selectors=[f"unix:path:{python}"],
                    x509_svid_ttl=LIFE,
                ),
            )
            self.workloads[name] = Workload(str(python), spire.endpoint)
        for entry in entries:
            spire.agent.await_entry(entry, timeout=20)

    def rotate_authority(self) -> Iterator[str]:
        """Rotate as an operator does, with SPIRE's own commands."""
        old = self._spire.show_authorities()["active"]["authority_id"]
        new = self._spire.prepare_authority()
        yield "prepared: a second authority is in every bundle"
        self._spire.activate_authority(new)
        self._spire.taint_authority(old)
        yield "activated, the old one tainted: SVIDs are signed by the new one"
        self._spire.revoke_authority(old)
        yield "revoked: the old one is out of every bundle"


@contextlib.contextmanager
def real_spire(folder: Path) -> Iterator[RealSpire]:
    """Start everything, and stop it at the end."""
    try:
        with Spire(trust_domain=TRUST_DOMAIN, default_x509_svid_ttl=LIFE) as spire:
            yield RealSpire(spire, folder)
    except RealPartError as error:
        raise DemoError(str(error)) from error
