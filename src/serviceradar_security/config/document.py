"""Read documents strictly, so that no two readers of one can understand it differently.

For: bytes, text or a mapping in, a plain and private document out, or every problem at once.
Stricter than `json.loads` where Go's ``encoding/json`` is, and than both where they would guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
