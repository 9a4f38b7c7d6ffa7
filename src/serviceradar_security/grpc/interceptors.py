"""Server interceptors that verify the peer before any handler, sync and asyncio.

The verdict comes before the first message is read, unary or streamed. Put them first: what stands
before them sees peers that are not verified.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import grpc.aio

from serviceradar_security.errors import (
    PeerNotAuthorizedError,
    PeerVerificationError,
    SecurityError,
)
from serviceradar_security.grpc.verdict import Judge, Nameless, TlsJudge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from serviceradar_security.grpc.verdict import ChainJudge
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentialsSource
    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = [
    "CallDecision",
    "CallPolicy",
    "aio_server_interceptors",
    "peer_id",
    "server_interceptors",
    "tls_aio_server_interceptors",
    "tls_server_interceptors",
]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_Problem = tuple[grpc.StatusCode, str]
_BAD_REQUEST: Final = (grpc.StatusCode.INTERNAL, "Exception deserializing request!")
_NO_REQUEST: Final = (grpc.StatusCode.UNIMPLEMENTED, "This method needs exactly one request.")
_NO_METHOD: Final = (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
_NO_DECISION: Final = (grpc.StatusCode.INTERNAL, "this service could not decide on the call")


class CallDecision(Protocol):
    """What a policy says of one call."""

    @property
    def allowed(self) -> bool:
        """Whether the call may pass."""
        ...

    @property
    def rule(self) -> str:
        """Which rule decided; ``unknown_method`` for one that no role may call."""
        ...

    @property
    def reason(self) -> str:
        """The rule in a sentence that is fit for the caller."""
        ...


class CallPolicy(Protocol):
    """Decide on each call of a verified peer, as `RbacPolicy` does."""

    def decide(self, spiffe_id: SpiffeId, method: str, /) -> CallDecision:
        """Decide on one call, given the caller and the full name of the method."""
        ...


def server_interceptors(
    source: X509ContextSource,
    authorizer: Authorizer,
    policy: CallPolicy | None = None,
) -> list[grpc.ServerInterceptor]:
    """Make the interceptors of a ``grpc.server``.

    A peer that is not verified gets UNAUTHENTICATED, one that is not authorized
    PERMISSION_DENIED, and while we have nothing to judge by, everybody UNAVAILABLE.

    Handlers run after the verdict. Interceptors that stand after these are asked for the handler
    before it: they see method and metadata of a call whose peer is not verified yet.

    Args:
        source: Gives the bundles.
        authorizer: Decides on proven IDs.
        policy: Decides on each call of an authorized peer, as an `RbacPolicy`. Whom it refuses
            gets PERMISSION_DENIED with its reason.
    """
    return [_Interceptor(Judge(source, authorizer, purpose="client"), policy)]


def aio_server_interceptors(
    source: X509ContextSource,
    authorizer: Authorizer,
    policy: CallPolicy | None = None,
) -> list[grpc.aio.ServerInterceptor]:
    """Make the interceptors of a ``grpc.aio.server``; as `server_interceptors`."""
    return [_AioInterceptor(Judge(source, authorizer, purpose="client"), policy)]


def tls_server_interceptors(
    source: TlsCredentialsSource,
    authorizer: Authorizer | None = None,
    policy: CallPolicy | None = None,
) -> list[grpc.ServerInterceptor]:
    """Make the interceptors of a ``grpc.server`` of plain mutual TLS; as `server_interceptors`.

    Every peer's chain is verified again. A peer has a SPIFFE ID where the source names a trust
    domain and the certificate an ID of it. Others are let in without one, unless an authorizer or
    a policy is given: these ask for an ID.

    Args:
        source: Gives the authorities, and the trust domain that they stand for.
        authorizer: Decides on proven IDs.
        policy: Decides on each call, as for `server_interceptors`.
    """
    return [_Interceptor(_tls_judge(source, authorizer, policy), policy)]


def tls_aio_server_interceptors(
    source: TlsCredentialsSource,
    authorizer: Authorizer | None = None,
    policy: CallPolicy | None = None,
) -> list[grpc.aio.ServerInterceptor]:
    """Make the interceptors of a ``grpc.aio.server``; as `tls_server_interceptors`."""
    return [_AioInterceptor(_tls_judge(source, authorizer, policy), policy)]


def _tls_judge(
    source: TlsCredentialsSource,
    authorizer: Authorizer | None,
    policy: CallPolicy | None,
) -> TlsJudge:
    return TlsJudge(source, authorizer, needs_id=policy is not None, purpose="client")


def peer_id(context: grpc.ServicerContext | grpc.aio.ServicerContext[Any, Any]) -> SpiffeId:
    """Give the caller's verified SPIFFE ID, in a handler or an inner interceptor (R-TLS-13).

    Raises:
        PeerVerificationError: No interceptor of this library verified the peer; or it was
            verified by plain mutual TLS, and has no SPIFFE ID.
    """
    if isinstance(context, _VerifiedContext):
        peer = context.serviceradar_security_peer
        if isinstance(peer, Nameless):
            raise peer.error()
        return peer
    raise PeerVerificationError(
        "the peer of this call was not verified: give the server the grpc_server_interceptors() of "
        "the provider (grpc_aio_server_interceptors() for asyncio), or without a provider "
        "server_interceptors of serviceradar_security.grpc for X.509-SVIDs and "
        "tls_server_interceptors for plain mutual TLS, before all others",
        reason="no_certificate",
    )


class _VerifiedContext:
    """A servicer context that knows its peer; all else is the context's own."""

    def __init__(self, context: Any, peer: SpiffeId | Nameless) -> None:
        self._context = context
        self.serviceradar_security_peer = peer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


