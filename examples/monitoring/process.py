"""Small things that every service process has: arguments, a log, an end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from serviceradar_security import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from serviceradar_security import SecurityProvider

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def arguments(description: str) -> argparse.Namespace:
    """Read the command line of a service."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help="the service's configuration, JSON")
    parser.add_argument("--overlay", help="a document that came from the KV store, JSON")
    parser.add_argument("--pinned", help="a local file that is merged last, JSON")
    return parser.parse_args()


def log(event: str, **facts: object) -> None:
    """Write one event as a line of JSON, whole, whichever thread it comes from."""
    line = json.dumps({"event": event, **facts}, default=str) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


def log_identity(event: str, security: SecurityProvider, **facts: object) -> None:
    """Log who we are now."""
    svid = security.source.current().default
    serial = f"{svid.leaf.serial_number:x}"
    log(event, spiffe_id=svid.spiffe_id, not_after=svid.not_after, serial=serial, **facts)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log(record.levelname.lower(), logger=record.name, text=record.getMessage())


def read_overlay(path: str | None) -> bytes | None:
    """Read what came from the KV store; None where nothing did.

    Raises:
        ConfigError: There is something, and it cannot be read.
    """
    try:
        return Path(path).read_bytes() if path else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"the overlay {path} cannot be read: {error.strerror}") from error


def start_logging() -> None:
    """Show what the library has to say, in the same format."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Warnings()])


def stop_event() -> threading.Event:
    """Give an event that SIGTERM and Ctrl-C set; before this is called they end the process."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped


def setting(document: Mapping[str, object], name: str) -> str:
    """Read a text of a configuration.

    Raises:
        ConfigError: It is not there, or is no text.
    """
    value = document.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be a text in the configuration of this service")
    return value


def seconds(document: Mapping[str, object], name: str) -> float:
    """Read a duration as the platform's files write it, as ``30s`` or ``500ms``.

    Raises:
        ConfigError: It is not there, or is no duration.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", setting(document, name))
    if match is None:
        raise ConfigError(f"{name}: must be a duration like 30s or 500ms")
    return float(match[1]) * _UNITS[match[2]]
