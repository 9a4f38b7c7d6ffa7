"""Work for the processes of a pool: with a source that they inherit, or with one of their own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from serviceradar_security import SourceError, X509Source

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

OPENED_BY: Final = os.getpid()
# Opened at import: by each process that is spawned, and once by whoever forks the others.
source: Final = X509Source().open()
_DEADLINE: Final = 20.0


def follow(serial: str, together: Barrier | None = None) -> tuple[int, int, str]:
    """Wait until this process has a certain identity; tell it, this process and the opener's.

    Args:
        serial: The serial number of its certificate.
        together: Where the workers meet, so that none does the work of two.
    """
    seen, end = "", time.monotonic() + _DEADLINE
    while seen != serial and time.monotonic() < end:
        try:
            seen = str(source.current().default.leaf.serial_number)
        except SourceError:  # the first use in this process: it may not be there yet
            seen = str(source.wait_ready(timeout=_DEADLINE).default.leaf.serial_number)
        time.sleep(0.002)
    if together is not None:
        together.wait(_DEADLINE)
    return os.getpid(), OPENED_BY, seen


def use(given: X509Source) -> None:
    """Be given a source, which cannot be."""
    given.current()
