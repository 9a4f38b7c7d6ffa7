"""Loading a configuration: file, overlay, pinned file."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

import serviceradar_security.config as room
from serviceradar_security.config.document import MAX_DOCUMENT_BYTES
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.config.security import SecurityConfig
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import reference_merge, with_frames_left

if TYPE_CHECKING:
    from collections.abc import Callable
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


class NoPath:
    """Look like a path and be none."""

    def __fspath__(self) -> int:
        return 3


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


@pytest.mark.parametrize(
    ("pinned", "path", "reason"),
    [
        ({"security": None}, "security", "is null, and a null security block is plaintext"),
        ({"new_security": None}, "new_security", "is null"),
        ({"x": [{"Security": None}]}, "x[0].Security", "is null"),
        ({"security": "none"}, "security", "would replace an object that is or holds a security"),
        ({"security": []}, "security", "with a list: set its members instead"),
        ({"nats": None}, "nats", "would replace an object"),
        ({"nats": {"security": 0}}, "nats.security", "with a number"),
        ({"checks": {}}, "checks", "would replace a list"),
        ({"checks": None}, "checks", "would replace a list"),
    ],
)
def test_pinned_file_takes_no_block_away(
    file: Path,
    tmp_path: Path,
    pinned: dict[str, object],
    path: str,
    reason: str,
) -> None:
    """What the platform's services take for plaintext is refused from the pinned file, too."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(file, pinned=write(tmp_path / "pinned.json", pinned))
    assert [problem.path for problem in caught.value.problems] == [path]
    assert str(caught.value).startswith(f"{tmp_path / 'pinned.json'}: {path}: ")


@pytest.mark.parametrize(
    "pinned",
    [
        {"security": {"mode": "none"}},
        {"checks": []},
        {"checks": [{"security": {"mode": "none"}}]},
        {"poll_interval": None, "password": None},
        {"nats": {"url": None, "security": {}}},
    ],
)
def test_pinned_file_may(file: Path, tmp_path: Path, pinned: dict[str, object]) -> None:
    """A pinned file sets blocks, replaces lists as wholes, and may hold other nulls."""
    config = load_config(file, pinned=write(tmp_path / "pinned.json", pinned))
    assert config.document == reference_merge(FILE, pinned)


def test_pinned_twin_is_refused(file: Path, tmp_path: Path) -> None:
    """A pinned block in another spelling would stand beside the file's and one be lost."""
    pinned = write(tmp_path / "pinned.json", {"Security": {"mode": "mtls"}})
    with pytest.raises(ConfigError, match="the same name as 'security'"):
        load_config(file, pinned=pinned)


TWINS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (FILE, {"NATS": None}, ["NATS"]),
    (FILE, {"nat\u017f": {"url": "x"}}, ["nat\u017f"]),
    (FILE, {"Checks": []}, ["Checks"]),
    (FILE, {"NATS": {"security": {"mode": "none"}}}, ["NATS"]),
    (FILE, {"a": [{"b": {"security": {"mode": "none"}}, "B": 1}]}, ["a[0].B"]),
    ({"grpc": {"mode": "spiffe"}}, {"GRPC": None}, ["GRPC"]),
    ({"nats": {"tls": {"mode": "mtls"}}}, {"nats": {"TLS": 1}, "Nats": 2}, ["Nats", "nats.TLS"]),
]


@pytest.mark.parametrize(("local", "twins", "paths"), TWINS)
def test_twin_of_a_parent(
    tmp_path: Path,
    local: dict[str, Any],
    twins: dict[str, Any],
    paths: list[str],
) -> None:
    """To Go's decoder a twin is the parent itself: local documents may not hold both."""
    file = write(tmp_path / "service.json", local)
    pinned = write(tmp_path / "pinned.json", twins)
    whole: Any = reference_merge(local, twins)
    loads: list[Callable[[], Config]] = [
        lambda: load_config(file, pinned=pinned),
        lambda: load_config(write(tmp_path / "whole.json", whole)),
        lambda: Config(whole),
    ]
    for load in loads:
        with pytest.raises(ConfigError, match="to Go's decoder the same name as") as caught:
            load()
        assert [problem.path for problem in caught.value.problems] == paths


