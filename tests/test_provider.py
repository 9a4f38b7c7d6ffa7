"""The provider: what it refuses at once, and what mode ``none`` means."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from serviceradar_security import (
    ConfigError,
    SecurityProvider,
    SourceClosedError,
    SourceTimeoutError,
    SpiffeId,
    authorize_id,
    authorize_one_of,
)
from serviceradar_security.testing import FakeWorkloadApi

CORE = "spiffe://example.org/core"
ANYBODY = authorize_one_of([SpiffeId.parse(CORE)])


@pytest.mark.parametrize(
    ("block", "options", "reason"),
    [
        ({}, {}, "mode"),
        ({"mode": "none"}, {}, "allow_insecure=True"),
        ({"mode": "none"}, {"allow_insecure": True, "server_authorizer": ANYBODY}, "authorizer"),
        ({"mode": "none"}, {"allow_insecure": True, "client_authorizer": ANYBODY}, "authorizer"),
        ({"mode": "spiffe", "workload_socket": "unix:relative"}, {}, "no absolute path"),
        (
            {"mode": "mtls", "tls": {"cert_file": "a", "key_file": "b", "ca_file": "c"}},
            {},
            "not served by this version",
        ),
    ],
)
def test_open_refuses(block: dict[str, object], options: dict[str, Any], reason: str) -> None:
    """What cannot be honoured is an error at once, with its reason."""
    with pytest.raises(ConfigError, match=reason):
        SecurityProvider.open(block, **options)


def test_peers_must_be_named() -> None:
    """Without server_spiffe_id there is no channel, and without trust_domain no server."""
    block = {"mode": "spiffe", "workload_socket": "unix:///nowhere/agent.sock"}
    with SecurityProvider.open(block) as security:
        with pytest.raises(ConfigError, match="server_spiffe_id"):
            security.grpc_channel("core:50052")
        with pytest.raises(ConfigError, match="trust_domain"):
            security.grpc_server_credentials()
        with pytest.raises(ConfigError, match="trust_domain"):
            security.grpc_server_interceptors()
        with pytest.raises(SourceTimeoutError, match="start the SPIRE agent"):
            security.wait_ready(timeout=0.05)


def test_mode_none_gives_plaintext_with_the_same_calls(caplog: pytest.LogCaptureFixture) -> None:
    """Allowed in code and written in the block, the same calls serve without TLS, and it is said."""
    with SecurityProvider.open({"mode": "none"}, allow_insecure=True) as security:
        assert "plaintext" in caplog.text
        assert security.wait_ready(timeout=0) is None
        server = grpc.server(
            ThreadPoolExecutor(1), interceptors=security.grpc_server_interceptors()
        )
        handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("a.B", {"C": handler})]
        )
        port = server.add_secure_port("127.0.0.1:0", security.grpc_server_credentials())
        server.start()
        with security.grpc_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/a.B/C")
            assert call(b"plain", timeout=10) == b"plain"
        server.stop(None).wait()
        with pytest.raises(ConfigError, match="authorizer"):
            security.grpc_channel("core:50052", authorizer=authorize_id(SpiffeId.parse(CORE)))
        with pytest.raises(ConfigError, match="no identity"):
            _ = security.spiffe_id


def test_a_closed_provider_is_refused() -> None:
    """After close nothing is given any more, plaintext least of all."""
    with FakeWorkloadApi([CORE]) as api:
        block = {"mode": "spiffe", "workload_socket": api.endpoint, "server_spiffe_id": CORE}
        security = SecurityProvider.open(block)
        assert security.wait_ready(timeout=10) is not None
        assert str(security.spiffe_id) == CORE
        security.close()
        security.close()
        with pytest.raises(SourceClosedError):
            security.grpc_channel("core:50052")
    insecure = SecurityProvider.open({"mode": "none"}, allow_insecure=True)
    insecure.close()
    with pytest.raises(SourceClosedError):
        insecure.grpc_server_credentials()
