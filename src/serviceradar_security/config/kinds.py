"""Kinds of security blocks: which parts of a document are one, and what each kind implies.

Most blocks are known by their name. A few are not named so and are known by their shape; a few may
leave the mode out, since every reader of that kind has always understood the same secure mode by
it. Both are data here, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.block_members import FILE_NAMES
from serviceradar_security.config.blocks import Segment, find_blocks, fold_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serviceradar_security.config.normalise import Mode

__all__ = ["DEFAULT_KIND", "KINDS", "BlockKind", "find_kinds"]

DEFAULT_KIND: Final = "security"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKind:
    """What is known of a block before it is read.

    Attributes:
        name: Name of the kind.
        without_mode: The mode that a block of this kind means when it names none, but gives
            certificate, key and authorities and no member of mode ``spiffe``; None if a mode must
            be written. Never ``none``.
        reason: Why that is so.
        others: Members of such a table that are settings of something else.
    """

    name: str
    without_mode: Mode | None
    reason: str
    others: frozenset[str] = frozenset()


KINDS: Final[Mapping[str, BlockKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            BlockKind(
                name=DEFAULT_KIND,
                without_mode=None,
                reason="its readers differ on a missing mode, and some take it for plaintext",
            ),
            BlockKind(
                name="nats_client",
                without_mode="mtls",
                reason="links to NATS are mutual TLS in every deployment",
            ),
            BlockKind(
                name="grpc_server",
                without_mode="mtls",
                reason="every reader of it takes a missing mode for mutual TLS and refuses none",
                others=frozenset(("listen_addr",)),
            ),
            BlockKind(
                name="tls_files",
                without_mode="mtls",
                reason="such a table holds the files of mutual TLS and has no mode to write",
            ),
        )
    },
)
"""Every kind of block, by its name."""

_MEMBERS: Final = frozenset(
    ("mode", "cert_dir", "trust_domain", "server_spiffe_id", "workload_socket", "tls", *FILE_NAMES),
)
# Tables that are security blocks under another name, with the members that give them away.
_SHAPES: Final[tuple[tuple[tuple[str, ...], frozenset[str], str], ...]] = (
    (("grpc",), _MEMBERS, "grpc_server"),
    (("grpc_tls",), frozenset(("mode", *FILE_NAMES)), "tls_files"),
    (("nats", "tls"), frozenset(("mode", *FILE_NAMES)), "tls_files"),
)


def find_kinds(
    document: dict[str, object],
) -> list[tuple[tuple[Segment, ...], object, str]]:
    """Find every security block, whether known by its name or by its shape, with its kind.

    Args:
        document: A plain document of dicts, lists and scalars.

    Returns:
        The path of each, its value whatever that is, and the name of its kind, which is a key of
        `KINDS`: first those known by name, in the order of the document.
    """
    found = [(path, value, _kind_of_name(document, path)) for path, value in find_blocks(document)]
    for path, telling, kind in _SHAPES:
        for place, value in _at(document, path):
            if isinstance(value, dict) and any(fold_name(name) in telling for name in value):
                found.append((place, value, kind))
    return found


def _kind_of_name(document: dict[str, object], path: tuple[Segment, ...]) -> str:
    match path:
        case (*_, "nats_security") | ("nats", "security"):
            return "nats_client"
        case (*_, "grpc_security"):
            return "grpc_server"
        case ("security",) if _is_for_nats(document):
            return "nats_client"
        case _:
            return DEFAULT_KIND


def _is_for_nats(document: dict[str, object]) -> bool:
    """Tell whether the block ``security`` of a document is that of its link to NATS.

    So it is with the collectors that have a block of its own for the gRPC side, and have none
    named ``nats_security``: there ``security`` is an alias, or the older name.
    """
    serves = "grpc_security" in document or "grpc_listen_addr" in document
    return "nats_url" in document and serves and "nats_security" not in document


def _at(
    value: object,
    path: tuple[str, ...],
    place: tuple[Segment, ...] = (),
) -> Iterator[tuple[tuple[Segment, ...], object]]:
    """Find what stands at a path, in each spelling that Go's decoder would take for it."""
    if not path:
        yield place, value
    elif isinstance(value, dict):
        for name, member in value.items():
            if fold_name(name) == path[0]:
                yield from _at(member, path[1:], (*place, name))
