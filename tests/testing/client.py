"""A plain gRPC client of the Workload API, which shares no code with the fake."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from serviceradar_security._proto.workload_pb2 import X509SVIDResponse
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.identity.svid import X509Svid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serviceradar_security.testing.workload_api import FakeWorkloadApi

CORE = "spiffe://example.org/core"
POLLER = "spiffe://example.org/poller"
PARTNER = TrustDomain.parse("partner.example")
METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
HEADER = (("workload.spiffe.io", "true"),)
DEADLINE = 10.0


class Watch:
    """One call of a plain gRPC stub, read by a thread: what came, in its order."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        metadata: tuple[tuple[str, str], ...] = HEADER,
        method: str = METHOD,
        request: bytes = b"",
    ) -> None:
        stub: Any = channel.unary_stream(method)
        self._call = stub(request, metadata=metadata, timeout=DEADLINE * 2)
        self._came: queue.Queue[bytes | tuple[str, str]] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._call:
                self._came.put(message)
            self._came.put(("OK", self._call.details()))
        except grpc.RpcError as error:
            self._came.put((error.code().name, error.details() or ""))

    def raw(self) -> bytes:
        """Wait for the next message."""
        came = self._came.get(timeout=DEADLINE)
        assert isinstance(came, bytes), came
        return came

    def next(self) -> Any:
        """Wait for the next response."""
        return X509SVIDResponse.FromString(self.raw())

    def status(self) -> tuple[str, str]:
        """Wait for the end of the call."""
        came = self._came.get(timeout=DEADLINE)
        assert isinstance(came, tuple), f"{len(came)} bytes"
        return came

    @property
    def silent(self) -> bool:
        """Whether nothing has come that was not taken."""
        return self._came.empty()

    def cancel(self) -> None:
        """End the call on our side."""
        self._call.cancel()
        self._thread.join(DEADLINE)


@contextlib.contextmanager
def connected(api: FakeWorkloadApi) -> Iterator[grpc.Channel]:
    """Open a channel of its own."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 20),
        ("grpc.enable_http_proxy", 0),
    ]
    with grpc.insecure_channel(f"unix:{api.socket_path}", options=options) as channel:
        yield channel


def svids_of(response: Any) -> list[X509Svid]:
    """Load the SVIDs of a response as a client does."""
    return [
        X509Svid.parse(each.x509_svid, each.x509_svid_key, hint=each.hint)
        for each in response.svids
    ]


def eventually(claim: Any) -> None:
    """Wait until a claim about another thread holds."""
    end = time.monotonic() + DEADLINE
    while not claim():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.002)
