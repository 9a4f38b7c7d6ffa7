"""The provider: what it refuses at once, and what mode ``none`` means."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from serviceradar_security import (
    ConfigError,
    RbacPolicy,
    SecurityError,
    SecurityProvider,
    SourceClosedError,
    SourceTimeoutError,
    SpiffeId,
    authorize_id,
    authorize_one_of,
)
from serviceradar_security.config import DATASVC_METHODS
from serviceradar_security.grpc import peer_id
from serviceradar_security.testing import FakeWorkloadApi, MtlsFiles
from serviceradar_security.workload.file_tls_source import TlsFileSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CORE = "spiffe://example.org/core"
POLLER = "spiffe://example.org/poller"
ANYBODY = authorize_one_of([SpiffeId.parse(CORE)])
MTLS = {"cert_file": "/a.pem", "key_file": "/b.pem", "ca_file": "/c.pem"}


@pytest.mark.parametrize(
    ("block", "options", "reason"),
    [
        ({}, {}, "mode"),
        ({"mode": "none"}, {}, "allow_insecure=True"),
        ({"mode": "none"}, {"allow_insecure": True, "server_authorizer": ANYBODY}, "authorizer"),
        ({"mode": "none"}, {"allow_insecure": True, "client_authorizer": ANYBODY}, "authorizer"),
        ({"mode": "spiffe", "workload_socket": "unix:relative"}, {}, "no absolute path"),
        (
            {"mode": "mtls", "tls": MTLS},
            {"client_authorizer": ANYBODY},
            "leave the authorizer of servers out",
        ),
        ({"mode": "mtls", "tls": MTLS}, {"server_authorizer": ANYBODY}, "set trust_domain"),
        ({"mode": "mtls", "tls": MTLS, "server_name": "*.a.test"}, {}, "no host name"),
        ({"mode": "mtls", "tls": {**MTLS, "key_file": "/"}}, {}, "ends in no name"),
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


def test_mode_none_takes_no_policy() -> None:
    """A policy decides on callers, and in mode ``none`` nobody is known: it is refused, not lost."""
    policy = RbacPolicy.from_config({"roles": []}, methods=DATASVC_METHODS)
    with SecurityProvider.open({"mode": "none"}, allow_insecure=True) as security:
        with pytest.raises(ConfigError, match="policy"):
            security.grpc_server_interceptors(policy)
        with pytest.raises(ConfigError, match="policy"):
            security.grpc_aio_server_interceptors(policy)


@pytest.mark.parametrize(
    ("role", "outcome"),
    [("writer", POLLER), ("reader", "PERMISSION_DENIED")],
)
def test_a_policy_in_the_asyncio_twin(role: str, outcome: str) -> None:
    """The provider's interceptors ask the policy about each call."""
    block = {"roles": [{"identity": POLLER, "role": role}]}
    policy = RbacPolicy.from_config(block, methods={"writer": ["/a.B/C"], "reader": []})
    with (
        FakeWorkloadApi([CORE]) as core_api,
        FakeWorkloadApi([POLLER], authority=core_api.authority) as poller_api,
    ):
        core_block = {
            "mode": "spiffe",
            "trust_domain": "example.org",
            "workload_socket": core_api.endpoint,
        }
        poller_block = {
            "mode": "spiffe",
            "server_spiffe_id": CORE,
            "workload_socket": poller_api.endpoint,
        }
        serving = _serve_and_call(core_block, poller_block, policy)
        if role == "writer":
            assert asyncio.run(serving) == outcome
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            asyncio.run(serving)
        assert caught.value.code().name == outcome


def test_the_asyncio_twin_serves_and_calls() -> None:
    """Two services in asyncio, from their blocks alone, know each other."""
    with (
        FakeWorkloadApi([CORE]) as core_api,
        FakeWorkloadApi([POLLER], authority=core_api.authority) as poller_api,
    ):
        core_block = {
            "mode": "spiffe",
            "trust_domain": "example.org",
            "workload_socket": core_api.endpoint,
        }
        poller_block = {
            "mode": "spiffe",
            "server_spiffe_id": CORE,
            "workload_socket": poller_api.endpoint,
        }
        assert asyncio.run(_serve_and_call(core_block, poller_block)) == POLLER


