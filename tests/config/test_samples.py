"""Configuration files of every shape that services have, ours and, where it is there, theirs."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.formats import format_of, parse_text
from serviceradar_security.config.kinds import find_kinds
from serviceradar_security.config.load import load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.config.security import SecurityConfig, TlsFiles
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.config.documents import blocks_of, reference_merge

if TYPE_CHECKING:
    from serviceradar_security.config.normalise import Mode

SAMPLES = Path(__file__).parent / "samples"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "serviceradar-configs"

PKI = "/etc/meadow/pki"


@dataclass(frozen=True)
class Block:
    """What becomes of a block: the mode it has, or what each problem's text says, by member."""

    kind: str
    mode: Mode | None = None
    refused: tuple[tuple[str, str], ...] = ()


SPIFFE = Block("security", "spiffe")
MTLS = Block("security", "mtls")
NATS = Block("nats_client", "mtls")
SERVER = Block("grpc_server", "spiffe")
FILES = Block("tls_files", "mtls")
NONE = Block("security", "none")


def refused(kind: str = "security", **members: str) -> Block:
    """Give a block that cannot be used, by what is said of each member."""
    return Block(
        kind, refused=tuple((name.replace("__", "."), text) for name, text in members.items())
    )


# Each shape: our sample, the platform's files of the same shape, and what becomes of each block.
# `agents.*` is any agent.
SHAPES: list[tuple[str, tuple[str, ...], dict[str, Block]]] = [
    (
        "hub.json",
        ("core-k8sdemo.json",),
        {"security": SPIFFE, "kv_security": SPIFFE, "nats.security": NATS},
    ),
    (
        "collector.json",
        ("poller-k8sdemo.json",),
        {"agents.*.security": SPIFFE, "core_security": SPIFFE, "security": SPIFFE},
    ),
    (
        "ring.json",
        ("poller-compose-spiffe.json",),
        {"agents.*.security": SPIFFE, "security": SPIFFE},
    ),
    ("field-agent.json", ("agent-k8sdemo.json",), {"kv_security": SPIFFE, "security": SPIFFE}),
    ("edge-agent.json", ("agent-compose-mtls.json",), {"gateway_security": MTLS, "security": MTLS}),
    ("vault.json", ("datasvc-k8sdemo.json",), {"security": SPIFFE, "nats_security": NATS}),
    ("vault-files.json", ("datasvc-compose-mtls.json",), {"security": MTLS, "nats_security": NATS}),
    (
        "flat-rules.json",
        ("zen-k8sdemo.json",),
        {"security": NATS, "grpc_security": SERVER, "kv_security": SPIFFE},
    ),
    (
        "flat-traps.json",
        ("trapd-packaging.json",),
        {"nats_security": NATS, "grpc_security": Block("grpc_server", "mtls")},
    ),
    (
        "alias-traps.json",
        (),
        {
            "security": NATS,
            "grpc_security": refused("grpc_server", mode="means mtls without one only with"),
        },
    ),
    ("checker.json", ("sync-checker-k8sdemo.json",), {"security": SPIFFE}),
    ("flat-checker.json", (), {"security": MTLS}),
    ("syslog.toml", ("flowgger-k8sdemo.toml",), {"grpc": SERVER}),
    ("traces.toml", (), {"grpc_tls": FILES, "nats.tls": FILES}),
    ("flows.yaml", (), {"security": MTLS}),
    (
        "sites.json",
        (),
        {
            "sites[0].checks[1].security": NONE,
            "sites[1].link.kv_security": NONE,
            "security": NONE,
        },
    ),
    ("throughput.json", (), {"security": refused(mode='missing, and "tls_enabled" sets none')}),
    (
        "template.json",
        (),
        {
            "security": refused(
                cert_dir="placeholder '{{CERT_DIR}}'",
                trust_domain="placeholder 'PLACEHOLDER_TRUST_DOMAIN'",
                server_spiffe_id="placeholder '$(FIELD_NAMESPACE)'",
            ),
            "kv_security": SPIFFE,
        },
    ),
    (
        "gauge.json",
        ("sysmon-checker-template.json",),
        {
            "security": refused(
                trust_domain="placeholder 'PLACEHOLDER_TRUST_DOMAIN'",
                server_spiffe_id="placeholder 'PLACEHOLDER_TRUST_DOMAIN'",
            ),
        },
    ),
    (
        "careless.json",
        (),
        {
            'agents."forgotten.scheme".security': refused(
                server_spiffe_id="has no scheme: write the"
            ),
            'agents."upper.case".security': refused(trust_domain="invalid trust domain: "),
            'agents."default.value".security': refused(
                server_spiffe_id="placeholder '${AGENT_NAME': fill it in",
            ),
            'agents."two.faults".security': refused(
                mode="unknown security mode 'tls'",
                workload_socket="no address of a Workload API",
            ),
            "kv_security": refused(
                tls__key_file="key_file beside it does not count where there is a tls",
                tls__ca_file="ca_file beside it does not count where there is a tls",
            ),
            "db_security": refused(Trust_Domain='write "trust_domain"'),
            "core_security": refused(mode="nothing is secured by default"),
            "security": MTLS,
        },
    ),
]
UNREADABLE = {"windows.json": "is not JSON at line 5 column 20: .*write a backslash as"}

