"""One thread that calls a user's functions, each with a deadline."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StuckError", "Worker"]


class StuckError(Exception):
    """A function that did not return in time.

    Attributes:
        before: Whether it is one called earlier that still runs.
    """

    def __init__(self, message: str, *, before: bool) -> None:
        super().__init__(message)
        self.before: bool = before


class Worker:
    """Call functions one after the other in a thread that ends with the process."""

    def __init__(self, *, timeout: float) -> None:
        """Begin.

        Args:
            timeout: Seconds for each call.
        """
        self._timeout = timeout
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._stuck = ""
        self._thread = threading.Thread(target=self._work, name="rehearsal", daemon=True)
        self._thread.start()

    def begin(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function, and do not wait.

        Raises:
            StuckError: An earlier one still runs.
        """
        if self._stuck:
            raise StuckError(f"`{self._stuck}` of an earlier step has not returned", before=True)
        future: Future[Any] = Future()
        self._calls.put((future, function))
        return future

    def result(self, name: str, future: Future[Any]) -> Any:
        """Wait for what a function gives, or raise what it raised.

        Raises:
            StuckError: It does not return in time: this worker calls nothing any more.
        """
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(self._timeout):
            self._stuck = name
            raise StuckError(f"`{name}` did not return in {self._timeout:g} s", before=False)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit) as error:  # of the service, not of the test
            raise AssertionError(f"`{name}` raised {type(error).__name__}") from error

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Call a function, and wait."""
        return self.result(name, self.begin(function))

    def close(self) -> None:
        """Call nothing any more; a function that is stuck is left to its daemon thread."""
        self._calls.put(None)
        if not self._stuck:
            self._thread.join(self._timeout)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            try:
                given = function()
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                future.set_exception(error)
            else:
                future.set_result(given)
