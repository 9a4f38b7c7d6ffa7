"""gRPC: servers that know their callers, and channels that verify their servers.

For: ``grpcio``, sync and asyncio (extra ``grpc``). Must not touch other stacks, sources or
configuration: it takes anything that gives the current `X509Context`, or `TlsCredentials` where
plain mutual TLS is spoken and servers are known by host name.
"""

from __future__ import annotations

try:
    import grpc as _grpc  # noqa: F401 - only to say what is missing
except ImportError as _missing:
    raise ImportError(
        "serviceradar_security.grpc needs grpcio: pip install 'serviceradar-security[grpc]'",
    ) from _missing

from serviceradar_security.grpc.client import (
    aio_channel,
    channel,
    host_aio_channel,
    host_channel,
)
from serviceradar_security.grpc.interceptors import (
    CallDecision,
    CallPolicy,
    aio_server_interceptors,
    peer_id,
    server_interceptors,
    tls_aio_server_interceptors,
    tls_server_interceptors,
)
from serviceradar_security.grpc.server import (
    server_credentials,
    server_options,
    tls_server_credentials,
)

__all__ = [
    "CallDecision",
    "CallPolicy",
    "aio_channel",
    "aio_server_interceptors",
    "channel",
    "host_aio_channel",
    "host_channel",
    "peer_id",
    "server_credentials",
    "server_interceptors",
    "server_options",
    "tls_aio_server_interceptors",
    "tls_server_credentials",
    "tls_server_interceptors",
]
