"""One call of the Workload API through the client of ``spiffe``, and how it ended.

Each has a deadline and a channel of its own. gRPC core does not survive a fork of a process that
used it, so in such a child a call is refused at once instead of hanging.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from spiffe.errors import PySpiffeError
from spiffe.workloadapi.workload_api_client import WorkloadApiClient

from serviceradar_security._grpc_core import has_core_threads
from serviceradar_security.errors import NoIdentityIssuedError, SecurityError, WorkloadApiError
from serviceradar_security.workload.failure import ADVICE, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serviceradar_security.workload.endpoint import WorkloadEndpoint

__all__ = ["Exchange"]

_PAST: Final = 0.5  # seconds; the deadline comes first, and says more
_KINDS: Final = {
    "UNAVAILABLE": Kind.UNREACHABLE,
    "PERMISSION_DENIED": Kind.DENIED,
    "INVALID_ARGUMENT": Kind.FATAL,  # Workload Endpoint, appendix A: not tried again
    "UNIMPLEMENTED": Kind.FATAL,
}
_MAX_DETAILS: Final = 200
_LEAST_SECRET: Final = 8  # characters; shorter parts of a token are words of any text
_FORKED: Final = (
    "gRPC core does not work in a process that was forked from one that used it, and JWT-SVIDs "
    "need it: fork before gRPC is used, or start workers with spawn or forkserver"
)


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None


class _Answers(grpc.UnaryUnaryClientInterceptor):
    """Send the header that the Workload API asks for, and keep what came back.

    The answer says more than the result that `spiffe` makes of it.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Any],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        """Make the call with our header alone, and keep its outcome."""
        details = _CallDetails(
            client_call_details.method,
            client_call_details.timeout,
            (("workload.spiffe.io", "true"),),  # R-WLAPI-01
            client_call_details.credentials,
        )
        outcome = continuation(details, request)
        self.calls.append(outcome)
        return outcome


class _Client(WorkloadApiClient):
    """The client of ``spiffe`` on a channel of ours, which shows its answers and ends in time.

    Should a version make its channel otherwise, there are no answers, and `Exchange` refuses.
    """

    def __init__(self, endpoint: WorkloadEndpoint, seconds: float, answers: _Answers) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        self._answers = answers
        super().__init__(f"unix:{endpoint.path}")

    def _get_spiffe_grpc_channel(self) -> grpc.Channel:
        options = (
            ("grpc.enable_http_proxy", 0),  # R-EP-13
            ("grpc.use_local_subchannel_pool", 1),  # nothing is shared with the application
            # How long core waits for the first bytes of whoever listens there, also after the
            # channel was closed: 20 s unless told, and here no more than just past the deadline.
            ("grpc.min_reconnect_backoff_ms", int((self._seconds + _PAST) * 1000)),
        )
        return grpc.intercept_channel(
            grpc.insecure_channel(self._endpoint.grpc_target, options),
            self._answers,
        )


class Exchange:
    """One call and how it ended: an answer, or a code with details; and what `spiffe` raised."""

    def __init__(self, endpoint: WorkloadEndpoint, seconds: float, *, token: str = "") -> None:
        self.endpoint = endpoint
        self.seconds = seconds
        self.answer: Any = None
        self.code: str = ""
        self.details: str = ""
        self.error: Exception | None = None
        self._token = token

    def run(self, call: Callable[[Any], object]) -> None:
        """Make the call and close the client.

        Raises:
            WorkloadApiError: There is no such socket.
            SecurityError: This version of ``spiffe`` does not show its answers, or the process was
                forked from one that used gRPC.
        """
        if _PROCESS.is_forked:
            raise SecurityError(_FORKED)
        answers = _Answers()
        try:
            client = _Client(self.endpoint, self.seconds, answers)
        except PySpiffeError as error:
            raise WorkloadApiError(
                f"no Workload API at {self.endpoint}: {ADVICE[Kind.UNREACHABLE]}",
            ) from error
        try:
            call(client)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the exchange has failed
            self.error = error
        finally:
            client.close()
        if len(answers.calls) != 1:
            raise SecurityError(
                "this version of the package spiffe does not show what the Workload API answered: "
                "install a version that this library was tested with",
            ) from self.cause
        (outcome,) = answers.calls
        self.code = outcome.code().name
        if self.code == "OK":
            self.code, self.answer = "", outcome.result()
        else:
            self.details = self._cleaned(str(outcome.details() or ""))

    @property
    def cause(self) -> Exception | None:
        """What was raised, unless the token could be read in it."""
        seen: BaseException | None = self.error
        while seen is not None:
            if any(part in f"{seen!r} {seen}" for part in self._secrets()):
                return None
            seen = seen.__cause__ or seen.__context__
        return self.error

    def keep_secret(self, token: str) -> None:
        """Name a token that came, so that no cause shows it."""
        self._token = token

    def _secrets(self) -> list[str]:
        parts = (self._token, *self._token.split("."))
        return [each for each in parts if len(each) >= _LEAST_SECRET]

    def _cleaned(self, text: str) -> str:
        for part in self._secrets():
            text = text.replace(part, "…")
        line = ascii(text)[1:-1] if not text.isprintable() else text
        return f" ({line[:_MAX_DETAILS]})" if line else ""

    def failure(self) -> WorkloadApiError:
        """Say how the exchange failed; `code` is not empty."""
        code = self.code
        kind = _KINDS.get(code, Kind.FAILED)
        if code == "DEADLINE_EXCEEDED":
            what = f"did not answer within {self.seconds:g} s"
        elif kind is Kind.UNREACHABLE:
            what = f"cannot be reached{self.details}"
        elif kind is Kind.DENIED:
            what = f"issues no such identity to this workload{self.details}"
        else:
            what = f"answered {code}{self.details}"
        text = f"the Workload API at {self.endpoint} {what}: {ADVICE[kind]}"
        error = (
            NoIdentityIssuedError(text, code=code)
            if kind is Kind.DENIED
            else WorkloadApiError(text, code=code, retryable=kind is not Kind.FATAL)
        )
        error.__cause__ = self.cause
        return error


# ---- forks -------------------------------------------------------------------------------------


class _Process:
    """What this process knows of gRPC core in the one that it was forked from."""

    def __init__(self) -> None:
        self.used_grpc: bool = False
        self.is_forked: bool = False


_PROCESS: Final = _Process()


def _look_before_fork() -> None:
    _PROCESS.used_grpc = has_core_threads()


def _after_fork_in_child() -> None:
    _PROCESS.is_forked = _PROCESS.is_forked or _PROCESS.used_grpc


os.register_at_fork(before=_look_before_fork, after_in_child=_after_fork_in_child)
