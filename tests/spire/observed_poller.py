"""The example poller, with a second pair of eyes: it also says which certificates its server shows.

The certificates come from gRPC core's own record of its connections (channelz), not from the
library under test.

Run: as ``python -m examples.poller``.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from cryptography import x509
from grpc._cython import cygrpc  # type: ignore[attr-defined] # an extension without types

from examples.monitoring.process import log
from examples.poller.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator


def look(kind: str, number: str) -> Any:
    """Ask channelz for one node."""
    return json.loads(getattr(cygrpc, f"channelz_get_{kind}")(int(number)))[kind]


def certificates(node: Any) -> Iterator[bytes]:
    """Give the certificates of the servers below a channelz node."""
    for ref in node.get("subchannelRef", []):
        for socket in look("subchannel", ref["subchannelId"]).get("socketRef", []):
            tls = look("socket", socket["socketId"]).get("security", {}).get("tls", {})
            if "remoteCertificate" in tls:
                yield base64.b64decode(tls["remoteCertificate"])
    for ref in node.get("channelRef", []):
        yield from certificates(look("channel", ref["channelId"]))


def watch(stopped: threading.Event) -> None:
    """Say once what each certificate of a server is."""
    seen: set[bytes] = set()
    while not stopped.wait(0.2):
        try:
            channels = json.loads(cygrpc.channelz_get_top_channels(0))["channel"]
            found = {pem for channel in channels for pem in certificates(channel)}
        except (KeyError, ValueError):
            continue  # a node went away between two questions
        for pem in found - seen:
            seen.add(pem)
            serial = x509.load_pem_x509_certificate(pem).serial_number
            log("server_certificate", serial=f"{serial:x}")


if __name__ == "__main__":
    end = threading.Event()
    thread = threading.Thread(target=watch, args=(end,), daemon=True)
    thread.start()
    code = main()
    end.set()
    thread.join(5)
    sys.exit(code)
