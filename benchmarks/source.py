"""The living source against a raw grpcio stub that parses with protobuf and cryptography.

Start: a process, from nothing to its first SVID. Delivery: from the agent's write to `current()`.
Idle: the CPU time of a source with nothing to do.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from benchmarks.interleave import Row, compare
from benchmarks.processes import run
from serviceradar_security import WorkloadEndpoint, X509Source
from serviceradar_security._proto.workload_pb2 import X509SVIDRequest, X509SVIDResponse
from serviceradar_security.testing import FakeWorkloadApi

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
FEDERATED: Final = (0, 100, 1_000)
PUSHES: Final = 50
TURNS: Final = 4
IDLE_SECONDS: Final = 60.0
_OURS: Final = """
from serviceradar_security import X509Source
source = X509Source({endpoint!r}).open()
source.wait_ready(timeout=30)
"""
_RAW: Final = """
import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from serviceradar_security._proto.workload_pb2 import X509SVIDRequest, X509SVIDResponse
with grpc.insecure_channel({target!r}) as channel:
    call = channel.unary_stream(
        {method!r},
        request_serializer=X509SVIDRequest.SerializeToString,
        response_deserializer=X509SVIDResponse.FromString,
    )(X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),))
    svid = next(call).svids[0]
    x509.load_der_x509_certificate(svid.x509_svid)
    x509.load_der_x509_certificate(svid.bundle)
    load_der_private_key(svid.x509_svid_key, None)
    call.cancel()
"""
_IDLE: Final = """
import os, sys, time
before = time.process_time()
time.sleep({seconds})
print(time.process_time() - before)
sys.stdout.flush()
os._exit(0)
"""
_END: Final = """
import os, sys
status = open("/proc/self/status").read()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
sys.stdout.flush()
os._exit(0)
"""


def rows() -> Iterator[Row]:
    """Measure."""
    with FakeWorkloadApi(["spiffe://example.org/core"]) as api:
        yield from _starts(api)
    for count in FEDERATED:
        yield _delivery(count)
    yield _idle()


def _starts(api: FakeWorkloadApi) -> Iterator[Row]:
    ours = _OURS.format(endpoint=api.endpoint) + _END
    raw = _RAW.format(target=_target(api), method=METHOD) + _END
    memory: dict[str, list[float]] = {ours: [], raw: []}

    def start(program: str) -> None:
        memory[program].append(float(run(program)))

    yield compare(
        "process start to first SVID",
        lambda: start(ours),
        "raw grpcio stub",
        lambda: start(raw),
        number=3,
    )
    mine, other = (statistics.median(memory[each]) for each in (ours, raw))
    yield Row(
        "memory of such a process, KiB", "raw grpcio stub", mine / 1e6, other / 1e6, other / mine
    )


def _delivery(count: int) -> Row:
    """Compare 99th percentiles of the time from the agent's write to the new SVID in use.

    The agent is a process of its own. One reader at a time, in turns: two in one process would
    wait for each other.
    """
    mine: list[float] = []
    other: list[float] = []
    with _Pusher(count) as pusher:
        for _ in range(TURNS):
            with X509Source(pusher.endpoint) as source:
                source.wait_ready(timeout=30)
                seen: SimpleQueue[float] = SimpleQueue()
                # The moment at which `current` gives the new one, without a subscriber's thread.
                engine = source._running()  # noqa: SLF001
                engine.listeners.append(partial(_stamp, seen))
                mine += pusher.pushes(seen)
            with _RawReader(WorkloadEndpoint.parse(pusher.endpoint).grpc_target) as raw:
                raw.seen.get(timeout=30)
                other += pusher.pushes(raw.seen)
    ours, theirs = (statistics.quantiles(each, n=100)[98] for each in (mine, other))
    what = f"agent's write to current(), p99, {count} federated"
    return Row(what, "raw grpcio reader", ours, theirs, theirs / ours)


class _Pusher:
    """Drive an agent's process."""

    def __init__(self, federated: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pusher", str(federated), str(PUSHES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint = self._line()

    def pushes(self, seen: SimpleQueue[float]) -> Iterator[float]:
        """Push, one message after the other, and give the seconds until each was seen."""
        for _ in range(PUSHES):
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            moment = seen.get(timeout=30)
            yield moment - float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)  # the end of its input is its end


def _stamp(seen: SimpleQueue[float]) -> None:
    seen.put(time.perf_counter())


def _idle() -> Row:
    """Compare the CPU time of a source with nothing to do with that of a raw stream."""
    with FakeWorkloadApi(["spiffe://example.org/core"]) as api:
        ours = _OURS.format(endpoint=api.endpoint) + _IDLE.format(seconds=IDLE_SECONDS)
        raw = _RAW.format(target=_target(api), method=METHOD).replace("call.cancel()", "pass")
        raw += _IDLE.format(seconds=IDLE_SECONDS)
        mine, other = (float(run(each)) for each in (ours, raw))
    what = f"CPU time of {IDLE_SECONDS:g} s with nothing to do"
    return Row(what, "raw grpcio stream", mine, other, other / mine if mine else math.inf)


class _RawReader:
    """Follow the stream with grpcio, and parse what it brings with cryptography."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.max_receive_message_length", -1)]
        )
        self._call: Any = self._channel.unary_stream(
            METHOD,
            request_serializer=X509SVIDRequest.SerializeToString,
            response_deserializer=X509SVIDResponse.FromString,
        )(X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),))
        self.seen: SimpleQueue[float] = SimpleQueue()
        self._thread = threading.Thread(target=self._follow)

    def _follow(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for response in self._call:
                svid = response.svids[0]
                self.held = (
                    x509.load_der_x509_certificate(svid.x509_svid),
                    load_der_private_key(svid.x509_svid_key, None),
                    x509.load_der_x509_certificate(svid.bundle),
                    {
                        name: x509.load_der_x509_certificate(data)
                        for name, data in response.federated_bundles.items()
                    },
                )
                self.seen.put(time.perf_counter())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()


def _target(api: FakeWorkloadApi) -> str:
    return WorkloadEndpoint.parse(api.endpoint).grpc_target
