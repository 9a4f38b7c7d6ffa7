"""A poller: reports to its core, and to no other server, whoever answers at that address.

Run: python -m examples.poller examples/poller/poller.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from examples.monitoring.monitoring_pb2 import (
    PollerStatusChunk,
    PollerStatusRequest,
    ServiceStatus,
)
from examples.monitoring.process import (
    arguments,
    log,
    seconds,
    setting,
    start_logging,
    stop_event,
)
from examples.monitoring.service import PollerServiceStub
from serviceradar_security import SecurityError, SecurityProvider, SourceError, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE = 5  # above this many services a report goes in chunks, as the platform's pollers do it


def main() -> int:
    """Report until SIGTERM."""
    options = arguments("ServiceRadar poller, as an example")
    start_logging()
    stopped = stop_event()
    try:
        overlay = Path(options.overlay).read_bytes() if options.overlay else None
        config = load_config(options.config, overlay=overlay, pinned=options.pinned)
        core_address = setting(config.document, "core_address")
        interval = seconds(config.document, "poll_interval")
        provider = SecurityProvider.open(config.security)
    except SecurityError as error:
        log("refused", text=str(error))
        return 2

    sent = failed = 0
    document = config.document
    with provider as security:
        try:
            security.wait_ready(timeout=30)
        except SourceError as error:
            log("not_ready", text=str(error))
            return 3
        log_identity("ready", security)
        with (
            security.source.subscribe(lambda _: log_identity("rotated", security)),
            security.grpc_channel(core_address) as channel,
        ):
            core = PollerServiceStub(channel)
            while not stopped.is_set():
                try:
                    report(core, document, everything=sent % LARGE == 0)
                except grpc.RpcError as error:
                    failed += 1
                    log("failed", code=error.code().name, text=error.details())
                else:
                    log("reported", number=sent)
                sent += 1
                stopped.wait(interval)
    log("stopped", sent=sent, failed=failed)
    return 0


def report(core: PollerServiceStub, document: Mapping[str, Any], *, everything: bool) -> None:
    """Send the state of what this poller watches, small or in chunks."""
    names = ("poller_id", "partition", "source_ip")
    who: dict[str, Any] = {name: document.get(name, "") for name in names}
    who["timestamp"] = int(time.time())
    statuses = [status(check) for check in checks(document)]
    if not everything:
        core.report_status(PollerStatusRequest(services=statuses[:LARGE], **who), timeout=10)
        return
    last = len(statuses) - 1
    chunks = (
        PollerStatusChunk(
            services=[each],
            chunk_index=index,
            total_chunks=last + 1,
            is_final=index == last,
            **who,
        )
        for index, each in enumerate(statuses)
    )
    core.stream_status(chunks, timeout=10)


def checks(document: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """List the checks of every agent."""
    agents = document.get("agents", {})
    return [check for agent in agents.values() for check in agent.get("checks", ())]


def status(check: Mapping[str, str]) -> ServiceStatus:
    """Look at one service; this example looks at its own process."""
    facts = {"pid": os.getpid(), "load": os.getloadavg()[0]}
    return ServiceStatus(
        service_name=check["service_name"],
        service_type=check["service_type"],
        available=True,
        message=json.dumps(facts).encode(),
        source="status",
    )


def log_identity(event: str, security: SecurityProvider) -> None:
    """Log who we are now."""
    svid = security.source.current().default
    serial = f"{svid.leaf.serial_number:x}"
    log(event, spiffe_id=svid.spiffe_id, not_after=svid.not_after, serial=serial)


if __name__ == "__main__":
    sys.exit(main())
