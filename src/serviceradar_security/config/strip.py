"""Clean an overlay of what the gate refuses: the operator's way to mend a KV document.

Never part of a merge: a service that strips silently applies what nobody has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.document import copy_document
from serviceradar_security.config.offenders import find_offenders
from serviceradar_security.config.overlay import read_overlay
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.protected import PROTECTED_PATHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.config.formats import Format
    from serviceradar_security.config.protected import ProtectedPaths

__all__ = ["StrippedOverlay", "strip_protected"]


@dataclass(frozen=True, slots=True)
class StrippedOverlay:
    """An overlay without what the gate refuses.

    Attributes:
        document: What is left.
        removed: The paths that were taken out, in the order of the overlay.
    """

    document: dict[str, object]
    removed: tuple[str, ...]

    def __repr__(self) -> str:  # a document may hold secrets
        return f"StrippedOverlay({len(self.document)} members left, removed={self.removed!r})"


def strip_protected(
    overlay: bytes | str | Mapping[str, object],
    *,
    base: Mapping[str, object] | None = None,
    protected: ProtectedPaths = PROTECTED_PATHS,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> StrippedOverlay:
    """Take out of an overlay what the gate refuses, and say what that was.

    Args:
        overlay: A text, or a mapping of JSON values. It is not changed.
        base: The document that it is meant for. Without it, what would replace a parent of a
            security block cannot be known, and stays.
        protected: What an overlay may not set beside security blocks.
        format: How the text is written; a mapping has none.

    Raises:
        ConfigError: The overlay is no strict document; what is ambiguous is not cleaned by guess.
    """
    local = copy_document(base, source="base document") if base is not None else {}
    problems = Problems()
    document, names = read_overlay(overlay, problems, format=format)
    if problems:
        raise problems.error("overlay")
    # All of them first: the search walks what would be changed under it.
    offenders = list(find_offenders(local, document, protected=protected, names=names))
    for offender in reversed(offenders):  # what is deepest first
        holder: Any = document
        for step in offender.path[:-1]:
            holder = holder[step]
        del holder[offender.path[-1]]
    return StrippedOverlay(document, tuple(render_path(each.path) for each in offenders))
