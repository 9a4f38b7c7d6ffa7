"""A core: takes the reports of pollers, and knows by SPIFFE ID whose they are.

Run: python -m examples.core examples/core/core.json
"""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509

from examples.monitoring.monitoring_pb2 import PollerStatusResponse
from examples.monitoring.process import (
    arguments,
    log,
    log_identity,
    read_overlay,
    setting,
    start_logging,
    stop_event,
)
from examples.monitoring.service import handlers
from serviceradar_security import (
    ConfigError,
    SecurityError,
    SecurityProvider,
    SpiffeId,
    apply_overlay,
    authorize_one_of,
    load_config,
)
from serviceradar_security.grpc import peer_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from examples.monitoring.monitoring_pb2 import (
        PollerStatusChunk,
        PollerStatusRequest,
        ServiceStatus,
    )


class Core:
    """Take reports; every caller was verified before these are called."""

    def report_status(
        self, request: PollerStatusRequest, context: grpc.ServicerContext
    ) -> PollerStatusResponse:
        """Take a small report."""
        return self._take(request.poller_id, request.services, context)

    def stream_status(
        self, chunks: Iterator[PollerStatusChunk], context: grpc.ServicerContext
    ) -> PollerStatusResponse:
        """Take a large report in chunks."""
        poller = ""
        services: list[ServiceStatus] = []
        for chunk in chunks:
            poller = chunk.poller_id
            services += chunk.services
        return self._take(poller, services, context)

    def _take(
        self, poller: str, services: Sequence[ServiceStatus], context: grpc.ServicerContext
    ) -> PollerStatusResponse:
        presented: Any = context.auth_context()["x509_pem_cert"]
        certificate = x509.load_pem_x509_certificate(presented[0])
        log(
            "report",
            poller=poller,
            caller=peer_id(context),
            certificate=f"{certificate.serial_number:x}",
            services=len(services),
        )
        return PollerStatusResponse(received=True)


def main() -> int:
    """Serve until SIGTERM; SIGHUP reads the overlay again."""
    options = arguments("ServiceRadar core, as an example")
    start_logging()
    try:
        overlay = read_overlay(options.overlay)
        config = load_config(options.config, overlay=overlay, pinned=options.pinned)
        address = listening_address(config.document)
        provider = SecurityProvider.open(
            config.security, server_authorizer=authorize_one_of(callers(config.document))
        )
    except SecurityError as error:
        log("refused", text=str(error))
        return 2

    with provider as security:
        try:
            security.wait_ready(timeout=30)
        except SecurityError as error:
            log("not_ready", text=str(error))
            return 3
        server = grpc.server(
            ThreadPoolExecutor(16),
            interceptors=security.grpc_server_interceptors(),
            options=security.grpc_server_options(),
        )
        server.add_generic_rpc_handlers([handlers(Core())])
        try:
            port = server.add_secure_port(address, security.grpc_server_credentials())
        except RuntimeError as error:  # somebody else listens there
            log("not_ready", text=str(error))
            return 3
        server.start()
        stopped = stop_event()
        log_identity("ready", security, port=port)

        signal.signal(signal.SIGHUP, lambda *_: reread(config.document, options.overlay))
        with security.source.subscribe(lambda _: log_identity("rotated", security)):
            stopped.wait()
        server.stop(grace=1).wait()
    return 0


def callers(document: Mapping[str, Any]) -> list[SpiffeId]:
    """Give the SPIFFE IDs that may call, as the file lists them."""
    try:
        identities = [rule["identity"] for rule in document["rbac"]["roles"]]
    except (KeyError, TypeError) as error:
        raise ConfigError("rbac.roles: must list the callers, each with its identity") from error
    return [SpiffeId.parse(identity) for identity in identities]


def listening_address(document: Mapping[str, object]) -> str:
    """Give the address to listen on; the platform writes ``:50052`` for all interfaces."""
    host, _, port = setting(document, "grpc_addr").rpartition(":")
    if not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest port
        raise ConfigError("grpc_addr: must be a host and a port, as 0.0.0.0:50052 or :50052")
    return f"{host or '0.0.0.0'}:{port}"  # noqa: S104 - as configured


def reread(document: Mapping[str, object], path: str | None) -> None:
    """Look at a new overlay: it can change much, and nothing of the security."""
    try:
        merged = apply_overlay(document, read_overlay(path) or b"{}")
    except ConfigError as error:
        log("overlay_refused", paths=getattr(error, "paths", ()), text=str(error))
    else:
        log("overlay_accepted", alert_threshold=merged.get("alert_threshold"))


if __name__ == "__main__":
    sys.exit(main())
