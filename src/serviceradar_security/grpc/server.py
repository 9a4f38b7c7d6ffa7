"""gRPC server credentials that follow a source, handshake by handshake."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric import ed25519

from serviceradar_security.errors import SecurityError, SourceError, X509SvidError
from serviceradar_security.grpc.nobody import nobody
from serviceradar_security.identity.credentials import TlsCredentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509Context, X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentialsSource
    from serviceradar_security.identity.svid import X509Svid

__all__ = ["server_credentials", "server_options", "tls_server_credentials"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_NOMINAL_LIFE: Final = timedelta(hours=1)  # SPIRE's default life of an X.509-SVID
_MIN_AGE: Final = timedelta(seconds=5)
_MAX_AGE: Final = timedelta(days=1)  # as of the Go services, whatever the life of a certificate
# Go clients ping every 120 s on silent streams; without this, grpcio hangs up after a few.
_MIN_PING_INTERVAL_MS: Final = 60_000


def server_credentials(
    source: X509ContextSource,
    authorizer: Authorizer,
) -> grpc.ServerCredentials:
    """Make server credentials that use the newest SVID and roots at each handshake.

    A client certificate is always required. Only the roots of those trust domains are loaded that
    the authorizer could accept. TLS alone does not know SPIFFE IDs: give the server the
    interceptors of `server_interceptors` as well, which verify and authorize the peer.

    While the source has no valid identity every handshake fails, and none is served with an old
    one. So it is with an Ed25519 key, which gRPC core cannot use.

    Args:
        source: Gives our identity and the bundles.
        authorizer: Bounds the trust domains whose clients may connect.
    """
    return _dynamic(_Fetcher(source, lambda context: _spiffe_material(context, authorizer)))


def tls_server_credentials(source: TlsCredentialsSource) -> grpc.ServerCredentials:
    """Make server credentials of plain mutual TLS that use the newest files at each handshake.

    A client certificate is always required, and must lead to the source's authorities of clients.
    Give the server the interceptors of `tls_server_interceptors` as well, which verify the peer
    again by the rules of this library. While the source has no valid certificate every handshake
    fails.

    Args:
        source: Gives our certificate and the authorities.
    """
    return _dynamic(_Fetcher(source, _tls_material))


def _dynamic(fetch: _Fetcher[Any]) -> grpc.ServerCredentials:
    return grpc.dynamic_ssl_server_credentials(
        fetch(),
        fetch,
        require_client_authentication=True,
    )


def server_options(
    source: X509ContextSource | TlsCredentialsSource | None = None,
) -> list[tuple[str, int]]:
    """Give the options that a server of this library should have.

    A connection is asked to end after half the life of an SVID, and its streams are ended after
    three quarters; after a day and a day and a half, if that is sooner. TLS looks at certificates
    only when a connection begins, so its age must be bounded. Clients reconnect without a failed
    call. Pings of Go clients on silent streams are tolerated.

    Args:
        source: Tells the life of our SVIDs; without one, or before it is ready, an hour is taken.
    """
    life = _NOMINAL_LIFE
    if source is not None:
        try:
            shown = source.current().default
            life = shown.not_after - shown.not_before
        except Exception as error:  # noqa: BLE001 - as at a handshake: it may recover
            _LOG.debug("no identity yet (%s): ages for SVIDs of an hour", type(error).__name__)
    age = min(max(life / 2, _MIN_AGE), _MAX_AGE)
    return [
        ("grpc.max_connection_age_ms", int(age.total_seconds() * 1000)),
        ("grpc.max_connection_age_grace_ms", int((age / 2).total_seconds() * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
    ]


SnapshotT = TypeVar("SnapshotT")
SnapshotT_co = TypeVar("SnapshotT_co", covariant=True)


class _Source(Protocol[SnapshotT_co]):
    def current(self) -> SnapshotT_co: ...


@dataclass(frozen=True, slots=True)
class _Material:
    """What a handshake shows, and the roots in PEM that the peer's chain must lead to."""

    identity: X509Svid | TlsCredentials = field(repr=False)
    roots: bytes

    @property
    def title(self) -> str:
        """What to call the identity in a message."""
        shown = self.identity
        return shown.title if isinstance(shown, TlsCredentials) else str(shown.spiffe_id)


class _Fetcher(Generic[SnapshotT]):
    """Give gRPC core what each handshake uses.

    The configuration is given every time and never "unchanged": one credentials object may serve
    several ports, and each port keeps what it was given last.
    """

    def __init__(
        self,
        source: _Source[SnapshotT],
        material: Callable[[SnapshotT], _Material],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._material = material
        self._now = now
        self._lock = threading.Lock()
        self._made: tuple[SnapshotT, _Material, grpc.ServerCertificateConfiguration] | None = None
        self._said = ""

    def __call__(self) -> grpc.ServerCertificateConfiguration:
        try:
            return self._configuration(self._source.current())
        except SecurityError as error:
            text = str(error)
        except Exception as error:  # noqa: BLE001 - gRPC core would go on with the old identity
            text = f"unexpected {type(error).__name__}"
        # On an error gRPC core would keep what it has; a configuration that nobody can use ends
        # the handshake instead.
        if text != self._said:
            self._said = text
            _LOG.warning("no handshake can succeed now: %s", text)
        return _dead_end()

    def _configuration(self, snapshot: SnapshotT) -> grpc.ServerCertificateConfiguration:
        with self._lock:
            if self._made is None or self._made[0] is not snapshot:
                material = self._material(snapshot)
                _check_current(material, self._now())  # first: an expired one need not be usable
                self._made = (snapshot, material, _build(material))
            _, material, made = self._made
            _check_current(material, self._now())  # a source need not look at the clock
            self._said = ""
            return made


def _check_current(material: _Material, now: datetime) -> None:
    end = material.identity.not_after
    if end <= now:
        raise SourceError(f"the identity {material.title} expired at {end:%FT%TZ}")


def _spiffe_material(context: X509Context, authorizer: Authorizer) -> _Material:
    accepted = authorizer.trust_domains
    # Of thousands of bundles only those are read that the authorizer could accept.
    asked = tuple(context.bundles) if accepted is None else sorted(accepted)
    found = (context.bundles.get(each) for each in asked)
    return _Material(context.default, b"".join(each.to_pem() for each in found if each is not None))


def _tls_material(credentials: TlsCredentials) -> _Material:
    return _Material(credentials, credentials.client_authorities.to_pem())


def _build(material: _Material) -> grpc.ServerCertificateConfiguration:
    shown = material.identity
    if isinstance(shown.private_key, ed25519.Ed25519PrivateKey):  # R-X509-30
        raise X509SvidError(
            f"gRPC core has no Ed25519, which is the key of {material.title}: have it issued with "
            "an ECDSA P-256 or RSA key",
        )
    chain, key = shown.to_pem()
    return grpc.ssl_server_certificate_configuration(
        [(key, chain)],
        root_certificates=material.roots or nobody().certificate,
    )


def _dead_end() -> grpc.ServerCertificateConfiguration:
    """Give a configuration with which every handshake fails, on both sides."""
    key, certificate = nobody()
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)],
        root_certificates=certificate,
    )
