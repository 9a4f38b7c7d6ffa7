"""Workload identity for Python services, by SPIFFE.

A service opens a `SecurityProvider` on the security block of its configuration, and gets from it
its rotating identity, gRPC channels that verify the server's SPIFFE ID, and servers that know
their callers by SPIFFE ID::

    config = load_config("/etc/serviceradar/poller.json")
    with SecurityProvider.open(config.security) as security:
        security.wait_ready(timeout=30)
        with security.grpc_channel("core:50052") as channel:
            ...

Names are imported on first use: `SpiffeId` alone costs no gRPC, no asyncio and no pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serviceradar_security.errors import (
        ConfigError,
        NoIdentityIssuedError,
        OverlayRefusedError,
        PeerError,
        PeerNotAuthorizedError,
        PeerVerificationError,
        SecurityError,
        SourceClosedError,
        SourceError,
        SourceTimeoutError,
        SpiffeIdError,
        TrustBundleError,
        WorkloadApiError,
        X509SvidError,
    )
    from serviceradar_security.identity.authorizer import (
        Authorizer,
        authorize_any,
        authorize_id,
        authorize_member_of,
        authorize_one_of,
    )
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.identity.verify import verify_x509_svid

__all__ = [
    "Authorizer",
    "ConfigError",
    "NoIdentityIssuedError",
    "OverlayRefusedError",
    "PeerError",
    "PeerNotAuthorizedError",
    "PeerVerificationError",
    "SecurityError",
    "SourceClosedError",
    "SourceError",
    "SourceTimeoutError",
    "SpiffeId",
    "SpiffeIdError",
    "TrustBundle",
    "TrustBundleError",
    "TrustDomain",
    "WorkloadApiError",
    "X509Context",
    "X509Svid",
    "X509SvidError",
    "authorize_any",
    "authorize_id",
    "authorize_member_of",
    "authorize_one_of",
    "verify_x509_svid",
]

_ROOMS = {
    "errors": (
        "ConfigError",
        "NoIdentityIssuedError",
        "OverlayRefusedError",
        "PeerError",
        "PeerNotAuthorizedError",
        "PeerVerificationError",
        "SecurityError",
        "SourceClosedError",
        "SourceError",
        "SourceTimeoutError",
        "SpiffeIdError",
        "TrustBundleError",
        "WorkloadApiError",
        "X509SvidError",
    ),
    "identity.authorizer": (
        "Authorizer",
        "authorize_any",
        "authorize_id",
        "authorize_member_of",
        "authorize_one_of",
    ),
    "identity.bundle": ("TrustBundle",),
    "identity.context": ("X509Context",),
    "identity.spiffe_id": ("SpiffeId", "TrustDomain"),
    "identity.svid": ("X509Svid",),
    "identity.verify": ("verify_x509_svid",),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
