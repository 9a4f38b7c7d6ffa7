"""Clean an overlay of what the gate refuses: the operator's way to mend a KV document.

Never part of a merge: a service that strips silently applies what nobody has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serviceradar_security.config.document import copy_document
from serviceradar_security.config.offenders import find_offenders
from serviceradar_security.config.overlay import read_overlay
from serviceradar_security.config.problems import Problems, refusing_deep_callers, shortened
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
        removed: The paths that were taken out, in the order of the overlay; the first of them,
            if all together have more than `MAX_REPORT_CHARACTERS` characters.
        count: How many were taken out.
    """

    document: dict[str, object]
    removed: tuple[str, ...]
    count: int

    def __repr__(self) -> str:  # a document may hold secrets
        listed = shortened(self.removed)
        rest = self.count - len(listed)
        removed = f"removed={listed!r}{f' and {rest} more' if rest else ''}"
        return f"StrippedOverlay({len(self.document)} members left, {removed})"


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
    problems, removed = Problems(), Problems()
    # Deleted only afterwards, since the search walks what would change under it. Where they are is
    # kept as two references each: a small overlay can have gigabytes of paths.
    found: list[tuple[dict[str, object], str]] = []
    with refusing_deep_callers("overlay"):
        local = copy_document(base, source="base document") if base is not None else {}
        document, names = read_overlay(overlay, problems, format=format)
        if problems:
            raise problems.error("overlay")
        for offender in find_offenders(local, document, protected=protected, names=names):
            removed.add(offender.path, "")
            holder: Any = document
            for step in offender.path[:-1]:
                holder = holder[step]
            found.append((holder, str(offender.path[-1])))
    for holder, name in found:
        del holder[name]
    paths = tuple(problem.path for problem in removed.listed)
    return StrippedOverlay(document, paths, removed.count)
