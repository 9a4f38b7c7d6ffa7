"""The real parts themselves: they start, obey, come back, and never outlive their runner."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.realparts import process
from tests.realparts import server as server_module
from tests.realparts.errors import RealPartError
from tests.realparts.postgres import Postgres
from tests.realparts.runner import Runner
from tests.realparts.spire import Spire, SpireServer
from tests.realparts.workload import interpreter

FETCH_X509_SVID = """
import sys
import grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    fetch = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
    answer = next(fetch(b"", metadata=[("workload.spiffe.io", "true")], timeout=10))
sys.stdout.write(answer[answer.index(b"spiffe://"):].split(b"\x12")[0].decode())
"""
NOBODY = 65534


def identities(answer: Any) -> list[str]:
    """SPIFFE IDs in an answer of the Workload API."""
    return sorted(svid["spiffe_id"] for svid in answer["svids"])


def leaf(answer: Any) -> x509.Certificate:
    """Leaf certificate of the only identity in an answer."""
    (svid,) = answer["svids"]
    return x509.load_der_x509_certificate(base64.b64decode(svid["x509_svid"]))


def authority_key_id(certificate: x509.Certificate) -> str:
    """Key ID of the authority that signed a certificate, which is SPIRE's authority ID."""
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return (extension.value.key_identifier or b"").hex()


def register(spire: Spire, **selectors: str) -> None:
    """Register workloads by the last part of their ID, and wait until the agent knows them."""
    entries = [
        spire.create_entry(f"spiffe://example.org/{name}", selectors=[selector])
        for name, selector in selectors.items()
    ]
    for entry_id in entries:
        spire.agent.await_entry(entry_id, timeout=10)


# --- what the parts do ---------------------------------------------------------------------------


@pytest.mark.spire
def test_an_entry_becomes_an_identity(spire: Spire) -> None:
    """A registered workload gets an SVID with the ID, names, hint and life of its entry."""
    spire.create_entry(
        "spiffe://example.org/web", dns_names=["web.test"], hint="web", x509_svid_ttl=30, wait=10
    )
    answer = spire.agent.fetch_x509()
    certificate = leaf(answer)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/web"]
    assert names.get_values_for_type(x509.DNSName) == ["web.test"]
    assert answer["svids"][0]["hint"] == "web"
    # SPIRE dates SVIDs back by ten seconds
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() == 40


@pytest.mark.spire
def test_a_deleted_entry_is_no_identity(spire: Spire) -> None:
    """Once the agent has dropped its entry, a workload is refused."""
    entry_id = spire.create_entry("spiffe://example.org/web", wait=10)
    assert identities(spire.agent.fetch_x509()) == ["spiffe://example.org/web"]
    spire.delete_entry(entry_id, wait=10)
    with pytest.raises(RealPartError, match="no identity issued"):
        spire.agent.fetch_x509()


@pytest.mark.spire
@pytest.mark.parametrize("uid", [0, NOBODY] if os.getuid() == 0 else [os.getuid()])
def test_users_are_told_apart(spire: Spire, uid: int) -> None:
    """Each user of the machine reaches the socket and gets the identity of its own entry."""
    register(spire, mine=f"unix:uid:{uid}", other=f"unix:uid:{uid + 1}")
    folder = process.temp_folder("user")
    program = Path(shutil.copy2(spire.agent.program, folder))  # the cache may be out of reach
    user = None if uid == os.getuid() else (uid, uid)
    answer = spire.agent.fetch_x509(program=program, user=user)
    shutil.rmtree(folder)
    assert identities(answer) == ["spiffe://example.org/mine"]


@pytest.mark.spire
def test_interpreters_are_told_apart(spire: Spire) -> None:
    """Two Python processes of one user get two identities, and see the same packages."""
    folder = process.temp_folder("python")
    own = {name: interpreter(folder, name) for name in ("core", "poller")}
    register(spire, **{name: f"unix:path:{python}" for name, python in own.items()})
    answers = {
        name: process.run([python, "-c", FETCH_X509_SVID, spire.endpoint], cwd=folder, timeout=30)
        for name, python in own.items()
    }
    shutil.rmtree(folder)
    assert answers == {name: f"spiffe://example.org/{name}" for name in own}


