"""The address of a Workload API.

Standard: SPIFFE Workload Endpoint sections 3 and 4. The raw text is matched before anything is
taken apart; no URL library is asked, since those strip and decode (R-EP-09).
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn
from urllib.parse import quote

from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENDPOINT_VARIABLE", "WorkloadEndpoint"]

ENDPOINT_VARIABLE: Final = "SPIFFE_ENDPOINT_SOCKET"
_MAX_PATH_BYTES: Final = 107  # sockaddr_un holds 108 with the final NUL (R-EP-10)
_MAX_PORT: Final = 65535
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]*")
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]+")  # RFC 3986 section 3.3
_TCP: Final = re.compile(r"//(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class WorkloadEndpoint:
    """Where a Workload API listens.

    Attributes:
        kind: ``unix`` or ``tcp``.
        path: Path of the Unix socket; empty for ``tcp``.
        host: IP address without brackets; empty for ``unix``.
        port: TCP port; 0 for ``unix``.

    Raises:
        ConfigError: The parts are no address: the rules are those of `parse`.
    """

    kind: Literal["unix", "tcp"]
    path: str = ""
    host: str = ""
    port: int = 0

    def __post_init__(self) -> None:
        parts = (self.kind, self.path, self.host, self.port)
        try:
            same = _read(str(self)) == parts
        except (TypeError, UnicodeError):  # parts that cannot be written
            same = False
        if not same:
            _refuse(parts, "is not what its text would be parsed to", "the text, and parse it")

    @classmethod
    def parse(cls, text: str) -> WorkloadEndpoint:
        """Parse ``unix:///path/to.sock``, ``unix:/path/to.sock`` or ``tcp://127.0.0.1:8081``.

        On ``tcp`` private keys travel in clear: it is only for hosts where the server knows its
        callers by their address (R-EP-12).

        Raises:
            ConfigError: The text is no such address (Workload Endpoint section 4).
        """
        return cls(*_read(text))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> WorkloadEndpoint:
        """Take the address from ``SPIFFE_ENDPOINT_SOCKET`` (Workload Endpoint section 4).

        Args:
            environ: The environment, instead of the process's.

        Raises:
            ConfigError: The variable is not set, or is no address; there is no default (R-EP-01).
        """
        text = (os.environ if environ is None else environ).get(ENDPOINT_VARIABLE, "")
        if not text:
            raise ConfigError(
                f"no Workload API address: set {ENDPOINT_VARIABLE}, as in "
                f"{ENDPOINT_VARIABLE}=unix:///run/spire/sockets/agent.sock, or name the endpoint",
            )
        return cls.parse(text)

    @property
    def grpc_target(self) -> str:
        """The address as a target for gRPC, which decodes paths once more (R-EP-08, R-EP-13)."""
        if self.kind == "unix":
            return f"unix:{quote(self.path)}"
        if ":" in self.host:
            return f"ipv6:[{self.host}]:{self.port}"
        return f"ipv4:{self.host}:{self.port}"

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix://{quote(self.path)}"
        return (
            f"tcp://[{self.host}]:{self.port}"
            if ":" in self.host
            else f"tcp://{self.host}:{self.port}"
        )


def _read(text: str) -> tuple[Literal["unix", "tcp"], str, str, int]:
    """Give kind, path, host and port."""
    if not isinstance(text, str) or not text:
        _refuse(text, "is not an address", "unix:///run/spire/sockets/agent.sock")
    if not _PRINTABLE.fullmatch(text):
        _refuse(text, "has a space, a control or a non-ASCII character", "%-escapes")
    scheme, colon, rest = text.partition(":")
    for mark, what in (("?", "query"), ("#", "fragment")):  # R-EP-07
        if mark in text:
            _refuse(text, f"has a {what}", "the address alone")
    if colon and scheme.lower() == "unix":  # schemes are case-insensitive (R-EP-02)
        return "unix", _unix_path(text, rest), "", 0
    if colon and scheme.lower() == "tcp":
        host, port = _tcp_address(text, rest)
        return "tcp", "", host, port
    return _refuse(text, "has neither the scheme unix nor tcp", "unix:///path or tcp://IP:port")


def _unix_path(text: str, rest: str) -> str:
    """R-EP-03, R-EP-04, R-EP-10."""
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith("/"):
            _refuse(text, "has a host: a socket's path begins with a slash", "unix:///path")
    if not rest.startswith("/"):
        _refuse(text, "has no absolute path", "unix:///path")
    if not _PATH.fullmatch(rest):
        _refuse(text, "has a character that a URI does not allow in a path", "%-escapes")
    path = _decoded(text, rest)
    if path == "/":
        _refuse(text, "names the root folder", "the path of the socket")
    if path.startswith("//"):  # after decoding: written back it would read as a host
        _refuse(text, "has a path that begins with two slashes", "unix:///path")
    size = len(path.encode())
    if size > _MAX_PATH_BYTES:
        _refuse(text, f"has a path of {size} bytes", f"at most {_MAX_PATH_BYTES} bytes")
    return path


def _decoded(text: str, rest: str) -> str:
    """R-EP-08."""
    if "%" in _ESCAPE.sub("", rest):
        _refuse(text, "has a malformed escape", "%25 for a percent sign")
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), rest).encode("latin-1")
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        _refuse(text, "has escapes that are not UTF-8", "a UTF-8 path")
    if "\0" in path:
        _refuse(text, "has a NUL in its path", "a path of a file system")
    return path


def _tcp_address(text: str, rest: str) -> tuple[str, int]:
    """R-EP-05, R-EP-06."""
    match = _TCP.fullmatch(rest)
    if match is None:
        _refuse(text, "is not an IP address with a port, and nothing else", "tcp://127.0.0.1:8081")
    host = match[1] or match[2]
    try:
        ipaddress.IPv4Address(host) if match[1] else ipaddress.IPv6Address(host)
    except ValueError:
        _refuse(text, "has a host that is no IP address", "a dotted quad, or IPv6 in brackets")
    port = int(match[3])
    if not 1 <= port <= _MAX_PORT:
        _refuse(text, f"has the port {port}", f"1 to {_MAX_PORT}")
    return host, port


def _refuse(text: object, what: str, remedy: str) -> NoReturn:
    # Whoever mixes up arguments must not find a key in the message.
    quoted = "a PEM block" if "-----BEGIN" in ascii(text) else ascii(text)[:160]
    raise ConfigError(
        f"Workload API address {quoted} {what}: write {remedy} (Workload Endpoint section 4)",
    )
