"""How an exchange with the store failed, when to try again, and what a person can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = [
    "ADVICE",
    "Failure",
    "Kind",
    "apply_delay",
    "check_delay",
    "failure_of",
    "refusal_delay",
    "renewal_delay",
    "retry_delay",
]


class Kind(Enum):
    """How a call ended, as far as the next attempt depends on it."""

    UNREACHABLE = "unreachable"
    """UNAVAILABLE: nobody answers there, or nobody whom the channel accepts."""
    SILENT = "silent"
    """DEADLINE_EXCEEDED: a question was not answered in time."""
    ENDED = "ended"
    """OK or CANCELLED: the stream was ended politely, which a watch never should be."""
    DENIED = "denied"
    """PERMISSION_DENIED or UNAUTHENTICATED: we may not read this key."""
    UNSUPPORTED = "unsupported"
    """UNIMPLEMENTED: what answers there is no KV service."""
    TOO_LARGE = "too large"
    """RESOURCE_EXHAUSTED: a message that the channel does not take, or a limit of the store."""
    FAILED = "failed"
    """Any other status code, or an answer that is no message of this service."""
    BROKEN = "broken"
    """No call could be made or read here: an interceptor raised, no memory or thread was left."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a call, or of the attempt to make one.

    Attributes:
        kind: How it ended.
        text: What happened, in words and in one line.
    """

    kind: Kind
    text: str


_KINDS: Final = {
    "OK": Kind.ENDED,
    "CANCELLED": Kind.ENDED,
    "UNAVAILABLE": Kind.UNREACHABLE,
    "DEADLINE_EXCEEDED": Kind.SILENT,
    "PERMISSION_DENIED": Kind.DENIED,
    "UNAUTHENTICATED": Kind.DENIED,
    "UNIMPLEMENTED": Kind.UNSUPPORTED,
    "RESOURCE_EXHAUSTED": Kind.TOO_LARGE,
}

# Base and cap in seconds of the wait before the next attempt. A store that is away is found soon
# after it is back; whoever says no, or hangs up politely, is asked less and less often.
_DELAYS: Final = {
    Kind.UNREACHABLE: (0.2, 5.0),
    Kind.SILENT: (0.5, 10.0),
    Kind.ENDED: (0.5, 30.0),
    Kind.DENIED: (5.0, 300.0),
    Kind.UNSUPPORTED: (5.0, 300.0),
    Kind.TOO_LARGE: (1.0, 300.0),
    Kind.FAILED: (1.0, 60.0),
    Kind.BROKEN: (1.0, 60.0),
}
_RENEWAL: Final = 0.2  # before a stream that lasted and ended is opened anew
_APPLY: Final = (1.0, 300.0)  # before a document is tried again that could not be applied
_REFUSAL: Final = (0.05, 2.0)  # before the next document is looked at
# Wide, since all services lose one store in the same moment.
_JITTER: Final = 0.25
_LONGEST_TEXT: Final = 400
# gRPC core's words for a certificate with another SPIFFE ID; they only choose ours, nothing else.
_ANOTHER_PEER: Final = "SANs from certificate did not match"

ADVICE: Final = {
    Kind.UNREACHABLE: "start datasvc, or correct its address and the SPIFFE ID that is expected",
    Kind.SILENT: "look at datasvc and at the network between: it may be stopped or overloaded",
    Kind.ENDED: "look at the log of datasvc, which ends the watch again and again",
    Kind.DENIED: "allow this service's SPIFFE ID to read the key, in the rbac block of datasvc",
    Kind.UNSUPPORTED: "check that the address is that of datasvc, and its version",
    Kind.TOO_LARGE: (
        "make the document smaller, or raise the channel's grpc.max_receive_message_length"
    ),
    Kind.FAILED: "look at the log of datasvc",
    Kind.BROKEN: "look at this process: the interceptors of its channel, its memory, its threads",
}
"""What a person can do about each kind of failure."""


def failure_of(code: str, details: str | None, *, call: str, server: str = "") -> Failure:
    """Describe a call that ended.

    Args:
        code: Name of gRPC's status code.
        details: What came with it; from outside, and so only shown as one line.
        call: Which call it was, as ``Get``.
        server: Who was expected to answer, if that is known.
    """
    if details and _ANOTHER_PEER in details:
        details = f"another server than {server or 'the one expected'} answers there: {details}"
    words = "".join(each if each.isprintable() else " " for each in details or "")
    text = words if len(words) <= _LONGEST_TEXT else f"{words[:_LONGEST_TEXT]}..."
    kind = _KINDS.get(code, Kind.FAILED)
    if kind is Kind.ENDED:
        text = text or "the stream was ended without an error"
    return Failure(kind, f"{call}: {code}: {text}" if text else f"{call}: {code}")


def retry_delay(kind: Kind, attempt: int, random: float) -> float:
    """Give the seconds to wait before another attempt.

    Args:
        kind: How the last one ended.
        attempt: How many ended so since the last good one, from 1.
        random: A random number from 0 to 1, for the jitter.
    """
    return _jittered(_doubled(_DELAYS[kind], attempt), random)


def apply_delay(attempt: int, random: float) -> float:
    """Give the seconds until a document is tried again that could not be applied."""
    return _jittered(_doubled(_APPLY, attempt), random)


def refusal_delay(recent: int) -> float:
    """Give the seconds until the next document is looked at, after some that were refused."""
    return _doubled(_REFUSAL, recent)


def renewal_delay(random: float) -> float:
    """Give the seconds to wait before a stream that lasted is opened anew."""
    return _jittered(_RENEWAL, random)


def check_delay(interval: float, random: float) -> float:
    """Give the seconds until an open stream's peer is asked for a sign of life."""
    return _jittered(interval, random)


def _doubled(limits: tuple[float, float], attempt: int) -> float:
    base, cap = limits
    return min(cap, base * 2.0 ** min(attempt - 1, 30))


def _jittered(delay: float, random: float) -> float:
    return delay * (1.0 + _JITTER * (2.0 * random - 1.0))
