"""The layers of a configuration: what each one says, what they say together, and who said it.

For: merging local documents and one overlay without copying them, and naming the layer of every
value. Documents are plain dicts and lists here, shared between results, and never changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, final

from serviceradar_security.config.blocks import (
    Segment,
    find_blocks,
    fold_name,
    is_security_name,
)
from serviceradar_security.config.document import freeze, kind_of
from serviceradar_security.config.merge import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from serviceradar_security.config.problems import Problems
    from serviceradar_security.config.strict import Read

__all__ = [
    "MISSING",
    "Layer",
    "LayerName",
    "Origin",
    "Place",
    "check_local",
    "layer_of",
    "look",
    "may_have_twins",
    "origin_of",
    "parse_path",
    "plain_of",
    "same",
    "together",
]

LayerName = Literal["file", "environment", "overlay", "pinned"]
"""What a part of a configuration comes from, in the order of precedence: later ones win."""

Origin = Literal["file", "environment", "overlay", "pinned", "default"]
"""What set a value: a layer, or ``default`` where the reading of a security block supplied it."""

Place: TypeAlias = tuple[Segment, ...]

MISSING: Final = object()
"""Stands for a value that is not there; None is a value."""

_NULL_BLOCK: Final = (
    "is null, and a null security block is plaintext to the platform's services: leave it out to "
    'keep the block, or write {"mode": "none"}'
)

# One step of a path: a key as `render_path` writes it, or the index of a list.
_STEP: Final = re.compile(
    r"""\[(?P<index>0|[1-9][0-9]{0,8})\]
    | (?P<dot>\.?) (?: (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<bare>[^\s.\[\]"\\]+) )""",
    re.VERBOSE,
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One part of a configuration, as it was given.

    Attributes:
        name: Which kind of part: ``file``, ``environment``, ``overlay`` or ``pinned``.
        source: What it was read from, for people: a path, or the name of a variable.
    """

    name: LayerName
    source: str
    _plain: dict[str, object] = field(repr=False)
    _names: frozenset[str] | None = field(default=None, repr=False)

    @property
    def document(self) -> Mapping[str, object]:
        """What this layer says, read-only at every depth."""
        return cast("Mapping[str, object]", freeze(self._plain))

    @property
    def security_names(self) -> frozenset[str]:
        """The names of its security blocks, at whatever depth, in all their spellings."""
        if self._names is None:
            return frozenset(str(place[-1]) for place, _ in find_blocks(self._plain))
        return self._names


def plain_of(layer: Layer) -> dict[str, object]:
    """Give what a layer says as a plain document, which the caller promises not to change."""
    return layer._plain  # noqa: SLF001 - one module; users are to get nothing they could change


def layer_of(name: LayerName, source: str, read: Read) -> Layer:
    """Make a layer of a document that was read, and nobody else holds."""
    return Layer(name, source, read.document, frozenset(filter(is_security_name, read.names)))


def may_have_twins(layers: Iterable[Layer]) -> bool:
    """Tell whether Go's decoder could take two security names of the layers for one.

    It is a first look, without walking through a document; `find_twins` knows.
    """
    names = frozenset[str]().union(*(layer.security_names for layer in layers))
    return len(set(map(fold_name, names))) < len(names)


def together(layers: Iterable[Layer]) -> dict[str, object]:
    """Merge layers in their order; the document of a single one is given as it is."""
    document: dict[str, object] | None = None
    for layer in layers:
        plain = plain_of(layer)
        document = plain if document is None else merged(document, plain)
    return {} if document is None else document


def same(one: object, other: object) -> bool:
    """Tell whether two plain values are the same JSON: to Python 1, 1.0 and true are equal."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        theirs = cast("dict[str, object]", other)
        return len(one) == len(theirs) and all(
            key in theirs and same(value, theirs[key]) for key, value in one.items()
        )
    if isinstance(one, list):
        items = cast("list[object]", other)
        return len(one) == len(items) and all(map(same, one, items))
    return one == other


def look(value: object, place: Sequence[Segment]) -> object:
    """Give what stands at a place below a plain value, or `MISSING`."""
    for step in place:
        if isinstance(step, str):
            value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
        else:
            inside = isinstance(value, list) and step < len(value)
            value = cast("list[object]", value)[step] if inside else MISSING
    return value


def origin_of(layers: Sequence[Layer], place: Place) -> LayerName | None:
    """Name the newest layer that wrote what stands at a place, or any part of it.

    A layer that repeats a value wrote it; one that names an object and none of its members did
    not. The items of a list have one origin, since lists are replaced whole.

    Returns:
        The name of the layer; None if nothing stands there.
    """
    before: list[object] = [MISSING]
    for layer in layers:
        below = before[-1]
        plain = plain_of(layer)
        before.append(merged(below, plain) if isinstance(below, dict) else plain)
    if look(before.pop(), place) is MISSING:
        return None
    # What is there was written by one of them.
    return next(
        layer.name
        for layer, below in zip(reversed(layers), reversed(before), strict=True)
        if _wrote(look(plain_of(layer), place), look(below, place))
    )


def _wrote(value: object, below: object) -> bool:
    if value is MISSING:
        return False
    if isinstance(value, dict) and isinstance(below, dict):
        return any(_wrote(member, below.get(key, MISSING)) for key, member in value.items())
    return True


def parse_path(text: str) -> Place | None:
    """Read a path as `render_path` writes it; None if it is no path.

    A key may be quoted without need. The empty text is the path of the whole document.
    """
    place: list[Segment] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or (step["dot"] is not None and bool(step["dot"]) != bool(place)):
            return None
        if step["index"] is not None:
            place.append(int(step["index"]))
        elif step["bare"] is not None:
            place.append(step["bare"])
        else:
            try:
                place.append(json.loads(step["quoted"]))
            except ValueError:
                return None
        at = step.end()
    return tuple(place)


def check_local(
    change: dict[str, object],
    below: dict[str, object],
    blocks: Callable[[dict[str, object]], Iterable[Place]],
    problems: Problems,
) -> None:
    """Note where a local layer would take a security block away instead of setting it.

    Args:
        change: What the layer says.
        below: What the layers before it say together.
        blocks: Gives the places of the security blocks in `below`; called if it matters.
        problems: Where to note them, by their place in `change`.
    """
    lost: list[tuple[Place, str]] = []
    for place, member, held in _members_below(change, below, []):
        if member is None and is_security_name(str(place[-1])):
            problems.add(place, _NULL_BLOCK)
        elif isinstance(held, dict | list) and type(held) is not type(member):
            text = f"would replace {kind_of(held)} that is or holds a security block with "
            lost.append((place, f"{text}{kind_of(member)}: set its members instead"))
    if lost:
        holders = {place[:end] for place in blocks(below) for end in range(1, len(place) + 1)}
        for place, text in lost:
            if place in holders:
                problems.add(place, text)


def _members_below(
    value: object,
    below: object,
    path: list[Segment],
) -> Iterator[tuple[Place, object, object]]:
    """Give each member of an object, at whatever depth, and what it replaces or merges with."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            path.append(index)
            # Items of a list are nobody's heirs: the list is replaced whole.
            yield from _members_below(item, MISSING, path)
            path.pop()
    elif isinstance(value, dict):
        for key, member in value.items():
            path.append(key)
            held = look(below, (key,))
            yield tuple(path), member, held
            yield from _members_below(member, held, path)
            path.pop()
