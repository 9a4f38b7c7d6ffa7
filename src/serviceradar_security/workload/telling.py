"""The thread in which an observer is told: a slow one must not hold up the next identity."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from serviceradar_security.workload.reading import say

if TYPE_CHECKING:
    from serviceradar_security.metrics.observer import Relay

__all__ = ["Teller"]

_LOG: Final = logging.getLogger("serviceradar_security.workload")


class Teller:
    """Deliver what a relay holds, whenever it is told that there is something."""

    def __init__(self, relay: Relay) -> None:
        """Start the thread."""
        self._relay = relay
        self._wake: SimpleQueue[bool] = SimpleQueue()
        threading.Thread(
            target=self._run,
            name="serviceradar-security-observer",
            daemon=True,
        ).start()

    def wake(self, *, last: bool = False) -> None:
        """Deliver what is held; returns at once.

        Args:
            last: Whether that is all, so that the thread ends.
        """
        if last or (self._relay.pending and self._wake.empty()):
            self._wake.put(last)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._wake.get()
            try:
                self._relay.deliver()
            except Exception:  # noqa: BLE001 - the thread outlives a defect of ours
                say(_LOG, logging.ERROR, "an observer could not be told, and will be", trace=True)
