"""Channels for callers: arguments are checked, a route is opened, and grpcio dials it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.grpc.client.handles import AioHandle, Handle, Lease
from serviceradar_security.grpc.client.patterns import san_patterns
from serviceradar_security.grpc.client.plane import Wish
from serviceradar_security.grpc.client.resources import XDS_AUTHORITY
from serviceradar_security.grpc.client.routes import listener_name
from serviceradar_security.grpc.client.runtime import get_runtime
from serviceradar_security.grpc.client.targets import parse_target
from serviceradar_security.grpc.client.trust import SPIFFE
from serviceradar_security.identity.context import X509ContextSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serviceradar_security.grpc.client.runtime import Runtime
    from serviceradar_security.identity.authorizer import Authorizer

__all__ = [
    "REFUSED_OPTIONS",
    "aio_channel",
    "channel",
    "check_loop",
    "dial",
    "dial_aio",
    "read_options",
]

_AUTHORITY: Final = "grpc.default_authority"
_PROXY: Final = "grpc.enable_http_proxy"
_NO_PROXY: Final = "these channels do not go through a proxy: dial the server itself"
REFUSED_OPTIONS: Final = {
    "grpc.service_config": (
        "these channels do not read it: give timeouts with the call, and retry in an interceptor"
    ),
    "grpc.http_proxy": _NO_PROXY,
    "grpc.ssl_target_name_override": (
        "the server is known by its SPIFFE ID, never by a host name: leave it out, and use "
        "grpc.default_authority if the server needs another authority"
    ),
}


def channel(
    target: str,
    source: X509ContextSource,
    authorizer: Authorizer,
    *,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.Channel:
    """Make a channel that shows our identity and talks only to servers that the authorizer accepts.

    The server is verified by gRPC core before a byte of a call is sent: its certificate against
    the bundle of its own trust domain, its SPIFFE ID against the authorizer. The channel follows
    the source: new connections use the newest identity and bundles, and live ones are made anew,
    without a failed call, when their identity nears its end or an authority is removed. While the
    source has no identity, calls fail with UNAVAILABLE; they work again by themselves.

    A channel is costly to make and cheap to use: keep it. The first one of a process starts the
    control plane, and gRPC core reads its xDS bootstrap then: an application that uses xDS itself
    sets its own bootstrap before.

    Args:
        target: ``host:port``, ``dns:///host:port``, an address with a port, or ``ipv4:`` and
            ``ipv6:`` lists.
        source: Where our identity and the bundles come from; asked now and each second.
        authorizer: Who may answer.
        options: gRPC's channel arguments. ``grpc.default_authority`` is what the server sees
            instead of the target; ``grpc.service_config`` and proxies are refused.
        compression: For the requests of all calls.

    Raises:
        ConfigError: An argument cannot be honoured; the message says why.
        SecurityError: The control plane cannot be started or reached, all slots for sources are
            taken, or the process was forked from one that used gRPC.
    """
    wish, passed_on = _read_arguments(target, source, authorizer, options)
    return dial(wish, passed_on, compression)


def aio_channel(
    target: str,
    source: X509ContextSource,
    authorizer: Authorizer,
    *,
    options: Sequence[tuple[str, Any]] | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """Make a channel for asyncio; it verifies and follows as one made by `channel`.

    It is made inside a running event loop, which it blocks for some milliseconds, and a little
    longer for the first channel of a process.

    Args:
        target: As for `channel`.
        source: As for `channel`.
        authorizer: As for `channel`.
        options: As for `channel`.
        compression: As for `channel`.
        interceptors: grpcio's client interceptors for asyncio.

    Raises:
        ConfigError: As for `channel`.
        SecurityError: As for `channel`, or no event loop is running in this thread.
    """
    check_loop("aio_channel")
    wish, passed_on = _read_arguments(target, source, authorizer, options)
    return dial_aio(wish, passed_on, compression, interceptors)


def _read_arguments(
    target: object,
    source: object,
    authorizer: Authorizer,
    options: Sequence[tuple[str, Any]] | None,
) -> tuple[Wish, list[tuple[str, Any]]]:
    """Check everything before anything is changed."""
    dialled = parse_target(target)
    if not isinstance(source, X509ContextSource):
        raise ConfigError(
            f"a channel takes its identity from a source with the method current(), not from "
            f"{type(source).__name__}: give an X509Source or one like it",
        )
    patterns = san_patterns(authorizer)
    authority, passed_on = read_options(options, dialled.authority, REFUSED_OPTIONS)
    name = dialled.server_name
    return Wish(dialled, authority, authorizer, patterns, source, SPIFFE, name), passed_on


def read_options(
    options: Sequence[tuple[str, Any]] | None,
    authority: str,
    refused: Mapping[str, str],
) -> tuple[str, list[tuple[str, Any]]]:
    """Read channel options.

    Args:
        options: What the caller gave.
        authority: What the server sees unless an option says otherwise.
        refused: Options that cannot be honoured, each with the reason.

    Returns:
        What the server sees, and the options for grpcio.

    Raises:
        ConfigError: One cannot be honoured.
    """
    passed_on: list[tuple[str, Any]] = []
    for pair in options or ():
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - a pair
            raise ConfigError(f"a channel option is a pair of a name and a value, not {pair!r}")
        name, value = pair
        refusal = refused.get(name) or _refused_by_prefix(name)
        if refusal:
            raise ConfigError(f"the channel option {name} cannot be honoured: {refusal}")
        if name == _PROXY:
            if value:
                raise ConfigError(f"the channel option {_PROXY} cannot be honoured: {_NO_PROXY}")
        elif name == _AUTHORITY:
            authority = _read_authority(value)
        else:
            passed_on.append((name, value))
    # A proxy would be asked for our internal target, which no_proxy cannot name.
    return authority, [*passed_on, (_AUTHORITY, authority), (_PROXY, 0)]


def _refused_by_prefix(name: str) -> str:
    # A resumed session is not verified again by core (R-TLS-10), so no cache may be given.
    if name.startswith("grpc.ssl"):
        return "TLS is set up by this library, and no session is resumed"
    return "it is not for use" if name.startswith("grpc.TEST_ONLY") else ""


def _read_authority(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if (
        not isinstance(text, str)
        or not text
        or not text.isascii()
        or not text.isprintable()
        or set(text) & set(" */")
    ):
        raise ConfigError(
            f"the channel option {_AUTHORITY} is {value!r}: it is a host and a port if need be, "
            "such as 'core:50052', without spaces, slashes or asterisks",
        )
    return text


def check_loop(name: str) -> None:
    """Refuse a thread without a running event loop, in which grpcio's own error would not help.

    Raises:
        SecurityError: None is running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise SecurityError(
            f"{name} was called without a running event loop: call it inside a coroutine, or "
            f"use {name.replace('aio_', '')} in synchronous code",
        ) from error


