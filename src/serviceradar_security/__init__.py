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

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serviceradar_security.config.config_watch import ConfigWatch
    from serviceradar_security.config.load import load_config
    from serviceradar_security.config.overlay import apply_overlay
    from serviceradar_security.config.rbac import RbacPolicy
    from serviceradar_security.config.security import SecurityConfig
    from serviceradar_security.config.strip import strip_protected
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
        authorize_any,
        authorize_id,
        authorize_member_of,
        authorize_one_of,
        authorize_path_prefix,
    )
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.combine import all_of, any_of, none_of
    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.identity.verify import verify_x509_svid
    from serviceradar_security.provider import SecurityProvider
    from serviceradar_security.workload.endpoint import WorkloadEndpoint
    from serviceradar_security.workload.file_source import FileSource
    from serviceradar_security.workload.source import X509Source
    from serviceradar_security.workload.static import StaticSource
    from serviceradar_security.workload.watch import SourceStatus

__all__ = [
    "ConfigError",
    "ConfigWatch",
    "FileSource",
    "NoIdentityIssuedError",
    "OverlayRefusedError",
    "PeerError",
    "PeerNotAuthorizedError",
    "PeerVerificationError",
    "RbacPolicy",
    "SecurityConfig",
    "SecurityError",
    "SecurityProvider",
    "SourceClosedError",
    "SourceError",
    "SourceStatus",
    "SourceTimeoutError",
    "SpiffeId",
    "SpiffeIdError",
    "StaticSource",
    "TrustBundle",
    "TrustBundleError",
    "TrustDomain",
    "WorkloadApiError",
    "WorkloadEndpoint",
    "X509Context",
    "X509Source",
    "X509Svid",
    "X509SvidError",
    "all_of",
    "any_of",
    "apply_overlay",
    "authorize_any",
    "authorize_id",
    "authorize_member_of",
    "authorize_one_of",
    "authorize_path_prefix",
    "load_config",
    "none_of",
    "strip_protected",
    "verify_x509_svid",
]

_ROOMS = {
    "config.config_watch": ("ConfigWatch",),
    "config.load": ("load_config",),
    "config.overlay": ("apply_overlay",),
    "config.rbac": ("RbacPolicy",),
    "config.security": ("SecurityConfig",),
    "config.strip": ("strip_protected",),
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
        "authorize_any",
        "authorize_id",
        "authorize_member_of",
        "authorize_one_of",
        "authorize_path_prefix",
    ),
    "identity.bundle": ("TrustBundle",),
    "identity.combine": ("all_of", "any_of", "none_of"),
    "identity.context": ("X509Context",),
    "identity.spiffe_id": ("SpiffeId", "TrustDomain"),
    "identity.svid": ("X509Svid",),
    "identity.verify": ("verify_x509_svid",),
    "provider": ("SecurityProvider",),
    "workload.endpoint": ("WorkloadEndpoint",),
    "workload.file_source": ("FileSource",),
    "workload.source": ("X509Source",),
    "workload.static": ("StaticSource",),
    "workload.watch": ("SourceStatus",),
}

# A library adds no output of its own: the application decides what is shown.
logging.getLogger(__name__).addHandler(logging.NullHandler())

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