async def _serve_and_call(
    core_block: dict[str, str],
    poller_block: dict[str, str],
    policy: RbacPolicy | None = None,
) -> str:
    async def handle(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return str(peer_id(context)).encode()

    async with (
        SecurityProvider.open(core_block) as core,
        SecurityProvider.open(poller_block) as poller,
    ):
        await core.wait_ready_async(timeout=10)
        await poller.wait_ready_async(timeout=10)
        assert core.status().state.value == "READY"
        assert CORE in repr(poller)
        server = grpc.aio.server(
            interceptors=core.grpc_aio_server_interceptors(policy),
            options=core.grpc_server_options(),
        )
        handler: Any = grpc.unary_unary_rpc_method_handler(handle)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("a.B", {"C": handler})]
        )
        port = server.add_secure_port("127.0.0.1:0", core.grpc_server_credentials())
        await server.start()
        try:
            async with poller.grpc_aio_channel(f"127.0.0.1:{port}") as channel:
                call: Any = channel.unary_unary("/a.B/C")
                return str((await call(b"", timeout=10)).decode())
        finally:
            await server.stop(None)


def test_mode_none_in_asyncio_is_plaintext_too() -> None:
    """The asyncio calls of mode ``none`` serve without TLS and without interceptors."""

    async def echo(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def serve_and_call() -> bytes:
        async with SecurityProvider.open({"mode": "none"}, allow_insecure=True) as security:
            assert await security.wait_ready_async(timeout=0) is None
            assert security.grpc_aio_server_interceptors() == []
            assert repr(security) == "SecurityProvider(mode='none')"
            server = grpc.aio.server(options=security.grpc_server_options())
            handler: Any = grpc.unary_unary_rpc_method_handler(echo)
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("a.B", {"C": handler})]
            )
            port = server.add_secure_port("127.0.0.1:0", security.grpc_server_credentials())
            await server.start()
            async with security.grpc_aio_channel(f"127.0.0.1:{port}") as channel:
                call: Any = channel.unary_unary("/a.B/C")
                answer = bytes(await call(b"plain", timeout=10))
            await server.stop(None)
            return answer

    assert asyncio.run(serve_and_call()) == b"plain"


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda each: each.fetch_jwt_svid("core", timeout=0.2), id="fetch"),
        pytest.param(
            lambda each: each.validate_jwt_svid("a.b.c", "core", timeout=0.2), id="validate"
        ),
        pytest.param(
            lambda each: asyncio.run(each.fetch_jwt_svid_async("core", timeout=0.2)),
            id="fetch in asyncio",
        ),
        pytest.param(
            lambda each: asyncio.run(each.validate_jwt_svid_async("a.b.c", "core", timeout=0.2)),
            id="validate in asyncio",
        ),
    ],
)
def test_tokens_need_an_agent_and_an_open_provider(
    ask: Callable[[SecurityProvider], object],
) -> None:
    """Without an agent, in mode none and after the end there is no token, and an error of ours."""
    block = {"mode": "spiffe", "workload_socket": "unix:///nowhere/agent.sock"}
    with SecurityProvider.open(block) as security, pytest.raises(SecurityError):
        ask(security)
    with pytest.raises(SourceClosedError):
        ask(security)
    with (
        SecurityProvider.open({"mode": "none"}, allow_insecure=True) as plain,
        pytest.raises(ConfigError, match="no identity"),
    ):
        ask(plain)


# ---- mode mtls -----------------------------------------------------------------------------------


def test_mode_mtls_has_a_source_and_a_state(tmp_path: Path) -> None:
    """The source follows the files of the block, and the record is that of any source."""
    files = MtlsFiles.write(tmp_path)
    with SecurityProvider.open(files.block(server_name="core.test")) as security:
        credentials = security.wait_ready(timeout=10)
        assert isinstance(security.source, TlsFileSource)
        assert security.source.current() is credentials
        status = security.status()
        assert (status.state.value, status.spiffe_id, status.updates) == ("READY", None, 1)
        assert "core.test" in repr(security)
        assert "PRIVATE" not in f"{security!r}{credentials!r}{status!r}"
        assert dict(security.grpc_server_options())["grpc.max_connection_age_ms"] == 86_400_000
    assert security.status().state.value == "CLOSED"
    with pytest.raises(SourceClosedError):
        security.grpc_channel("core:50052")
    with pytest.raises(SourceClosedError):
        security.grpc_server_credentials()


