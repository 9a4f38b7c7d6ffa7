"""The overlay gate: remote configuration never sets, changes, hides or removes a security block.

The rule in one sentence: an overlay is refused, whole, if it contains at any depth a key that
Go's ``encoding/json`` would take for ``security`` or for a name ending in ``_security``, or if it
would replace or remove a parent of such a block in the base document. An equal value and null
are no exceptions. Every document from outside goes through here; there is no second door.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from serviceradar_security.config.blocks import Segment, fold_name, is_security_name
from serviceradar_security.config.document import (
    copy_document,
    kind_of,
    members,
    parse_document,
    plain_document,
)
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.errors import OverlayRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Offender", "apply_overlay", "find_offenders", "merge_into", "merge_overlay"]

_log: Final = logging.getLogger("serviceradar_security.config")

_REMEDY: Final = "only the local file and the pinned file may: remove it from the overlay"


class Offender(NamedTuple):
    """One member of an overlay that the gate refuses.

    Attributes:
        path: Where it is in the overlay.
        text: Which part of the rule it breaks, and what to do.
    """

    path: tuple[Segment, ...]
    text: str


def apply_overlay(
    base: Mapping[str, object],
    overlay: bytes | str | Mapping[str, object],
) -> dict[str, object]:
    """Merge an overlay from outside into a base document, or refuse it whole.

    Objects merge by exact key; scalars, lists and null replace, as on the platform's Go side.

    Args:
        base: The local document. It is not changed.
        overlay: JSON text, or a mapping of JSON values.

    Returns:
        A new document that shares nothing with base or overlay, whose security blocks are those
        of the base.

    Raises:
        OverlayRefusedError: The overlay is no strict JSON object, has a security name in it, or
            touches a parent of a security block. Lists every offender.
        ConfigError: The base is no document of JSON values.
    """
    merged = copy_document(base, source="base document")
    merge_overlay(merged, overlay)
    return merged


def merge_overlay(
    document: dict[str, object],
    overlay: bytes | str | Mapping[str, object],
) -> None:
    """Merge an overlay into a plain document that nobody else holds, or refuse it whole.

    Raises:
        OverlayRefusedError: As for `apply_overlay`; the document is then as it was.
    """
    problems = Problems()
    change = _read_overlay(overlay, problems)
    for offender in find_offenders(document, change):
        problems.add(offender.path, offender.text)
    if problems:
        raise _refusal(problems)
    merge_into(document, change)


def find_offenders(base: dict[str, object], overlay: dict[str, object]) -> Iterator[Offender]:
    """Find every member of an overlay that the gate refuses, in the order of the overlay.

    Args:
        base: The plain document that the overlay is meant for.
        overlay: The overlay as a plain document; objects with a name twice are looked at whole.

    Yields:
        The offenders, one for each member at most.
    """
    return _offenders_in(overlay, _holder_of(base), [])


def merge_into(target: dict[str, object], change: dict[str, object]) -> None:
    """Merge a plain document into another, in place, which then owns the parts of both."""
    for key, value in change.items():
        held = target.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merge_into(held, value)
        else:
            target[key] = value


@dataclass(frozen=True, slots=True)
class _Holder:
    """A part of the base that holds security blocks.

    Attributes:
        kind: ``an object`` or ``a list``.
        members: The members of an object that hold security blocks in turn.
        names: The names of `members`, by folded name.
    """

    kind: str
    members: dict[str, _Holder]
    names: dict[str, list[str]]


def _holder_of(value: object) -> _Holder | None:
    """Describe a part of the base that holds security blocks; None if it holds none."""
    if isinstance(value, list):
        return _Holder("a list", {}, {}) if any(map(_holder_of, value)) else None
    if not isinstance(value, dict):
        return None
    held: dict[str, _Holder] = {}
    names: dict[str, list[str]] = {}
    found = False
    for key, member in value.items():
        found = found or is_security_name(key)
        holder = _holder_of(member) if isinstance(member, dict | list) else None
        if holder is not None:
            held[key] = holder
            names.setdefault(fold_name(key), []).append(key)
    return _Holder("an object", held, names) if found or held else None


def _offenders_in(
    overlay: Mapping[str, object],
    holder: _Holder | None,
    path: list[Segment],
) -> Iterator[Offender]:
    for key, value in members(overlay):
        path.append(key)
        text = _offence(key, value, holder)
        if text is not None:
            yield Offender(tuple(path), text)
        if isinstance(value, dict | list):
            inner = holder.members.get(key) if holder is not None else None
            yield from _offenders_below(value, inner, path)
        path.pop()


def _offenders_below(
    value: object,
    holder: _Holder | None,
    path: list[Segment],
) -> Iterator[Offender]:
    if isinstance(value, dict):
        yield from _offenders_in(value, holder, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            path.append(index)
            yield from _offenders_below(item, None, path)
            path.pop()


def _offence(key: str, value: object, holder: _Holder | None) -> str | None:
    """Say how one member of an overlay breaks the rule, if it does."""
    if is_security_name(key):
        exact = key.endswith("security")
        name = "" if exact else f", as Go's decoder reads {shown(key)}"
        return f"would set a security block{name}: {_REMEDY}"
    if holder is None:
        return None
    # A twin of a parent is a second door: Go decodes both names into one place, the last one wins.
    for name in holder.names.get(fold_name(key), ()):
        if name != key:
            return (
                f"is to Go's decoder the same name as {shown(name)}, which holds security "
                f"blocks: write {shown(name)}"
            )
    held = holder.members.get(key)
    if held is None or (isinstance(value, dict) and held.kind == "an object"):
        return None
    return f"would replace {held.kind} that holds security blocks with {kind_of(value)}: {_REMEDY}"


def _read_overlay(overlay: object, problems: Problems) -> dict[str, object]:
    if isinstance(overlay, bytes | str):
        return parse_document(overlay, problems)
    if isinstance(overlay, Mapping):
        return plain_document(overlay, problems)
    problems.add((), f"is {kind_of(overlay)}: give bytes, a text or a mapping")
    return {}


def _refusal(problems: Problems) -> OverlayRefusedError:
    paths = tuple(problem.path for problem in problems.listed if problem.path)
    error = OverlayRefusedError(
        problems.message("overlay refused, nothing of it applied"),
        paths=dict.fromkeys(paths),
        problems=problems.listed,
    )
    _log.warning(
        "%s",
        error,
        extra={
            "event": "overlay_refused",
            "paths": error.paths,
            "problem_count": problems.count,
        },
    )
    return error