def test_interpreters_see_the_same_packages(tmp_path: Path) -> None:
    """An interpreter of one's own runs from its own path and imports what the test run does."""
    python = interpreter(tmp_path, "own")
    script = (
        "import cryptography, os, serviceradar_security, ssl, sys\n"
        "print(os.readlink('/proc/self/exe'), sys.version_info[:2], os.path.realpath(sys.modules"
        "['serviceradar_security'].__path__[0]), os.path.realpath(cryptography.__file__))"
    )
    here = process.run([sys.executable, "-c", script], cwd=tmp_path, timeout=30).split(" ", 1)
    there = process.run([python, "-c", script], cwd=tmp_path, timeout=30).split(" ", 1)
    assert there == [str(python), here[1]]


@pytest.mark.spire
def test_a_killed_agent_comes_back(spire: Spire) -> None:
    """With its key on disk, an agent that was killed needs no new join token."""
    spire.create_entry("spiffe://example.org/web", wait=10)
    for end in (spire.agent.kill, spire.agent.stop):
        end()
        assert not spire.agent.running
        with pytest.raises(RealPartError, match=r"connection refused|no such file"):
            spire.agent.fetch_x509(timeout=1)
        spire.agent.start()
        assert identities(spire.agent.fetch_x509()) == ["spiffe://example.org/web"]


@pytest.mark.spire
def test_an_agent_without_a_disk_attests_itself_anew() -> None:
    """With its key in memory, a restarted agent is a new one that serves the same entries."""
    with Spire(key_manager="memory") as spire:
        entry_id = spire.create_entry("spiffe://example.org/web", wait=10)
        spire.agent.kill()
        spire.agent.start()
        spire.agent.await_entry(entry_id, timeout=10)
        assert identities(spire.agent.fetch_x509()) == ["spiffe://example.org/web"]


@pytest.mark.spire
def test_a_paused_agent_is_silent(spire: Spire) -> None:
    """A frozen agent accepts connections and answers only after it was resumed."""
    spire.create_entry("spiffe://example.org/web", wait=10)
    spire.agent.pause()
    assert spire.agent.running
    with pytest.raises(RealPartError, match="DeadlineExceeded"):
        spire.agent.fetch_x509(timeout=0.5)
    spire.agent.resume()
    assert identities(spire.agent.fetch_x509()) == ["spiffe://example.org/web"]


@pytest.mark.spire
def test_authorities_rotate_on_command(spire: Spire) -> None:
    """A prepared authority signs once active; the old one, tainted and revoked, is gone."""
    spire.create_entry("spiffe://example.org/web", wait=10)
    old = spire.show_authorities()["active"]["authority_id"]
    assert authority_key_id(leaf(spire.agent.fetch_x509())) == old
    new = spire.prepare_authority()
    spire.activate_authority(new)
    spire.taint_authority(old)
    deadline = time.monotonic() + 20
    while authority_key_id(leaf(spire.agent.fetch_x509())) != new:
        assert time.monotonic() < deadline, (
            "the agent has not renewed what the old authority signed"
        )
        time.sleep(0.1)
    assert spire.show_bundle().count("BEGIN CERTIFICATE") == 2
    spire.revoke_authority(old)
    assert spire.show_bundle().count("BEGIN CERTIFICATE") == 1
    assert spire.show_authorities()["active"]["authority_id"] == new


@pytest.mark.spire
def test_federated_bundles_reach_the_workload(spire: Spire) -> None:
    """A workload gets the bundle of a foreign trust domain that its entry federates with."""
    with Postgres() as postgres, SpireServer(postgres, trust_domain="other.test") as other:
        spire.set_bundle("other.test", other.show_bundle(form="spiffe"), form="spiffe")
    spire.create_entry("spiffe://example.org/web", federates_with=["spiffe://other.test"], wait=10)
    assert list(spire.agent.fetch_x509()["federated_bundles"]) == ["spiffe://other.test"]
    spire.delete_bundle("other.test")
    assert not any(entry["federates_with"] for entry in spire.show_entries())


