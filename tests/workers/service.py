"""Run a server program with workers on a port of its own, ask it, and see that it leaves nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from tests.workload.peers import until
from tests.workload.scripts import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from serviceradar_security.testing.workload_api import FakeWorkloadApi

DEADLINE: Final = 20.0
_AT_ONCE: Final = 4


class Answer(NamedTuple):
    """What the service tells of itself."""

    worker: int
    serial: str
    opened_by: int


def serial(api: FakeWorkloadApi) -> str:
    """Tell which identity is served now."""
    return str(api.svids[0].leaf.serial_number)


class Service:
    """A program that serves HTTP on a socket which it inherits.

    The socket is bound here, so that no port can be taken by another meanwhile, and requests wait
    in its queue until a worker is there.
    """

    def __init__(
        self,
        arguments: Callable[[int], Sequence[str]],
        *,
        endpoint: str,
        log: Path,
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._arguments = arguments
        self._environ = {**os.environ, "SPIFFE_ENDPOINT_SOCKET": endpoint}
        self._log = log

    def __enter__(self) -> Self:
        descriptor = self._listener.fileno()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environ,
                start_new_session=True,  # its workers are found by its group
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)

    @property
    def pid(self) -> int:
        """The process that was started: it manages the workers."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it and its workers wrote."""
        return self._log.read_text()

    def until_answers(self, workers: int, serial: str) -> dict[int, Answer]:
        """Wait until so many workers answer with this identity; give their answers by process."""
        found: dict[int, Answer] = {}

        def hold() -> bool:
            assert self._process.poll() is None, self.output
            with ThreadPoolExecutor(_AT_ONCE) as pool:  # or one worker might take them all
                for answer in pool.map(lambda _: self._ask(), range(_AT_ONCE)):
                    if answer is not None and answer.serial == serial:
                        found[answer.worker] = answer
            return len(found) == workers

        until(hold, f"{workers} workers answer with {serial}", timeout=DEADLINE)
        return found

    def stop(self) -> int:
        """Ask it to end, wait until no process of it is left, and give its exit code."""
        self._process.terminate()
        code = self._process.wait(DEADLINE)
        until(self._gone, "no process is left")
        return code

    def _gone(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def _ask(self) -> Answer | None:
        """Ask once; None when the worker that took the request went away with it."""
        port = self._listener.getsockname()[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        try:
            connection.request("GET", "/", headers={"connection": "close"})
            response = connection.getresponse()
            body = response.read()
        except (http.client.HTTPException, ConnectionError):
            return None
        except TimeoutError:
            raise AssertionError(f"a worker does not answer: {self.output}") from None
        finally:
            connection.close()
        assert response.status == http.HTTPStatus.OK, (response.status, body, self.output)
        return Answer(**json.loads(body))
