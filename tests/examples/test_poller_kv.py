"""The example poller takes its overlay from a KV store, live: what may change does, security never."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from examples.demo.service import ROOT, Service
from examples.demo.stage import IDS, TRUST_DOMAIN
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from tests.kv.conftest import Datasvc, Store, provider_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DATASVC = f"spiffe://{TRUST_DOMAIN}/ns/demo/sa/serviceradar-datasvc"
POLLER = str(ROOT / "examples" / "poller" / "poller.json")
HOSTILE = {
    "poll_interval": "2h",
    "core_security": {"mode": "none"},
    "agents": {"k8s-agent": {"Security": None}},
}
IMPOSTOR = {"poll_interval": "2h", "poller_id": "other", "Partition": "other", "source_ip": None}


@dataclass
class Platform:
    """A core and a poller as processes of their own, and a datasvc."""

    core: Service
    poller: Service
    datasvc: Datasvc

    def put(self, document: dict[str, Any] | bytes | None) -> int:
        """Put the poller's document, and give the mark of the moment before."""
        mark = self.poller.mark()
        text = json.dumps(document).encode() if isinstance(document, dict) else document
        self.datasvc.store.put(text)
        return mark

    def expect_reports(self, count: int = 3) -> None:
        """Wait for reports, all of them from the poller's own identity, none of them failed."""
        mark = self.core.mark()
        reports = self.core.wait_for("report", count=count, since=mark)
        assert {each["caller"] for each in reports} == {IDS["poller"]}
        assert {each["poller"] for each in reports} == {"k8s-poller"}
        assert self.poller.events("failed") == []


def start(name: str, folder: Path, pinned: Mapping[str, object], **changes: object) -> Service:
    """Start an example with a pinned file of its own, and with changes to its file."""
    document = json.loads((ROOT / "examples" / name / f"{name}.json").read_text())
    file, own = folder / f"{name}.json", folder / f"{name}-pinned.json"
    file.write_text(json.dumps({**document, **changes}))
    own.write_text(json.dumps(pinned))
    argv = [sys.executable, "-m", f"examples.{name}", str(file), "--pinned", str(own)]
    return Service(name, argv, log=folder / f"{name}.log")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Start all of it; the poller reports once an hour until a document says otherwise."""
    authority = FakeAuthority(TRUST_DOMAIN)
    with (
        FakeWorkloadApi([IDS["core"]], authority=authority) as core_api,
        FakeWorkloadApi([IDS["poller"]], authority=authority) as poller_api,
        provider_of(DATASVC, IDS["poller"], authority) as provider,
    ):
        datasvc = Datasvc(provider, Store())
        datasvc.start()
        core_socket = {"workload_socket": core_api.endpoint}
        socket = {"workload_socket": poller_api.endpoint}
        try:
            with start(
                "core", tmp_path, {"grpc_addr": "127.0.0.1:0", "security": core_socket}
            ) as core:
                port = core.wait_for("ready")[0]["port"]
                pinned = {
                    "core_address": f"127.0.0.1:{port}",
                    "core_security": socket,
                    "kv_address": datasvc.target,
                    "kv_security": {"mode": "spiffe", "server_spiffe_id": DATASVC, **socket},
                }
                with start("poller", tmp_path, pinned, poll_interval="1h") as poller:
                    yield Platform(core, poller, datasvc)
        finally:
            datasvc.stop()


def test_overlays_through_a_watch(platform: Platform) -> None:
    """A good one changes the interval, a hostile one is refused and shown, reports never fail."""
    poller = platform.poller
    poller.wait_for("kv", where=lambda e: e["state"] == "ABSENT")
    platform.core.wait_for("report")
    mark = platform.put({"poll_interval": "100ms"})
    assert poller.wait_for("overlay_accepted", since=mark)[0]["poll_interval"] == 0.1
    platform.expect_reports()

    mark = platform.put(HOSTILE)
    refused = poller.wait_for("overlay_refused", since=mark)[0]
    assert set(refused["paths"]) == {"core_security", "agents.k8s-agent.Security"}
    assert poller.wait_for("kv", since=mark)[0]["state"] == "REFUSED"
    platform.expect_reports()

    mark = platform.put(IMPOSTOR)  # in whose name it reports is not the store's to say
    refused = poller.wait_for("overlay_refused", since=mark)[0]
    assert set(refused["paths"]) == {"poller_id", "Partition", "source_ip"}
    assert refused["path_count"] == 3
    assert "in whose name" in refused["text"]
    platform.expect_reports()

    # Nothing of security, and no use either.
    for useless in ("soon", "0s", "86400.1s", f"{'9' * 400}s"):
        mark = platform.put({"poll_interval": useless})
        refused = poller.wait_for("overlay_refused", since=mark)[0]
        assert "poll_interval: must be" in refused["text"]
        platform.expect_reports()

    mark = platform.put({"poll_interval": "50ms", "listen_addr": ":1"})
    assert poller.wait_for("overlay_accepted", since=mark)[0]["poll_interval"] == 0.05
    poller.wait_for("kv", since=mark, where=lambda e: e["state"] == "FOLLOWING")
    platform.expect_reports()

    mark = poller.mark()
    platform.datasvc.stop()
    outage = poller.wait_for("kv", since=mark, where=lambda e: e["state"] == "OUTAGE")[0]
    assert "UNAVAILABLE" in outage["cause"]
    assert "datasvc" in outage["advice"]
    platform.expect_reports()
    platform.datasvc.start()
    poller.wait_for("kv", since=mark, where=lambda e: e["state"] == "FOLLOWING")

    mark = platform.put(None)
    accepted = poller.wait_for("overlay_accepted", since=mark)[0]
    assert accepted["poll_interval"] == 3600.0  # as the file has it
    assert poller.stop() == 0
    assert poller.events("stopped")[0]["failed"] == 0
    assert poller.events("unreadable") == []


KV: dict[str, object] = {"mode": "spiffe", "server_spiffe_id": DATASVC}


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        ({"kv_address": "127.0.0.1:1"}, "kv_security"),
        ({"kv_address": 7, "kv_security": KV}, "kv_address: must be a text"),
        ({"kv_address": "127.0.0.1:1", "kv_security": {"mode": "none"}}, "plaintext"),
        ({"kv_address": "127.0.0.1:1", "kv_security": {"mode": "spiffe"}}, "server_spiffe_id"),
        ({"kv_address": "127.0.0.1:1", "kv_security": KV, "poller_id": "*"}, "no key"),
        ({"kv_address": "nowhere", "kv_security": KV}, "port"),
    ],
)
def test_a_store_that_cannot_be_used(
    tmp_path: Path, pinned: dict[str, object], expected: str
) -> None:
    """A poller whose files name a store in a way that cannot be used ends with code 2 and why."""
    with FakeWorkloadApi([IDS["poller"]], authority=FakeAuthority(TRUST_DOMAIN)) as api:
        socket = {"workload_socket": api.endpoint}
        own = tmp_path / "pinned.json"
        own.write_text(json.dumps({"core_security": socket, **pinned}))
        done = subprocess.run(
            [sys.executable, "-m", "examples.poller", POLLER, "--pinned", str(own)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    # Beside it there may be a warning that the core's name is not known here.
    (said,) = [each for each in events if each["event"] == "refused"]
    assert expected in said["text"]
    assert done.stderr == ""
