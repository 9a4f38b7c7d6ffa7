"""The demo and the example services, as a new user would start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from examples.demo.service import ROOT, DemoError
from examples.demo.show import Show
from examples.demo.stage import Workload, embedded
from examples.demo.story import Story

CORE = ROOT / "examples" / "core" / "core.json"


def run(*arguments: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_demo_ends_by_itself_with_a_summary() -> None:
    """The embedded demo ends within a minute, with exit code 0 and no failed report."""
    done = run("examples.demo", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All went as told" in done.stdout
    assert "refused, whole: security, nats.security" in done.stdout
    assert "serviceradar-intruder is not let in" in done.stdout
    assert "PERMISSION_DENIED" in done.stdout
    assert done.stderr == ""


@pytest.mark.spire
@pytest.mark.timeout(180)
def test_demo_on_real_spire() -> None:
    """The same demo on real SPIRE ends with exit code 0."""
    done = run("examples.demo", "--spire", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All went as told" in done.stdout


def test_demo_fails_when_a_step_does_not_go_as_told(tmp_path: Path) -> None:
    """A service that cannot start ends the story with an error that quotes it."""
    with embedded(tmp_path) as stage:
        stage.workloads["core"] = Workload(sys.executable, "http://nowhere")
        with pytest.raises(DemoError, match="ended with code 2"):
            Story(stage, tmp_path, Show("test")).play()


@pytest.mark.parametrize("service", ["core", "poller"])
@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ('{"security": {"mode": "none"}}', "security"),
        ('{"nats": null, "agents": null}', ""),
        ('{"Kv_Security": {}}', "Kv_Security"),
        ("{not json", "JSON"),
    ],
)
def test_services_refuse_to_start_with_a_hostile_overlay(
    tmp_path: Path, service: str, overlay: str, expected: str
) -> None:
    """A hostile overlay ends a starting service with exit code 2 and the reason, and no traceback."""
    path = tmp_path / "overlay.json"
    path.write_text(overlay)
    config = str(ROOT / "examples" / service / f"{service}.json")
    done = run(f"examples.{service}", config, "--overlay", str(path))
    assert done.returncode == 2
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["event"] == "refused"
    assert expected in said["text"]
    assert done.stderr == ""


@pytest.mark.parametrize("service", ["core", "poller"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "missing.json"),
        ("", "JSON"),
        ("[]", "object"),
        ("{}", "must be a text"),
    ],
)
def test_services_refuse_an_unusable_file(
    tmp_path: Path, service: str, text: str | None, expected: str
) -> None:
    """A configuration that cannot be used ends a service with exit code 2 and the reason."""
    path = tmp_path / ("missing.json" if text is None else "config.json")
    if text is not None:
        path.write_text(text)
    done = run(f"examples.{service}", str(path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in json.loads(done.stdout.splitlines()[-1])["text"]
    assert done.stderr == ""


@pytest.mark.parametrize("service", ["core", "poller"])
@pytest.mark.parametrize(
    ("security", "expected"),
    [
        ({}, "mode"),
        ({"mode": "none"}, "plaintext"),
        ({"mode": "SPIFFE", "trust_domain": "Not A Domain"}, "trust_domain"),
        ({"mode": "spiffe", "workload_socket": "http://nowhere"}, "workload_socket"),
    ],
)
def test_services_refuse_an_unusable_security_block(
    tmp_path: Path, service: str, security: dict[str, str], expected: str
) -> None:
    """A security block that cannot be used ends a service with exit code 2 and the reason."""
    document = json.loads((ROOT / "examples" / service / f"{service}.json").read_text())
    path = tmp_path / "config.json"
    block = "security" if service == "core" else "core_security"
    path.write_text(json.dumps({**document, block: security}))
    done = run(f"examples.{service}", str(path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in json.loads(done.stdout.splitlines()[-1])["text"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("service", "changes", "expected"),
    [
        ("core", {"grpc_addr": ":99999"}, "grpc_addr"),
        ("core", {"grpc_addr": ""}, "grpc_addr"),
        ("core", {"rbac": {"roles": [{"identity": "core"}]}}, "spiffe://"),
        ("core", {"rbac": 7}, "rbac.roles"),
        ("poller", {"agents": []}, "agents"),
        ("poller", {"agents": {"a": {"checks": [{}]}}}, "agents"),
        ("poller", {"poller_id": 7}, "poller_id"),
        ("poller", {"poll_interval": "soon"}, "poll_interval"),
    ],
)
def test_services_refuse_unusable_settings(
    tmp_path: Path, service: str, changes: dict[str, object], expected: str
) -> None:
    """A setting that cannot be used ends a service with exit code 2 before it does anything."""
    document = json.loads((ROOT / "examples" / service / f"{service}.json").read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**document, **changes}))
    done = run(f"examples.{service}", str(path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in json.loads(done.stdout.splitlines()[-1])["text"]
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_service(number: signal.Signals) -> None:
    """Whatever ends the demo in the middle, its services end with it."""
    with (
        tempfile.TemporaryDirectory(prefix="d-") as folder,  # a socket's path is short
        subprocess.Popen(
            [sys.executable, "-m", "examples.demo"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder, "PYTHONUNBUFFERED": "1"},
        ) as demo,
    ):
        assert demo.stdout is not None
        for line in demo.stdout:
            if "The poller reports" in line:
                break
        demo.send_signal(number)
        demo.communicate(timeout=30)
    assert demo.returncode == 130
    left = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if folder in _command_line(path)
    ]
    assert left == []


def _command_line(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has just ended
        return ""
