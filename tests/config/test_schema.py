"""The JSON Schema of a security block: committed as made, and never stricter than the reader."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from serviceradar_security.config.block_members import BlockMembers, FileMembers
from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.formats import format_of, parse_text
from serviceradar_security.config.kinds import KINDS, BlockKind, find_kinds
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.schema import SCHEMA_ID, security_block_schema
from serviceradar_security.config.security import SecurityConfig
from serviceradar_security.errors import ConfigError
from tests.config.documents import patient

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "schema" / "security-block.schema.json"
PAGE = (ROOT / "docs" / "configuration.md").read_text()
MISSING_MODE = PAGE.partition("### A missing mode")[2].partition("\n## ")[0]
SHARED = ROOT.parent / "shared" / "serviceradar-configs"
FILES = sorted(
    path
    for folder in (Path(__file__).parent / "samples", SHARED)
    for path in folder.glob("*.[jty]*")
    if path.name != "windows.json"  # which is no document
)
SCHEMA = Draft202012Validator(security_block_schema())
PEM = {"cert_file": "a.pem", "key_file": "a-key.pem", "ca_file": "roots.pem"}

# Where the reader is stricter: what no schema can say of one block, or not well.
STRICTER = (
    "has no scheme: write the whole ID",
    "is read as ",
    "is no finite 64-bit number",
    "half of a surrogate pair",
    "is nested deeper than",
)


def refusal(block: dict[str, object]) -> list[str]:
    """Give the texts of what the reader says against a block."""
    try:
        SecurityConfig.from_mapping(block)
    except ConfigError as error:
        return [problem.text for problem in error.problems]
    return []


def compare(block: dict[str, object]) -> None:
    """Hold the schema against the reader: the same verdict, but for the rules named above."""
    against = refusal(block)
    if SCHEMA.is_valid(block):
        assert all(any(rule in text for rule in STRICTER) for text in against)
    else:
        assert against


def test_is_a_schema() -> None:
    """It is a JSON Schema of draft 2020-12, with an identifier that nobody has to host."""
    schema = security_block_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == SCHEMA_ID
    assert SCHEMA_ID.startswith("urn:")
    assert "://" not in SCHEMA_ID


def test_committed_as_made() -> None:
    """The committed file is what the members give."""
    assert json.loads(COMMITTED.read_text()) == security_block_schema()


def test_every_member_is_described() -> None:
    """An editor has a word for every member that the reader knows."""
    properties: Any = security_block_schema()["properties"]
    assert set(BlockMembers.model_fields) <= set(properties)
    assert set(FileMembers.model_fields) <= set(properties["tls"]["properties"])
    for member in (*properties.values(), *properties["tls"]["properties"].values()):
        assert len(member["description"]) > 20


@pytest.mark.parametrize("change", ["missing", "changed"])
def test_tool_tells_a_stale_file(
    change: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The tool writes the file, and tells when it is not what the members give."""
    main: Any = runpy.run_path(str(ROOT / "tools" / "gen_schema.py"))["main"]
    target = tmp_path / "schema" / "x.json"
    assert main([], target=target) == 0
    assert main(["--check"], target=target) == 0
    assert target.read_text() == COMMITTED.read_text()
    if change == "missing":
        target.unlink()
    else:
        target.write_text("{}")
    assert main(["--check"], target=target) == 1
    assert "is not what the reader gives: run" in capsys.readouterr().err


@pytest.mark.parametrize("sample", FILES, ids=lambda path: path.name)
def test_samples(sample: Path) -> None:
    """Of every block of every sample, schema and reader say the same."""
    problems = Problems()
    document = parse_text(sample.read_bytes(), problems, format=format_of(sample))
    blocks = {render_path(path): value for path, value, _ in find_kinds(document)}
    assert blocks
    for value in blocks.values():
        assert isinstance(value, dict)
        compare(value)


@pytest.mark.parametrize(
    "block",
    [
        {"mode": "none"},
        {"mode": "SPIFFE", "anything": [1, None], "tls": {"other": {}}},
        {"mode": "mTLS", **PEM},
        {"mode": "mtls", "tls": PEM, "cert_file": ""},
        {"mode": "spiffe", "tls_enabled": False, "tls": {"skip_verify": True}},
        {"mode": "spiffe", "trust_domain": " spiffe://meadow.example/x "},
        {"mode": "spiffe", "trust_domain": "x" * 255},
        {"mode": "spiffe", "server_spiffe_id": "SPIFFE://meadow.example"},
        {"mode": "spiffe", "server_spiffe_id": "/a/.b/...", "trust_domain": "meadow.example"},
        {"mode": "spiffe", "server_spiffe_id": "", "workload_socket": ""},
        {"mode": "spiffe", "workload_socket": "TCP://127.0.0.1:1"},
    ],
)
def test_both_take(block: dict[str, object]) -> None:
    """A usable block is valid."""
    assert SCHEMA.is_valid(block)
    assert refusal(block) == []


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"mode": ""},
        {"mode": "tls"},
        {"mode": " mtls"},
        {"mode": "mtls\n", **PEM},
        {"mode": None},
        {"mode": "mtls"},
        {"mode": "mtls", "tls": {}},
        {"mode": "mtls", "tls": {}, **PEM},
        {"mode": "MTLS", "tls": {**PEM, "ca_file": ""}},
        {"mode": "mtls", **PEM, "key_file": ""},
        {"mode": "none", "tls": None},
        {"mode": "none", "tls": {"cert_file": 1}},
        {"mode": "none", "role": 1},
        {"mode": "none", "cert_dir": "{{X}}"},
        {"mode": "none", "cert_dir": "$(X)"},
        {"mode": "none", "tls": {"ca_file": "${X:-y}"}},
        {"mode": "none", "server_name": "PLACEHOLDER"},
        {"mode": "none", "server_name": "a\x00b"},
        {"mode": "none", "server_name": "a\n"},
        {"mode": "none", "server_name": "a\x85"},
        {"mode": "spiffe", "trust_domain": "Meadow.example"},
        {"mode": "spiffe", "trust_domain": "SPIFFE://meadow.example"},
        {"mode": "spiffe", "trust_domain": "x" * 256},
        {"mode": "spiffe", "trust_domain": "spiffe://meadow.example/"},
        {"mode": "spiffe", "trust_domain": "spiffe://meadow.example/.."},
        {"mode": "spiffe", "server_spiffe_id": "spiffe://meadow.example/./x"},
        {"mode": "spiffe", "server_spiffe_id": "spiffe://Meadow.example/x"},
        {"mode": "spiffe", "server_spiffe_id": "https://meadow.example/x"},
        {"mode": "spiffe", "server_spiffe_id": "/x"},
        {"mode": "spiffe", "server_spiffe_id": "/x", "trust_domain": " "},
        {"mode": "spiffe", "server_spiffe_id": "/", "trust_domain": "meadow.example"},
        {"mode": "spiffe", "server_spiffe_id": "../x", "trust_domain": "meadow.example"},
        {"mode": "spiffe", "workload_socket": "/run/x"},
        {"mode": "spiffe", "workload_socket": "unix:"},
    ],
)
def test_both_refuse(block: dict[str, object]) -> None:
    """What the schema refuses, the reader refuses too."""
    assert not SCHEMA.is_valid(block)
    assert refusal(block)