OURS = [SAMPLES / ours for ours, _, _ in SHAPES]
THEIRS = [
    (SHARED / name, blocks)
    for _, theirs, blocks in SHAPES
    for name in theirs
    if (SHARED / name).is_file()
]
TABLE = pytest.mark.parametrize(
    ("sample", "expected"),
    [(SAMPLES / ours, blocks) for ours, _, blocks in SHAPES] + THEIRS,
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
EVERY = pytest.mark.parametrize(
    "sample",
    OURS + [sample for sample, _ in THEIRS],
    ids=lambda path: path.name,
)


def document_of(sample: Path) -> dict[str, Any]:
    """Read a sample as a plain document."""
    problems = Problems()
    document = parse_text(sample.read_bytes(), problems, format=format_of(sample))
    assert not problems.listed
    return document


def any_agent(path: str) -> str:
    """Write the path of a block of an agent, but for those named after a trap, for any agent."""
    return re.sub(r'^agents\.([^."]+|"south\.east")\.', "agents.*.", path)


def outcome(config: Any, path: str, kind: str) -> Block:
    """Read one block, and give what became of it."""
    try:
        return Block(kind, config.security_block(path).mode)
    except ConfigError as error:
        texts = {problem.path: problem.text for problem in error.problems}
        assert all(place.startswith(f"{path}.") for place in texts)
        return refused(kind, **{place[len(path) + 1 :]: text for place, text in texts.items()})


def agree(expected: Block, found: Block) -> bool:
    """Tell whether a block was read, or refused, as the table says."""
    return (
        (expected.kind, expected.mode) == (found.kind, found.mode)
        and [place for place, _ in expected.refused] == [place for place, _ in found.refused]
        and all(
            words in text
            for (_, words), (_, text) in zip(expected.refused, found.refused, strict=True)
        )
    )


@TABLE
def test_table(sample: Path, expected: dict[str, Block]) -> None:
    """A file loads whole, with the blocks that the table lists and no others, each as it says."""
    config = load_config(sample)
    found = find_kinds(document_of(sample))
    kinds = {render_path(path): kind for path, _, kind in found}
    assert set(kinds) == set(config.block_paths)
    assert {any_agent(path) for path in kinds} == set(expected)
    for path, kind in kinds.items():
        block = outcome(config, path, kind)
        assert agree(expected[any_agent(path)], block), (path, block)


@TABLE
def test_all_problems_of_a_file_at_once(sample: Path, expected: dict[str, Block]) -> None:
    """Asking for all blocks gives them all, or one error with every problem of every block."""
    config = load_config(sample)
    wanted = [block.refused for block in expected.values() if block.refused]
    if not wanted:
        assert set(config.blocks) == set(config.block_paths)
        return
    with pytest.raises(ConfigError) as caught:
        _ = config.blocks
    assert len(caught.value.problems) == sum(map(len, wanted))
    assert "canary" not in f"{caught.value} {caught.value.problems}"


@pytest.mark.parametrize(("name", "words"), UNREADABLE.items())
def test_unreadable(name: str, words: str) -> None:
    """A file that is no document of its format is refused whole, with the place and the remedy."""
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(SAMPLES / name)
    assert "ProgramData" not in str(caught.value)


def test_every_sample_is_in_the_table() -> None:
    """Each sample has its row, and each of the platform's files that is there has one too."""
    assert {path.name for path in SAMPLES.iterdir()} == {path.name for path in OURS} | set(
        UNREADABLE
    )
    known = {name for _, theirs, _ in SHAPES for name in theirs}
    assert {path.name for path in SHARED.glob("*.[jt]*")} <= known


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
    ("flat-rules", "security", SecurityConfig(mode="mtls", tls=tls(PKI, "rules"))),
    ("flat-rules", "grpc_security", spiffe("zen")),
    (
        "alias-traps",
        "security",
        SecurityConfig(mode="mtls", cert_dir=PKI, tls=tls(PKI, "traps")),
    ),
    ("flows.yaml", "security", SecurityConfig(mode="mtls", cert_dir=PKI, tls=tls(PKI, "flows"))),
    ("traces.toml", "nats.tls", SecurityConfig(mode="mtls", tls=tls(PKI, "traces"))),
    (
        "syslog.toml",
        "grpc",
        spiffe("", workload_socket="unix:/run/meadow/agent.sock"),
    ),
    (
        "flat-checker",
        "security",
        SecurityConfig(
            mode="mtls",
            role="checker",
            cert_dir=PKI,
            server_name="frost.meadow.example",
            tls=tls(PKI, "frost"),
        ),
    ),
    (
        "careless",
        "security",
        SecurityConfig(
            mode="mtls",
            role="warden",
            cert_dir="pki",
            tls=TlsFiles(
                cert_file="pki/a.pem",
                key_file="pki/pki/a-key.pem",
                ca_file="pki/roots.pem",
                client_ca_file="pki/roots.pem",
            ),
        ),
    ),
    ("checker", "security", spiffe("poller", "spiffe://meadow.example/services/soil")),
    ("template", "kv_security", spiffe("", "spiffe://meadow.example/ns/field/sa/vault")),
    ("sites", "sites[0].checks[1].security", SecurityConfig(mode="none")),
    ("sites", "sites[1].link.kv_security", SecurityConfig(mode="none")),
    ("sites", "security", SecurityConfig(mode="none")),
]


