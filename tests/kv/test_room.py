"""The room as a whole: what it exports, and what an import of it asks for."""

from __future__ import annotations

import subprocess
import sys

from serviceradar_security import SecurityError, kv
from serviceradar_security._proto import kv_pb2


def test_what_is_exported() -> None:
    """Each name exists and is documented; its errors are of the family."""
    for name in kv.__all__:
        assert getattr(kv, name).__doc__
    assert issubclass(kv.KvError, SecurityError)
    assert issubclass(kv.KvTimeoutError, (kv.KvError, TimeoutError))
    assert not kv.KvError("").retryable
    assert kv.KvTimeoutError("").retryable


def test_without_grpcio_it_says_what_to_install() -> None:
    """The extra is named in one line."""
    script = "import sys; sys.modules['grpc'] = None; import serviceradar_security.kv"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert "pip install 'serviceradar-security[grpc]'" in done.stderr.splitlines()[-1]


def test_the_messages_have_the_platforms_field_numbers() -> None:
    """Each field stands under its number and in its encoding."""
    assert kv_pb2.GetRequest(key="k").SerializeToString() == bytes.fromhex("0a016b")
    assert kv_pb2.WatchRequest(key="k").SerializeToString() == bytes.fromhex("0a016b")
    assert kv_pb2.WatchResponse(value=b"v").SerializeToString() == bytes.fromhex("0a0176")
    answer = kv_pb2.GetResponse(value=b"v", found=True, revision=7)
    assert answer.SerializeToString() == bytes.fromhex("0a0176 1001 1807")
    assert kv_pb2.GetResponse.DESCRIPTOR.full_name == "proto.GetResponse"