@pytest.mark.parametrize(
    "block",
    [
        {"mode": "spiffe", "Mode": "none"},
        {
            "mode": "spiffe",
            "trust_domain": "meadow.example",
            "server_spiffe_id": "meadow.example/x",
        },
        {"mode": "spiffe", "server_spiffe_id": "a/x", "trust_domain": "a", "tls": {"CA_file": ""}},
    ],
)
def test_only_the_reader_refuses(block: dict[str, object]) -> None:
    """The reader is stricter where the documentation says so, and only there."""
    assert SCHEMA.is_valid(block)
    assert refusal(block)
    compare(block)


PIECES = st.sampled_from(
    [
        "",
        " ",
        "\u00a0",
        "\ufeff",
        "\n",
        "\x1c",
        "\x85",
        "/",
        "//",
        ".",
        "..",
        "a",
        "A",
        "x.y",
        "meadow.example",
        "spiffe://",
        "SPIFFE://",
        "https://",
        ":",
        "unix:",
        "tcp:",
        "$(",
        "${",
        "{{",
        "PLACEHOLDER",
        "\u017f",
        "mtls",
        "none",
        "spiffe",
    ],
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)
VALUES: st.SearchStrategy[object] = st.one_of(TEXTS, TEXTS, st.none(), st.integers(), st.just([]))
FILE_MEMBERS = st.dictionaries(st.sampled_from([*FileMembers.model_fields, "x"]), VALUES)
BLOCKS = st.one_of(
    st.fixed_dictionaries(
        {"mode": st.sampled_from(["spiffe", "mtls", "NONE"])},
        optional={
            "trust_domain": TEXTS,
            "server_spiffe_id": TEXTS,
            "workload_socket": TEXTS,
            "cert_dir": TEXTS,
            "tls": st.one_of(FILE_MEMBERS, st.just(PEM)),
            "cert_file": TEXTS,
            "key_file": TEXTS,
            "ca_file": TEXTS,
            "extra": VALUES,
        },
    ),
    st.dictionaries(
        st.sampled_from([*BlockMembers.model_fields, "Mode", "tls_enabled"]),
        st.one_of(VALUES, FILE_MEMBERS),
    ),
)


@patient
@given(BLOCKS)
@example({"mode": "mtls", "tls": {"cert_file": "a", "key_file": "b", "ca_file": "c"}})
def test_any_block(block: dict[str, object]) -> None:
    """Whatever the block, the reader refuses what the schema refuses, and hardly more."""
    compare(block)


def test_schema_of_a_whole_document() -> None:
    """The schema of whole files in the documentation works beside the committed one."""
    shown = next(part for part in PAGE.split("```json\n") if "patternProperties" in part)
    outer = json.loads(shown.partition("```")[0])
    Draft202012Validator.check_schema(outer)
    block = Resource.from_contents(json.loads(COMMITTED.read_text()))
    registry: Registry[Any] = Registry().with_resource(COMMITTED.name, block)
    validator = Draft202012Validator(outer, registry=registry)
    good, bad = {"mode": "spiffe"}, {"mode": "tls"}
    assert validator.is_valid({"security": good, "x": 1, "agents": {"a": {"security": good}}})
    assert not validator.is_valid({"kv_security": bad})
    assert not validator.is_valid({"security": None})
    assert not validator.is_valid({"agents": {"a": {"security": bad}}})


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_kinds_are_documented(kind: BlockKind) -> None:
    """The documentation has every kind, with what a missing mode means in it."""
    (row,) = [line for line in MISSING_MODE.splitlines() if line.startswith(f"| `{kind.name}`")]
    assert ("nothing: an error" if kind.without_mode is None else f"`{kind.without_mode}`") in row


@pytest.mark.parametrize("name", [name for name in BlockMembers.model_fields if name != "tls"])
def test_members_are_documented(name: str) -> None:
    """The documentation has every member."""
    row = f"| `tls.{name}` |" if name in FileMembers.model_fields else f"| `{name}` |"
    assert row in PAGE