@pytest.mark.parametrize(
    "pinned",
    [{"Poll_Interval": "1s"}, {"agents": {"Edge": {}, "edge": {}}}, {"x": {"NATS": 1}}],
)
def test_twins_that_hold_nothing(file: Path, tmp_path: Path, pinned: dict[str, object]) -> None:
    """Names that fold alike are left alone where no block is at stake: maps tell them apart."""
    config = load_config(file, pinned=write(tmp_path / "pinned.json", pinned))
    assert config.document == reference_merge(FILE, pinned)


@pytest.mark.parametrize(
    ("checks", "path", "reason"),
    [
        ('[{"name": "x", "security": null}]', "checks[0].security", "is null"),
        ('[[{"Kv_Security": null}]]', "checks[0][0].Kv_Security", "is null"),
        ('[{"security": {}, "Security": {}}]', "checks[0].Security", "same name as 'security'"),
    ],
)
def test_blocks_in_the_list_of_a_variable(file: Path, checks: str, path: str, reason: str) -> None:
    """A list that a variable gives is held to the same as one of the pinned file."""
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_CHECKS": checks}
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(file, environ=environ)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert str(caught.value).startswith("environment (SERVICERADAR_*): ")


def test_list_of_a_variable(file: Path) -> None:
    """A list with sound blocks, or without any, is the local operator's to give."""
    for checks in ("[]", '[{"security": {"mode": "none"}}]'):
        environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_CHECKS": checks}
        config = load_config(file, environ=environ)
        assert config.plain()["checks"] == json.loads(checks)


def test_working_directory_that_is_gone(file: Path, tmp_path: Path) -> None:
    """A relative name is compared as far as it can be where there is no directory to begin at."""
    pinned = write(tmp_path / "pinned.json", {})
    gone = tmp_path / "gone"
    script = f"""if True:
        import logging, os
        from serviceradar_security.config import load_config
        from serviceradar_security.errors import ConfigError
        os.mkdir({str(gone)!r})
        os.chdir({str(gone)!r})
        os.rmdir({str(gone)!r})
        logging.basicConfig()
        environ = {{"PINNED_CONFIG_PATH": "pinned.json"}}
        print(len(load_config({str(file)!r}, pinned={str(pinned)!r}, environ=environ).layers))
        try:
            load_config({str(file)!r}, environ=environ)
        except ConfigError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "2",
        "pinned.json: cannot be read: No such file or directory",
    ]
    assert "PINNED_CONFIG_PATH names pinned.json and is not used" in done.stderr


def test_deep_caller(tmp_path: Path) -> None:
    """A caller near the end of the stack gets a configuration or an error of ours."""
    deep = json.loads('{"a":' * 95 + "1" + "}" * 95)
    one, two = write(tmp_path / "one.json", deep), write(tmp_path / "two.json", deep)
    refusals = []
    for frames in range(150, 600, 10):
        try:
            with_frames_left(frames, lambda: load_config(one, pinned=two, overlay=deep))
        except ConfigError as error:
            refusals.append(str(error))
    assert 0 < len(refusals) < 45
    assert all("for a caller that is itself this deep" in text for text in refusals)


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


def test_empty_path() -> None:
    """An empty path is named as one."""
    with pytest.raises(ConfigError, match=r"^'': cannot be read: No such file"):
        load_config("")


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
    promised = {
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
    assert promised <= set(room.__all__)
    assert all(hasattr(room, name) for name in room.__all__)


TOML = """
poll_interval = "20s"
[security]
mode = "spiffe"
trust_domain = "meadow.example"
[nats]
url = "nats:4222"
"""
YAML = """
poll_interval: 20s
security: {mode: spiffe, trust_domain: meadow.example}
nats:
  url: nats:4222
