"""Which layer set a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.layers import Layer, LayerName, origin_of
from serviceradar_security.config.load import Config, load_config
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.errors import ConfigError
from tests.config.documents import bases, patient, reference_merge, walk

if TYPE_CHECKING:
    from pathlib import Path

NAMES: tuple[LayerName, ...] = ("file", "environment", "overlay", "pinned")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Load a configuration of all layers."""
    file, pinned = tmp_path / "service.json", tmp_path / "pinned.json"
    file.write_text(
        json.dumps(
            {
                "listen": "0.0.0.0:1",
                "log": {"level": "info", "format": "json"},
                "security": {"mode": "spiffe", "trust_domain": "meadow.example", "tls": {}},
                "grpc_security": {
                    "mode": "mtls",
                    "cert_file": "a",
                    "key_file": "b",
                    "ca_file": "c",
                },
                "kv_security": {"role": "core"},
                "checks": [{"name": "a"}, {"security": {"mode": "none"}}],
                "south.east": 1,
            },
        ),
    )
    pinned.write_text('{"security": {"role": "core"}, "log": {}}')
    return load_config(
        file,
        overlay={"log": {"level": "debug"}, "extra": {"a": [1, 2]}, "empty": {}},
        pinned=pinned,
        environ={
            "CONFIG_SOURCE": "env",
            "SERVICERADAR_LISTEN": "0.0.0.0:2",
            "SERVICERADAR_SECURITY_SERVER_SPIFFE_ID": "spiffe://meadow.example/x",
        },
        protected=ProtectedPaths(),
    )


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("listen", "environment"),
        ("log.level", "overlay"),
        ("log.format", "file"),
        ("log", "overlay"),
        ("security.mode", "file"),
        ("security.role", "pinned"),
        ("security.server_spiffe_id", "environment"),
        ("security", "pinned"),
        ("security.tls", "file"),
        ("checks[1].security.mode", "file"),
        ("checks[0]", "file"),
        ("extra", "overlay"),
        ("extra.a[1]", "overlay"),
        ("empty", "overlay"),
        ('"south.east"', "file"),
        ("", "pinned"),
        ("security.workload_socket", "default"),
        ("security.tls.client_ca_file", "default"),
        ("checks[1].security.tls", "default"),
        ("kv_security.server_name", "default"),
        ("grpc_security.tls.cert_file", "file"),
        ("grpc_security.tls.client_ca_file", "default"),
    ],
)
def test_origin(config: Config, path: str, origin: str) -> None:
    """Every value has the layer that set it, and a member nobody wrote its default."""
    assert config.origin(path) == origin


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("securty", "the document has: listen, log, security, grpc_security"),
        ("security.mod", "'security' has: mode, trust_domain, tls, server_spiffe_id, role"),
        ("security.tls.cert", "'security.tls' has: none"),
        ("log.level.x", "'log.level' is a text"),
        ("checks[2]", "'checks' has 2 items"),
        ("checks.name", "'checks' has 2 items"),
        ("log[0]", "'log' has: level, format"),
        ("a.b.c", "the document has: listen"),
        ("kv_security.mode", "'kv_security' has: role"),
        ("kv_security.tls.x", "'kv_security' has: role"),
        ("log.workload_socket", "'log' has: level, format"),
        ("[0]", "the document has: listen"),
    ],
)
def test_no_value(config: Config, path: str, there: str) -> None:
    """A path with nothing there is an error that names what there is."""
    with pytest.raises(ConfigError, match="no layer sets it") as caught:
        config.origin(path)
    assert there in str(caught.value)
    assert [problem.path for problem in caught.value.problems] == [path]


@pytest.mark.parametrize("path", [None, 3, b"log", ("log",), "log.", "a b", "x\n", "[" * 10_000])
def test_no_path(config: Config, path: Any) -> None:
    """What is no path is an error of one line that shows how to write one."""
    with pytest.raises(ConfigError, match=r"write one as checks\[0\]") as caught:
        config.origin(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_origin_of_a_plain_configuration() -> None:
    """A document that a program gives is the local one."""
    config = Config({"security": {"mode": "none"}})
    assert config.origin("security.mode") == "file"
    assert config.origin("security.role") == "default"


def test_origin_of_a_mode_that_nobody_wrote() -> None:
    """A mode that the kind of a block implies is a default; without one there is no mode."""
    files = {"cert_file": "a", "key_file": "b", "ca_file": "c"}
    config = Config({"nats_security": files, "kv_security": files})
    assert config.origin("nats_security.mode") == "default"
    with pytest.raises(ConfigError, match="no layer sets it"):
        config.origin("kv_security.mode")


def test_a_repeated_value_has_the_newest_origin() -> None:
    """A layer that writes what is there already has set it."""
    assert Config({"a": 1}).with_overlay({"a": 1}).origin("a") == "overlay"


def test_many_names_are_not_all_listed() -> None:
    """An error about a large object stays short."""
    config = Config({f"name{number}": number for number in range(1000)})
    with pytest.raises(ConfigError, match=r"name19 and 980 more$"):
        config.origin("x")


def tagged(value: object, name: str) -> object:
    """Replace everything that is no object by the name of its layer."""
    if isinstance(value, dict):
        return {key: tagged(member, name) for key, member in value.items()}
    return name


@patient
@given(st.lists(bases(), min_size=1, max_size=4))
def test_origin_is_what_the_merge_says(documents: list[dict[str, object]]) -> None:
    """Where values carry the name of their layer, the merged document names the origin."""
    layers = [Layer(name, name, doc) for name, doc in zip(NAMES, documents, strict=False)]
    names: object = {}
    merged: object = {}
    for layer in layers:
        names = reference_merge(names, tagged(layer._plain, layer.name))
        merged = reference_merge(merged, layer._plain)
    leaves = {place: value for place, value in walk(names) if isinstance(value, str)}
    for place, value in walk(merged):
        if isinstance(value, dict):
            inner = [leaves[each] for each in leaves if each[: len(place)] == place]
            newest = max(map(NAMES.index, map(str, inner)), default=0)
            found = origin_of(layers, place)
            assert found is not None
            # An empty object may be of a newer layer than all that is in it.
            assert NAMES.index(found) >= newest
        else:
            owner = next(
                leaves[place[:end]] for end in range(len(place), 0, -1) if place[:end] in leaves
            )
            assert origin_of(layers, place) == owner
        assert origin_of(layers, (*place, "no such key")) is None
        assert render_path(place)
