"""Read documents strictly, so that no two readers of one can understand it differently.

For: bytes, text or a mapping in, a plain and private document out, or every problem at once.
Stricter than `json.loads` where Go's ``encoding/json`` is, and than both where they would guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serviceradar_security.config.blocks import (
    Segment,
    find_blocks,
    fold_name,
    is_security_name,
)
from serviceradar_security.config.frozen import freeze
from serviceradar_security.config.json_text import parse_json
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.config.strict import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_INTEGER_DIGITS,
    DoubledObject,
    kind_of,
    members,
    plain_document,
)
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_INTEGER_DIGITS",
    "DoubledObject",
    "copy_document",
    "find_parent_twins",
    "find_twins",
    "freeze",
    "kind_of",
    "members",
    "parse_document",
    "plain_document",
    "read_document",
]


def read_document(data: bytes | str, *, source: str = "document") -> dict[str, object]:
    """Read one JSON object from its text.

    Args:
        data: UTF-8 bytes, or text.
        source: What the text came from, for messages.

    Raises:
        ConfigError: The text is no strict JSON object, or two names in it would be taken for the
            same security block. Lists every problem; holds no value of the document.
    """
    problems = Problems()
    document, names = parse_json(data, problems)
    blocks = [name for name in names if is_security_name(name)]
    if problems or len(blocks) != len(set(map(fold_name, blocks))):
        find_twins(find_blocks(document), problems)
    if problems:
        raise problems.error(source)
    return document


def copy_document(mapping: Mapping[str, object], *, source: str = "document") -> dict[str, object]:
    """Copy a mapping of JSON values into a plain document that shares nothing with it.

    Raises:
        ConfigError: The mapping holds what JSON cannot say, or breaks a limit.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{source}: is {kind_of(mapping)}: give a mapping of JSON values")
    problems = Problems()
    document = plain_document(mapping, problems)
    if problems:
        raise problems.error(source)
    return document


def parse_document(data: bytes | str, problems: Problems) -> dict[str, object]:
    """Read one JSON object, noting problems; with problems the result is for inspection only."""
    return parse_json(data, problems).document


def find_twins(
    blocks: Iterable[tuple[tuple[Segment, ...], object]],
    problems: Problems,
) -> None:
    """Note security names of one object that Go's ``encoding/json`` takes for the same."""
    first: dict[tuple[Segment, ...], str] = {}
    for path, _ in blocks:
        name = str(path[-1])
        known = first.setdefault((*path[:-1], fold_name(name)), name)
        if known != name:
            problems.add(path, f"is the same name as {shown(known)} to Go's decoder: keep one")


def find_parent_twins(
    document: dict[str, object],
    places: Iterable[tuple[Segment, ...]],
    problems: Problems,
) -> None:
    """Note names that Go's ``encoding/json`` takes for that of an object that is or holds a block.

    Go decodes both into one place, and the last one wins: a null there removes the block. Twins
    of a security name are left to `find_twins`.

    Args:
        document: A plain document.
        places: The places of the security blocks in it.
        problems: Where to note them.
    """
    spellings: dict[tuple[Segment, ...], dict[str, list[str]]] = {}
    reported: set[tuple[tuple[Segment, ...], str]] = set()
    for place in places:
        held: Any = document
        for depth, step in enumerate(place):
            holder, held = held, held[step]
            if not isinstance(step, str) or is_security_name(step):
                continue
            where, folded = place[:depth], fold_name(step)
            if where not in spellings:
                spellings[where] = _spellings(holder)
            if (where, folded) not in reported:
                reported.add((where, folded))
                text = (
                    f"is to Go's decoder the same name as {shown(step)}, which is or holds a "
                    "security block: keep one of them"
                )
                for twin in spellings[where][folded]:
                    if twin != step:
                        problems.add((*where, twin), text)


def _spellings(holder: Iterable[str]) -> dict[str, list[str]]:
    spelt: dict[str, list[str]] = {}
    for name in holder:
        spelt.setdefault(fold_name(name), []).append(name)
    return spelt
