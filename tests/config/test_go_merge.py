"""The gate and the merge beside Go's `encoding/json`, on thousands of hostile cases."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.errors import OverlayRefusedError
from tests.realparts.own import own_program

if TYPE_CHECKING:
    from pathlib import Path

_CASES = 1500
_SCALARS = (
    None,
    True,
    False,
    0,
    1,
    -7,
    2**53 + 1,
    2**70,
    0.5,
    1e300,
    "",
    "x",
    "caf\u00e9",
    "\U0001f98a",
    "<&>\u2028",
)
_FRESH = (
    "listen_addr",
    "poll_interval",
    "x.y",
    "",
    "security_mode",
    "secur\u0131ty",
    "insecurity",
    "fresh",
)
_HOSTILE = (
    "security",
    "kv_security",
    "SECURITY",
    "\u017fecurity",
    "KV_\u017fecurity",
    "\u212av_security",
    "other_security",
)
_BLOCKS: tuple[Any, ...] = (
    {"mode": "spiffe", "trust_domain": "meadow.example"},
    {"mode": "mtls", "tls": {"cert_file": "c.pem", "key_file": "k.pem", "ca_file": "r.pem"}},
    {"mode": "none"},
    {},
    None,
)


class Generator:
    """Makes cases from a seed: a document as the services have them, and an overlay aimed at it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - cases, not keys

    def case(self) -> tuple[dict[str, Any], str]:
        """Make a base and the text of an overlay."""
        base = self._base()
        hostile = self._random.random() < 0.7
        overlay = self._aimed(base, 4, hostile)
        return base, self._spelled(overlay, hostile)

    def _base(self) -> dict[str, Any]:
        maybe = self._maybe
        agents = {
            name: {"address": "a:1", **maybe(security=self._block(), checks=self._checks())}
            for name in ("north", "South", "s\u017f", "kay")[: self._random.randrange(5)]
        }
        return {
            "poll_interval": "20s",
            **maybe(
                security=self._block(),
                kv_security=self._block(),
                kv_address="vault:50057",
                nats={"url": "tls://nats:4222", **maybe(security=self._block())},
                agents=agents,
                checks=self._checks(),
                rbac={"roles": [{"identity": "spiffe://meadow.example/core", "role": "writer"}]},
                cnpg={"host": "db", **maybe(ssl_mode="verify-full")},
                logging={"level": "info", **maybe(otel={"enabled": True, **maybe(insecure=False)})},
                limits={"cpu": 2, "mem": {"soft": 1}},
            ),
        }

    def _maybe(self, **members: Any) -> dict[str, Any]:
        return {name: value for name, value in members.items() if self._random.random() < 0.75}

    def _block(self) -> Any:
        return self._random.choice(_BLOCKS)

    def _checks(self) -> list[Any]:
        return [
            {
                "name": f"c{number}",
                **({"security": self._block()} if self._random.random() < 0.3 else {}),
            }
            for number in range(self._random.randrange(3))
        ]

    def _aimed(self, held: Any, depth: int, hostile: bool) -> dict[str, Any]:
        made = {}
        for _ in range(self._random.randrange(1, 4)):
            name = self._name(held, hostile)
            inner = held.get(name) if isinstance(held, dict) else None
            if isinstance(inner, dict) and self._random.random() < 0.8:
                made[name] = self._aimed(inner, depth - 1, hostile)
            else:
                made[name] = self._value(depth, hostile)
        return made

    def _name(self, held: Any, hostile: bool) -> str:
        own = list(held) if isinstance(held, dict) else []
        kind = self._random.random()
        if own and kind < 0.6:
            name = self._random.choice(own)
            return self._twin(name) if hostile and self._random.random() < 0.4 else name
        return self._random.choice(_HOSTILE if hostile and kind > 0.85 else _FRESH)

    def _twin(self, name: str) -> str:
        swaps = {"s": ("S", "\u017f"), "k": ("K", "\u212a"), "S": ("s", "\u017f")}
        return "".join(
            self._random.choice(swaps.get(c, (c.swapcase() if c.isascii() else c,)))
            if self._random.random() < 0.5
            else c
            for c in name
        )

    def _value(self, depth: int, hostile: bool) -> Any:
        kind = self._random.random()
        if depth <= 0 or kind < 0.5:
            return self._random.choice(_SCALARS)
        if kind < 0.65:
            return [self._value(depth - 1, hostile) for _ in range(self._random.randrange(3))]
        if kind < 0.8 and hostile:
            return self._random.choice(_BLOCKS)
        return self._aimed({}, depth - 1, hostile)

    def _spelled(self, overlay: dict[str, Any], hostile: bool) -> str:
        text = json.dumps(overlay, ensure_ascii=self._random.random() < 0.5)
        chance = self._random.random() if hostile else 1.0
        if chance < 0.1:  # a name twice
            name = json.dumps(self._random.choice(list(overlay)))
            return text[:-1] + f", {name}: {json.dumps(self._block())}}}"
        if chance < 0.2:  # an escape where none is needed
            return text.replace('"s', '"\\u0073', 2)
        return text


@pytest.fixture(scope="module")
def go_merge() -> Path:
    """The Go program."""
    return own_program("merge")


