"""Targets: what a caller may dial, and what is refused with the reason and the way out.

Text in, a `Target` out. Names are resolved by `resolver`, never by gRPC core: a cluster of core
that resolves by itself does not recover from a first lookup that failed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import unquote

from serviceradar_security.errors import ConfigError

__all__ = ["Address", "Target", "parse_target"]

Address = tuple[str, int]
"""An IP literal and a port, as core takes them in an endpoint."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PORT: Final = re.compile(r"[0-9]{1,5}")
_MAX_PORT: Final = 65535
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME: Final = 253
_SHOWN: Final = 120
_REFUSED: Final = {
    "unix": "gRPC core's verified channels have no Unix sockets: dial host:port",
    "unix-abstract": "gRPC core's verified channels have no Unix sockets: dial host:port",
    "vsock": "gRPC core's verified channels have no vsock endpoints: dial host:port",
    "xds": "these channels are served by a control plane of their own: dial host:port",
    "fd": "a connected descriptor cannot be verified and reconnected: dial host:port",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is dialled.

    Attributes:
        authority: What the server sees as ``:authority`` unless the caller names another.
        host: The DNS name to resolve, in ASCII; empty for literal addresses.
        port: The port that belongs to `host`; 0 for literal addresses.
        addresses: Literal addresses; empty for a name.
    """

    authority: str
    host: str = ""
    port: int = 0
    addresses: tuple[Address, ...] = ()

    @property
    def server_name(self) -> str:
        """The name for SNI: the host name, and nothing for addresses (RFC 6066 section 3)."""
        return self.host.rstrip(".")


def parse_target(text: object) -> Target:
    """Read a target in gRPC's syntax.

    Served are ``host:port``, ``dns:host:port``, ``dns:///host:port``, ``IPv4:port``,
    ``[IPv6]:port``, and lists ``ipv4:a:1,b:2`` and ``ipv6:[a]:1,[b]:2``.

    Raises:
        ConfigError: It is anything else, with the reason and the way out.
    """
    if not isinstance(text, str) or not text:
        _refuse(text, "a target is text such as 'core:50052'")
    if not text.isprintable() or " " in text:
        _refuse(text, "it has a space or a character that cannot be printed")
    scheme, rest = _split_scheme(text)
    if scheme in _REFUSED:
        _refuse(text, _REFUSED[scheme])
    if scheme in ("ipv4", "ipv6"):
        return _literals(text, scheme, unquote(rest))
    if scheme == "dns":
        rest = unquote(_without_server(text, rest))
    return _one(text, rest)


def _split_scheme(text: str) -> tuple[str, str]:
    """Tell ``dns:core:1`` from ``core:1``: as in core, only known schemes are schemes."""
    match = _SCHEME.fullmatch(text)
    if match is None:
        return "", text
    scheme, rest = match[1].lower(), match[2]
    if scheme in _REFUSED or scheme in ("dns", "ipv4", "ipv6"):
        # ``dns:50051`` is a host called dns, as is every ``name:port``.
        return ("", text) if _PORT.fullmatch(rest) else (scheme, rest)
    if rest.startswith("/"):
        _refuse(text, f"the scheme {scheme!r} is not known: use host:port or dns:///host:port")
    return "", text


def _without_server(text: str, rest: str) -> str:
    if not rest.startswith("//"):
        return rest.removeprefix("/")
    server, slash, name = rest[2:].partition("/")
    if server:
        _refuse(
            text,
            f"a DNS server of one's own ({server!a}) is not served: write dns:///host:port, "
            "and name the server in the system's resolver",
        )
    if not slash:
        _refuse(text, "it has no host: write dns:///host:port")
    return name


def _one(text: str, rest: str) -> Target:
    host, port = _host_and_port(text, rest)
    literal = _literal(host.removeprefix("[").removesuffix("]"))
    if host.startswith("["):
        if literal is None or ":" not in literal:
            _refuse(text, "there is no IPv6 address between the brackets")
        shown = literal.partition("%")[0]
        return Target(authority=f"[{shown}]:{port}", addresses=((literal, port),))
    if literal is not None:
        return Target(authority=f"{literal}:{port}", addresses=((literal, port),))
    name = _name(text, host)
    return Target(authority=f"{name}:{port}", host=name, port=port)


def _literals(text: str, scheme: str, rest: str) -> Target:
    addresses: list[Address] = []
    wanted = 4 if scheme == "ipv4" else 6
    for part in rest.removeprefix("///").removeprefix("/").split(","):
        host, port = _host_and_port(text, part)
        literal = _literal(host.removeprefix("[").removesuffix("]"))
        if literal is None or ipaddress.ip_address(literal).version != wanted:
            _refuse(text, f"{host!a} is no IPv{wanted} address")
        if (literal, port) not in addresses:
            addresses.append((literal, port))
    first, port = addresses[0]
    shown = first.partition("%")[0]
    authority = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
    return Target(authority=authority, addresses=tuple(addresses))


def _host_and_port(text: str, part: str) -> tuple[str, int]:
    host, colon, port = part.rpartition(":")
    if part.endswith("]") or not colon:
        _refuse(text, f"the port is missing: write {part or 'host'}:PORT")
    if not host:
        _refuse(text, "the host is missing: write host:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        _refuse(text, "an IPv6 address stands in brackets: write [address]:port")
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _MAX_PORT:
        _refuse(text, f"the port {port!a} is not a number from 1 to {_MAX_PORT}")
    return host, int(port)


def _literal(host: str) -> str | None:
    """Give an address in its canonical form, with its zone, or None if it is none."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _name(text: str, host: str) -> str:
    """Encode a host name for DNS, or refuse what cannot be one."""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        _refuse(text, f"the host {host!a} cannot be encoded for DNS (IDNA)")
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME or not all(_LABEL.fullmatch(each) for each in labels):
        _refuse(text, f"{host!a} is no host name: labels of a-z 0-9 - _, at most 63 each")
    return name


def _refuse(text: object, reason: str) -> NoReturn:
    shown = ascii(text)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    raise ConfigError(f"the gRPC target {shown} cannot be served: {reason}")
