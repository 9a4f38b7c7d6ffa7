"""Names and places of security blocks: which keys are one, and how their paths are written.

The rule is the one sentence of the overlay gate: a key that Go's ``encoding/json`` would take for
``security`` or for a name ending in ``_security``, at any depth, in objects and lists.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from serviceradar_security.config.strict import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "SecurityNames",
    "Segment",
    "find_blocks",
    "fold_name",
    "holds_block",
    "is_security_name",
    "join_path",
    "render_path",
]

Segment: TypeAlias = str | int
"""One step of a path: the key of an object, or the index of a list."""

_NAME: Final = "security"
_SUFFIX: Final = "_security"
_LAST_LETTERS: Final = ("y", "Y")
_BARE_KEY: Final = re.compile(r'[^\s.\[\]"\\]+')


def fold_name(name: str) -> str:
    """Fold a key so that names which Go's ``encoding/json`` takes for one another become equal.

    Go folds each character to its simple case orbit. `str.casefold` joins all of those orbits
    and a few names more (``ß`` and ``ss``), so it errs on the side of refusing. For the letters
    of ``_security`` the two agree on every code point: A to Z, and U+017F for s.
    """
    return name.casefold()


def is_security_name(name: str) -> bool:
    """Tell whether a key names a security block, as Go's decoder would read it."""
    if name[-1:] not in _LAST_LETTERS:  # most names end here, at no cost
        return False
    folded = fold_name(name)
    return folded == _NAME or folded.endswith(_SUFFIX)


class SecurityNames(dict[str, bool]):
    """What `is_security_name` says of the names of one document, asked once for each."""

    def __missing__(self, name: str) -> bool:
        return self.setdefault(name, is_security_name(name))


def find_blocks(document: dict[str, object]) -> list[tuple[tuple[Segment, ...], object]]:
    """Find every member with a security name, in the order of the document.

    Args:
        document: A plain document of dicts, lists and scalars.

    Returns:
        The path of each such member and its value, whatever that is.
    """
    found: list[tuple[tuple[Segment, ...], object]] = []
    _find_below(document, [], found, SecurityNames().__getitem__)
    return found


def holds_block(value: object, is_named: Callable[[str], bool]) -> bool:
    """Tell whether a part of a plain document has a member with a security name.

    Args:
        value: The part.
        is_named: Tells security names.
    """
    todo = [value]
    for part in todo:  # which grows
        if isinstance(part, list):
            todo += [item for item in part if type(item) in CONTAINERS]
        elif isinstance(part, dict):
            if any(map(is_named, part)):
                return True
            todo += [member for member in part.values() if type(member) in CONTAINERS]
    return False


def _find_below(
    value: object,
    path: list[Segment],
    found: list[tuple[tuple[Segment, ...], object]],
    is_named: Callable[[str], bool],
) -> None:
    if isinstance(value, dict):
        named = any(map(is_named, value))
        for key, member in value.items():
            inner = type(member) in CONTAINERS
            if inner or named:
                path.append(key)
                if named and is_named(key):
                    found.append((tuple(path), member))
                if inner:
                    _find_below(member, path, found, is_named)
                path.pop()
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if type(item) in CONTAINERS:
                path.append(index)
                _find_below(item, path, found, is_named)
                path.pop()


def render_path(segments: Sequence[Segment]) -> str:
    """Write a path as ``agents.k8s-agent.checks[0].security``.

    A key that could be misread (with a dot, a bracket, a quote, white space, a control character,
    or empty) is written as a JSON string.
    """
    parts: list[str] = []
    for segment in segments:
        if isinstance(segment, int):
            parts.append(f"[{segment}]")
        else:
            parts.append(f".{_render_key(segment)}" if parts else _render_key(segment))
    return "".join(parts)


def join_path(prefix: str, path: str) -> str:
    """Put a rendered path behind the rendered path of what holds it."""
    if not prefix or not path:
        return prefix or path
    return f"{prefix}{path}" if path.startswith("[") else f"{prefix}.{path}"


def _render_key(key: str) -> str:
    if _BARE_KEY.fullmatch(key) and key.isprintable():
        return key
    return json.dumps(key)
