"""A service for a worker manager: its source is opened at import, so by whoever imports it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from serviceradar_security import X509Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

OPENED_BY: Final = os.getpid()
source = X509Source().open()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tell which process answers, with which identity, and who opened the source."""
    context = source.wait_ready(timeout=10)
    answer = {
        "worker": os.getpid(),
        "serial": str(context.default.leaf.serial_number),
        "opened_by": OPENED_BY,
    }
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(answer).encode()]
