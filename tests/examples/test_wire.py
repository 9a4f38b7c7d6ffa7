"""The messages of the examples on the wire, against bytes written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from examples.monitoring import monitoring_pb2 as pb

STATUS = bytes.fromhex(
    "0a016e 1001 1a016d 220174 2807 320161 3a0170 420171 4a0173 52016b",
)
SERVICE = pb.ServiceStatus(
    service_name="n",
    available=True,
    message=b"m",
    service_type="t",
    response_time=7,
    agent_id="a",
    poller_id="p",
    partition="q",
    source="s",
    kv_store_id="k",
)


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (SERVICE, STATUS),
        (
            pb.PollerStatusRequest(
                services=[SERVICE],
                poller_id="p",
                agent_id="a",
                timestamp=9,
                partition="q",
                source_ip="i",
                kv_store_id="k",
            ),
            b"\x0a"
            + bytes([len(STATUS)])
            + STATUS
            + bytes.fromhex("120170 1a0161 2009 2a0171 320169 3a016b"),
        ),
        (
            pb.PollerStatusChunk(
                services=[SERVICE],
                poller_id="p",
                agent_id="a",
                timestamp=9,
                partition="q",
                source_ip="i",
                is_final=True,
                chunk_index=2,
                total_chunks=3,
                kv_store_id="k",
            ),
            b"\x0a"
            + bytes([len(STATUS)])
            + STATUS
            + bytes.fromhex("120170 1a0161 2009 2a0171 320169 3801 4002 4803 52016b"),
        ),
        (pb.PollerStatusResponse(received=True), bytes.fromhex("0801")),
    ],
    ids=["ServiceStatus", "PollerStatusRequest", "PollerStatusChunk", "PollerStatusResponse"],
)
def test_messages_have_the_platforms_field_numbers(message: Any, wire: bytes) -> None:
    """Each field stands under its number and in its encoding."""
    assert message.SerializeToString(deterministic=True) == wire
    assert type(message).FromString(wire) == message
