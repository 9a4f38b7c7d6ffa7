"""Loading a configuration: file, overlay, pinned file."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

import serviceradar_security.config as room
from serviceradar_security.config.document import MAX_DOCUMENT_BYTES
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.security import SecurityConfig
from serviceradar_security.errors import ConfigError, OverlayRefusedError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-do-not-show"
FILE: dict[str, Any] = {
    "poll_interval": "20s",
    "password": CANARY,
    "security": {"mode": "spiffe", "trust_domain": "meadow.example", "role": "core"},
    "nats": {"url": "nats:4222", "security": {"mode": "none"}},
    "checks": [{"name": "a", "security": {"mode": "none", "role": "checker"}}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the local file."""
    return write(tmp_path / "service.json", FILE)


def write(path: Path, document: object) -> Path:
    """Write a document to a file."""
    path.write_text(json.dumps(document))
    return path


def test_file_alone(file: Path) -> None:
    """A file is its own document."""
    config = load_config(file)
    assert config.document == FILE
    assert load_config(str(file)).document == FILE


def test_overlay(file: Path) -> None:
    """An overlay goes through the gate."""
    overlay = {"poll_interval": "5s", "nats": {"url": "other:4222"}}
    for form in (overlay, json.dumps(overlay), json.dumps(overlay).encode()):
        config = load_config(file, overlay=form)
        assert config.document == apply_overlay(FILE, overlay)
        assert config.security.mode == "spiffe"


@pytest.mark.parametrize(
    "overlay",
    [{"security": None}, b'{"nats": null}', '{"checks": []}', b"", "[]", {1: 2}],
)
def test_overlay_refused(file: Path, overlay: Any) -> None:
    """A refused overlay fails the load."""
    with pytest.raises(OverlayRefusedError):
        load_config(file, overlay=overlay)


def test_pinned_file_is_last_and_may_set_security(file: Path, tmp_path: Path) -> None:
    """The pinned file belongs to the operator: it wins over the overlay and sets security."""
    pinned = write(
        tmp_path / "pinned.json",
        {"security": {"role": "gateway"}, "poll_interval": "1s", "kv_security": {"mode": "none"}},
    )
    config = load_config(file, overlay={"poll_interval": "5s", "x": 1}, pinned=pinned)
    assert config.document["poll_interval"] == "1s"
    assert config.document["x"] == 1
    assert config.security.role == "gateway"
    assert config.security.mode == "spiffe"
    assert "kv_security" in config.block_paths


def test_pinned_file_does_not_open_the_gate(file: Path, tmp_path: Path) -> None:
    """An overlay is held to the file's blocks even where the pinned file replaces them."""
    pinned = write(tmp_path / "pinned.json", {"security": {"mode": "none"}})
    with pytest.raises(OverlayRefusedError):
        load_config(file, overlay={"security": {}}, pinned=pinned)


def test_pinned_null_fails_closed(file: Path, tmp_path: Path) -> None:
    """A pinned null takes the block away, and asking for it is an error."""
    config = load_config(file, pinned=write(tmp_path / "pinned.json", {"security": None}))
    with pytest.raises(ConfigError, match="security: is null"):
        _ = config.security


