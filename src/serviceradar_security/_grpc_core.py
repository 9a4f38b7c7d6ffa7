"""Whether gRPC core runs in this process; it does not survive a fork (design decision D11).

For: what refuses to use it in a forked child. Imports nothing, gRPC least of all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["has_core_threads"]

_TASKS: Final = Path("/proc/self/task")
_CORE_THREAD: Final = "event_engine"


def has_core_threads() -> bool:
    """Tell whether gRPC core has threads now; asked before a fork, since the child cannot."""
    tasks = _TASKS.iterdir() if _TASKS.exists() else ()
    return any(_name(each).startswith(_CORE_THREAD) for each in tasks)


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:  # it has just ended
        return ""
