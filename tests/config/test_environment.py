"""The environment as a layer."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.block_members import FILE_NAMES, TEXT_NAMES
from serviceradar_security.config.environment import (
    Environment,
    read_environment,
    read_variables,
)
from serviceradar_security.config.layers import look, same
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.security import SecurityConfig, TlsFiles
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import bases, patient, reference_merge, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANARY = "canary-do-not-show"
FILE: dict[str, Any] = {
    "listen_addr": "0.0.0.0:1",
    "workers": 4,
    "ratio": 0.5,
    "debug": False,
    "tags": ["a"],
    "nothing": None,
    "nats": {"url": "nats:4222"},
    "nats_url": "old",
    "agents": {"k8s-agent": {"address": "x", "security": {"mode": "none"}}},
    "checks": [{"name": "a", "security": {"mode": "none"}}],
    "security": {"mode": "spiffe", "trust_domain": "meadow.example", "extra": 1},
    "grpc_security": {"mode": "mtls", "cert_file": "a", "key_file": "b", "ca_file": "c"},
}

Load = Any


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Config]:
    """Load the file with variables, by their names without the prefix."""
    path = tmp_path / "service.json"
    path.write_text(json.dumps(FILE))

    def load_with(variables: dict[str, str], **environ: str) -> Config:
        given = {f"SERVICERADAR_{name}": value for name, value in variables.items()}
        return load_config(path, environ={"CONFIG_SOURCE": "env"} | given | environ)

    return load_with


@pytest.mark.parametrize(
    ("name", "text", "change"),
    [
        ("LISTEN_ADDR", "[::]:2", {"listen_addr": "[::]:2"}),
        ("LISTEN_ADDR", "true", {"listen_addr": "true"}),
        ("LISTEN_ADDR", " 1 ", {"listen_addr": " 1 "}),
        ("LISTEN_ADDR", '"\\u0000', {"listen_addr": '"\\u0000'}),
        ("WORKERS", "8", {"workers": 8}),
        ("WORKERS", "-8e1", {"workers": -80.0}),
        ("RATIO", "1", {"ratio": 1}),
        ("DEBUG", "true", {"debug": True}),
        ("TAGS", '["b", "c"]', {"tags": ["b", "c"]}),
        ("TAGS", "[]", {"tags": []}),
        ("AGENTS_K8S_AGENT_ADDRESS", "y", {"agents": {"k8s-agent": {"address": "y"}}}),
        (
            "AGENTS_K8S_AGENT_SECURITY_MODE",
            "mtls",
            {"agents": {"k8s-agent": {"security": {"mode": "mtls"}}}},
        ),
        ("SECURITY_MODE", "mtls", {"security": {"mode": "mtls"}}),
        ("SECURITY_ROLE", "core", {"security": {"role": "core"}}),
        ("SECURITY_EXTRA", "2", {"security": {"extra": 2}}),
        ("SECURITY_TLS_CERT_FILE", "x.pem", {"security": {"tls": {"cert_file": "x.pem"}}}),
        ("GRPC_SECURITY_CERT_FILE", "x.pem", {"grpc_security": {"cert_file": "x.pem"}}),
        ("GRPC_SECURITY_SERVER_NAME", "x", {"grpc_security": {"server_name": "x"}}),
    ],
)
def test_variable(
    load: Callable[..., Config],
    name: str,
    text: str,
    change: dict[str, object],
) -> None:
    """A variable sets the member it names, in the kind that the member has."""
    config = load({name: text})
    assert same(Config(reference_merge(FILE, change)).layers[0]._plain, config._plain)  # type: ignore[arg-type]  # a document
    assert [layer.name for layer in config.layers] == ["file", "environment"]
    assert config.layers[1].document == change


def test_several_variables(load: Callable[..., Config]) -> None:
    """All variables together are one layer."""
    config = load({"SECURITY_MODE": "none", "SECURITY_ROLE": "core", "WORKERS": "1"})
    change = {"security": {"mode": "none", "role": "core"}, "workers": 1}
    assert config.document == reference_merge(FILE, change)
    assert config.origin("security.mode") == "environment"
    assert config.origin("security.trust_domain") == "file"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("WORKERS", CANARY, "replaces workers, a number, and does not hold one"),
        ("WORKERS", "true", "does not hold one"),
        ("WORKERS", "NaN", "does not hold one"),
        ("WORKERS", "1}", "does not hold one"),
        ("WORKERS", '1, "x": 2', "does not hold one"),
        ("WORKERS", '1, "": 2', "does not hold one"),
        ("WORKERS", "9" * 400, "does not hold one"),
        ("DEBUG", "yes", "replaces debug, a boolean"),
        ("DEBUG", "1", "replaces debug, a boolean"),
        ("TAGS", "a,b", "replaces tags, a list"),
        ("TAGS", '{"a": 1}', "replaces tags, a list"),
        ("TAGS", "[" * 200 + "]" * 200, "replaces tags, a list"),
        ("NOTHING", "x", "replaces nothing, a null, so its kind is not known"),
        ("LISTEN_ADDR", "\udcff", "is not UTF-8"),
        ("NATS", '{"url": null}', "names all of nats, an object"),
        ("SECURITY", "null", "names all of security, an object"),
        ("NATS_URL", "x", "could mean nats.url and nats_url: set them in a file"),
        ("SECURITY_MOD", CANARY, "looks like a setting of security and names no member"),
        ("SECURITY_TLS_CERT", CANARY, "looks like a setting of security"),
        ("SECURITY_CERT_FILE", "x", "looks like a setting of security"),
        ("KV_SECURITY_MODE", "none", "looks like a setting of security"),
        ("NATS_SECURITY_MODE", "none", "looks like a setting of security"),
        ("CHECKS_0_SECURITY_MODE", "mtls", "looks like a setting of security"),
        ("security_mode", "mtls", "looks like a setting of security"),
    ],
)
def test_variable_refused(
    load: Callable[..., Config],
    name: str,
    text: str,
    reason: str,
) -> None:
    """What a variable means is never guessed, and the refusal names it and not its value."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load({name: text, "DEBUG": "true"} if name != "DEBUG" else {name: text})
    assert [problem.path for problem in caught.value.problems] == [f"SERVICERADAR_{name}"]
    assert str(caught.value).startswith("environment: ")
    assert CANARY not in str(caught.value)


