"""The members of a security block: their names, their types, and the texts they hold.

pydantic looks at the shape; what leaves this module is texts and problems, and no value that it
was given.
"""

from __future__ import annotations

from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serviceradar_security.config.blocks import fold_name
from serviceradar_security.config.document import kind_of
from serviceradar_security.config.normalise import DEFAULT_WORKLOAD_SOCKET, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.config.problems import Problems

__all__ = [
    "BLOCK_NAMES",
    "FILE_NAMES",
    "KNOWN_ROLES",
    "NO_SWITCHES",
    "TEXT_NAMES",
    "BlockMembers",
    "FileMembers",
    "Place",
    "check_names",
    "read_texts",
]

Place: TypeAlias = tuple[str, ...]
"""Where a member stands in a block: its name, or ``tls`` and its name."""

KNOWN_ROLES: Final = frozenset(
    # `poller` is what `gateway` was called in 2025, and still is in many files.
    ("gateway", "poller", "agent", "core", "kv", "datasvc", "checker", "sync"),
)
"""The roles of the platform, which tell services apart in its files and decide nothing here."""

NO_SWITCHES: Final = frozenset(
    ("enabled", "insecure", "insecure_skip_verify", "skip_verify", "tls_enabled"),
)
"""Members that look like switches for TLS or for verification, and are none."""


class FileMembers(BaseModel):
    """Paths of PEM files. Relative ones are joined to ``cert_dir``, once."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True, frozen=True, hide_input_in_errors=True
    )

    cert_file: str = Field(default="", description="Own certificate, with the chain behind it.")
    key_file: str = Field(default="", description="Private key of the certificate.")
    ca_file: str = Field(default="", description="Authorities that servers are verified against.")
    client_ca_file: str = Field(
        default="",
        description="Authorities that clients are verified against. Default: those of ca_file.",
    )


class BlockMembers(FileMembers):
    """Who a service is, whom it dials, and how its connections are secured."""

    mode: str = Field(
        default="",
        description="How connections are secured: spiffe (identities from the Workload API), mtls "
        "(certificates from files), or none (plaintext, which must also be allowed in code).",
    )
    role: str = Field(
        default="",
        description="What the service calls itself. Nothing depends on it; an unknown one is a "
        "warning in mode mtls.",
    )
    cert_dir: str = Field(
        default="", description="Directory that relative paths of files are joined to."
    )
    server_name: str = Field(
        default="",
        description="Host name that the certificate of a dialled server must have, in mode mtls.",
    )
    trust_domain: str = Field(
        default="",
        description="Trust domain of the peers: a name in lower case, or a whole SPIFFE ID, of "
        "which the trust domain counts. A server in mode spiffe lets its members in.",
    )
    server_spiffe_id: str = Field(
        default="",
        description="The one SPIFFE ID that a dialled server must have: whole, or as a path in "
        "trust_domain.",
    )
    workload_socket: str = Field(
        default="",
        description="Address of the Workload API, in mode spiffe. Default: "
        f"{DEFAULT_WORKLOAD_SOCKET}",
    )
    tls: FileMembers = Field(
        default=FileMembers(),
        description="Paths of PEM files. They may stand beside the other members instead; with "
        "tls given, only those in it count.",
    )


FILE_NAMES: Final = tuple(FileMembers.model_fields)
"""The names of the files of a block, which stand below ``tls`` or beside the other members."""

BLOCK_NAMES: Final = tuple(BlockMembers.model_fields)
"""The names of all members of a block."""

TEXT_NAMES: Final = tuple(name for name in BLOCK_NAMES if name not in (*FILE_NAMES, "tls"))
"""The names of the members of a block that are neither files nor ``tls``: all of them texts."""


def check_names(
    members: Mapping[str, object],
    model: type[BaseModel],
    where: Place,
    problems: Problems,
) -> list[Place]:
    """Give the members that nobody reads; refuse those that only Go's decoder would read."""
    ignored: list[Place] = []
    known = {fold_name(name): name for name in model.model_fields}
    for name in members:
        meant = known.get(fold_name(name))
        if meant is None:
            ignored.append((*where, name))
        elif meant != name:
            problems.add((*where, name), f'is read as "{meant}" by Go\'s decoder: write "{meant}"')
    return ignored


def read_texts(members: dict[str, object], problems: Problems) -> dict[Place, str]:
    """Give the texts of a block by their place: empty where missing, absent where faulty."""
    misfits = _misfits(members)
    for place in misfits:
        expected = "an object" if place == ("tls",) else "a text"
        found: object = reduce(getitem, place, cast("Any", members))
        problems.add(place, f"is {kind_of(found)}, but must be {expected}")
    texts = _flat(BlockMembers.model_validate(_without(members, misfits)))
    for place, text in list(texts.items()):
        reported = place in misfits or place[:-1] in misfits
        if reported or not check_text(place, text, problems):
            del texts[place]
    return texts


def _misfits(members: dict[str, object]) -> list[Place]:
    """Find the members of a wrong type."""
    try:
        BlockMembers.model_validate(members)
    except ValidationError as error:
        # pydantic's error holds its input: only the places leave this function.
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return [tuple(map(str, fault["loc"])) for fault in faults]
    return []


def _without(members: Mapping[str, object], places: list[Place]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in members.items():
        below = [place[1:] for place in places if place[0] == name]
        if () in below:
            continue
        kept[name] = _without(value, below) if isinstance(value, dict) and below else value
    return kept


def _flat(block: BlockMembers) -> dict[Place, str]:
    texts: dict[Place, str] = {}
    for name, value in block.model_dump().items():
        if name == "tls":
            texts |= {(name, file): path for file, path in value.items()}
        else:
            texts[name,] = value
    return texts
