"""A poller: reports to its core, and to no other server, whoever answers at that address.

Where its files name a KV store (`kv_address`, and whom to expect there in `kv_security`), it
follows the document ``config/pollers/POLLER_ID.json``, which may change all but what is security.
In whose name it reports is security here, too: the local files decide that, once.

Run: python -m examples.poller examples/poller/poller.json
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
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
from serviceradar_security import (
    ConfigError,
    ConfigWatch,
    SecurityError,
    SecurityProvider,
    load_config,
)
from serviceradar_security.config import PROTECTED_PATHS
from serviceradar_security.kv import KV_CHANNEL_OPTIONS, KvOverlay

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from serviceradar_security.config import Config
    from serviceradar_security.kv import KvStatus

LEAST, MOST = 0.01, 86_400.0  # seconds between two reports, whatever a document says
LOOK = 0.1  # seconds between two looks at what changed
SHOWN = 20  # paths of a refusal that are logged
WHO = ("poller_id", "partition", "source_ip")
PROTECTED = PROTECTED_PATHS.with_paths(
    *WHO, reason="says in whose name this poller reports", name="poller"
)
LARGE = 5  # above this many services a report goes in chunks, as the platform's pollers do it


@dataclass(frozen=True)
class Settings:
    """What a KV document may change while the poller runs.

    Attributes:
        interval: Seconds between two reports.
        services: The checks of every agent.
    """

    interval: float
    services: list[dict[str, str]]

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Read and check all of it, before any of it is used."""
        document = config.document
        interval = seconds(document, "poll_interval")
        if not LEAST <= interval <= MOST:
            raise ConfigError(f"poll_interval: must be from {LEAST:g} s to {MOST:g} s")
        return cls(interval, checks(document))


class Running:
    """What the poller runs with now.

    Attributes:
        settings: The newest settings; replaced whole.
        watch: Passes documents from the KV store through the gate, then to `apply`.
    """

    def __init__(self, config: Config) -> None:
        """Begin with what the files say."""
        self.settings = Settings.of(config)
        self.watch = ConfigWatch(config, self.apply)

    def apply(self, config: Config) -> None:
        """Take a new configuration; an error refuses it, and the old one stays."""
        self.settings = Settings.of(config)
        log("overlay_accepted", poll_interval=self.settings.interval)


def main() -> int:
    """Report until SIGTERM."""
    options = arguments("ServiceRadar poller, as an example")
    start_logging()
    try:
        overlay = read_overlay(options.overlay)
        config = load_config(
            options.config, overlay=overlay, pinned=options.pinned, protected=PROTECTED
        )
        core_address = setting(config.document, "core_address")
        who = identification(config.document)
        running = Running(config)
        provider = SecurityProvider.open(config.security_block("core_security"))
    except SecurityError as error:
        log("refused", text=str(error))
        return 2

    with provider as security, contextlib.ExitStack() as stack:
        try:
            security.wait_ready(timeout=30)
        except SecurityError as error:
            log("not_ready", text=str(error))
            return 3
        try:
            channel = stack.enter_context(security.grpc_channel(core_address))
            kv = stack.enter_context(follow_kv(config, running.watch))
        except SecurityError as error:
            log("refused", text=str(error))
            return 2
        stopped = stop_event()
        log_identity("ready", security)
        with security.source.subscribe(lambda _: log_identity("rotated", security)):
            sent, failed = poll(PollerServiceStub(channel), who, running, kv, stopped)
    log("stopped", sent=sent, failed=failed)
    return 0


@contextlib.contextmanager
def follow_kv(config: Config, watch: ConfigWatch) -> Iterator[KvOverlay | None]:
    """Follow this poller's document in the KV store, if the files name a store."""
    if "kv_address" not in config.document:
        yield None
        return
    address = setting(config.document, "kv_address")
    key = f"config/pollers/{setting(config.document, 'poller_id')}.json"
    block = config.security_block("kv_security")
    with (
        SecurityProvider.open(block) as security,
        security.grpc_channel(address, options=KV_CHANNEL_OPTIONS) as channel,
        KvOverlay(channel, key, watch, server=block.server_spiffe_id or "") as overlay,
    ):
        yield overlay


def poll(
    core: PollerServiceStub,
    who: dict[str, Any],
    running: Running,
    kv: KvOverlay | None,
    stopped: threading.Event,
) -> tuple[int, int]:
    """Report again and again; give how many reports were sent, and how many failed."""
    sent = failed = 0
    shown = None
    while not stopped.is_set():
        began = time.monotonic()
        settings = running.settings
        # Every fifth report is of all services, and large.
        services = settings.services if sent % 5 == 0 else settings.services[:LARGE]
        try:
            report(core, who, [status(each) for each in services])
        except grpc.RpcError as error:
            failed += 1
            log("failed", code=error.code().name, text=error.details())
        else:
            log("reported", number=sent)
        sent += 1
        shown = show_kv(kv, shown)
        # The interval may change while it lasts.
        while not stopped.is_set() and time.monotonic() < began + running.settings.interval:
            stopped.wait(min(LOOK, running.settings.interval))
            shown = show_kv(kv, shown)
    return sent, failed


def show_kv(kv: KvOverlay | None, shown: KvStatus | None) -> KvStatus | None:
    """Log what is new about the KV document: its state, and refusals with their paths."""
    if kv is None:
        return None
    now = kv.status()
    if shown is None or now.state is not shown.state:
        log("kv", state=now.state.value, cause=now.cause, advice=now.advice)
    if now.refused > (0 if shown is None else shown.refused):
        paths = now.refused_paths
        log("overlay_refused", paths=paths[:SHOWN], path_count=len(paths), text=now.refusal)
    return now


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
    """Say who reports, as the local files have it."""
    return {name: setting(document, name) for name in WHO}


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
