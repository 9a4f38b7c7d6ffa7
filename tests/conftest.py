"""What all tests share: signals as in a terminal."""

from __future__ import annotations

import signal

# A shell starts its background jobs with Ctrl-C ignored, and so would be every program that the
# tests start, in which Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
