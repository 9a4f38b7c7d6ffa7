"""gRPC: servers that know their callers, and channels that verify the server's SPIFFE ID.

For: ``grpcio``, sync and asyncio (extra ``grpc``). Must not touch other stacks, sources or
configuration: it takes anything that gives the current `X509Context`.
"""

from __future__ import annotations

try:
    import grpc as _grpc  # noqa: F401 - only to say what is missing
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.grpc needs grpcio: pip install 'serviceradar-security[grpc]'",
    ) from _missing

from serviceradar_security.grpc.client import aio_channel, channel
from serviceradar_security.grpc.interceptors import (
    CallDecision,
    CallPolicy,
    aio_server_interceptors,
    peer_id,
    server_interceptors,
)
from serviceradar_security.grpc.server import server_credentials, server_options

__all__ = [
    "CallDecision",
    "CallPolicy",
    "aio_channel",
    "aio_server_interceptors",
    "channel",
    "peer_id",
    "server_credentials",
    "server_interceptors",
    "server_options",
]
