"""The overlay gate: remote configuration never sets, changes, hides or removes a security setting.

The rule in one sentence: an overlay is refused, whole, if it contains at any depth a key that
Go's ``encoding/json`` would take for ``security`` or for a name ending in ``_security``, if it
sets a protected path, or if it would replace or remove a parent of either in the base document.
An equal value and null are no exceptions. Every document from outside goes through here; there is
no second door.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from serviceradar_security.config.document import copy_document
from serviceradar_security.config.formats import Format, read_text
from serviceradar_security.config.merge import merge_into
from serviceradar_security.config.offenders import Offender, find_offenders
from serviceradar_security.config.problems import Problems, refusing_deep_callers, shortened
from serviceradar_security.config.protected import PROTECTED_PATHS
from serviceradar_security.config.strict import Read, copied, kind_of, read_mapping
from serviceradar_security.errors import OverlayRefusedError

if TYPE_CHECKING:
    from serviceradar_security.config.protected import ProtectedPaths

__all__ = [
    "Offender",
    "admit_overlay",
    "apply_overlay",
    "find_offenders",
    "merge_into",
    "merge_overlay",
    "read_overlay",
    "refusal_of",
]

_log: Final = logging.getLogger("serviceradar_security.config")


def apply_overlay(
    base: Mapping[str, object],
    overlay: bytes | str | Mapping[str, object],
    *,
    protected: ProtectedPaths = PROTECTED_PATHS,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> dict[str, object]:
    """Merge an overlay from outside into a base document, or refuse it whole.

    Objects merge by exact key; scalars, lists and null replace, as on the platform's Go side.

    Args:
        base: The local document. It is not changed.
        overlay: A text, or a mapping of JSON values.
        protected: What an overlay may not set beside security blocks.
        format: How the text is written; a mapping has none.

    Returns:
        A new document that shares nothing with base or overlay, whose security blocks and
        protected paths are those of the base.

    Raises:
        OverlayRefusedError: The overlay is no strict document, has a security name or a protected
            path in it, or touches a parent of one. Lists every offender.
        ConfigError: The base is no document of JSON values.
    """
    with refusing_deep_callers("overlay", refusal_of):
        merged = copy_document(base, source="base document")
        merge_into(merged, admit_overlay(merged, overlay, protected=protected, format=format))
    return merged


def merge_overlay(
    document: dict[str, object],
    overlay: bytes | str | Mapping[str, object],
    *,
    protected: ProtectedPaths = PROTECTED_PATHS,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> dict[str, object]:
    """Merge an overlay into a plain document that nobody else holds, or refuse it whole.

    Returns:
        The overlay as it was merged, a plain document that shares nothing with the other.

    Raises:
        OverlayRefusedError: As for `apply_overlay`; the document is then as it was.
    """
    with refusing_deep_callers("overlay", refusal_of):
        change = admit_overlay(document, overlay, protected=protected, format=format)
        merge_into(document, cast("dict[str, object]", copied(change)))
    return change


def read_overlay(
    overlay: object,
    problems: Problems,
    *,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> Read:
    """Read an overlay as a plain document of its own, noting problems."""
    if isinstance(overlay, bytes | str):
        return read_text(overlay, problems, format=format)
    if isinstance(overlay, Mapping):
        return read_mapping(overlay, problems)
    problems.add((), f"is {kind_of(overlay)}: give bytes, a text or a mapping")
    return Read({}, set())


def admit_overlay(
    document: dict[str, object],
    overlay: bytes | str | Mapping[str, object],
    *,
    protected: ProtectedPaths,
    format: Format,  # noqa: A002 - the word that callers look for
) -> dict[str, object]:
    """Give an overlay as a plain document of its own, if it may be merged into this one.

    Raises:
        OverlayRefusedError: As for `apply_overlay`.
    """
    problems = Problems()
    change, names = read_overlay(overlay, problems, format=format)
    for offender in find_offenders(document, change, protected=protected, names=names):
        problems.add(offender.path, offender.text)
    if problems:
        raise refusal_of(problems)
    return change


def refusal_of(problems: Problems) -> OverlayRefusedError:
    """Make the refusal of an overlay and log it, with the first of its paths and their number."""
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
            "paths": shortened(error.paths),
            "problem_count": problems.count,
        },
    )
    return error