"""
SAME = {
    "poll_interval": "20s",
    "security": {"mode": "spiffe", "trust_domain": "meadow.example"},
    "nats": {"url": "nats:4222"},
}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", json.dumps(SAME)), ("a.toml", TOML), ("a.yaml", YAML), ("A.YML", YAML)],
)
def test_files_by_their_format(tmp_path: Path, name: str, text: str) -> None:
    """How a file is written is told by its name; a file and its pinned one need not agree."""
    path = tmp_path / name
    path.write_text(text)
    pinned = tmp_path / "pinned.toml"
    pinned.write_text('[security]\nrole = "core"\n')
    config = load_config(path, pinned=pinned)
    assert config.document == reference_merge(SAME, {"security": {"role": "core"}})
    assert load_config(pinned, pinned=path).document == config.document


@pytest.mark.parametrize("name", ["a.toml", "a.yaml"])
def test_damaged_file_of_another_format(tmp_path: Path, name: str) -> None:
    """A damaged file is our error, whatever its format, and shows nothing of it."""
    path = tmp_path / name
    path.write_text(f"a: [{CANARY}\nb = [{CANARY}")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "overlay", "overlay_format"),
    [
        ("a.json", '{"nats": {"url": "x"}}', None),
        ("a.toml", '[nats]\nurl = "x"', None),
        ("a.yaml", "nats: {url: x}", None),
        ("a.toml", '{"nats": {"url": "x"}}', "json"),
        ("a.json", '[nats]\nurl = "x"', "toml"),
        ("a.toml", {"nats": {"url": "x"}}, None),
    ],
)
def test_format_of_an_overlay(
    tmp_path: Path,
    name: str,
    overlay: Any,
    overlay_format: Any,
) -> None:
    """An overlay is written as the file is, unless the caller says otherwise."""
    path = tmp_path / name
    path.write_text({"a.json": json.dumps(SAME), "a.toml": TOML, "a.yaml": YAML}[name])
    plain = load_config(path, protected=ProtectedPaths())
    config = load_config(
        path,
        overlay=overlay,
        overlay_format=overlay_format,
        protected=ProtectedPaths(),
    )
    assert config.document == reference_merge(SAME, {"nats": {"url": "x"}})
    for base in (plain, config, plain.with_overlay({"x": 1})):
        again = base.with_overlay(overlay, format=overlay_format)
        assert again.document == config.document


def test_overlay_of_another_format_is_refused(file: Path) -> None:
    """A text that is not what it is said to be is refused, not guessed at."""
    with pytest.raises(OverlayRefusedError):
        load_config(file, overlay="[security]\nmode = 'none'")
    with pytest.raises(OverlayRefusedError) as caught:
        load_config(file, overlay="[security]\nmode = 'none'", overlay_format="toml")
    assert caught.value.paths == ("security",)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"path": None}, ["path"]),
        ({"path": 3}, ["path"]),
        ({"path": b"a.json"}, ["path"]),
        ({"path": NoPath()}, ["path"]),
        ({"pinned": True}, ["pinned"]),
        ({"protected": None}, ["protected"]),
        ({"protected": ("rbac",)}, ["protected"]),
        ({"overlay_format": "xml"}, ["overlay_format"]),
        ({"overlay_format": []}, ["overlay_format"]),
        (
            {"path": {}, "pinned": 0, "protected": 1, "overlay_format": 2},
            ["path", "pinned", "protected", "overlay_format"],
        ),
    ],
)
def test_wrong_arguments(file: Path, arguments: dict[str, Any], named: list[str]) -> None:
    """A wrong argument is our error that names it, and so are several at once."""
    arguments = {"path": file} | arguments
    path = arguments.pop("path")
    with pytest.raises(ConfigError, match=r"^load_config: ") as caught:
        load_config(path, **arguments)
    assert [problem.path for problem in caught.value.problems] == named


@pytest.mark.parametrize("overlay", [3, True, [], object(), {"a"}])
def test_overlay_of_a_wrong_type(file: Path, overlay: Any) -> None:
    """An overlay that is no document is refused like any other."""
    with pytest.raises(OverlayRefusedError, match="give bytes, a text or a mapping"):
        load_config(file, overlay=overlay)


def test_wrong_arguments_of_config() -> None:
    """What no configuration can be made of, or asked for, is our error."""
    anything: Any = 3
    config = Config({"security": {"mode": "none"}})
    for call in (
        lambda: Config(anything),
        lambda: Config({}, name=anything),
        lambda: config.security_block(anything),
        lambda: config.security_block([]),  # type: ignore[arg-type]  # that is the test
        lambda: config.with_overlay({}, format=anything),
    ):
        with pytest.raises(ConfigError):
            call()


def test_all_documents_are_looked_at(tmp_path: Path) -> None:
    """What is wrong with several local documents comes in one error."""
    broken, pinned = tmp_path / "a.json", tmp_path / "b.json"
    broken.write_text('{"x": 1, "x": 2}')
    pinned.write_text('{"y": NaN, "security": null}')
    with pytest.raises(ConfigError) as caught:
        load_config(broken, pinned=pinned, environ={"CONFIG_SOURCE": "consul"})
    message = str(caught.value)
    for part in ("environment: CONFIG_SOURCE", f"{broken}: x: ", f"{pinned}: y: "):
        assert part in message
    assert [problem.path for problem in caught.value.problems] == ["CONFIG_SOURCE", "x", "y"]
    assert f"(of {broken})" in caught.value.problems[1].text


def test_environment_is_not_read_by_itself(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `environ` no variable of the process counts."""
    monkeypatch.setenv("CONFIG_SOURCE", "kv")
    monkeypatch.setenv("PINNED_CONFIG_PATH", "/nowhere")
    monkeypatch.setenv("SERVICERADAR_SECURITY_MODE", "none")
    assert load_config(file).document == FILE