@pytest.mark.parametrize(
    ("spiffe_id", "trust_domain", "outcome"),
    [
        (CORE, "example.org", CORE),
        (CORE, "", "no trust_domain is set"),
        (CORE, "other.example", "only IDs of other.example"),
        ("", "example.org", "no URI name"),
        ("", "", "no trust_domain is set"),
    ],
)
def test_our_id_in_mode_mtls(
    tmp_path: Path, spiffe_id: str, trust_domain: str, outcome: str
) -> None:
    """Our certificate's only SPIFFE ID counts where the block names its trust domain."""
    files = MtlsFiles.write(tmp_path, spiffe_id=spiffe_id)
    block = files.block(**({"trust_domain": trust_domain} if trust_domain else {}))
    with SecurityProvider.open(block) as security:
        security.wait_ready(timeout=10)
        if outcome == CORE:
            assert str(security.spiffe_id) == CORE
            assert str(security.status().spiffe_id) == CORE
            return
        with pytest.raises(ConfigError, match=outcome):
            _ = security.spiffe_id


def test_an_id_in_mode_mtls_that_nobody_proves(tmp_path: Path) -> None:
    """An ID that the authorities of clients did not sign is not ours; status and error say why."""
    files = MtlsFiles.write(tmp_path, spiffe_id=CORE)
    (tmp_path / "others").mkdir()
    others = MtlsFiles.write(tmp_path / "others", spiffe_id=CORE)
    block = files.block(trust_domain="example.org")
    block["tls"]["client_ca_file"] = str(others.ca_file)
    with SecurityProvider.open(block) as security:
        security.wait_ready(timeout=10)
        status = security.status()
        assert (status.state.value, status.spiffe_id) == ("DEGRADED", None)
        assert "do not prove" in status.cause
        with pytest.raises(ConfigError, match=f"it names {CORE}, which .* do not prove"):
            _ = security.spiffe_id


def test_what_mode_mtls_cannot_honour(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A SPIFFE ID of a server cannot be asked for: in the block it warns, in code it is refused."""
    files = MtlsFiles.write(tmp_path)
    block = files.block(server_spiffe_id=CORE)
    with SecurityProvider.open(block) as security:
        (record,) = [each for each in caplog.records if "server_spiffe_id" in each.message]
        assert record.levelname == "WARNING"
        assert CORE in record.message
        with pytest.raises(ConfigError, match="leave the authorizer of servers out"):
            security.grpc_channel("core:50052", authorizer=ANYBODY)
        with pytest.raises(ConfigError, match="no Workload API"):
            security.fetch_jwt_svid("core")


def test_mode_mtls_in_asyncio(tmp_path: Path) -> None:
    """The asyncio twin waits, serves and calls."""
    files = MtlsFiles.write(tmp_path, spiffe_id=CORE)

    async def echo(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return str(peer_id(context)).encode()

    async def serve_and_call() -> bytes:
        block = files.block(trust_domain="example.org")
        async with SecurityProvider.open(block) as security:
            await security.wait_ready_async(timeout=10)
            server = grpc.aio.server(
                interceptors=security.grpc_aio_server_interceptors(),
                options=security.grpc_server_options(),
            )
            handler: Any = grpc.unary_unary_rpc_method_handler(echo)
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("a.B", {"C": handler})]
            )
            port = server.add_secure_port("127.0.0.1:0", security.grpc_server_credentials())
            await server.start()
            with pytest.raises(ConfigError, match="leave the authorizer of servers out"):
                security.grpc_aio_channel("core:50052", authorizer=ANYBODY)
            async with security.grpc_aio_channel(f"127.0.0.1:{port}") as channel:
                call: Any = channel.unary_unary("/a.B/C")
                answer = bytes(await call(b"", timeout=10))
            await server.stop(None)
            return answer

    assert asyncio.run(serve_and_call()).decode() == CORE
