"""What all tests share: signals as in a terminal, and names that every worker gives alike."""

from __future__ import annotations

import re
import signal

# A shell starts its background jobs with Ctrl-C ignored, and so would be every program that the
# tests start, in which Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST_NAME = 100
_SIZE = re.compile(r"\d{5,}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep certificates, which each worker makes anew, out of the names of tests."""
    if isinstance(val, bytes | str) and len(val) > _LONGEST_NAME:
        return f"long-{argname}"
    # Nor their sizes, which depend on how a signature happens to be written.
    if isinstance(val, str) and _SIZE.search(val):
        return _SIZE.sub("N", val)
    return None
