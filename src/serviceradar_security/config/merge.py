"""The merge of two plain documents, as the platform's Go services do it.

Objects merge by exact key, recursively; scalars, lists and null replace, whatever they meet.
It knows no gate: it is for documents of the local operator, and for what the gate has let in.
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["merge_into", "merged"]


def merged(base: dict[str, object], change: dict[str, object]) -> dict[str, object]:
    """Merge two plain documents into a third, which shares their parts and changes neither."""
    made = dict(base)
    for key, value in change.items():
        held = made.get(key)
        both = isinstance(held, dict) and isinstance(value, dict)
        made[key] = merged(cast("Any", held), cast("Any", value)) if both else value
    return made


def merge_into(target: dict[str, object], change: dict[str, object]) -> None:
    """Merge a plain document into another, in place and at once, which then shares its parts."""
    target.update(merged(target, change))
