"""Stripping: the operator's way to clean a document, never a service's."""

from __future__ import annotations

import copy
import json
import tracemalloc
from typing import Any

import pytest

from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.problems import MAX_REPORT_CHARACTERS
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.config.strip import StrippedOverlay, strip_protected
from serviceradar_security.errors import ConfigError, OverlayRefusedError

CANARY = "canary-do-not-show"
SEEDED: dict[str, Any] = {
    "poll_interval": "5s",
    "security": {"mode": "spiffe", "inner_security": 1},
    "Kv_\u017fecurity": None,
    "agents": {
        "north": {"address": "a:1", "security": {}, "checks": [{"x_security": 1, "name": "c"}]}
    },
    "list": [{"security": 1}, [{"security": 2}], 3],
    "logging": {"level": "info", "otel": {"insecure": True, "enabled": True}},
    "rbac": {"roles": []},
}
CLEAN: dict[str, Any] = {
    "poll_interval": "5s",
    "agents": {"north": {"address": "a:1", "checks": [{"name": "c"}]}},
    "list": [{}, [{}], 3],
    "logging": {"level": "info", "otel": {"enabled": True}},
}
REMOVED = (
    "security",
    "security.inner_security",
    "Kv_\u017fecurity",
    "agents.north.security",
    "agents.north.checks[0].x_security",
    "list[0].security",
    "list[1][0].security",
    "logging.otel.insecure",
    "rbac",
)


@pytest.mark.parametrize(
    "write",
    [lambda x: x, json.dumps, lambda x: json.dumps(x).encode()],
    ids=["mapping", "text", "bytes"],
)
def test_strip(write: Any) -> None:
    """A document that a Go service has seeded loses what the gate refuses, and every path is told."""
    before = copy.deepcopy(SEEDED)
    stripped = strip_protected(write(SEEDED))
    assert stripped == StrippedOverlay(CLEAN, REMOVED, len(REMOVED))
    assert before == SEEDED
    assert apply_overlay({}, stripped.document) == CLEAN


def test_formats() -> None:
    """TOML and YAML are stripped alike."""
    toml = strip_protected("a = 1\n[grpc]\nmode = 'none'\nlisten_addr = ':1'", format="toml")
    yaml = strip_protected("a: 1\ngrpc: {mode: none, listen_addr: ':1'}", format="yaml")
    assert (
        toml == yaml == StrippedOverlay({"a": 1, "grpc": {"listen_addr": ":1"}}, ("grpc.mode",), 1)
    )


def test_protected_set() -> None:
    """Without protected paths only security names go."""
    stripped = strip_protected({"rbac": 1, "security": 1}, protected=ProtectedPaths())
    assert stripped == StrippedOverlay({"rbac": 1}, ("security",), 1)


def test_base() -> None:
    """With its base, an overlay also loses what would replace or hide a parent there."""
    base = {"nats": {"security": {}}, "checks": [{"security": 1}], "cnpg": {"ssl_mode": "x"}}
    overlay: dict[str, Any] = {"nats": None, "NATS": {}, "checks": [], "cnpg": [], "a": 1}
    assert strip_protected(overlay).document == overlay
    with pytest.raises(OverlayRefusedError):
        apply_overlay(base, overlay)
    stripped = strip_protected(overlay, base=base)
    assert stripped == StrippedOverlay({"a": 1}, ("nats", "NATS", "checks", "cnpg"), 4)
    assert apply_overlay(base, stripped.document) == {**base, "a": 1}


def test_nothing_to_strip() -> None:
    """A clean overlay stays, and nothing of it is shared."""
    overlay: dict[str, Any] = {"a": [{"b": 1}]}
    stripped = strip_protected(overlay)
    assert stripped == StrippedOverlay({"a": [{"b": 1}]}, (), 0)
    stripped.document["a"][0]["b"] = 2  # type: ignore[index]  # a list, as above
    assert overlay == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    "overlay",
    [
        "",
        "[]",
        '{"security": 1, "security": 2}',
        '{"a": NaN}',
        f'{{"a": "{CANARY}",}}',
        {"a": b"x"},
        None,
        3,
    ],
)
def test_ambiguous(overlay: Any) -> None:
    """What is no strict document is not cleaned by guess."""
    with pytest.raises(ConfigError, match=r"^overlay: ") as caught:
        strip_protected(overlay)
    assert CANARY not in str(caught.value)


def test_values_stay_out_of_repr() -> None:
    """What is left may hold secrets, and is not printed."""
    text = repr(strip_protected({"a": CANARY, "security": CANARY}))
    assert text == "StrippedOverlay(1 members left, removed=('security',))"


def test_report_is_bounded() -> None:
    """A small overlay with gigabytes of paths is cleaned whole, and its paths are counted."""
    blocks, depth = 4_000, 90
    text = json.dumps({f"{index}_security": 0 for index in range(blocks)})
    for index in range(depth):
        text = f'{{"{"p" * 500}{index}":{text},"security":{{"a_security":1}}}}'
    tracemalloc.start()
    stripped = strip_protected(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stripped.count == blocks + 2 * depth
    lengths = sum(map(len, stripped.removed))
    assert lengths - len(stripped.removed[-1]) <= MAX_REPORT_CHARACTERS
    assert 0 < len(stripped.removed) < stripped.count
    assert "security" not in json.dumps(stripped.document)
    # All paths together have more than 180 million characters.
    assert peak < 60_000_000
    assert len(repr(stripped)) < 20 * 200


def test_repr_is_bounded() -> None:
    """A repr names the first of many paths and counts the rest."""
    text = repr(strip_protected({f"{index}_security": 0 for index in range(50)}))
    assert "'19_security'" in text
    assert "'20_security'" not in text
    assert text.endswith("and 30 more)")
