"""The merge of two plain documents, as the platform's Go services do it.

Objects merge by exact key, recursively; scalars, lists and null replace, whatever they meet.
It knows no gate: it is for documents of the local operator, and for what the gate has let in.
"""

from __future__ import annotations

from serviceradar_security.config.strict import CONTAINERS, copied

__all__ = ["merge_copy", "merge_into"]


def merge_into(target: dict[str, object], change: dict[str, object]) -> None:
    """Merge a plain document into another, in place, which then owns the parts of both."""
    for key, value in change.items():
        if isinstance(value, dict):
            held = target.get(key)
            if isinstance(held, dict):
                merge_into(held, value)
                continue
        target[key] = value


def merge_copy(target: dict[str, object], change: dict[str, object]) -> None:
    """Merge a plain document into another, in place, which then shares nothing with it."""
    for key, value in change.items():
        if type(value) in CONTAINERS:
            held = target.get(key)
            if isinstance(value, dict) and isinstance(held, dict):
                merge_copy(held, value)
            else:
                target[key] = copied(value)
        else:
            target[key] = value