def test_all_problems_at_once(load: Callable[..., Config]) -> None:
    """Every variable that cannot be used is listed."""
    with pytest.raises(ConfigError) as caught:
        load({"WORKERS": "x", "SECURITY_MOD": "x", "NATS_URL": "x", "RATIO": "1"})
    assert [problem.path for problem in caught.value.problems] == [
        "SERVICERADAR_WORKERS",
        "SERVICERADAR_SECURITY_MOD",
        "SERVICERADAR_NATS_URL",
    ]


def test_twins_of_a_block(tmp_path: Path) -> None:
    """A member that Go's decoder takes for another makes its variable ambiguous."""
    path = tmp_path / "a.json"
    for document, name in (
        ({"security": {"Mode": "none"}}, "SECURITY_MODE"),
        ({"Security": {"mode": "none"}}, "SECURITY_MODE"),
        ({"a": {"b": 1}, "a_b": 1}, "A_B"),
        ({"a-b": 1, "a.b": 1}, "A_B"),
        ({"a": {"b_c": 1}, "a_b": {"c": 1}}, "A_B_C"),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(ConfigError, match="could mean"):
            load_config(path, environ={"CONFIG_SOURCE": "env", f"SERVICERADAR_{name}": "1"})


def test_files_below_something_else(tmp_path: Path) -> None:
    """Where `tls` is no object in the file, its files have no place to go."""
    path = tmp_path / "a.json"
    path.write_text('{"security": {"mode": "none", "tls": "x"}}')
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_SECURITY_TLS_KEY_FILE": "x"}
    with pytest.raises(ConfigError, match="SERVICERADAR_SECURITY_TLS_KEY_FILE: looks like"):
        load_config(path, environ=environ)


def test_block_that_the_file_does_not_have(tmp_path: Path) -> None:
    """The block `security` may come from variables alone; any other one needs the file."""
    path = tmp_path / "a.json"
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_SECURITY_MODE": "none"}
    for document in ({}, {"x": 1}, {"security": None}, {"security": "x"}):
        path.write_text(json.dumps(document))
        assert load_config(path, environ=environ).security.mode == "none"


def test_missing_file(tmp_path: Path) -> None:
    """With `CONFIG_SOURCE=env` there may be no file; one that cannot be read is an error."""
    path = tmp_path / "none.json"
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_SECURITY_MODE": "none"}
    config = load_config(path, environ=environ)
    assert config.document == {"security": {"mode": "none"}}
    assert [layer.name for layer in config.layers] == ["environment"]
    assert repr(config) == "Config('SERVICERADAR_*', blocks=['security'])"
    for broken in ({}, {"CONFIG_SOURCE": "file"}, {"CONFIG_SOURCE": "env"}):
        with pytest.raises(ConfigError):
            load_config(path, environ=broken)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, environ=environ)


