"""What an overlay writes into the log: transitions and refusals, and no more than can be read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from serviceradar_security.kv.status import KvState

if TYPE_CHECKING:
    from serviceradar_security.kv.status import KvStatus

__all__ = ["Journal", "Line"]

_WELL: Final = frozenset((KvState.STARTING, KvState.FOLLOWING, KvState.ABSENT, KvState.CLOSED))
_MOST_PATHS: Final = 20
_LONGEST_PATH: Final = 200
_LONGEST_CAUSE: Final = 4000
# Seconds without a second line about refusals alone; they double from the first to the second.
_FIRST_GAP: Final = 1.0
_LAST_GAP: Final = 60.0


class Line(NamedTuple):
    """A line of the log.

    Attributes:
        level: How grave it is.
        text: What it says.
        extra: The same for programs.
    """

    level: int
    text: str
    extra: dict[str, Any]


class Journal:
    """Decide what is worth a line; the times are arguments."""

    def __init__(self) -> None:
        self._gap = _FIRST_GAP
        self._quiet_until = float("-inf")
        self._unsaid = 0

    def line(
        self, before: KvStatus, after: KvStatus, now: float, *, died: bool = False
    ) -> Line | None:
        """Give the line about what changed: each transition, and refusals ever more rarely.

        Args:
            before: The record before.
            after: The record now.
            now: The time, on the monotonic clock.
            died: Whether the thread is dead that followed.
        """
        refused = after.refused - before.refused
        if after.state is before.state and not refused:
            return None
        if after.state is before.state and now < self._quiet_until:
            self._unsaid += refused
            return None
        if refused:
            calm = now >= self._quiet_until + _LAST_GAP
            self._gap = _FIRST_GAP if calm else min(_LAST_GAP, 2 * self._gap)
            self._quiet_until = now + self._gap
        unsaid, self._unsaid = self._unsaid, 0
        return Line(_level(after, died=died), _text(after, unsaid), _extra(after, unsaid))


def _level(status: KvStatus, *, died: bool) -> int:
    if died:
        return logging.ERROR
    # Closed with a cause is what nobody wanted.
    unwanted = status.state is KvState.CLOSED and bool(status.cause)
    return logging.INFO if status.state in _WELL and not unwanted else logging.WARNING


def _text(status: KvStatus, unsaid: int) -> str:
    why = f": {_cut(status.cause, _LONGEST_CAUSE)}" if status.cause else ""
    what = f": {status.advice}" if status.advice else ""
    more = f" ({unsaid} more were refused since the last line)" if unsaid else ""
    return f"KV overlay {status.key} is {status.state.value}{why}{what}{more}"


def _extra(status: KvStatus, unsaid: int) -> dict[str, Any]:
    paths = status.refused_paths
    return {
        "event": "kv_overlay",
        "state": status.state.value,
        "paths": tuple(_cut(path, _LONGEST_PATH) for path in paths[:_MOST_PATHS]),
        "path_count": len(paths),
        "unsaid": unsaid,
    }


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
