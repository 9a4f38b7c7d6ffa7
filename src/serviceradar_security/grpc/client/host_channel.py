"""Channels to servers that are known by their host names, as plain mutual TLS has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.errors import ConfigError
from serviceradar_security.grpc.client.channel import (
    REFUSED_OPTIONS,
    check_loop,
    dial,
    dial_aio,
    read_options,
)
from serviceradar_security.grpc.client.patterns import host_patterns
from serviceradar_security.grpc.client.plane import Wish
from serviceradar_security.grpc.client.targets import parse_target
from serviceradar_security.grpc.client.trust import HOSTS
from serviceradar_security.identity.credentials import TlsCredentialsSource
from serviceradar_security.identity.host import HostName

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    import grpc.aio

    from serviceradar_security.grpc.client.targets import Target

__all__ = ["host_aio_channel", "host_channel"]

_REFUSED: Final = REFUSED_OPTIONS | {
    "grpc.ssl_target_name_override": "give the server's host name as server_name",
}


def host_channel(
    target: str,
    source: TlsCredentialsSource,
    *,
    server_name: str = "",
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.Channel:
    """Make a channel that shows our certificate and talks only to the server of a host name.

    The server is verified by gRPC core before a byte of a call is sent: its certificate against
    the source's authorities, its DNS and IP names against the host (RFC 9525; the CN is never
    looked at). The channel follows the source as one made by `channel` does.

    Args:
        target: As for `channel`.
        source: Where our certificate and the authorities come from; asked now and each second.
        server_name: The name that the server's certificate must have, and that it is told (SNI);
            by default the host of the target.
        options: As for `channel`.
        compression: As for `channel`.

    Raises:
        ConfigError: An argument cannot be honoured; the message says why.
        SecurityError: As for `channel`.
    """
    wish, passed_on = _read_arguments(target, source, server_name, options)
    return dial(wish, passed_on, compression)


def host_aio_channel(
    target: str,
    source: TlsCredentialsSource,
    *,
    server_name: str = "",
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Make a channel for asyncio; it verifies and follows as one made by `host_channel`.

    Args:
        target: As for `channel`.
        source: As for `host_channel`.
        server_name: As for `host_channel`.
        options: As for `channel`.
        compression: As for `channel`.
        interceptors: grpcio's client interceptors for asyncio.

    Raises:
        ConfigError: As for `host_channel`.
        SecurityError: As for `channel`, or no event loop is running in this thread.
    """
    check_loop("host_aio_channel")
    wish, passed_on = _read_arguments(target, source, server_name, options)
    return dial_aio(wish, passed_on, compression, interceptors)


def _read_arguments(
    target: object,
    source: object,
    server_name: str,
    options: Sequence[tuple[str, Any]] | None,
) -> tuple[Wish, list[tuple[str, Any]]]:
    dialled = parse_target(target)
    if not isinstance(source, TlsCredentialsSource):
        raise ConfigError(
            f"a channel takes its certificate from a source with the method current(), not from "
            f"{type(source).__name__}: give a TlsFileSource or one like it",
        )
    host = HostName.parse(server_name) if server_name else _host_of(dialled)
    authority, passed_on = read_options(options, dialled.authority, _REFUSED)
    # No address is sent as a server name (RFC 6066 section 3).
    name = "" if host.is_address else host.text
    wish = Wish(dialled, authority, host, host_patterns(host), source, HOSTS, name)
    return wish, passed_on


def _host_of(target: Target) -> HostName:
    if target.host:
        return HostName.parse(target.host)
    hosts = {address.partition("%")[0] for address, _ in target.addresses}
    if len(hosts) != 1:
        raise ConfigError(
            f"the gRPC target has {len(hosts)} addresses, of which a certificate need not name "
            "each: say in server_name by which name the server is known",
        )
    return HostName.parse(hosts.pop())
