"""``monitoring.PollerService``: what generated gRPC code would hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import grpc

from examples.monitoring.monitoring_pb2 import (
    PollerStatusChunk,
    PollerStatusRequest,
    PollerStatusResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "monitoring.PollerService"


class PollerService(Protocol):
    """The two calls that a core answers."""

    def report_status(
        self, request: PollerStatusRequest, context: grpc.ServicerContext
    ) -> PollerStatusResponse:
        """Take a small report."""
        ...

    def stream_status(
        self, chunks: Iterator[PollerStatusChunk], context: grpc.ServicerContext
    ) -> PollerStatusResponse:
        """Take a large one, in chunks."""
        ...


def handlers(service: PollerService) -> grpc.GenericRpcHandler:
    """Bind a service to its method names."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "ReportStatus": grpc.unary_unary_rpc_method_handler(
                service.report_status,
                PollerStatusRequest.FromString,
                PollerStatusResponse.SerializeToString,
            ),
            "StreamStatus": grpc.stream_unary_rpc_method_handler(
                service.stream_status,
                PollerStatusChunk.FromString,
                PollerStatusResponse.SerializeToString,
            ),
        },
    )


class PollerServiceStub:
    """The same two calls, from a poller's side."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Bind the calls to a channel."""
        self.report_status = channel.unary_unary(
            f"/{SERVICE}/ReportStatus",
            PollerStatusRequest.SerializeToString,
            PollerStatusResponse.FromString,
        )
        self.stream_status = channel.stream_unary(
            f"/{SERVICE}/StreamStatus",
            PollerStatusChunk.SerializeToString,
            PollerStatusResponse.FromString,
        )
