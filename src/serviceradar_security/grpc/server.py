"""gRPC server credentials that follow a source, handshake by handshake."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import grpc
from cryptography.hazmat.primitives.asymmetric import ed25519

from serviceradar_security.errors import SecurityError, SourceError, X509SvidError
from serviceradar_security.grpc.nobody import nobody

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.context import X509Context, X509ContextSource

__all__ = ["server_credentials", "server_options"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_NOMINAL_LIFE: Final = timedelta(hours=1)  # SPIRE's default life of an X.509-SVID
_MIN_AGE: Final = timedelta(seconds=5)
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
    fetch = _Fetcher(source, authorizer, now=lambda: datetime.now(UTC))
    return grpc.dynamic_ssl_server_credentials(
        fetch(),
        fetch,
        require_client_authentication=True,
    )


def server_options(source: X509ContextSource | None = None) -> list[tuple[str, int]]:
    """Give the options that a server of this library should have.

    A connection is asked to end after half the life of an SVID, and its streams are ended after
    three quarters: TLS looks at certificates only when a connection begins, so its age must be
    bounded. Clients reconnect without a failed call. Pings of Go clients on silent streams are
    tolerated.

    Args:
        source: Tells the life of our SVIDs; without one, or before it is ready, an hour is taken.
    """
    life = _NOMINAL_LIFE
    if source is not None:
        try:
            svid = source.current().default
            life = svid.not_after - svid.not_before
        except Exception as error:  # noqa: BLE001 - as at a handshake: it may recover
            _LOG.debug("no identity yet (%s): ages for SVIDs of an hour", type(error).__name__)
    age = max(life / 2, _MIN_AGE)
    return [
        ("grpc.max_connection_age_ms", int(age.total_seconds() * 1000)),
        ("grpc.max_connection_age_grace_ms", int((age / 2).total_seconds() * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
    ]


class _Fetcher:
    """Give gRPC core what each handshake uses.

    The configuration is given every time and never "unchanged": one credentials object may serve
    several ports, and each port keeps what it was given last.
    """

    def __init__(
        self,
        source: X509ContextSource,
        authorizer: Authorizer,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._source = source
        self._authorizer = authorizer
        self._now = now
        self._lock = threading.Lock()
        self._context: X509Context | None = None
        self._made: grpc.ServerCertificateConfiguration | None = None
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

    def _configuration(self, context: X509Context) -> grpc.ServerCertificateConfiguration:
        svid = context.default
        if svid.not_after <= self._now():  # a source need not look at the clock
            raise SourceError(f"the identity {svid.spiffe_id} expired at {svid.not_after:%FT%TZ}")
        with self._lock:
            if self._made is None or self._context is not context:
                self._made = _build(context, self._authorizer)
                self._context = context
            self._said = ""
            return self._made


def _build(context: X509Context, authorizer: Authorizer) -> grpc.ServerCertificateConfiguration:
    accepted = authorizer.trust_domains
    # Of thousands of bundles only those are read that the authorizer could accept.
    asked = tuple(context.bundles) if accepted is None else sorted(accepted)
    found = (context.bundles.get(each) for each in asked)
    roots = b"".join(each.to_pem() for each in found if each is not None)
    svid = context.default
    if isinstance(svid.private_key, ed25519.Ed25519PrivateKey):  # R-X509-30
        raise X509SvidError(
            f"gRPC core has no Ed25519, which is the key of {svid.spiffe_id}: have it issued with "
            "an ECDSA P-256 or RSA key",
        )
    chain, key = svid.to_pem()
    return grpc.ssl_server_certificate_configuration(
        [(key, chain)],
        root_certificates=roots or nobody().certificate,
    )


def _dead_end() -> grpc.ServerCertificateConfiguration:
    """Give a configuration with which every handshake fails, on both sides."""
    key, certificate = nobody()
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)],
        root_certificates=certificate,
    )
