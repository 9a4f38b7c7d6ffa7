"""A party of mutual TLS: its files, its provider, its server and its calls."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from cryptography import x509

from serviceradar_security import SecurityProvider
from tests.grpc.server.service import DEADLINE, SERVICE, Running, call, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from serviceradar_security.grpc.interceptors import CallPolicy
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.testing.authority import FakeAuthority, IssuedCertificate

HOST: Final = "core.mesh.test"
DOMAIN: Final = "mesh.test"
STACKS: Final = ("sync", "aio")
Outcome = tuple[str, str]


def issue(authority: FakeAuthority, **facts: Any) -> IssuedCertificate:
    """Issue a certificate as a plain authority does: without a URI name, unless told of one."""
    return authority.issue_certificate(None, **{"uris": [], **facts})


def address(text: str) -> x509.IPAddress:
    """Make an IP name."""
    return x509.IPAddress(ipaddress.ip_address(text))


class Party:
    """A folder with the files of one party, and the security block that names them."""

    def __init__(self, folder: Path, made: IssuedCertificate, roots: bytes) -> None:
        """Write the files."""
        self.folder = folder
        folder.mkdir()
        self.show(made)
        self.put("ca.pem", roots)

    def show(self, made: IssuedCertificate) -> None:
        """Write another certificate and key."""
        chain, key = made.to_pem()
        self.put("cert.pem", chain)
        self.put("key.pem", key)

    def put(self, name: str, data: bytes) -> None:
        """Replace a file by a rename."""
        new = self.folder / f".{name}"
        new.touch(mode=0o600)
        new.write_bytes(data)
        new.replace(self.folder / name)

    def block(self, **members: Any) -> dict[str, Any]:
        """Give the security block."""
        names = {"cert_file": "cert.pem", "key_file": "key.pem", "ca_file": "ca.pem"}
        tls = names | members.pop("tls", {})
        return {"mode": "mtls", "cert_dir": str(self.folder), "tls": tls, **members}

    @contextlib.contextmanager
    def open(
        self,
        server_authorizer: Authorizer | None = None,
        **members: Any,
    ) -> Iterator[SecurityProvider]:
        """Open a provider of the block and wait for it."""
        block = self.block(**members)
        with SecurityProvider.open(block, server_authorizer=server_authorizer) as security:
            security.wait_ready(timeout=DEADLINE)
            yield security


@dataclass(frozen=True)
class Served:
    """A provider's server, as the helper for servers wants it described."""

    security: SecurityProvider
    policy: CallPolicy | None = None
    verify: bool = True
    ports: int = 1
    secure: bool = True
    inner: Sequence[Any] = ()
    generic: Sequence[Any] = ()
    behaviors: Callable[..., Any] | None = None

    def interceptors(self) -> list[Any]:
        """Make the provider's interceptors."""
        return self.security.grpc_server_interceptors(self.policy)

    def aio_interceptors(self) -> list[Any]:
        """Make those for asyncio."""
        return self.security.grpc_aio_server_interceptors(self.policy)

    def credentials(self) -> grpc.ServerCredentials:
        """Make the provider's credentials."""
        return self.security.grpc_server_credentials()

    def options(self) -> list[tuple[str, int]]:
        """Give the provider's options."""
        return self.security.grpc_server_options()


@contextlib.contextmanager
def serving(
    stack: str,
    security: SecurityProvider,
    policy: CallPolicy | None = None,
) -> Iterator[Running]:
    """Run a server of a provider."""
    with running(stack, Served(security, policy)) as server:
        yield server


def dial(
    stack: str,
    security: SecurityProvider,
    target: str,
    method: str = f"/{SERVICE}/unary_unary",
) -> Outcome:
    """Make one call on a new channel of a provider; give its code and its answer or details."""
    if stack == "aio":
        return asyncio.run(_dial_aio(security, target, method))
    with security.grpc_channel(target) as channel:
        return outcome(channel, method)


def outcome(channel: grpc.Channel, method: str = f"/{SERVICE}/unary_unary") -> Outcome:
    """Make one call."""
    unary: Any = channel.unary_unary(method)
    try:
        return "OK", unary(b"request", timeout=DEADLINE).decode()
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code().name, failed.details() or ""


async def _dial_aio(security: SecurityProvider, target: str, method: str) -> Outcome:
    async with security.grpc_aio_channel(target) as channel:
        unary: Any = channel.unary_unary(method)
        try:
            return "OK", (await unary(b"request", timeout=DEADLINE)).decode()
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""


@contextlib.contextmanager
def stranger(
    port: int,
    roots: bytes,
    client: IssuedCertificate | None,
) -> Iterator[grpc.Channel]:
    """Connect as any gRPC client would, with a certificate or without."""
    chain, key = client.to_pem() if client is not None else (None, None)
    options = [
        ("grpc.ssl_target_name_override", HOST),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        yield channel


def knock(port: int, roots: bytes, client: IssuedCertificate | None) -> Outcome:
    """Make one call as a stranger."""
    with stranger(port, roots, client) as channel:
        return call(channel, "unary_unary")
