"""The main job on real SPIRE: core and poller as processes of their own, each with its identity."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from examples.demo.service import ROOT, Service
from examples.demo.stage import IDS, TRUST_DOMAIN
from tests.realparts.spire import Spire
from tests.realparts.workload import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIFE = 10  # seconds


class Pair:
    """A core and a poller on one SPIRE agent."""

    def __init__(self, spire: Spire, core: Service, poller: Service) -> None:
        self.spire = spire
        self.core = core
        self.poller = poller


@contextmanager
def pair(folder: Path, *, life: float) -> Iterator[Pair]:
    """Start SPIRE with SVIDs of this life, and both services on it."""
    with (
        Spire(trust_domain=TRUST_DOMAIN, default_x509_svid_ttl=life) as spire,
        ExitStack() as stack,
    ):
        pythons = {name: interpreter(folder, name) for name in ("core", "poller")}
        entries = [
            spire.create_entry(IDS[name], selectors=[f"unix:path:{python}"], x509_svid_ttl=life)
            for name, python in pythons.items()
        ]
        for entry in entries:
            spire.agent.await_entry(entry, timeout=20)

        def start(name: str, module: str, **pinned: object) -> Service:
            own = folder / f"{name}.json"
            block = "security" if name == "core" else "core_security"
            own.write_text(json.dumps({**pinned, block: {"workload_socket": spire.endpoint}}))
            example = ROOT / "examples" / name / f"{name}.json"
            argv = [str(pythons[name]), "-m", module, str(example), "--pinned", str(own)]
            return stack.enter_context(Service(name, argv, log=folder / f"{name}.log"))

        core = start("core", "examples.core", grpc_addr="127.0.0.1:0")
        port = core.wait_for("ready", timeout=30)[0]["port"]
        poller = start(
            "poller",
            "tests.spire.observed_poller",
            core_address=f"127.0.0.1:{port}",
            poll_interval="100ms",
        )
        poller.wait_for("reported", timeout=30)
        yield Pair(spire, core, poller)


@pytest.mark.spire
@pytest.mark.timeout(180)
def test_rotations_under_traffic_fail_no_call(tmp_path: Path) -> None:
    """In 60 s with SVIDs of 10 s, both sides see 4 or more rotations of the other, and no failure."""
    with pair(tmp_path, life=LIFE) as running:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            mark = running.poller.mark()
            running.poller.wait_for("reported", count=10, since=mark, timeout=10)
        assert running.poller.stop() == 0
        clients = {each["certificate"] for each in running.core.events("report")}
        servers = {each["serial"] for each in running.poller.events("server_certificate")}
        end = running.poller.events("stopped")[0]
        callers = {each["caller"] for each in running.core.events("report")}

    assert end["failed"] == 0, running.poller.events("failed")[:3]
    assert end["sent"] > 300
    assert len(clients) >= 5, "core saw too few certificates of the poller"
    assert len(servers) >= 5, "the poller saw too few certificates of core"
    assert callers == {IDS["poller"]}


@pytest.mark.spire
@pytest.mark.timeout(180)
def test_killed_agent_fails_no_call_and_comes_back(tmp_path: Path) -> None:
    """While the agent is dead calls go on with the SVID at hand; afterwards new SVIDs flow again."""
    with pair(tmp_path, life=60) as running:
        running.spire.agent.kill()
        dead = running.poller.mark()
        running.poller.wait_for("warning", since=0, where=lambda e: "DEGRADED" in e["text"])
        running.poller.wait_for("reported", count=50, since=dead)
        assert not running.poller.events("failed")
        marks = running.core.mark(), running.poller.mark()
        running.spire.agent.start()
        running.core.wait_for("rotated", since=marks[0], timeout=60)
        running.poller.wait_for("rotated", since=marks[1], timeout=60)
        running.poller.wait_for("reported", count=10, since=marks[1])
        assert running.poller.stop() == 0
        assert running.poller.events("stopped")[0]["failed"] == 0
