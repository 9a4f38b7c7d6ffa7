"""What watches an identity while parts of SPIRE are away: a witness, traffic, and a measurement.

`Witness` hears of every transition of a source, and looks whether it ever gives an identity that
has expired. `Traffic` makes calls to a server of its own on that source, on a connection that
lives and on new ones. Nothing here sleeps to be right: whoever waits has a condition and a deadline.

Run ``python -m tests.spire.outage --help`` for how long a source takes to recover.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import re
import socket
import statistics
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from serviceradar_security import FileSource, SecurityError, SpiffeId, X509Source, authorize_id
from serviceradar_security import grpc as secure
from serviceradar_security.workload.watch import State
from tests.realparts.spire import Spire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["DEADLINE", "WEB", "Call", "Traffic", "Transition", "Witness", "until"]

DEADLINE: Final = 30.0
WEB: Final = SpiffeId.parse("spiffe://example.org/web")

_METHOD: Final = "/outage.Echo/Unary"
_LOOK: Final = 0.01  # seconds between two looks at a source
_CLOSE_LOOK: Final = 0.002  # where the time between two events is measured
_PACE: Final = 0.05  # seconds between two calls
_NEW_CONNECTION: Final = 4  # every such call is made on one
_CALL_TIMEOUT: Final = 5.0
# Without it, a channel to the same address would share the connection of the first.
_OWN_CONNECTION: Final = [("grpc.use_local_subchannel_pool", 1)]
_SAID: Final = re.compile(r"identity source (?:of files )?is (?P<state>[A-Z_]+)")


def until(
    condition: Callable[[], bool], what: str, *, timeout: float = DEADLINE, look: float = _LOOK
) -> None:
    """Wait until a condition holds, looking at it every so many seconds.

    Raises:
        TimeoutError: It did not in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(look)


@dataclass(frozen=True)
class Transition:
    """What the source has said: a new state, or a new cause of the same."""

    at: float
    state: State
    text: str