@pytest.mark.spire
def test_postgres_and_the_server_come_back(spire: Spire) -> None:
    """While they are down the agent serves what it has; then new entries work again."""
    spire.create_entry("spiffe://example.org/web", wait=10)
    for part in (spire.postgres, spire.server):
        part.stop()
        assert not part.running
        assert identities(spire.agent.fetch_x509()) == ["spiffe://example.org/web"]
        with pytest.raises(RealPartError, match="no such file or directory"):
            spire.create_entry("spiffe://example.org/late")
        part.start()
    spire.create_entry("spiffe://example.org/late", wait=20)
    seen = identities(spire.agent.fetch_x509())
    assert seen == ["spiffe://example.org/late", "spiffe://example.org/web"]


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.spire
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"spiffe_id": "spiffe://example.org/web"}, "similar entry already exists"),
        ({"spiffe_id": "spiffe://elsewhere.test/web"}, "not a member of trust domain"),
        ({"spiffe_id": "spiffe://example.org/web", "selectors": ["unix"]}, "selector"),
        ({"spiffe_id": "spiffe://example.org/x", "federates_with": ["spiffe://x.test"]}, "bundle"),
    ],
    ids=["twice", "foreign", "selector", "unknown bundle"],
)
def test_refused_entries_are_errors(spire: Spire, arguments: dict[str, Any], reason: str) -> None:
    """What the server says against an entry is in the error, and the entry is not there."""
    spire.create_entry("spiffe://example.org/web")
    before = spire.show_entries()
    with pytest.raises(RealPartError, match=reason):
        spire.create_entry(**arguments)
    assert spire.show_entries() == before


@pytest.mark.spire
def test_a_failed_start_shows_the_log_and_leaves_nothing() -> None:
    """A server that refuses its configuration is an error with its own words; all is stopped."""
    spire = Spire(trust_domain="Not A Trust Domain")
    with pytest.raises(RealPartError, match="trust_domain") as caught, spire:
        pytest.fail("it started")
    assert "server.log" in str(caught.value)
    assert not spire.postgres.running
    assert not any(part.folder.exists() for part in (spire.postgres, spire.server, spire.agent))


@pytest.mark.spire
def test_an_exception_in_the_block_stops_all() -> None:
    """An exception, Ctrl-C as well, passes through, and nothing runs behind it."""
    spire = Spire()
    with pytest.raises(KeyboardInterrupt), spire:
        raise KeyboardInterrupt
    assert spire.agent.process is not None
    assert not any(part.running for part in (spire.postgres, spire.server, spire.agent))
    assert not any(part.folder.exists() for part in (spire.postgres, spire.server, spire.agent))


@pytest.mark.spire
def test_a_taken_port_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody else gets the port first, the server starts on another."""
    with socket.create_server(("127.0.0.1", 0)) as taken, Postgres() as postgres:
        ports = iter([taken.getsockname()[1], server_module._free_port()])
        monkeypatch.setattr(server_module, "_free_port", lambda: next(ports))
        with SpireServer(postgres, trust_domain="example.org") as server:
            assert server.port != taken.getsockname()[1]


RUN_SPIRE = """
import json, time
from tests.realparts import process
from tests.realparts.spire import Spire
with Spire() as spire:
    folders = [str(part.folder) for part in (spire.postgres, spire.server, spire.agent)]
    print(json.dumps([process.supervisor_pid(), folders]), flush=True)
    time.sleep(60)
"""


@pytest.mark.spire
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_spire_ends_with_its_runner(number: signal.Signals) -> None:
    """After Ctrl-C and after SIGKILL, no process of SPIRE or Postgres is left, and no folder."""
    with contextlib.closing(Runner(RUN_SPIRE)) as runner:
        assert len(runner.started) > 5  # Postgres alone has several
        os.killpg(runner.process.pid, number)
        assert runner.survivors(timeout=15) == []
        assert [folder for folder in runner.folders if folder.exists()] == []
