"""What an overlay can be made with, and how the rest is refused."""

from __future__ import annotations

import math
import re
from typing import Final

from serviceradar_security.config.strict import MAX_DOCUMENT_BYTES
from serviceradar_security.errors import ConfigError

__all__ = ["check_key", "check_seconds", "check_size"]

_KEY: Final = re.compile(r"[-/_=A-Za-z0-9]+(?:\.[-/_=A-Za-z0-9]+)*")
_LONGEST_KEY: Final = 1024


def check_key(key: object) -> None:
    """Refuse what names no document, wildcards above all."""
    if not isinstance(key, str) or len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ConfigError(
            f"{ascii(key)[:_LONGEST_KEY]} is no key of the KV store: use letters, digits and -/_=, "
            "with single dots between; wildcards name no document",
        )


def check_seconds(name: str, value: object, *, least: float = 0.001) -> None:
    """Refuse what is no finite number of seconds."""
    fine = isinstance(value, int | float) and math.isfinite(value) and value >= least
    if not fine or isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}: give a number of seconds, {least:g} or more")


def check_size(value: int) -> None:
    """Refuse what is no size that the gate reads."""
    fine = isinstance(value, int) and not isinstance(value, bool)
    if not fine or not 1 <= value <= MAX_DOCUMENT_BYTES:
        raise ConfigError(
            f"max_document_bytes is {value!r}: give a number from 1 to {MAX_DOCUMENT_BYTES}",
        )