class Witness(logging.Handler):
    """Note what a source says of itself, and every identity that it gives after its end.

    The source logs each transition once, so none is too short to be seen.
    """

    def __init__(self, source: X509Source | FileSource) -> None:
        super().__init__()
        self.source = source
        self.heard: list[Transition] = []
        self.expired_given: list[str] = []
        self.errors: set[str] = set()
        self._logger = logging.getLogger("serviceradar_security.workload")
        self._level = self._logger.level
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="witness")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(DEADLINE)
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the source's log."""
        text = record.getMessage()
        if said := _SAID.match(text):
            self.heard.append(Transition(time.monotonic(), State[said["state"]], text))

    def states(self, *, since: int = 0) -> list[State]:
        """Return the states that were heard of, in order, from an index of `heard` on."""
        found: list[State] = []
        for each in self.heard[since:]:
            if found[-1:] != [each.state]:
                found.append(each.state)
        return found

    def wait_for(self, state: State, text: str = "", *, since: int = 0) -> Transition:
        """Wait until the source says that it is in a state, for a reason (a pattern)."""

        def found() -> list[Transition]:
            return [
                each
                for each in self.heard[since:]
                if each.state is state and re.search(text, each.text)
            ]

        try:
            until(lambda: bool(found()), f"{state.name}: {text}")
        except TimeoutError as error:
            said = "\n".join(each.text for each in self.heard[since:])
            raise TimeoutError(f"{error}; what was said:\n{said}") from None
        return found()[0]

    def _look(self) -> None:
        while not self._stopped.wait(_LOOK):
            before = datetime.now(UTC)
            try:
                svid = self.source.current().default
            except SecurityError as error:
                self.errors.add(str(error))
            else:
                if svid.not_after <= before:
                    self.expired_given.append(f"{svid.not_after:%T} at {before:%T.%f}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        began: When, on the monotonic clock.
        is_new: Whether it was made on a new connection.
        error: Why it failed; empty if it did not.
        state: The source's state when it ended.
    """

    began: float
    is_new: bool
    error: str
    state: State


class Traffic:
    """Call a server again and again; both sides have the identity of one source.

    Attributes:
        made: How many calls were made.
        failures: Those that failed.
        recent: The newest ones.
    """

    def __init__(self, source: X509Source) -> None:
        self.made = 0
        self.failures: list[Call] = []
        self.recent: deque[Call] = deque(maxlen=_NEW_CONNECTION)
        self._source = source
        self._authorizer = authorize_id(WEB)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._target = stack.enter_context(_serve(self._source))
            self._live = stack.enter_context(
                secure.channel(self._target, self._source, self._authorizer)
            )
            self._thread.start()
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def await_calls(self, count: int = 10) -> None:
        """Wait for so many more calls, failed or not; a part of them on new connections."""
        enough = self.made + max(count, _NEW_CONNECTION)
        until(lambda: self.made >= enough, f"{count} more calls")

    def await_success(self, *, since: float) -> None:
        """Wait until calls that began at a time or later succeed, on both kinds of connection."""

        def succeed() -> bool:
            good = [each for each in tuple(self.recent) if not each.error and each.began >= since]
            return {each.is_new for each in good} == {True, False}

        try:
            until(succeed, "calls that succeed, on the old connection and on a new one")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the newest: {self.recent}") from None

    def _stop(self) -> None:
        self._stopped.set()
        self._thread.join(DEADLINE)

    def _run(self) -> None:
        method: Any = self._live.unary_unary(_METHOD)
        while not self._stopped.wait(_PACE):
            if (self.made + 1) % _NEW_CONNECTION:
                self._call(method, is_new=False)
                continue
            with secure.channel(
                self._target, self._source, self._authorizer, options=_OWN_CONNECTION
            ) as channel:
                self._call(channel.unary_unary(_METHOD), is_new=True)

    def _call(self, method: Any, *, is_new: bool) -> None:
        began = time.monotonic()
        error = ""
        try:
            method(b"", timeout=_CALL_TIMEOUT)
        except grpc.RpcError as failure:
            status: Any = failure
            error = f"{status.code().name}: {status.details()}"
        call = Call(began, is_new, error, self._source.status().state)
        if error:
            self.failures.append(call)
        self.recent.append(call)
        self.made += 1


@contextlib.contextmanager
def _serve(source: X509Source) -> Iterator[str]:
    """Serve on the loopback interface, and give the address."""

    def handle(_request: bytes, context: grpc.ServicerContext) -> bytes:
        return str(secure.peer_id(context)).encode()

    authorizer = authorize_id(WEB)
    server = grpc.server(
        ThreadPoolExecutor(4),
        interceptors=secure.server_interceptors(source, authorizer),
        options=secure.server_options(source),
    )
    service, method = _METHOD.strip("/").split("/")
    handlers: Any = {method: grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_secure_port("127.0.0.1:0", secure.server_credentials(source, authorizer))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(_CALL_TIMEOUT)


# --- how long it takes ---------------------------------------------------------------------------


def recovery(spire: Spire, source: X509Source, *, steady: float, down: float) -> float:
    """Kill the agent, start it after a while, and measure how long after its return we are READY.

    The agent is back when its socket takes connections, and we are when a new SVID is there.

    Args:
        spire: A stack that runs.
        source: A source on its agent, READY.
        steady: Seconds that all is well before.
        down: Seconds from the agent's end to its start.

    Returns:
        The seconds between the two.
    """
    threading.Event().wait(steady)
    spire.agent.kill()
    before = source.status().updates
    until(lambda: source.status().state is not State.READY, "the source notices")
    threading.Event().wait(down)
    with ThreadPoolExecutor(2) as pool:
        back = pool.submit(_time_of_return, spire)
        starting = pool.submit(spire.agent.start)
        until(
            lambda: source.status().state is State.READY and source.status().updates > before,
            "READY with a new SVID",
            look=_CLOSE_LOOK,
        )
        ready = time.monotonic()
        starting.result(DEADLINE)
        return ready - back.result(DEADLINE)


def _time_of_return(spire: Spire) -> float:
    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(spire.workload_socket))
            return True
        return False

    until(answers, "the agent takes connections", look=_CLOSE_LOOK)
    return time.monotonic()


def main() -> int:
    """Measure it so many times, and print all, then the median, the 95th percentile, the longest."""
    parser = argparse.ArgumentParser(description="How long a source takes to recover.")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--steady", type=float, default=1.5, help="seconds before the agent's end")
    parser.add_argument("--down", type=float, default=0.0, help="seconds that the agent is away")
    options = parser.parse_args()
    with Spire() as spire:
        spire.create_entry(str(WEB), wait=DEADLINE)
        with X509Source(spire.endpoint) as source:
            source.wait_ready(timeout=DEADLINE)
            took = [
                recovery(spire, source, steady=options.steady, down=options.down)
                for _ in range(options.times)
            ]
    sys.stdout.write(" ".join(f"{each:.3f}" for each in took) + "\n")
    took.sort()
    p95 = took[math.ceil(0.95 * len(took)) - 1]
    sys.stdout.write(
        f"{len(took)} outages of {options.down:g} s and the agent's start: a new SVID after its"
        f" return within p50 {statistics.median(took):.3f} s, p95 {p95:.3f} s, max {took[-1]:.3f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
