"""The targets of the overlay gate: a document from outside, in each of its formats.

A refusal is our error, and the base is as it was. What is admitted has left every security block
and every protected path as the base has them, for a Go service too.
"""

from __future__ import annotations

import copy
import json
import logging
import tomllib
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.config.formats import parse_text
from serviceradar_security.config.overlay import apply_overlay, merge_overlay
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.protected import PROTECTED_PATHS
from serviceradar_security.config.strip import strip_protected
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import as_go_decodes, blocks_of, reference_merge, settings_of
from tests.fuzz.checks import call, hold

if TYPE_CHECKING:
    from serviceradar_security.config.formats import Format

__all__ = ["BASE", "fuzz_overlay", "fuzz_toml", "fuzz_yaml"]

_BLOCK: Final = {"mode": "spiffe", "trust_domain": "meadow.example"}
BASE: Final[dict[str, Any]] = {
    "poll_interval": "20s",
    "tags": ["a", "b"],
    "limits": {"cpu": 2, "mem": {"soft": 1}},
    "security": _BLOCK,
    "nats": {"url": "tls://nats:4222", "security": _BLOCK},
    "agents": {"north": {"address": "north:1", "security": _BLOCK}},
    "checks": [{"name": "a"}, {"name": "b", "security": None}],
    "rbac": {"roles": [{"identity": "spiffe://meadow.example/core", "role": "writer"}]},
    "kv_address": "vault:50057",
    "cnpg": {"host": "db", "ssl_mode": "verify-full"},
    "logging": {"level": "info", "otel": {"enabled": True, "insecure": False}},
    "grpc": {"listen_addr": ":50044", "mode": "spiffe"},
}
_BEFORE: Final = copy.deepcopy(BASE)
_PATTERNS: Final = PROTECTED_PATHS.paths

# A refusal is a warning in the log, and fuzzing is one long list of them.
_log: Final = logging.getLogger("serviceradar_security.config")


def fuzz_overlay(data: bytes) -> None:
    """Apply an overlay of JSON: what is admitted is what `json` reads, merged."""
    document = _apply(data, "json")
    if document is not None:
        hold(document == json.loads(data.decode()), "another document than json's")
        again = call(OverlayRefusedError, lambda: apply_overlay(BASE, data.decode()))
        hold(again == reference_merge(BASE, document), "text and bytes differ")


def fuzz_toml(data: bytes) -> None:
    """Apply an overlay of TOML: what is admitted is what `tomllib` reads, merged."""
    document = _apply(data, "toml")
    if document is not None:
        hold(document == tomllib.loads(data.decode()), "another document than tomllib's")


def fuzz_yaml(data: bytes) -> None:
    """Apply an overlay of YAML: what is admitted is a document that JSON can say, merged."""
    _apply(data, "yaml")


def _apply(data: bytes, format_: Format) -> dict[str, object] | None:
    """Put an overlay through the gate; give it as a document if it was admitted."""
    _log.disabled = True
    try:
        merged = call(OverlayRefusedError, lambda: apply_overlay(BASE, data, format=format_))
        _check_stripped(data, format_)
    finally:
        _log.disabled = False
    hold(_BEFORE == BASE, "the base has changed")
    if merged is None:
        return None
    problems = Problems()
    document = parse_text(data, problems, format=format_)
    hold(not problems, "a document with problems is merged")
    hold(not blocks_of(document), "a security block is admitted")
    hold(not settings_of(document, _PATTERNS), "a protected path is admitted")
    hold(merged == reference_merge(BASE, document), "another merge")
    hold(blocks_of(merged) == blocks_of(BASE), "a security block has changed")
    hold(settings_of(merged, _PATTERNS) == settings_of(BASE, _PATTERNS), "a path has changed")
    ours, seen = as_go_decodes(BASE), as_go_decodes(merged)
    hold(blocks_of(seen) == blocks_of(ours), "a Go service sees another block")
    hold(settings_of(seen, _PATTERNS) == settings_of(ours, _PATTERNS), "and another setting")
    written = json.dumps(document, allow_nan=False)
    hold(parse_text(written, problems) == document, "JSON does not say the same")
    target = copy.deepcopy(BASE)
    hold(merge_overlay(target, written) == document, "another overlay is given back")
    hold(target == merged, "a merge in place differs")
    return document


def _check_stripped(data: bytes, format_: Format) -> None:
    stripped = call(ConfigError, lambda: strip_protected(data, base=BASE, format=format_))
    if stripped is not None:
        merged = call(OverlayRefusedError, lambda: apply_overlay(BASE, stripped.document))
        hold(merged is not None, "what was stripped is refused")
