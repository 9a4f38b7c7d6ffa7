"""What users do with a source, for tests that ask whether they may."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security import (
        X509Context,
        X509Source,
    )


def serial(context: X509Context) -> int:
    """Tell one issued identity from the next."""
    return context.default.leaf.serial_number


class Seen:
    """A subscriber that keeps what it got, and by which thread."""

    def __init__(self) -> None:
        self.contexts: list[X509Context] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, context: X509Context) -> None:
        self.threads.add(threading.current_thread())
        self.contexts.append(context)


def uses(source: X509Source) -> list[Callable[[], object]]:
    """Every use of a source that needs it open."""

    async def iterate() -> None:
        async for _ in source.updates():
            pass

    return [
        source.current,
        source.status,
        lambda: source.wait_ready(timeout=0.1),
        lambda: asyncio.run(source.wait_ready_async(timeout=0.1)),
        lambda: source.subscribe(print),
        lambda: asyncio.run(iterate()),
    ]


def descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
