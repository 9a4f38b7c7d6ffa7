"""A server's side of HTTP/2 in memory, which may say what no server should."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events

from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.stream import (
    Ended,
    Message,
    WorkloadStream,
)

LIMIT = Limits().message_bytes
METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def framed(data: bytes, *, flag: int = 0) -> bytes:
    """Put a message into gRPC's frame."""
    return bytes([flag]) + len(data).to_bytes(4) + data


class Server:
    """The server's side of one connection, which may say what no server should."""

    def __init__(self, stream: WorkloadStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            ),
        )
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.hear()

    def hear(self) -> None:
        """Take what the client sends."""
        self.events += self.h2.receive_data(self.stream.outgoing())

    def say(self) -> list[Message | Ended]:
        """Give what was prepared to the client, and hear its answer."""
        results = self.stream.feed(self.h2.data_to_send())
        self.hear()
        return results

    def head(self) -> None:
        """Prepare the headers of a good answer."""
        self.h2.send_headers(1, HEAD)

    def data(self, data: bytes, **options: bool) -> None:
        """Prepare data."""
        self.h2.send_data(1, data, **options)

    def trailers(self, *headers: tuple[str, str | bytes]) -> None:
        """Prepare trailers."""
        self.h2.send_headers(1, headers, end_stream=True)


def started(*, limit: int = LIMIT) -> Server:
    """Make a stream and the server that heard its request."""
    return Server(WorkloadStream(METHOD, max_message_bytes=limit))
