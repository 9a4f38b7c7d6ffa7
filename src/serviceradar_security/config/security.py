"""The security block: who a service is, whom it dials, and how its connections are secured.

`SecurityConfig` is what a block means, checked and normalised. pydantic looks at the shape; what
leaves this module is our own error with every problem at once, and no value that it was given
but for modes and identity names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serviceradar_security.config.blocks import fold_name, join_path, render_path
from serviceradar_security.config.document import kind_of, plain_document
from serviceradar_security.config.normalise import (
    DEFAULT_WORKLOAD_SOCKET,
    Mode,
    TlsFiles,
    check_text,
    read_identities,
    read_mode,
    read_tls_files,
    read_workload_socket,
)
from serviceradar_security.config.problems import Problems, shown

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

__all__ = ["DEFAULT_WORKLOAD_SOCKET", "Mode", "SecurityConfig", "TlsFiles", "read_block"]

_Place: TypeAlias = tuple[str, ...]

_log: Final = logging.getLogger("serviceradar_security.config")
_NAMED_IN_LOG: Final = 20

KNOWN_ROLES: Final = frozenset(
    # `poller` is what `gateway` was called in 2025, and still is in many files.
    ("gateway", "poller", "agent", "core", "kv", "datasvc", "checker", "sync"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """What one security block says, normalised.

    Attributes:
        mode: ``spiffe``, ``mtls`` or ``none``.
        role: What the service calls itself, as given.
        cert_dir: Directory of the PEM files, as given.
        server_name: Host name that a server's certificate must have, in mode ``mtls``.
        tls: The PEM files, with `cert_dir` joined.
        trust_domain: Trust domain of the peers.
        server_spiffe_id: The one ID that a dialled server must have.
        workload_socket: Address of the Workload API, in mode ``spiffe``.
    """

    mode: Mode
    role: str = ""
    cert_dir: str = ""
    server_name: str = ""
    tls: TlsFiles = field(default_factory=TlsFiles)
    trust_domain: TrustDomain | None = None
    server_spiffe_id: SpiffeId | None = None
    workload_socket: str = DEFAULT_WORKLOAD_SOCKET

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, object],
        *,
        path: str = "security",
    ) -> SecurityConfig:
        """Read a security block.

        Args:
            mapping: The block, as it stands in a document.
            path: Where it stands, for messages.

        Raises:
            ConfigError: The block cannot be used. Lists every problem.
        """
        problems = Problems(path)
        block = read_block(mapping, problems, path=path)
        if block is None:
            raise problems.error("security block not usable")
        return block


class _Files(BaseModel):
    """The members of ``tls``."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    client_ca_file: str = ""


class _Block(_Files):
    """The members of a security block; file names beside them are the flat form of ``tls``."""

    mode: str = ""
    role: str = ""
    cert_dir: str = ""
    server_name: str = ""
    trust_domain: str = ""
    server_spiffe_id: str = ""
    workload_socket: str = ""
    tls: _Files = Field(default_factory=_Files)


def read_block(value: object, problems: Problems, *, path: str) -> SecurityConfig | None:
    """Read a security block, noting every problem; None if there is one.

    Args:
        value: What stands where the block should be.
        problems: Where to note them.
        path: Where the block stands, for the log.
    """
    if not isinstance(value, Mapping):
        problems.add((), f"is {kind_of(value)}, but a security block is an object")
        return None
    members = plain_document(value, problems)
    ignored = _check_names(members, _Block, (), problems)
    nested = members.get("tls")
    if isinstance(nested, dict):
        ignored += _check_names(nested, _Files, ("tls",), problems)
        # One form counts, never a mixture of both: the nested one wins.
        ignored += [(name,) for name in _Files.model_fields if name in members]
    _warn_ignored(ignored, path)
    return _normalise(members, problems, path=path)


def _check_names(
    members: Mapping[str, object],
    model: type[BaseModel],
    where: _Place,
    problems: Problems,
) -> list[_Place]:
    """Give the members that nobody reads; refuse those that only Go's decoder would read."""
    ignored: list[_Place] = []
    known = {fold_name(name): name for name in model.model_fields}
    for name in members:
        meant = known.get(fold_name(name))
        if meant is None:
            ignored.append((*where, name))
        elif meant != name:
            problems.add((*where, name), f'is read as "{meant}" by Go\'s decoder: write "{meant}"')
    return ignored


def _warn_ignored(ignored: list[_Place], path: str) -> None:
    if not ignored:
        return
    names = tuple(join_path(path, render_path(place)) for place in ignored[:_NAMED_IN_LOG])
    _log.warning(
        "%d unknown members of a security block are ignored: %s",
        len(ignored),
        ", ".join(names),
        extra={"event": "security_members_ignored", "paths": names},
    )


def _normalise(
    members: dict[str, object],
    problems: Problems,
    *,
    path: str,
) -> SecurityConfig | None:
    texts = _read_texts(members, problems)
    mode = read_mode(texts.get(("mode",)), problems)
    trust_domain, server_spiffe_id = read_identities(
        texts.get(("trust_domain",)),
        texts.get(("server_spiffe_id",)),
        problems,
    )
    where = ("tls",) if "tls" in members else ()
    tls = read_tls_files(
        texts.get(("cert_dir",)),
        {name: texts.get((*where, name)) for name in _Files.model_fields},
        problems,
        required=mode == "mtls",
    )
    workload_socket = read_workload_socket(texts.get(("workload_socket",)), problems)
    if mode is None or problems:
        return None
    role = texts["role",]
    if mode == "mtls" and role and role not in KNOWN_ROLES:
        _warn_role(role, path)
    return SecurityConfig(
        mode=mode,
        role=role,
        cert_dir=texts["cert_dir",],
        server_name=texts["server_name",],
        tls=tls,
        trust_domain=trust_domain,
        server_spiffe_id=server_spiffe_id,
        workload_socket=workload_socket,
    )


def _warn_role(role: str, path: str) -> None:
    _log.warning(
        "%s: role %s is not one the platform knows (%s); nothing here depends on it",
        path,
        shown(role),
        ", ".join(sorted(KNOWN_ROLES)),
        extra={"event": "security_role_unknown", "paths": (path,)},
    )


def _read_texts(members: dict[str, object], problems: Problems) -> dict[_Place, str]:
    """Give the texts of a block by their place: empty where missing, absent where faulty."""
    misfits = _misfits(members)
    for place in misfits:
        expected = "an object" if place == ("tls",) else "a text"
        found: object = reduce(getitem, place, cast("Any", members))
        problems.add(place, f"is {kind_of(found)}, but must be {expected}")
    texts = _flat(_Block.model_validate(_without(members, misfits)))
    for place, text in list(texts.items()):
        reported = place in misfits or place[:-1] in misfits
        if reported or not check_text(place, text, problems):
            del texts[place]
    return texts


def _misfits(members: dict[str, object]) -> list[_Place]:
    """Find the members of a wrong type."""
    try:
        _Block.model_validate(members)
    except ValidationError as error:
        # pydantic's error holds its input: only the places leave this function.
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return [tuple(map(str, fault["loc"])) for fault in faults]
    return []


def _without(members: Mapping[str, object], places: list[_Place]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in members.items():
        below = [place[1:] for place in places if place[0] == name]
        if () in below:
            continue
        kept[name] = _without(value, below) if isinstance(value, dict) and below else value
    return kept


def _flat(block: _Block) -> dict[_Place, str]:
    texts: dict[_Place, str] = {}
    for name, value in block.model_dump().items():
        if name == "tls":
            texts |= {(name, file): path for file, path in value.items()}
        else:
            texts[name,] = value
    return texts
