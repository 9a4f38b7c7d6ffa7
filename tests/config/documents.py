"""Strategies and oracles for documents and overlays, written without a look at the library.

The oracles say what the rules mean in other words than the code under test: by a regular
expression instead of folding, by the blocks of the base instead of the members of the overlay.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy machine is no fault of the code under test.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Step: TypeAlias = str | int
Path: TypeAlias = tuple[Step, ...]

# Spelled out: Python's IGNORECASE also takes a dotless i for an i, which Go does not.
SECURITY = re.compile(
    "(?:.*_)?[sS\u017f][eE][cC][uU][rR][iI][tT][yY]",
    re.DOTALL,
)
NAMES = (
    "a",
    "A",
    "nats",
    "NATS",
    "nat\u017f",
    "kv",
    "\u212aV",
    "agents",
    "x.y",
    "l[0]",
    "",
    "security_mode",
    "insecurity",
    "\u00df",
    "secur\u0131ty",
)
BLOCK_NAMES = ("security", "kv_security", "_security", "Security", "nat\u017f_\u017fECURITY")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "writer", "caf\u00e9", "\U0001f98a"]),
)
names = st.sampled_from(NAMES)
all_names = st.sampled_from(NAMES + BLOCK_NAMES)
blocks: st.SearchStrategy[object] = st.one_of(
    st.fixed_dictionaries({"mode": st.sampled_from(["none", "mtls", "spiffe"])}),
    scalars,
    st.just({}),
)


def _trees(keys: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.dictionaries(keys, inner, max_size=4),
            st.lists(inner, max_size=3),
        ),
        max_leaves=8,
    )


@st.composite
def bases(draw: st.DrawFn) -> dict[str, object]:
    """Draw a document with security blocks at several depths, in objects and lists."""

    def tree(depth: int) -> object:
        kind = draw(st.sampled_from("ooolsb" if depth else "s"))
        if kind == "o":
            return obj(depth - 1)
        if kind == "l":
            return [tree(depth - 1) for _ in range(draw(st.integers(0, 3)))]
        return draw(blocks if kind == "b" else scalars)

    def obj(depth: int) -> dict[str, object]:
        made = {name: tree(depth) for name in draw(st.lists(names, max_size=3))}
        if draw(st.booleans()):
            made[draw(st.sampled_from(BLOCK_NAMES))] = draw(blocks)
        return made

    return obj(3)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, object], dict[str, object]]:
    """Draw a base and an overlay that aims at it: its keys, their twins, its parents."""
    base = draw(bases())
    hostile = draw(st.booleans())

    def key_for(held: dict[str, object]) -> str:
        pools: list[st.SearchStrategy[str]] = [all_names if hostile else names]
        if held:
            own = [key for key in held if hostile or not SECURITY.fullmatch(key)] or [""]
            pools += [st.sampled_from(own)] * 3
            if hostile:
                pools.append(st.sampled_from(own).map(_twin))
        return draw(st.one_of(pools))

    def change(held: object, depth: int) -> object:
        if isinstance(held, dict) and depth and draw(st.integers(0, 4)):
            return aimed(held, depth - 1)
        return draw(st.one_of(scalars, _trees(all_names if hostile else names)))

    def aimed(held: dict[str, object], depth: int) -> dict[str, object]:
        keys = [key_for(held) for _ in range(draw(st.integers(0, 3)))]
        return {key: change(held.get(key), depth) for key in keys}

    return base, aimed(base, 4)


def _twin(name: str) -> str:
    swapped = "".join(c.swapcase() if c.isascii() else c for c in name)
    return swapped.replace("s", "\u017f").replace("K", "\u212a")


def _folded(name: str) -> str:
    """Fold the names drawn here as Go's decoder does: ASCII case, and two letters more."""
    return name.translate({0x17F: "s", 0x212A: "k"} | {c: c + 32 for c in range(65, 91)})


