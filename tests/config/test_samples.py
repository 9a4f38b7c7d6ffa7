"""Configuration files of every shape that services have, ours and, where it is there, theirs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.load import load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.security import SecurityConfig, TlsFiles
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.config.documents import blocks_of, reference_merge

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((Path(__file__).parent / "samples").glob("*.json"))
THEIRS = sorted((ROOT.parent / "shared" / "serviceradar-configs").glob("*.json"))
EVERY = pytest.mark.parametrize("sample", OURS + THEIRS, ids=lambda path: path.name)

PKI = "/etc/meadow/pki"


def tls(directory: str, name: str, *, clients: str = "roots.pem") -> TlsFiles:
    """Give the files of a workload in a directory."""
    return TlsFiles(
        cert_file=f"{directory}/{name}.pem",
        key_file=f"{directory}/{name}-key.pem",
        ca_file=f"{directory}/roots.pem",
        client_ca_file=f"{directory}/{clients}",
    )


def spiffe(role: str, server: str = "", **members: Any) -> SecurityConfig:
    """Give what a block in mode `spiffe` of our trust domain means."""
    return SecurityConfig(
        mode="spiffe",
        role=role,
        trust_domain=TrustDomain.parse("meadow.example"),
        server_spiffe_id=SpiffeId.parse(server) if server else None,
        **members,
    )


BLOCKS: list[tuple[str, str, SecurityConfig]] = [
    (
        "hub",
        "security",
        spiffe(
            "core",
            "spiffe://meadow.example/ns/field/sa/hub",
            cert_dir=PKI,
            tls=tls(PKI, "hub"),
            workload_socket="unix:///run/meadow/agent.sock",
        ),
    ),
    ("hub", "kv_security", spiffe("core", "spiffe://meadow.example/ns/field/sa/vault")),
    ("hub", "nats.security", SecurityConfig(mode="mtls", tls=tls(PKI, "hub"))),
    (
        "collector",
        "agents.north.security",
        spiffe("poller", "spiffe://meadow.example/services/agent-north"),
    ),
    (
        "collector",
        'agents."south.east".security',
        spiffe("poller", "spiffe://orchard.example/services/agent-south"),
    ),
    ("collector", "security", spiffe("poller", "spiffe://meadow.example/services/hub")),
    ("vault", "security", spiffe("datasvc", cert_dir=PKI, tls=tls(PKI, "vault"))),
    (
        "vault",
        "nats_security",
        SecurityConfig(
            mode="mtls",
            role="datasvc",
            cert_dir=PKI,
            server_name="nats.meadow.example",
            tls=tls(PKI, "vault", clients="clients.pem"),
        ),
    ),
    (
        "edge-agent",
        "gateway_security",
        SecurityConfig(
            mode="mtls",
            role="client",
            cert_dir="/var/lib/meadow/pki",
            server_name="gateway.meadow.example",
            tls=TlsFiles(
                cert_file="/var/lib/meadow/pki/parts/edge-3-chain.pem",
                key_file="/var/lib/meadow/pki/parts/edge-3-key.pem",
                ca_file="/var/lib/meadow/pki/roots.pem",
                client_ca_file="/var/lib/meadow/pki/roots.pem",
            ),
        ),
    ),
    (
        "edge-agent",
        "security",
        SecurityConfig(
            mode="mtls",
            role="agent",
            cert_dir="/var/lib/meadow/pki",
            tls=TlsFiles(
                cert_file="/srv/pki/edge.pem",
                key_file="/srv/pki/edge-key.pem",
                ca_file="/srv/pki/roots.pem",
                client_ca_file="/var/lib/meadow/pki/clients.pem",
            ),
        ),
    ),
    ("flat-traps", "nats_security", SecurityConfig(mode="mtls", tls=tls(PKI, "traps"))),
    (
        "flat-traps",
        "grpc_security",
        SecurityConfig(mode="mtls", cert_dir="pki", tls=tls("pki", "traps")),
    ),
    ("flat-rules", "grpc_security", spiffe("zen")),
    ("checker", "security", spiffe("poller", "spiffe://meadow.example/services/soil")),
    ("template", "kv_security", spiffe("", "spiffe://meadow.example/ns/field/sa/vault")),
    ("sites", "sites[0].checks[1].security", SecurityConfig(mode="none")),
    ("sites", "sites[1].link.kv_security", SecurityConfig(mode="none")),
    ("sites", "security", SecurityConfig(mode="none")),
]


def ours(name: str) -> Path:
    """Give the path of one of our samples."""
    return Path(__file__).parent / "samples" / f"{name}.json"


def test_samples_are_there() -> None:
    """There is a sample of our own for each shape."""
    assert [path.stem for path in OURS] == [
        "checker",
        "collector",
        "edge-agent",
        "flat-rules",
        "flat-traps",
        "hub",
        "sites",
        "template",
        "vault",
    ]


@pytest.mark.parametrize(("name", "path", "block"), BLOCKS)
def test_block(name: str, path: str, block: SecurityConfig) -> None:
    """A block of a sample means what the table says."""
    assert block == load_config(ours(name)).security_block(path)


@pytest.mark.parametrize(
    ("name", "unusable"),
    [
        ("flat-rules", {"security.mode"}),
        (
            "template",
            {"security.cert_dir", "security.trust_domain", "security.server_spiffe_id"},
        ),
    ],
)
def test_traps(name: str, unusable: set[str]) -> None:
    """A block with a trap in it fails for itself; the file and its other blocks load."""
    config = load_config(ours(name))
    with pytest.raises(ConfigError) as caught:
        _ = config.blocks
    assert unusable == {problem.path for problem in caught.value.problems}
    with pytest.raises(ConfigError):
        _ = config.security
    others = [path for path in config.block_paths if path != "security"]
    assert others
    assert all(config.security_block(path).mode == "spiffe" for path in others)


@EVERY
def test_every_sample_loads(sample: Path) -> None:
    """Every sample loads unchanged, with all its blocks; only traps are unusable."""
    document = json.loads(sample.read_bytes())
    config = load_config(sample)
    assert config.document == document
    blocks: dict[str, Any] = {
        render_path(path): value for path, value in blocks_of(document).items()
    }
    assert set(blocks) == set(config.block_paths)
    assert blocks
    for path, value in blocks.items():
        trap = "mode" not in value or re.search(r"PLACEHOLDER|\{\{|\$\(", json.dumps(value))
        if trap:
            with pytest.raises(ConfigError) as caught:
                config.security_block(path)
            assert all(problem.path.startswith(path) for problem in caught.value.problems)
        else:
            assert config.security_block(path).mode == value["mode"].lower()


@EVERY
def test_no_overlay_gets_past(sample: Path) -> None:
    """For every block and every parent of it, each way to change or remove it is refused."""
    document = json.loads(sample.read_bytes())
    for block in blocks_of(document):
        steps = [step for step in block if isinstance(step, str)]
        for end in range(1, len(steps) + 1):
            if isinstance(block[end - 1], int):
                break  # an overlay cannot reach into a list
            values: list[object] = [None, [], "", 0, False]
            if end == len(block):
                values += [{}, {"mode": "none"}]
            for value in values:
                overlay: Any = value
                for step in reversed(steps[:end]):
                    overlay = {step: overlay}
                with pytest.raises(OverlayRefusedError) as caught:
                    apply_overlay(document, json.dumps(overlay))
                assert caught.value.paths == (render_path(block[:end]),)


@EVERY
def test_harmless_overlay(sample: Path) -> None:
    """An overlay of everything that is no block and no parent of one merges."""
    document = json.loads(sample.read_bytes())
    parents = {path[0] for path in blocks_of(document)}
    overlay = {key: None for key in document if key not in parents} | {"log_level": "debug"}
    merged = apply_overlay(document, json.dumps(overlay))
    assert reference_merge(document, overlay) == merged
    assert blocks_of(document) == blocks_of(merged)
