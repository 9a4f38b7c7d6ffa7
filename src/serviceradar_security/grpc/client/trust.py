"""The kinds of trust that gRPC core can be given, and what a snapshot of each kind holds for it.

Where peers have SPIFFE IDs it is a bundle map, and core holds each server against the bundle of
its own trust domain. Where they have host names it is a file of roots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import X509SvidError
from serviceradar_security.grpc.client.bundle_map import (
    BundleMap,
    render_bundle_map,
    render_roots,
)
from serviceradar_security.grpc.nobody import nobody
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.credentials import TlsCredentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.svid import X509Svid

__all__ = ["HOSTS", "SPIFFE", "TrustKind", "identity_of", "trust_of"]


@dataclass(frozen=True, slots=True)
class TrustKind:
    """One kind of trust.

    Attributes:
        setting: How core's certificate provider calls the file.
        snapshot: The type of what a source of this kind gives.
        nothing: Gives what a file holds that trusts nobody, and of which core does not complain.
    """

    setting: str
    snapshot: type[X509Context | TlsCredentials]
    nothing: Callable[[], bytes]


SPIFFE: Final = TrustKind(
    "spiffe_bundle_map_file",
    X509Context,
    lambda: render_bundle_map({}).data,
)
HOSTS: Final = TrustKind(
    "ca_certificate_file",
    TlsCredentials,
    lambda: nobody().certificate,
)


def identity_of(found: X509Context | TlsCredentials) -> X509Svid | TlsCredentials | None:
    """Give the chain and key to show; None if there are none."""
    try:
        return found.default
    except X509SvidError:
        return None


def trust_of(found: X509Context | TlsCredentials) -> BundleMap:
    """Give the file of trust that a snapshot asks for."""
    if isinstance(found, TlsCredentials):
        return render_roots(found.authorities)
    return render_bundle_map(found.bundles)
