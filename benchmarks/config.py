"""Documents of a megabyte, against `json.loads` and a plain recursive merge of the same.

The baseline checks nothing: it takes what it is given, whatever that means.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.interleave import Row, compare
from serviceradar_security import RbacPolicy, SpiffeId, apply_overlay, load_config
from serviceradar_security.config.datasvc import DATASVC_METHODS
from serviceradar_security.config.document import read_document
from serviceradar_security.config.overlay import merge_overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE_AGENTS = 690  # 1 MB
_OVERLAY_AGENTS = 565  # 0.6 MB
_IDENTITIES = 1_000
_DECISIONS = 2_000  # timed together: one takes less than the clock tells
_BLOCK = {
    "mode": "spiffe",
    "role": "gateway",
    "trust_domain": "meadow.example",
    "server_spiffe_id": "spiffe://meadow.example/ns/demo/sa/agent",
    "workload_socket": "unix:/run/spire/sockets/agent.sock",
    "tls": {"cert_file": "gateway.pem", "key_file": "gateway-key.pem", "ca_file": "root.pem"},
}


def rows() -> Iterator[Row]:
    """Measure."""
    base = json.dumps(_document(_BASE_AGENTS, security=True), indent=1)
    overlay = json.dumps(_document(_OVERLAY_AGENTS, security=False), indent=1)
    sizes = f"{len(base) / 1e6:.1f} MB, overlay of {len(overlay) / 1e6:.1f} MB"
    document = json.loads(base)
    plain = "json.loads and a recursive merge"

    def read_and_merge() -> None:
        merge_overlay(read_document(base), overlay)

    def load_and_merge() -> None:
        _merge(json.loads(base), json.loads(overlay))

    def apply() -> None:
        apply_overlay(document, overlay)

    def copy_and_merge() -> None:
        _merge(copy.deepcopy(document), json.loads(overlay))

    yield compare(f"read {sizes}, merged", read_and_merge, plain, load_and_merge, number=5)
    yield compare(f"apply_overlay, {sizes}", apply, f"deepcopy, {plain}", copy_and_merge, number=5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "poller.json")
        file.write_text(base)

        def load() -> None:
            load_config(file)

        def load_overlaid() -> None:
            load_config(file, overlay=overlay)

        def read_file() -> None:
            json.loads(file.read_bytes())

        def read_file_and_merge() -> None:
            _merge(json.loads(file.read_bytes()), json.loads(overlay))

        yield compare(
            f"load_config, {len(base) / 1e6:.1f} MB", load, "json.loads", read_file, number=5
        )
        yield compare(f"load_config, {sizes}", load_overlaid, plain, read_file_and_merge, number=5)

    yield _decision()


def _decision() -> Row:
    """Compare one decision on a call with two lookups that say the same and explain nothing."""
    ids = [SpiffeId.parse(f"spiffe://meadow.example/sa/{number}") for number in range(_IDENTITIES)]
    entries = [{"identity": str(each), "role": "writer"} for each in ids]
    policy = RbacPolicy.from_config({"roles": entries}, methods=DATASVC_METHODS)
    roles = dict.fromkeys(ids, "writer")
    methods = {role: frozenset(names) for role, names in DATASVC_METHODS.items()}
    method = "/proto.KVService/Get"
    asked = [ids[number % _IDENTITIES] for number in range(_DECISIONS)]

    def decide() -> None:
        for each in asked:
            policy.decide(each, method)

    def look() -> None:
        for each in asked:
            assert method in methods[roles[each]]

    row = compare(
        f"RbacPolicy.decide, {_IDENTITIES} identities", decide, "dict and set", look, number=20
    )
    return replace(row, ours=row.ours / _DECISIONS, theirs=row.theirs / _DECISIONS)


def _document(agents: int, *, security: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"poll_interval": "30s", "agents": {}}
    for number in range(agents):
        agent: dict[str, Any] = {
            "address": f"agent-{number}:50051",
            "weight": number * 0.5,
            "checks": [
                {
                    "service_type": "grpc",
                    "service_name": f"service-{each}",
                    "details": f"host-{number}-{each}:50081",
                    "results_interval": "5m",
                    "timeout": 30,
                }
                for each in range(6)
            ],
        }
        made["agents"][f"agent-{number}"] = agent | ({"security": _BLOCK} if security else {})
    return made


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        held = target.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            _merge(held, value)
        else:
            target[key] = value