@pytest.mark.parametrize(("name", "path", "block"), BLOCKS)
def test_block(name: str, path: str, block: SecurityConfig) -> None:
    """A block of a sample means what the table says."""
    sample = SAMPLES / (name if "." in name else f"{name}.json")
    assert block == load_config(sample).security_block(path)


@pytest.mark.parametrize(
    ("name", "path", "events"),
    [
        ("flat-rules.json", "security", ["security_mode_inferred"]),
        ("alias-traps.json", "security", ["security_mode_inferred"]),
        ("traces.toml", "grpc_tls", ["security_mode_inferred"]),
        ("syslog.toml", "grpc", []),
        ("hub.json", "security", ["security_members_ignored"]),
        ("edge-agent.json", "gateway_security", ["security_role_unknown"]),
        ("checker.json", "security", []),
        (
            "careless.json",
            "security",
            ["security_role_unknown", "security_directory_relative"],
        ),
    ],
)
def test_warnings(
    name: str,
    path: str,
    events: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is usable, but hardly meant so, is said once."""
    config = load_config(SAMPLES / name)
    caplog.set_level(logging.WARNING, logger="serviceradar_security.config")
    caplog.clear()
    for _ in range(2):
        config.security_block(path)
    assert events == [vars(record)["event"] for record in caplog.records]


@EVERY
def test_no_overlay_gets_past(sample: Path) -> None:
    """For every block and every parent of it, each way to change or remove it is refused."""
    document = document_of(sample)
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
                    apply_overlay(document, json.dumps(overlay), protected=ProtectedPaths())
                assert caught.value.paths == (render_path(block[:end]),)


@EVERY
def test_no_overlay_gets_past_a_block_of_another_name(sample: Path) -> None:
    """A block that only its shape gives away is protected by default, member by member."""
    document = document_of(sample)
    named = blocks_of(document)
    for path, value, _ in find_kinds(document):
        if path in named:
            continue
        assert isinstance(value, dict)
        for member in {*value, "mode", "cert_file", "ca_file"} - {"listen_addr"}:
            for change in ({member: "none"}, None):
                overlay: Any = change
                for step in reversed(path):
                    overlay = {step: overlay}
                with pytest.raises(OverlayRefusedError):
                    apply_overlay(document, overlay)


@EVERY
def test_harmless_overlay(sample: Path) -> None:
    """An overlay of everything that is no block and no parent of one merges."""
    document = document_of(sample)
    parents = {path[0] for path in blocks_of(document)}
    overlay = {key: None for key in document if key not in parents} | {"log_level": "debug"}
    merged = apply_overlay(document, json.dumps(overlay), protected=ProtectedPaths())
    assert reference_merge(document, overlay) == merged
    assert blocks_of(document) == blocks_of(merged)
