"""Kinds of security blocks: what is one, of which kind, and what a missing mode means."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given

from serviceradar_security.config.blocks import find_blocks, render_path
from serviceradar_security.config.kinds import DEFAULT_KIND, KINDS, find_kinds
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.security import SecurityConfig, read_block
from serviceradar_security.errors import ConfigError
from tests.config.documents import bases, patient

PEM = {"cert_file": "/pki/a.pem", "key_file": "/pki/a-key.pem", "ca_file": "/pki/roots.pem"}
LENIENT = [name for name, kind in KINDS.items() if kind.without_mode is not None]


def kinds(document: dict[str, object]) -> dict[str, str]:
    """Give the kinds of the blocks of a document by their paths."""
    return {render_path(path): kind for path, _, kind in find_kinds(document)}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, {}),
        ({"security": {}}, {"security": "security"}),
        ({"kv_security": None}, {"kv_security": "security"}),
        ({"agents": {"a": {"security": {}}}}, {"agents.a.security": "security"}),
        ({"checks": [{"security": {}}]}, {"checks[0].security": "security"}),
        ({"nats_security": {}}, {"nats_security": "nats_client"}),
        ({"x": {"nats_security": {}}}, {"x.nats_security": "nats_client"}),
        ({"nats": {"security": {}}}, {"nats.security": "nats_client"}),
        ({"x": {"nats": {"security": {}}}}, {"x.nats.security": "security"}),
        ({"grpc_security": {}}, {"grpc_security": "grpc_server"}),
        ({"NATS_security": {}}, {"NATS_security": "security"}),
        # `security` is that of the link to NATS where the gRPC side has a block of its own.
        (
            {"nats_url": "x", "grpc_security": {}, "security": {}},
            {"grpc_security": "grpc_server", "security": "nats_client"},
        ),
        ({"nats_url": "x", "grpc_listen_addr": "x", "security": {}}, {"security": "nats_client"}),
        ({"nats_url": "x", "security": {}}, {"security": "security"}),
        ({"grpc_listen_addr": "x", "security": {}}, {"security": "security"}),
        (
            {"nats_url": "x", "grpc_listen_addr": "x", "security": {}, "nats_security": {}},
            {"security": "security", "nats_security": "nats_client"},
        ),
        (
            {"nats_url": "x", "grpc_listen_addr": "x", "y": {"security": {}}},
            {"y.security": "security"},
        ),
    ],
)
def test_kinds_of_names(document: dict[str, object], expected: dict[str, str]) -> None:
    """The kind of a named block follows from its name and from what stands beside it."""
    assert expected == kinds(document)


@pytest.mark.parametrize(
    "member",
    [*PEM, "client_ca_file", "mode", "cert_dir", "trust_domain", "workload_socket", "tls", "Mode"],
)
def test_grpc_table(member: str) -> None:
    """A table `grpc` at the top is a block by any member that no other table of that name has."""
    table: dict[str, object] = {"listen_addr": "0.0.0.0:15044", member: "x"}
    assert kinds({"grpc": table}) == {"grpc": "grpc_server"}
    assert find_kinds({"grpc": table})[0][1] is table


@pytest.mark.parametrize("member", [*PEM, "client_ca_file", "mode", "CERT_FILE"])
def test_tls_tables(member: str) -> None:
    """The TLS tables of a collector are blocks by the files in them."""
    table: dict[str, object] = {member: "x"}
    assert kinds({"grpc_tls": table}) == {"grpc_tls": "tls_files"}
    assert kinds({"nats": {"url": "x", "tls": table}}) == {"nats.tls": "tls_files"}


@pytest.mark.parametrize(
    "document",
    [
        {"grpc": {"listen_addr": "x", "max_message_size": 4}},
        {"grpc": {}},
        {"grpc": "mode"},
        {"grpc": ["mode"]},
        {"grpc": None},
        {"x": {"grpc": {"mode": "spiffe"}}},
        {"grpc_tls": {"enabled": True}},
        {"grpc_tls": None},
        {"nats": {"tls": {"enabled": True}}},
        {"nats": ["tls"]},
        {"tls": PEM},
        {"database": {"tls": PEM}},
        {"logging": {"otel": {"tls": PEM}}},
        {"cnpg": {"tls": PEM, "cert_dir": "x"}},
        {"spire_admin": {"server_spiffe_id": "x", "workload_socket": "x"}},
    ],
)
def test_no_blocks(document: dict[str, object]) -> None:
    """Tables of another shape, at another place, or with TLS settings of others are no blocks."""
    assert kinds(document) == {}


@patient
@given(bases())
def test_named_blocks_come_first(document: dict[str, object]) -> None:
    """Whatever the document, all named blocks are found, in order, each with a kind there is."""
    found = find_kinds(document)
    named = find_blocks(document)
    assert named == [(path, value) for path, value, _ in found[: len(named)]]
    assert all(kind in KINDS for _, _, kind in found)


def test_kinds_are_data() -> None:
    """No kind means plaintext by itself; the default kind means nothing; each has its reason."""
    assert KINDS[DEFAULT_KIND].without_mode is None
    assert {kind.without_mode for kind in KINDS.values()} == {None, "mtls"}
    assert all(kind.reason and name == kind.name for name, kind in KINDS.items())


@pytest.mark.parametrize("kind", LENIENT)
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("extra", [{}, {"server_name": "x"}, {"trust_domain": ""}])
def test_missing_mode(
    kind: str,
    flat: bool,
    extra: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With all files and nothing of SPIFFE, a kind that is always mutual TLS needs no mode."""
    block: dict[str, object] = {**(PEM if flat else {"tls": PEM}), **extra}
    config = SecurityConfig.from_mapping(block, path="x", kind=kind)
    assert config == SecurityConfig.from_mapping({"mode": "mtls", **block})
    (record,) = caplog.records
    assert vars(record)["event"] == "security_mode_inferred"
    assert record.getMessage().startswith("x: the mode is missing and read as mtls, since ")
    with pytest.raises(ConfigError, match="mode: missing, and nothing is secured by default"):
        SecurityConfig.from_mapping(block)


