"""A Workload API on grpcio that answers JWT-SVID calls as a test tells it to, also wrongly."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from spiffe._proto.workload_pb2 import (
    JWTSVID,
    JWTSVIDRequest,
    JWTSVIDResponse,
    ValidateJWTSVIDRequest,
    ValidateJWTSVIDResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

ID = "spiffe://a.test/web"
OTHER_ID = "spiffe://a.test/db"
AUDIENCE = "spiffe://a.test/core"
SIGNATURE = base64.urlsafe_b64encode(b"s" * 64).rstrip(b"=").decode()


def encoded(value: object) -> str:
    """Write JSON (or bytes as they are) as base64url without padding."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def good_claims(**changes: Any) -> dict[str, Any]:
    """Give the claims of a token that lives for a minute; None takes one away."""
    now = int(time.time())
    claims = {"sub": ID, "aud": [AUDIENCE], "exp": now + 60, "iat": now, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def token_of(claims: object, header: object = None) -> str:
    """Write a token."""
    head = {"alg": "ES256", "kid": "k", "typ": "JWT"} if header is None else header
    return f"{encoded(head)}.{encoded(claims)}.{SIGNATURE}"


class Agent:
    """Serve FetchJWTSVID and ValidateJWTSVID; `fetched` and `validated` decide what comes back."""

    def __init__(self, path: Path) -> None:
        self.endpoint = f"unix://{path}"
        self.fetched: Callable[[JWTSVIDRequest], JWTSVIDResponse] = self._fetch
        self.validated: Callable[[ValidateJWTSVIDRequest], ValidateJWTSVIDResponse] = (
            lambda request: ValidateJWTSVIDResponse(spiffe_id=ID)
        )
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.silence = threading.Event()  # calls wait until it is set
        self.silence.set()
        self.calls: list[tuple[str, dict[str, Any], Any, float]] = []
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "SpiffeWorkloadAPI",
                    {
                        "FetchJWTSVID": self._handler("fetched", JWTSVIDRequest),
                        "ValidateJWTSVID": self._handler("validated", ValidateJWTSVIDRequest),
                    },
                ),
            ],
        )
        self._server.add_insecure_port(f"unix:{path}")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.silence.set()
        self._server.stop(None).wait()
        self._pool.shutdown()

    def give(self, token: str, *, spiffe_id: str = ID, hint: str = "") -> None:
        """Give this token to whoever fetches."""
        answer = JWTSVIDResponse(svids=[JWTSVID(spiffe_id=spiffe_id, svid=token, hint=hint)])
        self.fetched = lambda request: answer

    def _fetch(self, request: JWTSVIDRequest) -> JWTSVIDResponse:
        spiffe_id = request.spiffe_id or ID
        token = token_of(good_claims(sub=spiffe_id, aud=sorted(request.audience)))
        return JWTSVIDResponse(svids=[JWTSVID(spiffe_id=spiffe_id, svid=token, hint="internal")])

    def _handler(self, name: str, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
        def serve(message: Any, context: grpc.ServicerContext) -> Any:
            metadata = {str(key): value for key, value in context.invocation_metadata()}
            self.calls.append((name, metadata, message, context.time_remaining()))
            self.silence.wait(30)
            if self.failure is not None:
                context.abort(*self.failure)
            return getattr(self, name)(message)

        return grpc.unary_unary_rpc_method_handler(
            serve,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
