"""Whether a peer that says nothing is still there: times in, when to ask and when to give up out.

A Workload API is silent for most of its life, and so is one whose process was frozen.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PING_INTERVAL", "PING_TIMEOUT", "FirstAnswer", "KeepAlive"]

# A stream is held open as long as possible (R-WLAPI-03), so no PING may offend: by default a server
# of grpc-go, as SPIRE's agent, or of gRPC core hangs up on clients whose PINGs come less than five
# minutes after each other ("too_many_pings"). The rest is a margin for both clocks and the way.
PING_INTERVAL: Final = 330.0
"""Seconds of silence before a peer is asked for a sign of life."""
PING_TIMEOUT: Final = 20.0
"""Seconds within which it must give one, as gRPC's own keepalive has it."""


class KeepAlive:
    """Keep account of a peer's signs of life; any byte of it is one."""

    def __init__(self, *, interval: float, timeout: float, now: float) -> None:
        """Begin with a sign of life.

        Args:
            interval: Seconds of silence before it is asked.
            timeout: Seconds within which it must answer.
            now: The moment, on a monotonic clock.
        """
        self._interval = interval
        self._timeout = timeout
        self._heard = now
        self._asking = False  # and no wait for the answer has begun
        self._asked: float | None = None  # and not answered

    def heard(self, now: float) -> None:
        """Take note of bytes of the peer."""
        self._heard = now
        self._asked = None
        self._asking = False

    def asks(self, now: float) -> bool:
        """Tell whether to ask now, and take note of it.

        Since its answer is a sign of life as well, two questions are an interval apart.
        """
        if self._asking or self._asked is not None or now < self._heard + self._interval:
            return False
        self._asking = True
        return True

    def lost(self, now: float) -> bool:
        """Tell whether the peer was asked and gave no sign of life in time."""
        return self._asked is not None and now >= self._asked + self._timeout

    def wait(self, now: float) -> float:
        """Give the seconds until it is to be asked, or given up.

        The time for an answer begins with the first wait for it: a process that was suspended
        before must not blame its peer.
        """
        if self._asking:
            self._asking, self._asked = False, now
        asked = self._asked
        due = self._heard + self._interval if asked is None else asked + self._timeout
        return max(0.0, due - now)


class FirstAnswer:
    """Keep account of the first message, which is sent without delay (R-WLAPI-05).

    Whether it is late is judged only where nothing is there to be read: a process that was
    suspended meanwhile must not blame its peer. Who goes on talking, and never answers, is judged
    by how much that is.
    """

    def __init__(self, *, timeout: float, most_bytes: int, now: float) -> None:
        """Begin to wait.

        Args:
            timeout: Seconds within which it must come.
            most_bytes: How much the peer may say beyond that, as its answer may be that long.
            now: The moment, on a monotonic clock.
        """
        self._due: float | None = now + timeout
        self._most_bytes = most_bytes
        self._late_bytes = 0

    def came(self) -> None:
        """Take note of a message."""
        self._due = None

    def left(self, now: float) -> float | None:
        """Give the seconds that are left for it; None once it came."""
        return None if self._due is None else max(0.0, self._due - now)

    def talked_past(self, size: int, now: float) -> bool:
        """Take note of bytes without a message, and tell whether they are too many by now."""
        if self.left(now) == 0:
            self._late_bytes += size
        return self._late_bytes > self._most_bytes