@pytest.mark.parametrize("source", ["env", "ENV", "Env"])
def test_whole_document_replaces_the_file(
    load: Callable[..., Config],
    source: str,
) -> None:
    """`CONFIG_JSON` holds the whole document: nothing of the file is left."""
    document = {"security": {"mode": "mtls"}, "x": 1}
    config = load({"CONFIG_JSON": json.dumps(document)}, CONFIG_SOURCE=source)
    assert config.document == document
    assert config.origin("x") == "environment"
    assert [(layer.name, layer.source) for layer in config.layers] == [
        ("environment", "SERVICERADAR_CONFIG_JSON"),
    ]


def test_whole_document_without_a_file(tmp_path: Path) -> None:
    """The file is not even read, and the pinned file still wins over the document."""
    pinned = tmp_path / "pinned.json"
    pinned.write_text('{"security": {"role": "core"}}')
    environ = {
        "CONFIG_SOURCE": "env",
        "SERVICERADAR_CONFIG_JSON": '{"security": {"mode": "none", "role": "x"}}',
        "PINNED_CONFIG_PATH": str(pinned),
    }
    config = load_config(tmp_path / "none.json", environ=environ, overlay={"x": 1})
    assert config.document == {"security": {"mode": "none", "role": "core"}, "x": 1}
    with pytest.raises(OverlayRefusedError):
        load_config(tmp_path / "none.json", environ=environ, overlay={"security": {}})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{", ""),
        ("[]", ""),
        ('{"a": NaN}', ".a"),
        ('{"a": 1, "a": 2}', ".a"),
        ('{"security": null}', ".security"),
        ('{"x": {"kv_security": null}}', ".x.kv_security"),
        ('{"security": {}, "SECURITY": {}}', ".SECURITY"),
        ('{"a": "\udcff"}', ""),
    ],
)
def test_whole_document_is_held_to_the_rules(
    load: Callable[..., Config],
    text: str,
    path: str,
) -> None:
    """The document of a variable is read strictly, and takes no block away by null."""
    with pytest.raises(ConfigError) as caught:
        load({"CONFIG_JSON": text})
    assert [problem.path for problem in caught.value.problems] == [
        f"SERVICERADAR_CONFIG_JSON{path}",
    ]


@pytest.mark.parametrize("name", ["SECURITY_MODE", "SECURITY_MOD", "X"])
def test_whole_document_beside_variables(load: Callable[..., Config], name: str) -> None:
    """Who sets a whole document and one of its members means only one of them."""
    document = '{"security": {"mode": "none"}, "x": 1}'
    with pytest.raises(ConfigError, match=f"SERVICERADAR_{name}: ") as caught:
        load({"CONFIG_JSON": document, name: "2"})
    assert len(caught.value.problems) == 1
    assert load({"CONFIG_JSON": document, "OTHER": "2"}).document["x"] == 1


