"""A poller: reports to its core, and to no other server, whoever answers at that address.

Run: python -m examples.poller examples/poller/poller.json
"""

from __future__ import annotations

import json
import os
import sys
import time
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
    log_identity,
    read_overlay,
    seconds,
    setting,
    start_logging,
    stop_event,
)
from examples.monitoring.service import PollerServiceStub
from serviceradar_security import ConfigError, SecurityError, SecurityProvider, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE = 5  # above this many services a report goes in chunks, as the platform's pollers do it


def main() -> int:
    """Report until SIGTERM."""
    options = arguments("ServiceRadar poller, as an example")
    start_logging()
    try:
        overlay = read_overlay(options.overlay)
        config = load_config(options.config, overlay=overlay, pinned=options.pinned)
        core_address = setting(config.document, "core_address")
        interval = seconds(config.document, "poll_interval")
        who = identification(config.document)
        watched = checks(config.document)
        provider = SecurityProvider.open(config.security_block("core_security"))
    except SecurityError as error:
        log("refused", text=str(error))
        return 2

    sent = failed = 0
    with provider as security:
        try:
            security.wait_ready(timeout=30)
        except SecurityError as error:
            log("not_ready", text=str(error))
            return 3
        try:
            channel = security.grpc_channel(core_address)
        except SecurityError as error:
            log("refused", text=str(error))
            return 2
        stopped = stop_event()
        log_identity("ready", security)
        with channel, security.source.subscribe(lambda _: log_identity("rotated", security)):
            core = PollerServiceStub(channel)
            while not stopped.is_set():
                # Every fifth report is of all services, and large.
                services = watched if sent % 5 == 0 else watched[:LARGE]
                try:
                    report(core, who, [status(each) for each in services])
                except grpc.RpcError as error:
                    failed += 1
                    log("failed", code=error.code().name, text=error.details())
                else:
                    log("reported", number=sent)
                sent += 1
                stopped.wait(interval)
    log("stopped", sent=sent, failed=failed)
    return 0


def report(core: PollerServiceStub, who: dict[str, Any], statuses: list[ServiceStatus]) -> None:
    """Send a report: a small one in one message, a large one in chunks of one service."""
    who = {**who, "timestamp": int(time.time())}
    if len(statuses) <= LARGE:
        core.report_status(PollerStatusRequest(services=statuses, **who), timeout=10)
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


def identification(document: Mapping[str, object]) -> dict[str, Any]:
    """Say who reports, as the file has it."""
    return {name: setting(document, name) for name in ("poller_id", "partition", "source_ip")}


def checks(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the checks of every agent."""
    try:
        return [
            {name: str(check[name]) for name in ("service_name", "service_type")}
            for agent in document["agents"].values()
            for check in agent["checks"]
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(
            "agents: must hold agents, each with checks of a name and type"
        ) from error


def status(check: dict[str, str]) -> ServiceStatus:
    """Look at one service; this example looks at its own process."""
    facts = {"pid": os.getpid(), "load": os.getloadavg()[0]}
    return ServiceStatus(
        service_name=check["service_name"],
        service_type=check["service_type"],
        available=True,
        message=json.dumps(facts).encode(),
        source="status",
    )


if __name__ == "__main__":
    sys.exit(main())