def dial(
    wish: Wish,
    options: Sequence[tuple[str, Any]],
    compression: grpc.Compression | None,
) -> grpc.Channel:
    """Open a route and make a channel on it."""
    runtime = get_runtime()
    lease = _open(runtime, wish)
    try:
        raw = grpc.secure_channel(_listener(lease), runtime.credentials, options, compression)
    except BaseException:
        lease.give_back()
        raise
    return Handle(raw, lease)


def dial_aio(
    wish: Wish,
    options: Sequence[tuple[str, Any]],
    compression: grpc.Compression | None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
) -> grpc.aio.Channel:
    """Open a route and make a channel for asyncio on it."""
    runtime = get_runtime()
    lease = _open(runtime, wish)
    try:
        raw = grpc.aio.secure_channel(
            _listener(lease),
            runtime.credentials,
            options,
            compression,
            interceptors,
        )
    except BaseException:
        lease.give_back()
        raise
    return AioHandle(raw, lease)


def _open(runtime: Runtime, wish: Wish) -> Lease:
    plane = runtime.plane
    route = plane.call(plane.open(wish), undo=plane.release)
    return Lease(
        route,
        wish.source,
        closed=lambda ended: plane.leave_note(plane.release, ended),
        dropped=lambda ended: plane.leave_note(plane.release_later, ended),
    )


def _listener(lease: Lease) -> str:
    return f"xds://{XDS_AUTHORITY}/{listener_name(lease.route.listener)}"
