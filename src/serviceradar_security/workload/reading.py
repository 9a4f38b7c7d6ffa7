"""The lock under which identities are read, and which no fork cuts in half.

What libraries initialise on first use, behind locks of their own, would stay locked for ever in a
child that was forked in that moment (design decision D11). So a fork waits until a reading is
over, which takes a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

__all__ = ["READING", "say"]

READING: Final = threading.RLock()
"""Held around everything that parses or verifies in a thread of ours."""

os.register_at_fork(
    before=READING.acquire,
    after_in_parent=READING.release,
    after_in_child=READING.release,
)


def say(log: logging.Logger, level: int, text: str, *values: object, trace: bool = False) -> None:
    """Log from a thread that must outlive whatever a handler or a filter of the user raises."""
    with contextlib.suppress(Exception):
        log.log(level, text, *values, exc_info=trace)