def test_pinned_twin_is_refused(file: Path, tmp_path: Path) -> None:
    """A pinned block in another spelling would stand beside the file's and one be lost."""
    pinned = write(tmp_path / "pinned.json", {"Security": {"mode": "mtls"}})
    with pytest.raises(ConfigError, match="the same name as 'security'"):
        load_config(file, pinned=pinned)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.json", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("service.json/x", "cannot be read: Not a directory"),
        ("nul\0byte", "cannot be read: "),
        ("new\nline", "cannot be read: No such file or directory"),
        ("pipe", "is no regular file"),
        ("large", "is larger than"),
        ("bad.json", "is not JSON at line 1"),
    ],
)
def test_files_that_cannot_be_read(file: Path, tmp_path: Path, name: str, reason: str) -> None:
    """A file that cannot be read is an error that names it and the reason, never a hang."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (MAX_DOCUMENT_BYTES + 1))
    (tmp_path / "bad.json").write_text('{"a": 1,}')
    path = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError) as as_file:
        load_config(path)
    with pytest.raises(ConfigError) as as_pinned:
        load_config(file, pinned=path)
    message = str(as_file.value)
    assert message == str(as_pinned.value)
    assert reason in message
    assert ascii(path)[1:-1] in message
    assert message.isprintable()


def test_file_is_read_strictly(tmp_path: Path) -> None:
    """The local file is held to the same strictness as an overlay."""
    path = tmp_path / "x.json"
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', '{"security": 1, "SECURITY": 2}'):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_config(path)
        with pytest.raises(ConfigError):
            load_config(write(tmp_path / "base.json", {}), pinned=path)


def test_security_blocks(file: Path) -> None:
    """Every block is found by its path, and read when it is asked for."""
    config = load_config(file)
    assert config.block_paths == ("security", "nats.security", "checks[0].security")
    assert config.security == SecurityConfig.from_mapping(FILE["security"])
    assert config.security_block("security") is config.security
    assert config.security_block("checks[0].security").role == "checker"
    assert dict(config.blocks) == {path: config.security_block(path) for path in config.block_paths}


@pytest.mark.parametrize(
    ("document", "there"),
    [
        ({}, "none"),
        ({"Security": {"mode": "none"}}, "Security"),
        ({"a": {"security": {}}, "kv_security": {}}, "a.security, kv_security"),
    ],
)
def test_missing_block(document: dict[str, object], there: str) -> None:
    """A missing block is an error that lists the blocks there are."""
    config = Config(document, name="x.json")
    with pytest.raises(ConfigError) as caught:
        _ = config.security
    message = "x.json: there is no security block 'security'; the blocks there are: "
    assert message + there == str(caught.value)


@pytest.mark.parametrize("path", ["", "nats", "nats.Security", "checks.0.security", "x\n"])
def test_unknown_path(file: Path, path: str) -> None:
    """A path is matched whole and exactly."""
    with pytest.raises(ConfigError, match="there is no security block") as caught:
        load_config(file).security_block(path)
    assert str(caught.value).isprintable()


def test_unusable_blocks_fail_when_asked_for() -> None:
    """A block that cannot be used fails itself and `blocks`, and nothing else."""
    config = Config(
        {
            "security": {"mode": "none"},
            "kv_security": {"role": "core"},
            "nats": {"security": {"mode": "mtls"}},
            "x_security": None,
        },
        name="x.json",
    )
    assert config.security.mode == "none"
    with pytest.raises(ConfigError, match=r"x\.json: kv_security\.mode: missing"):
        config.security_block("kv_security")
    with pytest.raises(ConfigError) as caught:
        _ = config.blocks
    assert [problem.path for problem in caught.value.problems] == [
        "kv_security.mode",
        "nats.security.tls.cert_file",
        "nats.security.tls.key_file",
        "nats.security.tls.ca_file",
        "x_security",
    ]
    assert "x.json: 5 problems" in str(caught.value)


def test_warnings_come_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often a block is asked for, its unknown members are logged once."""
    caplog.set_level(logging.DEBUG)
    config = Config({"security": {"mode": "none", "extra": 1}})
    assert not caplog.records
    for _ in range(3):
        assert config.security is config.blocks["security"]
    assert len(caplog.records) == 1


def test_config_does_not_change(file: Path) -> None:
    """Neither a configuration, nor its document, nor its mapping of blocks can be changed."""
    config: Any = load_config(file)
    with pytest.raises(TypeError):
        config.document["security"] = {}
    with pytest.raises(TypeError):
        config.document["security"]["mode"] = "none"
    with pytest.raises(TypeError):
        config.document["checks"][0] = {}
    with pytest.raises(TypeError):
        config.blocks["security"] = None
    with pytest.raises(AttributeError, match="does not change"):
        config.security = None
    with pytest.raises(AttributeError, match="does not change"):
        config.other = None
    with pytest.raises(AttributeError, match="does not change"):
        del config.document


def test_config_copies_its_document() -> None:
    """Changing the mapping that a configuration was made of does not change it."""
    document: dict[str, Any] = {"security": {"mode": "spiffe"}, "a": [1]}
    config = Config(document)
    document["security"]["mode"] = "none"
    document["a"].append(2)
    assert config.security.mode == "spiffe"
    assert config.document["a"] == [1]


@pytest.mark.parametrize(
    "document",
    [{"a": b"x"}, {1: 2}, {"security": {}, "SECURITY": {}}],
)
def test_no_document(document: Any) -> None:
    """A configuration is made of a sound document only."""
    with pytest.raises(ConfigError, match="configuration: "):
        Config(document)


def test_repr_shows_no_values(file: Path) -> None:
    """The repr of a configuration names the blocks and shows no value."""
    shown = repr(load_config(file))
    assert CANARY not in shown
    assert f"Config({str(file)!r}, blocks=['security', 'nats.security'" in shown


def test_document_serves_as_base(file: Path) -> None:
    """A frozen document can be the base of the next overlay."""
    config = load_config(file)
    assert apply_overlay(config.document, {"x": 1}) == FILE | {"x": 1}
    with pytest.raises(OverlayRefusedError):
        apply_overlay(config.document, {"checks": None})


def test_room_exports() -> None:
    """The room offers what the surface promises of it, and all of that exists."""
    assert set(room.__all__) == {
        "DATASVC_METHODS",
        "Config",
        "Decision",
        "RbacPolicy",
        "SecurityConfig",
        "TlsFiles",
        "UnmatchedEntry",
        "apply_overlay",
        "load_config",
    }
    assert all(hasattr(room, name) for name in room.__all__)
