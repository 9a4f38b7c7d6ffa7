"""How an exchange with the Workload API failed, when to try again, and what a person can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["ADVICE", "Failure", "Kind", "ask_again_delay", "retry_delay"]


class Kind(Enum):
    """How a stream ended, as far as the next attempt depends on it."""

    UNREACHABLE = "unreachable"
    """Nobody listens there."""
    ENDED = "ended"
    """The stream ended or broke; also OK and CANCELLED, which are no end for us (R-WLAPI-03)."""
    SILENT = "silent"
    """It was connected and sent nothing in time, which is a pace of its own."""
    DENIED = "denied"
    """PERMISSION_DENIED: no identity is issued to this workload."""
    FATAL = "fatal"
    """INVALID_ARGUMENT or UNIMPLEMENTED: not tried again (Workload Endpoint, appendix A)."""
    EXHAUSTED = "exhausted"
    """RESOURCE_EXHAUSTED: asked for too much, or a message that is too large (R-WLAPI-30)."""
    FAILED = "failed"
    """Any other status code: reported and tried again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a stream, or of the attempt to open one.

    Attributes:
        kind: How it ended.
        text: What happened, in words.
        code: Name of the status code; empty if none came.
    """

    kind: Kind
    text: str
    code: str = ""


# Base and cap in seconds of the wait before the next attempt (R-WLAPI-27). Asking a socket where
# nobody listens costs microseconds, so a returning agent is found at once; whoever says no, or
# hangs up politely, is asked less and less often.
_DELAYS: Final = {
    Kind.UNREACHABLE: (0.1, 0.4),
    Kind.ENDED: (0.1, 5.0),
    Kind.SILENT: (0.1, 0.4),
    Kind.DENIED: (0.5, 5.0),
    Kind.FAILED: (0.5, 10.0),
    Kind.EXHAUSTED: (1.0, 30.0),  # R-WLAPI-30
}
_JITTER: Final = 0.1
_ASK_AGAIN: Final = (0.5, 30.0)  # likewise, of a stream that is open and brings nothing valid

ADVICE: Final = {
    Kind.UNREACHABLE: "start the SPIRE agent, or correct the address of its socket",
    Kind.ENDED: "look at the log of the SPIRE agent",
    Kind.SILENT: "look at the log of the SPIRE agent, which may be stopped or overloaded",
    Kind.DENIED: "create a registration entry whose selectors match this workload",
    Kind.FATAL: "check that the address is that of a Workload API",
    Kind.FAILED: "look at the log of the SPIRE agent",
    Kind.EXHAUSTED: (
        "look at the log of the SPIRE agent, which may be asked too often; if its message is too "
        "large, raise message_bytes of the source's limits"
    ),
}
"""What a person can do about each kind of failure."""


def retry_delay(kind: Kind, attempt: int, random: float) -> float:
    """Give the seconds to wait before another attempt.

    Args:
        kind: How the last one ended; not FATAL.
        attempt: How many ended so since the last good stream, from 1.
        random: A random number from 0 to 1, for the jitter.
    """
    return _delay(_DELAYS[kind], attempt, random)


def ask_again_delay(attempt: int, random: float) -> float:
    """Give the seconds after which an open stream that brings nothing valid is opened anew.

    Args:
        attempt: How often that was done since the last valid identity, from 1.
        random: A random number from 0 to 1, for the jitter.
    """
    return _delay(_ASK_AGAIN, attempt, random)


def _delay(bounds: tuple[float, float], attempt: int, random: float) -> float:
    base, cap = bounds
    delay = min(cap, base * 2.0 ** min(attempt - 1, 30))
    return delay * (1.0 + _JITTER * (2.0 * random - 1.0))