def merged_by_go(program: Path, cases: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Give what Go makes of each case."""
    lines = (json.dumps({"base": json.dumps(base), "overlay": text}) for base, text in cases)
    ended = subprocess.run(
        [program],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


def as_go_counts(value: Any) -> Any:
    """See numbers as Go does, where a number in a map is a 64-bit float."""
    if isinstance(value, dict):
        return {name: as_go_counts(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_go_counts(item) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) + 0.0 if is_number else value  # Go writes minus zero as an integer


def exactly(value: Any) -> str:
    """Write a document so that equal texts are equal documents, true and 1 told apart."""
    return json.dumps(as_go_counts(value), sort_keys=True)


@pytest.mark.parametrize("seed", range(4))
def test_beside_go(seed: int, go_merge: Path) -> None:
    """What the gate admits merges as in Go, and no Go service then sees other security settings."""
    generator = Generator(seed)
    cases = [generator.case() for _ in range(_CASES)]
    results = merged_by_go(go_merge, cases)
    assert len(results) == len(cases)
    accepted = weakened = 0
    for (base, text), go in zip(cases, results, strict=True):
        assert "error" not in go
        weakened += go["before"] != go["after"]
        try:
            ours = apply_overlay(base, text)
        except OverlayRefusedError:
            continue
        accepted += 1
        assert exactly(go["merged"]) == exactly(ours)
        assert go["before"] == go["after"]
    # The cases are worth something: many overlays pass, and many would have done harm.
    assert accepted > _CASES / 10
    assert weakened > _CASES / 10


WEAKENING: list[tuple[dict[str, Any], str]] = [
    ({"security": {"mode": "spiffe"}}, '{"security": {"mode": "none"}}'),
    ({"security": {"mode": "spiffe"}}, '{"security": null}'),
    ({"security": {"mode": "spiffe"}}, '{"\u017fecurity": null}'),
    ({"security": {"mode": "spiffe"}}, '{"\\u017fecurity": {"mode": "none"}}'),
    ({"kv_security": {"mode": "spiffe"}}, '{"kv_\u017fecurity": {"mode": "none"}}'),
    ({"kv_security": {"mode": "spiffe"}}, '{"\u212av_security": {"mode": "none"}}'),
    ({"nats": {"security": {"mode": "mtls"}}}, '{"nats": null}'),
    ({"nats": {"security": {"mode": "mtls"}}}, '{"nat\u017f": null}'),
    ({"nats": {"security": {"mode": "mtls"}}}, '{"nats": {"\u017fecurity": null}}'),
    ({"agents": {"a": {"security": {"mode": "mtls"}}}}, '{"agents": null}'),
    ({"agents": {"a": {"security": {"mode": "mtls"}}}}, '{"agents": {"a": []}}'),
    ({"checks": [{"security": {"mode": "mtls"}}]}, '{"checks": []}'),
    ({"checks": [{"security": {"mode": "mtls"}}]}, '{"chec\u212as": null}'),
    (
        {"rbac": {"roles": [{"identity": "a", "role": "reader"}]}},
        '{"rbac": {"roles": [{"identity": "b"}]}}',
    ),
    ({"rbac": {"roles": [{"identity": "a", "role": "reader"}]}}, '{"rbac": {"role\u017f": []}}'),
    ({"kv_address": "vault:1"}, '{"\u212av_address": "other:1"}'),
    ({"cnpg": {"ssl_mode": "verify-full"}}, '{"cnpg": {"\u017f\u017fl_mode": "disable"}}'),
    ({"cnpg": {"ssl_mode": "verify-full"}}, '{"cnpg": null}'),
    ({"logging": {"otel": {"insecure": False}}}, '{"logging": {"otel": {"insecure": true}}}'),
    ({}, '{"security": {"mode": "none"}}'),
]


def test_what_weakens_a_go_service_is_refused(go_merge: Path) -> None:
    """Each overlay of a list changes what a Go service takes for its security, and is refused."""
    for (base, text), go in zip(WEAKENING, merged_by_go(go_merge, WEAKENING), strict=True):
        assert go["before"] != go["after"], text
        with pytest.raises(OverlayRefusedError):
            apply_overlay(base, text)


HARMLESS: list[tuple[dict[str, Any], str]] = [
    ({"a": {"b": 1, "c": {"d": 2}}}, '{"a": {"c": {"e": 3}}}'),
    ({"a": {"b": 1}}, '{"a": null}'),
    ({"a": {"b": 1}}, '{"a": {"b": null}}'),
    ({"a": {"b": 1}}, '{"a": [1]}'),
    ({"a": [1, {"b": 2}]}, '{"a": [{"b": 3}]}'),
    ({"a": [1]}, '{"a": {}}'),
    ({"a": 1}, '{"a": {"b": {}}}'),
    ({"a": {}}, '{"A": {"b": 1}}'),
    ({"a": None}, '{"a": {"b": 1}}'),
    ({"Name": 1, "name": 2}, '{"NAME": 3, "name": 4}'),
    ({"security": {"mode": "spiffe"}, "nats": {"security": {}}}, '{"nats": {}, "x": 1e-400}'),
    ({"n": 5368709120}, '{"n": 9007199254740993, "m": 1.5, "o": -0.0}'),
    ({}, '{"a": "\\ud83e\\udd8a\\u2028<&>"}'),
    ({}, "{}"),
]


def test_harmless(go_merge: Path) -> None:
    """Objects merge by exact key; lists, scalars and null replace: the same document as Go's."""
    for (base, text), go in zip(HARMLESS, merged_by_go(go_merge, HARMLESS), strict=True):
        assert exactly(apply_overlay(base, text)) == exactly(go.get("merged", {})), text
        assert go["before"] == go["after"]