@pytest.mark.parametrize("source", ["kv", "KV"])
def test_kv_does_not_replace_the_file(load: Callable[..., Config], source: str) -> None:
    """A source from outside is refused, with the way that there is instead."""
    with pytest.raises(ConfigError, match="CONFIG_SOURCE: is kv") as caught:
        load({"CONFIG_JSON": "{}"}, CONFIG_SOURCE=source)
    assert "give the KV document as overlay, through the gate" in str(caught.value)


@pytest.mark.parametrize("source", ["consul", " env", "env\n", "none", "null", "\udcff"])
def test_unknown_source(load: Callable[..., Config], source: str) -> None:
    """Any other source is an error of one line."""
    with pytest.raises(ConfigError, match=r"CONFIG_SOURCE: is .*: use file or env") as caught:
        load({}, CONFIG_SOURCE=source)
    assert str(caught.value).isprintable()


def test_other_prefix(load: Callable[..., Config]) -> None:
    """`CONFIG_ENV_PREFIX` says which variables count."""
    environ = {"CONFIG_ENV_PREFIX": "MY_", "MY_WORKERS": "9"}
    config = load({"WORKERS": "7", "SECURITY_MODE": "none"}, **environ)
    assert config.document["workers"] == 9
    assert config.security.mode == "spiffe"
    assert load({"WORKERS": "7"}, CONFIG_ENV_PREFIX="").document["workers"] == 7
    for prefix in ("MY-", "1", " ", "A=", "\u00e4", "A\n"):
        with pytest.raises(ConfigError, match="CONFIG_ENV_PREFIX: "):
            load({}, CONFIG_ENV_PREFIX=prefix)


def test_variables_of_the_loader_are_no_members(tmp_path: Path) -> None:
    """What steers the loader sets nothing, whatever the prefix is."""
    path = tmp_path / "a.json"
    path.write_text('{"source": "x", "env_prefix": "x", "a": 1}')
    environ = {"CONFIG_SOURCE": "env", "CONFIG_ENV_PREFIX": "CONFIG_", "CONFIG_A": "2"}
    config = load_config(path, environ=environ)
    assert config.document == {"source": "x", "env_prefix": "x", "a": 2}


def test_nothing_set(load: Callable[..., Config]) -> None:
    """`CONFIG_SOURCE=env` without one variable that counts is a mistake, not a configuration."""
    for variables in ({}, {"UNKNOWN": "x"}, {"WORKERS": ""}):
        with pytest.raises(ConfigError, match="CONFIG_SOURCE: is env, and no variable"):
            load(variables)


def test_empty_variables_count_as_unset(load: Callable[..., Config]) -> None:
    """An empty variable takes nothing away."""
    config = load({"SECURITY_TRUST_DOMAIN": "", "CONFIG_JSON": "", "WORKERS": "5"})
    assert config.document == FILE | {"workers": 5}


@pytest.mark.parametrize("source", ["file", "FILE", "", None])
def test_file_is_the_default(
    load: Callable[..., Config],
    caplog: pytest.LogCaptureFixture,
    source: str | None,
) -> None:
    """Without `CONFIG_SOURCE=env` variables do not count, and those of security are named."""
    environ = {} if source is None else {"CONFIG_SOURCE": source}
    variables = {"WORKERS": "9", "SECURITY_MODE": CANARY, "CONFIG_JSON": "{}"}
    if source is None:
        document = load_default(load, variables)
    else:
        document = load(variables, **environ).document
    assert document == FILE
    [record] = caplog.records
    message = record.getMessage()
    assert "SERVICERADAR_SECURITY_MODE" in message
    assert "SERVICERADAR_CONFIG_JSON" in message
    assert "WORKERS" not in message
    assert CANARY not in message
    assert record.event == "environment_variables_unread"  # type: ignore[attr-defined]  # an extra