def test_pinned_path_of_the_environment(
    file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`PINNED_CONFIG_PATH` names the pinned file; an argument wins, and a difference is logged."""
    one = write(tmp_path / "one.json", {"security": {"role": "one"}})
    two = write(tmp_path / "two.json", {"security": {"role": "two"}})
    environ = {"PINNED_CONFIG_PATH": str(one)}
    assert load_config(file, environ=environ).security.role == "one"
    assert load_config(file, environ=environ, pinned=one).security.role == "one"
    assert load_config(file, environ={"PINNED_CONFIG_PATH": ""}).security.role == "core"
    assert not caplog.records
    assert load_config(file, environ=environ, pinned=two).security.role == "two"
    [record] = caplog.records
    assert record.event == "pinned_path_unused"  # type: ignore[attr-defined]  # an extra
    assert str(one) in record.getMessage()
    assert str(two) in record.getMessage()
    with pytest.raises(ConfigError, match=r"missing\.json: cannot be read"):
        load_config(file, environ={"PINNED_CONFIG_PATH": f"{tmp_path}/missing.json"})


def test_layers(file: Path, tmp_path: Path) -> None:
    """The layers are there in the order of precedence, read-only, and show no value in print."""
    pinned = write(tmp_path / "pinned.json", {"security": {"role": "gateway"}})
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_PASSWORD": CANARY}
    overlay = {"log": "debug"}
    config = load_config(file, overlay=overlay, pinned=pinned, environ=environ)
    assert [(layer.name, layer.source) for layer in config.layers] == [
        ("file", str(file)),
        ("environment", "SERVICERADAR_*"),
        ("overlay", "overlay"),
        ("pinned", str(pinned)),
    ]
    assert config.layers[0].document == FILE
    assert config.layers[1].document == {"password": CANARY}
    assert config.layers[2].document == overlay
    assert CANARY not in repr(config.layers)
    document: Any = config.layers[0].document
    with pytest.raises(TypeError):
        document["security"]["mode"] = "none"
    assert [layer.name for layer in Config({}, name="x").layers] == ["file"]


def test_with_overlay(file: Path, tmp_path: Path) -> None:
    """Another overlay over the same local layers gives what a load with it gives."""
    pinned = write(tmp_path / "pinned.json", {"nats": {"url": "pinned:4222"}, "x": [1]})
    protected = ProtectedPaths()
    first = load_config(file, pinned=pinned, overlay={"a": 1, "x": 2}, protected=protected)
    second = first.with_overlay(b'{"nats": {"url": "k", "user": "v"}}')
    loaded = load_config(
        file,
        pinned=pinned,
        overlay={"nats": {"url": "k", "user": "v"}},
        protected=protected,
    )
    assert second.document == loaded.document
    assert second.document["nats"]["url"] == "pinned:4222"  # type: ignore[index]  # an object
    assert "a" not in second.document
    assert first.document["x"] == [1]
    none = second.with_overlay(None)
    assert none.document == load_config(file, pinned=pinned).document
    assert [layer.name for layer in none.layers] == ["file", "pinned"]
    with pytest.raises(OverlayRefusedError):
        first.with_overlay({"security": {}})
    assert first.document["a"] == 1


def test_gate_knows_the_blocks_of_the_pinned_file(file: Path, tmp_path: Path) -> None:
    """An overlay may not touch the parent of a block that only the pinned file has."""
    pinned = write(tmp_path / "pinned.json", {"agents": {"x": {"security": {"mode": "none"}}}})
    hostile: list[dict[str, object]] = [{"agents": None}, {"agents": {"x": []}}, {"AGENTS": None}]
    for overlay in hostile:
        with pytest.raises(OverlayRefusedError):
            load_config(file, pinned=pinned, overlay=overlay)
    config = load_config(file, pinned=pinned, overlay={"agents": {"x": {"y": 1}}})
    assert config.document["agents"] == {"x": {"y": 1, "security": {"mode": "none"}}}


TABLE = """
[input]
listen = "x"
[grpc]
listen_addr = "0.0.0.0:1"
mode = "spiffe"
trust_domain = "meadow.example"
"""


def test_blocks_by_the_kind_of_the_file(tmp_path: Path) -> None:
    """A table that is a security block by another name is one for every layer."""
    path, pinned = tmp_path / "a.toml", tmp_path / "pinned.toml"
    path.write_text(TABLE)
    config = load_config(path)
    assert config.block_paths == ("grpc",)
    assert config.security_block("grpc").mode == "spiffe"
    assert dict(config.blocks) == {"grpc": config.security_block("grpc")}
    assert config.origin("grpc.workload_socket") == "default"
    with pytest.raises(OverlayRefusedError):
        load_config(path, overlay='[grpc]\nmode = "none"')
    pinned.write_text("grpc = 1")
    with pytest.raises(ConfigError, match="grpc: would replace an object that is or holds"):
        load_config(path, pinned=pinned)
    pinned.write_text('[grpc]\nmode = "none"')
    assert load_config(path, pinned=pinned).security_block("grpc").mode == "none"
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_GRPC_MODE": "none"}
    assert load_config(path, environ=environ).security_block("grpc").mode == "none"
    for name in ("GRPC", "GRPC_MOD", "GRPC_CERT_DIR"):
        environ = {"CONFIG_SOURCE": "env", f"SERVICERADAR_{name}": "x"}
        with pytest.raises(ConfigError, match=f"SERVICERADAR_{name}: "):
            load_config(path, environ=environ)


def test_path_is_never_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that looks like a key of the KV store is a local file and nothing else."""
    monkeypatch.chdir(tmp_path)
    for key in ("config/core.json", "agents/a/checkers/sweep/b.json", "templates/x.toml"):
        with pytest.raises(ConfigError, match="No such file"):
            load_config(key)
        (tmp_path / key).parent.mkdir(parents=True)
        (tmp_path / key).write_text("")
        with pytest.raises(ConfigError) if key.endswith("json") else nullcontext():
            load_config(key)


def test_protected_paths_are_remembered(file: Path) -> None:
    """What the first overlay may not touch, later ones may not touch either."""
    overlay: dict[str, object] = {"rbac": {"roles": []}}
    with pytest.raises(OverlayRefusedError):
        load_config(file, overlay=overlay)
    with pytest.raises(OverlayRefusedError):
        load_config(file).with_overlay(overlay)
    free = load_config(file, overlay=overlay, protected=ProtectedPaths())
    assert free.with_overlay(overlay).document == free.document


def test_overlays_share_what_was_read(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A block that was read is not read anew, and not warned about again, for the next overlay."""
    write(file, {"security": {"mode": "none", "extra": 1}})
    config = load_config(file)
    block = config.security
    assert len(caplog.records) == 1
    assert config.with_overlay({"x": 1}).with_overlay({"x": 2}).security is block
    assert len(caplog.records) == 1


def test_config_is_neither_copied_nor_pickled(file: Path) -> None:
    """A configuration holds secrets, and does not leave the process by accident."""
    config = load_config(file)
    with pytest.raises(TypeError, match="load it again"):
        pickle.dumps(config)
    with pytest.raises(TypeError, match="load it again"):
        copy.deepcopy(config)
