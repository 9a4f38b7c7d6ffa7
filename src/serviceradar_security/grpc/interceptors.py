"""Server interceptors that verify the peer before any handler, sync and asyncio.

The verdict comes before the first message is read, unary or streamed. Put them first: what stands
before them sees peers that are not verified.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from serviceradar_security.errors import (
    PeerNotAuthorizedError,
    PeerVerificationError,
    SecurityError,
)
from serviceradar_security.grpc.verdict import Judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509ContextSource
    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = ["aio_server_interceptors", "peer_id", "server_interceptors"]

_KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def server_interceptors(
    source: X509ContextSource,
    authorizer: Authorizer,
) -> list[grpc.ServerInterceptor]:
    """Make the interceptors of a ``grpc.server``.

    A peer that is not verified gets UNAUTHENTICATED, one that is not authorized
    PERMISSION_DENIED, and while we have nothing to judge by, everybody UNAVAILABLE.

    Args:
        source: Gives the bundles.
        authorizer: Decides on proven IDs.
    """
    return [_Interceptor(Judge(source, authorizer, purpose="client"))]


def aio_server_interceptors(
    source: X509ContextSource,
    authorizer: Authorizer,
) -> list[grpc.aio.ServerInterceptor]:
    """Make the interceptors of a ``grpc.aio.server``; as `server_interceptors`."""
    return [_AioInterceptor(Judge(source, authorizer, purpose="client"))]


def peer_id(context: grpc.ServicerContext | grpc.aio.ServicerContext[Any, Any]) -> SpiffeId:
    """Give the caller's verified SPIFFE ID, in a handler or an inner interceptor (R-TLS-13).

    Raises:
        PeerVerificationError: No interceptor of this library verified the peer.
    """
    if isinstance(context, _VerifiedContext):
        return context.serviceradar_security_peer
    raise PeerVerificationError(
        "the peer of this call was not verified: give the server the interceptors of "
        "serviceradar_security.grpc.server_interceptors, before all others",
        reason="no_certificate",
    )


class _VerifiedContext:
    """A servicer context that knows its peer; all else is the context's own."""

    def __init__(self, context: Any, peer: SpiffeId) -> None:
        self._context = context
        self.serviceradar_security_peer = peer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


grpc.ServicerContext.register(_VerifiedContext)
grpc.aio.ServicerContext.register(_VerifiedContext)


def _status(error: SecurityError) -> tuple[grpc.StatusCode, str]:
    """Tell the peer about itself, and nothing of whom we expected."""
    if isinstance(error, PeerNotAuthorizedError):
        text = f"{error.spiffe_id} is not authorized to call this service"
        return grpc.StatusCode.PERMISSION_DENIED, text
    if isinstance(error, PeerVerificationError):
        text = f"your identity could not be verified ({error.reason})"
        return grpc.StatusCode.UNAUTHENTICATED, text
    return grpc.StatusCode.UNAVAILABLE, "this service has no identity to judge its callers by"


class _Interceptor(grpc.ServerInterceptor):
    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        # Strangers do not learn which methods there are: they are judged before the answer.
        handler = continuation(handler_call_details) or _unknown(_unimplemented)
        kind, behavior = _behavior(handler)
        return _rebuilt(handler, kind, _guard(self._judge, kind, behavior))


class _AioInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            Awaitable[grpc.RpcMethodHandler[Any, Any] | None],
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        handler = await continuation(handler_call_details) or _unknown(_unimplemented_aio)
        kind, behavior = _behavior(handler)
        if inspect.isasyncgenfunction(behavior):
            guarded = _guard_generator(self._judge, behavior)
        elif inspect.iscoroutinefunction(behavior):
            guarded = _guard_coroutine(self._judge, behavior)
        else:  # gRPC runs it in a thread, with the context of the sync API
            guarded = _guard(self._judge, kind, behavior)
        return _rebuilt(handler, kind, guarded)


def _guard(judge: Judge, kind: str, behavior: Callable[..., Any]) -> Callable[..., Any]:
    def verified(context: grpc.ServicerContext) -> _VerifiedContext:
        try:
            peer = judge.judge(context.auth_context(), context.peer())
        except SecurityError as error:
            context.abort(*_status(error))
        return _VerifiedContext(context, peer)

    def one(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, verified(context))

    def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from behavior(request, verified(context))

    return many if kind.endswith("_stream") else one


async def _verified(
    judge: Judge,
    context: grpc.aio.ServicerContext[Any, Any],
) -> _VerifiedContext:
    try:
        peer = judge.judge(context.auth_context(), context.peer())
    except SecurityError as error:
        await context.abort(*_status(error))
    return _VerifiedContext(context, peer)


def _guard_coroutine(judge: Judge, behavior: Callable[..., Any]) -> Callable[..., Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        return await behavior(request, await _verified(judge, context))

    return call


def _guard_generator(judge: Judge, behavior: Callable[..., Any]) -> Callable[..., Any]:
    async def call(
        request: Any,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[Any]:
        async for response in behavior(request, await _verified(judge, context)):
            yield response

    return call


def _unknown(behavior: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.stream_stream_rpc_method_handler(behavior)


def _behavior(handler: grpc.RpcMethodHandler[Any, Any]) -> tuple[str, Callable[..., Any]]:
    for kind in _KINDS:
        behavior = getattr(handler, kind)
        if behavior is not None:
            return kind, behavior
    raise SecurityError("a gRPC handler without a function cannot be guarded")


def _rebuilt(
    handler: grpc.RpcMethodHandler[Any, Any],
    kind: str,
    behavior: Callable[..., Any],
) -> grpc.RpcMethodHandler[Any, Any]:
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    rebuilt: grpc.RpcMethodHandler[Any, Any] = make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return rebuilt


def _unimplemented(_requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


async def _unimplemented_aio(
    _requests: Any,
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
