"""The names that gRPC core may accept from a server, as patterns over its certificate.

An authorizer in, RE2 patterns out. Core anchors a ``safe_regex`` at both ends and compares case
by case; its ``exact`` matcher would fold case, which a SPIFFE ID does not allow (R-ID-13).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.authorizer import AnyId, MemberOf, OneOf, PathPrefix
from serviceradar_security.identity.combine import AnyOf

if TYPE_CHECKING:
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.host import HostName

__all__ = ["NOBODY", "host_patterns", "san_patterns"]

# A segment of a path, which is neither "." nor "..": RE2 cannot look ahead.
_SEGMENT: Final = r"/(\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3}[A-Za-z0-9._-]*)"
_PATH: Final = f"({_SEGMENT})+"
NOBODY: Final = r"[^\s\S]"
"""A pattern that no text matches. An empty list of patterns would accept everybody."""
_IDS_IN_A_PATTERN: Final = 200  # core limits the memory of one pattern


def san_patterns(authorizer: Authorizer) -> tuple[str, ...]:
    """Give patterns of which one matches exactly if the authorizer accepts the SPIFFE ID.

    An ID without a path names a trust domain and never a workload (R-X509-04), so that no pattern
    matches it, whatever the authorizer says.

    Returns:
        At least one pattern.

    Raises:
        ConfigError: The authorizer gives no bound that could be written as a pattern.
    """
    match authorizer:
        case OneOf(ids):
            texts = sorted(re.escape(str(each)) for each in ids if each.path)
            starts = range(0, len(texts), _IDS_IN_A_PATTERN)
            parts = ("|".join(texts[at : at + _IDS_IN_A_PATTERN]) for at in starts)
            return tuple(parts) or (NOBODY,)
        case MemberOf(trust_domain):
            return (f"spiffe://{re.escape(trust_domain.name)}{_PATH}",)
        case PathPrefix(prefix):
            return (f"{re.escape(str(prefix))}({_SEGMENT})*",)
        case AnyOf(authorizers):
            each = dict.fromkeys(one for every in authorizers for one in san_patterns(every))
            return tuple(each) or (NOBODY,)
        case AnyId():
            return (f"spiffe://[a-z0-9._-]+{_PATH}",)
    raise ConfigError(
        f"the authorizer {authorizer!r} cannot be given to gRPC core, which decides before a byte "
        "is sent: use authorize_id, authorize_one_of, authorize_member_of, authorize_path_prefix, "
        "authorize_any, or any_of these",
    )


def host_patterns(host: HostName) -> tuple[str, ...]:
    """Give the pattern of the names that a server's certificate may have (RFC 9525 section 6).

    A DNS name is compared without regard to case (section 6.3). A wildcard is the whole left-most
    label and stands for one label: ``*.example.org`` is for ``core.example.org`` alone of
    ``core.example.org``, ``a.core.example.org`` and ``example.org``. Core's own comparison of host
    names (its ``exact`` matcher) is not used: its rules for wildcards are its own.

    Core shows a certificate's names without their kinds, so that a URI name which spells the host
    matches as well; an authority that we trust would have to sign it.
    """
    if host.is_address:
        address = ipaddress.ip_address(host.text)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
        # As core writes it, which is not always as Python does.
        return (re.escape(socket.inet_ntop(family, address.packed)),)
    names = [host.text, *([f"*.{host.parent}"] if host.parent else [])]
    return ("|".join(map(_any_case, names)),)


def _any_case(name: str) -> str:
    """Write a name letter by letter: RE2's own folding knows more letters than ASCII has."""
    return "".join(
        f"[{each}{each.upper()}]" if each.isalpha() else re.escape(each) for each in name
    )