@pytest.mark.parametrize("kind", LENIENT)
@pytest.mark.parametrize(
    "block",
    [
        {},
        {"cert_file": "/a", "key_file": "/b"},
        {**PEM, "ca_file": ""},
        {**PEM, "tls": {}},
        {**PEM, "trust_domain": "meadow.example"},
        {**PEM, "server_spiffe_id": "spiffe://meadow.example/x"},
        {**PEM, "workload_socket": "unix:/x"},
        {"tls_enabled": True},
    ],
)
def test_missing_mode_is_not_guessed(kind: str, block: dict[str, object]) -> None:
    """With a file missing, or with a word of SPIFFE, a missing mode is an error in every kind."""
    with pytest.raises(ConfigError) as caught:
        SecurityConfig.from_mapping(block, kind=kind)
    ((path, text),) = [(problem.path, problem.text) for problem in caught.value.problems]
    assert path == "security.mode"
    assert f"missing, and a block of the kind {kind} means mtls without one only with" in text
    assert text.endswith(': write "spiffe", "mtls" or "none"')


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("mode", ["", " ", "tls", None, 1])
def test_bad_mode_is_not_missing(kind: str, mode: object) -> None:
    """A mode that is empty, unknown or no text is an error in every kind, whatever the files."""
    with pytest.raises(ConfigError) as caught:
        SecurityConfig.from_mapping({"mode": mode, **PEM}, kind=kind)
    assert [problem.path for problem in caught.value.problems] == ["security.mode"]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("mode", ["none", "mtls", "spiffe"])
def test_written_mode_counts(kind: str, mode: str) -> None:
    """A written mode counts in every kind."""
    assert mode == SecurityConfig.from_mapping({"mode": mode, **PEM}, kind=kind).mode


@pytest.mark.parametrize("kind", LENIENT)
@pytest.mark.parametrize("fault", [7, "{{FILE}}", None])
def test_faulty_file_is_one_problem(kind: str, fault: object) -> None:
    """A file that cannot be read as a path is a problem of its own, and not one of the mode."""
    with pytest.raises(ConfigError) as caught:
        SecurityConfig.from_mapping({**PEM, "key_file": fault}, kind=kind)
    assert [problem.path for problem in caught.value.problems] == ["security.key_file"]


@pytest.mark.parametrize("switch", ["enabled", "insecure", "skip_verify", "tls_enabled"])
def test_switches_set_no_mode(switch: str) -> None:
    """Files and a switch that looks like one for TLS are no mode, and the error names the switch."""
    with pytest.raises(ConfigError, match=f'mode: missing, and "{switch}" sets none'):
        SecurityConfig.from_mapping({**PEM, switch: True})


@pytest.mark.parametrize(("kind", "warned"), [("grpc_server", False), ("security", True)])
def test_other_settings_of_a_table(
    kind: str,
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A table that is more than a security block may hold its other settings without a word."""
    SecurityConfig.from_mapping({"mode": "mtls", **PEM, "listen_addr": ":1"}, kind=kind)
    assert warned == any("listen_addr" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"tls_enabled": False}, "; nothing switches TLS or verification on or off but the mode"),
        (
            {"tls": {"skip_verify": True}},
            "; nothing switches TLS or verification on or off but the mode",
        ),
        (
            {"tls": {}, "ca_file": "/x"},
            "; where there is a tls, only the files in it count",
        ),
    ],
)
def test_remarks(block: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture) -> None:
    """The warning of an ignored member says why, where its name promises something."""
    caplog.set_level(logging.WARNING)
    SecurityConfig.from_mapping({"mode": "spiffe", **block})
    (record,) = caplog.records
    assert record.getMessage().endswith(words)


@pytest.mark.parametrize(("kind", "shown"), [("x", "'x'"), (None, "null"), (["x"], "a list")])
def test_unknown_kind(kind: Any, shown: str) -> None:
    """A kind that there is not is a mistake in code, and says which there are."""
    with pytest.raises(ConfigError, match=f"no kind of security block: {shown}: use one of sec"):
        read_block({"mode": "none"}, Problems(), path="security", kind=kind)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"GRPC": {"mode": "spiffe"}}, {"GRPC": "grpc_server"}),
        ({"gRPC_tl\u017f": {"cert_file": "x"}}, {"gRPC_tl\u017f": "tls_files"}),
        ({"NATS": {"TLS": PEM}}, {"NATS.TLS": "tls_files"}),
        ({"nats": {"tls": PEM, "Tls": PEM}}, {"nats.tls": "tls_files", "nats.Tls": "tls_files"}),
        ({"x": {"GRPC": {"mode": "spiffe"}}}, {}),
    ],
)
def test_tables_in_other_spellings(document: dict[str, object], expected: dict[str, str]) -> None:
    """A table that Go's decoder would take for a block is one, at its own path."""
    assert kinds(document) == expected