grpc.ServicerContext.register(_VerifiedContext)
grpc.aio.ServicerContext.register(_VerifiedContext)


def _status(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Tell the peer about itself, and nothing of whom we expected."""
    if isinstance(error, PeerNotAuthorizedError):
        text = f"{error.spiffe_id} is not authorized to call this service"
        return grpc.StatusCode.PERMISSION_DENIED, text
    if isinstance(error, PeerVerificationError):
        text = f"your identity could not be verified ({error.reason})"
        return grpc.StatusCode.UNAUTHENTICATED, text
    return grpc.StatusCode.UNAVAILABLE, "this service has no identity to judge its callers by"


class _Interceptor(grpc.ServerInterceptor):
    def __init__(self, judge: ChainJudge[Any], policy: CallPolicy | None = None) -> None:
        self._judge = judge
        self._policy = policy

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        # Strangers do not learn which methods there are: they are judged before the answer.
        found = continuation(handler_call_details)
        handler = found or _unknown(_unimplemented)
        call = _Call(self._judge, self._policy, handler_call_details.method, found is not None)
        return _rebuilt(handler, _guard(call, handler, _behavior(handler)))


class _AioInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, judge: ChainJudge[Any], policy: CallPolicy | None = None) -> None:
        self._judge = judge
        self._policy = policy

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            Awaitable[grpc.RpcMethodHandler[Any, Any] | None],
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        found = await continuation(handler_call_details)
        handler = found or _unknown(_unimplemented_aio)
        call = _Call(self._judge, self._policy, handler_call_details.method, found is not None)
        behavior = _behavior(handler)
        is_async = inspect.isasyncgenfunction(behavior) or inspect.iscoroutinefunction(behavior)
        # gRPC runs others in a thread, with the context of the sync API.
        guard = _guard_aio if is_async else _guard
        return _rebuilt(handler, guard(call, handler, behavior))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: who judges its peer, what it asks for, and whether there is such a method."""

    judge: ChainJudge[Any]
    policy: CallPolicy | None
    method: str
    is_implemented: bool

    def admit(self, context: Any) -> tuple[SpiffeId | Nameless | None, _Problem | None]:
        """Give the verified peer, or how to refuse the call."""
        try:
            peer = self.judge.judge(context.auth_context(), context.peer())
        except Exception as error:  # noqa: BLE001 - whatever it is, the peer is not verified
            return None, _status(error)
        return peer, self._refusal(peer)

    def _refusal(self, peer: SpiffeId | Nameless) -> _Problem | None:
        if self.policy is None:
            return None
        if isinstance(peer, Nameless):  # whom the judge of a server with a policy never lets in
            return _NO_DECISION
        try:
            decision = self.policy.decide(peer, self.method)
            allowed, rule, reason = decision.allowed, decision.rule, decision.reason
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing allowed the call
            _LOG.error(
                "the policy failed with %s: refused", type(error).__name__
            )  # no frames in the record
            return _NO_DECISION
        if allowed is True:
            return None
        # To somebody with a role a method that nobody wrote is not a forbidden one.
        if rule == "unknown_method" and not self.is_implemented:
            return _NO_METHOD
        return grpc.StatusCode.PERMISSION_DENIED, reason


def _guard(
    call: _Call,
    handler: grpc.RpcMethodHandler[Any, Any],
    behavior: Callable[..., Any],
) -> Callable[..., Any]:
    def arguments(
        requests: Iterator[Any],
        context: grpc.ServicerContext,
    ) -> tuple[Any, _VerifiedContext]:
        peer, refusal = call.admit(context)
        if peer is None or refusal:
            context.abort(*(refusal or _NO_DECISION))
        if handler.request_streaming:
            return requests, _VerifiedContext(context, peer)
        for data in requests:
            request, problem = _read(handler, data)
            break
        else:
            request, problem = None, _NO_REQUEST
        if problem:
            context.abort(*problem)
        return request, _VerifiedContext(context, peer)

    def one(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return behavior(*arguments(requests, context))

    def many(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield from behavior(*arguments(requests, context))

    return many if handler.response_streaming else one


def _guard_aio(
    call: _Call,
    handler: grpc.RpcMethodHandler[Any, Any],
    behavior: Callable[..., Any],
) -> Callable[..., Any]:
    async def arguments(
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> tuple[Any, _VerifiedContext]:
        peer, refusal = call.admit(context)
        if peer is None or refusal:
            await context.abort(*(refusal or _NO_DECISION))
        if handler.request_streaming:
            return requests, _VerifiedContext(context, peer)
        data = await context.read()
        request, problem = (None, _NO_REQUEST) if data is grpc.aio.EOF else _read(handler, data)
        if problem:
            await context.abort(*problem)
        return request, _VerifiedContext(context, peer)

    async def one(
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Any:
        return await behavior(*await arguments(requests, context))

    async def many(
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[Any]:
        # Closed with us, and not when the garbage collector comes by.
        async with contextlib.aclosing(behavior(*await arguments(requests, context))) as responses:
            async for response in responses:
                yield response

    return many if inspect.isasyncgenfunction(behavior) else one


def _read(handler: grpc.RpcMethodHandler[Any, Any], data: bytes) -> tuple[Any, _Problem | None]:
    """Read the one request of a unary call, which gRPC would do before the verdict."""
    try:
        return (handler.request_deserializer(data) if handler.request_deserializer else data), None
    except Exception as error:  # noqa: BLE001 - as gRPC does: the fault is the caller's
        _LOG.warning("a request cannot be read: %s", type(error).__name__)
        return None, _BAD_REQUEST


def _unknown(behavior: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.stream_stream_rpc_method_handler(behavior)


def _behavior(handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
    """Give the function that gRPC would call."""
    kinds = ("unary", "stream")
    name = f"{kinds[handler.request_streaming]}_{kinds[handler.response_streaming]}"
    behavior: Callable[..., Any] | None = getattr(handler, name)
    if behavior is None:
        raise SecurityError(f"a gRPC handler without its function {name!r} cannot be guarded")
    return behavior


def _rebuilt(
    handler: grpc.RpcMethodHandler[Any, Any],
    behavior: Callable[..., Any],
) -> grpc.RpcMethodHandler[Any, Any]:
    """Make a handler that takes a stream, whatever it was before.

    Of a unary call gRPC would wait for the request and read it before anybody is judged: refused
    peers could feed the application's parser, and tell by the answers which methods there are.
    """
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.stream_unary_rpc_method_handler
    )
    return make(
        behavior,
        request_deserializer=handler.request_deserializer if handler.request_streaming else None,
        response_serializer=handler.response_serializer,
    )


def _unimplemented(_requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    context.abort(*_NO_METHOD)


async def _unimplemented_aio(
    _requests: Any,
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    await context.abort(*_NO_METHOD)
