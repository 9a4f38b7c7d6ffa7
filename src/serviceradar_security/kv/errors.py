"""How this room refuses to be used; what the store does is no error but a state."""

from __future__ import annotations

from serviceradar_security.errors import SecurityError

__all__ = ["KvError", "KvTimeoutError"]


class KvError(SecurityError):
    """An overlay that cannot be followed any more: closed, or left behind by a fork."""


class KvTimeoutError(KvError, TimeoutError):
    """A wait for the first word of the store that passed its deadline; names the last cause."""

    retryable: bool = True
