"""What all tests share: signals as in a terminal, and names that every worker gives alike."""

from __future__ import annotations

import signal

# A shell starts its background jobs with Ctrl-C ignored, and so would be every program that the
# tests start, in which Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST_NAME = 100


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep certificates, which each worker makes anew, out of the names of tests."""
    is_long = isinstance(val, bytes | str) and len(val) > _LONGEST_NAME
    return f"long-{argname}" if is_long else None
