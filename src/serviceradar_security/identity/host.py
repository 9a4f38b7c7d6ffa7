"""Host names: the name by which a server of plain TLS is known.

Standard: RFC 9525 (service identity in TLS), RFC 5890 (names in other scripts), RFC 6066 section 3.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import shown

__all__ = ["HostName"]

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_NAME: Final = 253
_RULE: Final = (
    "it is a DNS name such as core.example.org, or an IP address without a port, and no wildcard"
)


@dataclass(frozen=True, slots=True)
class HostName:
    """The reference identity of a server: a DNS name or an IP address; made by `parse`.

    Attributes:
        text: The DNS name in lower case and ASCII, without a final dot; or the address in its
            canonical form.
        is_address: Whether it is an IP address.
    """

    text: str
    is_address: bool

    @classmethod
    def parse(cls, text: str) -> HostName:
        """Read the name of a host.

        Raises:
            ConfigError: It is none.
        """
        if not isinstance(text, str):
            raise ConfigError(f"a host name is a text, not {type(text).__name__}")
        if _is_address(text):
            return cls(str(ipaddress.ip_address(text)), is_address=True)
        try:
            ascii_text = text if text.isascii() else text.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ConfigError(f"{shown(text)} cannot be encoded as a host name: {_RULE}") from error
        name = ascii_text.lower().removesuffix(".")
        labels = name.split(".")
        # RFC 9525 section 6.3 and RFC 1123: a last label of digits alone would be an address.
        if (
            len(name) > _MAX_NAME
            or not all(_LABEL.fullmatch(each) for each in labels)
            or labels[-1].isdigit()
        ):
            raise ConfigError(f"{shown(text)} is no host name: {_RULE}")
        return cls(name, is_address=False)

    @property
    def parent(self) -> str:
        """What follows the left-most label; empty for an address and for a name of one label.

        A wildcard stands for exactly one label, the left-most one (RFC 9525 section 6.3).
        """
        return "" if self.is_address else self.text.partition(".")[2]

    def __str__(self) -> str:
        return self.text


def _is_address(text: str) -> bool:
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False
