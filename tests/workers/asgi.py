"""A service for an ASGI server: its source lives as long as the server's lifespan."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from serviceradar_security import X509Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Open and close the source with the lifespan; answer requests in between."""
    if scope["type"] == "lifespan":
        await _lifespan(scope, receive, send)
    elif scope["type"] == "http":
        await _answer(scope["state"]["source"], send)


async def _lifespan(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    async with X509Source() as source:
        await source.wait_ready_async(timeout=10)
        scope["state"]["source"] = source
        await send({"type": "lifespan.startup.complete"})
        await receive()
    print(f"the source of {os.getpid()} is {source.status().state.value}", flush=True)  # noqa: T201 - the test reads it
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(source: X509Source, send: Send) -> None:
    serial = source.current().default.leaf.serial_number
    answer = {"worker": os.getpid(), "serial": str(serial), "opened_by": os.getpid()}
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