@st.composite
def spelled(draw: st.DrawFn, value: object) -> str:
    """Draw one of the many texts of a JSON value: escapes, white space, repeated names."""
    space = st.sampled_from(["", "", " ", "\n\t"])

    def text(string: str) -> str:
        if draw(st.booleans()):
            return json.dumps(string, ensure_ascii=False)
        return '"' + "".join(map(_escaped, string)) + '"'

    def write(part: object) -> str:
        if isinstance(part, str):
            return text(part)
        if isinstance(part, list):
            inner = ",".join(draw(space) + write(item) for item in part)
            return f"[{inner}{draw(space)}]"
        if isinstance(part, dict):
            inner = ",".join(
                draw(space) + text(key) + draw(space) + ":" + write(member)
                for key, member in part.items()
            )
            return f"{{{inner}{draw(space)}}}"
        return json.dumps(part)

    return draw(space) + write(value) + draw(space)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def as_toml(document: dict[str, object]) -> str:
    """Write a document without nulls as TOML: tables on top, inline below."""

    def write(value: object) -> str:
        if isinstance(value, dict):
            inner = ", ".join(f"{write(name)} = {write(member)}" for name, member in value.items())
            return f"{{{inner}}}"
        if isinstance(value, list):
            return f"[{', '.join(map(write, value))}]"
        return json.dumps(value, ensure_ascii=False)

    def lines(members: dict[str, object]) -> list[str]:
        return [f"{write(name)} = {write(member)}" for name, member in members.items()]

    tables = {name: value for name, value in document.items() if isinstance(value, dict)}
    written = lines({name: value for name, value in document.items() if name not in tables})
    for name, table in tables.items():
        written += [f"[{write(name)}]", *lines(table)]
    return "\n".join(written)


def without_nulls(value: object) -> object:
    """Put a text wherever a document has null, for formats that have none."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return "null" if value is None else value


def reference_merge(base: object, overlay: object) -> object:
    """Merge as the platform's Go services do: objects by exact key, all else replaces."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    kept = {key: value for key, value in base.items() if key not in overlay}
    return kept | {key: reference_merge(base.get(key), value) for key, value in overlay.items()}


def walk(value: object, path: Path = ()) -> list[tuple[Path, object]]:
    """List every member and item below a value, with its path."""
    inner: list[tuple[Step, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found: list[tuple[Path, object]] = []
    for step, member in inner:
        found.append(((*path, step), member))
        found += walk(member, (*path, step))
    return found


def blocks_of(document: object) -> dict[Path, object]:
    """Find the members whose name reads as a security name."""
    return {
        path: value
        for path, value in walk(document)
        if isinstance(path[-1], str) and SECURITY.fullmatch(path[-1])
    }


def settings_of(document: object, patterns: tuple[str, ...] = ()) -> dict[Path, object]:
    """Find the members at the paths of some patterns, whatever lists are on the way."""
    matches = [pattern.split(".") for pattern in patterns]

    def fits(path: Path) -> bool:
        names = [_folded(step) for step in path if isinstance(step, str)]
        return isinstance(path[-1], str) and any(
            len(names) == len(match)
            and all(part in {"*", name} for part, name in zip(match, names, strict=True))
            for match in matches
        )

    return {path: value for path, value in walk(document) if fits(path)}


def offending(
    base: dict[str, object],
    overlay: dict[str, object],
    patterns: tuple[str, ...] = (),
) -> set[Path]:
    """Find what the gate must refuse, setting by setting of the base."""
    found = set(blocks_of(overlay)) | set(settings_of(overlay, patterns))
    for setting in {**blocks_of(base), **settings_of(base, patterns)}:
        found |= _touched(base, overlay, setting[:-1])
    return found


def _touched(base: object, overlay: object, parents: Path) -> set[Path]:
    touched: set[Path] = set()
    path: Path = ()
    for step in parents:
        assert isinstance(base, dict)
        assert isinstance(overlay, dict)
        assert isinstance(step, str)
        twins = [key for key in overlay if key != step and _folded(key) == _folded(step)]
        touched |= {(*path, twin) for twin in twins}
        if step not in overlay:
            break
        base, overlay, path = base[step], overlay[step], (*path, step)
        if not isinstance(base, dict) or not isinstance(overlay, dict):
            touched.add(path)
            break
    return touched


def as_go_decodes(document: object) -> object:
    """See a document as Go's decoder does after the merge: names fold, the last one wins."""
    if isinstance(document, list):
        return [as_go_decodes(item) for item in document]
    if not isinstance(document, dict):
        return document
    seen: dict[str, object] = {}
    for key in sorted(document):  # the platform writes the merged document with sorted keys
        name = _folded(key)
        value = as_go_decodes(document[key])
        seen[name] = reference_merge(seen.get(name), value)
    return seen


def with_frames_left(room: int, call: Callable[[], Any]) -> Any:
    """Call where only so many more calls fit inside one another."""
    frame = sys._getframe()
    depth = 0
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back

    def down(levels: int) -> Any:
        return down(levels - 1) if levels > 0 else call()

    return down(sys.getrecursionlimit() - depth - room)