def load_default(load: Callable[..., Config], variables: dict[str, str]) -> Any:
    """Load with an environment that does not name a source."""
    path = load({"WORKERS": "1"}).layers[0].source
    environ = {f"SERVICERADAR_{name}": value for name, value in variables.items()}
    return load_config(path, environ=environ).document


def test_unknown_variables_are_named(
    load: Callable[..., Config],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Variables that name nothing warn, but for those that Kubernetes sets by itself."""
    caplog.set_level(logging.DEBUG)
    links = {
        "CORE_SERVICE_HOST": "10.0.0.1",
        "CORE_SERVICE_PORT": "50052",
        "CORE_SERVICE_PORT_GRPC": "50052",
        "CORE_PORT": "tcp://10.0.0.1:50052",
        "CORE_PORT_50052_TCP": "tcp://10.0.0.1:50052",
        "CORE_PORT_50052_TCP_ADDR": "10.0.0.1",
    }
    load(links | {"WORKERS": "1"})
    assert not caplog.records
    load(links | {"WORKERS": "1", "WORKRES": CANARY, "a b\n": "x"})
    [record] = caplog.records
    assert "SERVICERADAR_WORKRES" in record.getMessage()
    assert record.getMessage().isprintable()
    assert CANARY not in record.getMessage()
    assert record.event == "environment_variables_ignored"  # type: ignore[attr-defined]  # an extra


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (3, "environment: is a number: give a mapping of texts"),
        ([("A", "b")], "environment: is a list"),
        ("A=b", "environment: is a text"),
        ({"A": 1}, "environment: A: is a number"),
        ({"A": None}, "environment: A: is null"),
        ({b"A": "x"}, "environment: has a name of type bytes"),
        ({1: 2, "A": b"x"}, "environment: 2 problems"),
    ],
)
def test_no_environment(tmp_path: Path, environ: Any, reason: str) -> None:
    """What is no mapping of texts is our error."""
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ=environ)
    assert reason in str(caught.value)


def test_known_members_are_those_of_a_block() -> None:
    """A variable may add to a block what `SecurityConfig` reads of it."""
    members = {field.name for field in fields(SecurityConfig)}
    assert {*TEXT_NAMES, "tls"} <= members
    assert set(FILE_NAMES) == {field.name for field in fields(TlsFiles)}


def test_repr_shows_no_values() -> None:
    """The repr of what was read names no value."""
    environ = {"CONFIG_SOURCE": "env", "SERVICERADAR_CONFIG_JSON": CANARY, "SERVICERADAR_A": CANARY}
    assert CANARY not in repr(read_environment(environ, Problems()))


variables = st.dictionaries(
    st.sampled_from(["A", "NATS", "NATS_A", "A_A", "SECURITY_MODE", "KV_SECURITY", "X_Y", "_", ""])
    | st.text("ASEURITYCM_0", max_size=10),
    st.sampled_from(["1", "x", "true", "[]", "null", "{}", "\udcff", '"']),
    max_size=4,
)


@patient
@given(bases(), variables)
def test_any_variables(document: dict[str, object], given_variables: dict[str, str]) -> None:
    """Whatever variables say, the layer sets members that exist, in their kind, or is refused."""
    problems = Problems()
    environment = Environment(used=True, variables=given_variables)
    layer = read_variables(environment, document, (), problems)
    if problems:
        assert all(problem.text for problem in problems.listed)
        return
    for place, value in walk(layer):
        if isinstance(value, dict) or any(isinstance(step, int) for step in place):
            continue
        held = look(document, place)
        if place[-2:-1] != ("tls",) and place[-1] not in TEXT_NAMES:
            numbers = isinstance(held, int | float) and not isinstance(held, bool)
            assert isinstance(value, int | float) if numbers else type(value) is type(held)
        else:
            assert isinstance(value, str)
