"""The security block: who a service is, whom it dials, and how its connections are secured.

`SecurityConfig` is what a block means, checked and normalised. What cannot be used is one error of
ours with every problem at once, and no value in it but for modes and identity names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.block_members import (
    KNOWN_ROLES,
    NO_SWITCHES,
    BlockMembers,
    FileMembers,
    check_names,
    read_texts,
)
from serviceradar_security.config.blocks import join_path, render_path
from serviceradar_security.config.document import kind_of, plain_document
from serviceradar_security.config.kinds import DEFAULT_KIND, KINDS, BlockKind
from serviceradar_security.config.normalise import (
    DEFAULT_WORKLOAD_SOCKET,
    REQUIRED_FILES,
    Mode,
    TlsFiles,
    is_absolute,
    read_identities,
    read_mode,
    read_tls_files,
    read_workload_socket,
    without_prefix,
)
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from serviceradar_security.config.block_members import Place
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

__all__ = [
    "DEFAULT_WORKLOAD_SOCKET",
    "Mode",
    "SecurityConfig",
    "TlsFiles",
    "read_block",
]

_log: Final = logging.getLogger("serviceradar_security.config")
_NAMED_IN_LOG: Final = 20

_OF_SPIFFE: Final = ("trust_domain", "server_spiffe_id", "workload_socket")


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
        kind: str = DEFAULT_KIND,
    ) -> SecurityConfig:
        """Read a security block.

        Args:
            mapping: The block, as it stands in a document.
            path: Where it stands, for messages.
            kind: What kind of block it is: a name in `KINDS`.

        Raises:
            ConfigError: The block cannot be used. Lists every problem.
        """
        problems = Problems(path)
        block = read_block(mapping, problems, path=path, kind=kind)
        if block is None:
            raise problems.error("security block not usable")
        return block

    def to_mapping(self) -> dict[str, object]:
        """Write the block out whole, so that `from_mapping` reads the same value from it."""
        files = {
            name: without_prefix(self.cert_dir, path) for name, path in asdict(self.tls).items()
        }
        return {
            "mode": self.mode,
            "role": self.role,
            "cert_dir": self.cert_dir,
            "server_name": self.server_name,
            "tls": files,
            "trust_domain": str(self.trust_domain or ""),
            "server_spiffe_id": str(self.server_spiffe_id or ""),
            "workload_socket": self.workload_socket,
        }


def read_block(
    value: object,
    problems: Problems,
    *,
    path: str,
    kind: str = DEFAULT_KIND,
) -> SecurityConfig | None:
    """Read a security block, noting every problem; None if there is one.

    Args:
        value: What stands where the block should be.
        problems: Where to note them.
        path: Where the block stands, for the log.
        kind: What kind of block it is: a name in `KINDS`.

    Raises:
        ConfigError: There is no such kind.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        given = shown(kind) if isinstance(kind, str) else kind_of(kind)
        raise ConfigError(f"no kind of security block: {given}: use one of {', '.join(KINDS)}")
    if not isinstance(value, Mapping):
        problems.add((), f"is {kind_of(value)}, but a security block is an object")
        return None
    members = plain_document(value, problems)
    ignored = check_names(members, BlockMembers, (), problems)
    ignored = [place for place in ignored if place[-1] not in KINDS[kind].others]
    nested = members.get("tls")
    if isinstance(nested, dict):
        ignored += check_names(nested, FileMembers, ("tls",), problems)
        # One form counts, never a mixture of both: the nested one wins.
        ignored += [(name,) for name in FileMembers.model_fields if name in members]
    _warn_ignored(ignored, path)
    block = _normalise(members, problems, KINDS[kind])
    if block is not None:
        _warn_of(block, path, KINDS[kind], inferred="mode" not in members)
    return block


def _warn_ignored(ignored: list[Place], path: str) -> None:
    if not ignored:
        return
    names = tuple(join_path(path, render_path(place)) for place in ignored[:_NAMED_IN_LOG])
    last = {place[-1] for place in ignored}
    remarks = []
    if not last.isdisjoint(NO_SWITCHES):
        remarks.append("; nothing switches TLS or verification on or off but the mode")
    if not last.isdisjoint(FileMembers.model_fields):
        remarks.append("; where there is a tls, only the files in it count")
    _log.warning(
        "%d unknown members of a security block are ignored: %s%s",
        len(ignored),
        ", ".join(names),
        "".join(remarks),
        extra={"event": "security_members_ignored", "paths": names},
    )


def _normalise(
    members: dict[str, object],
    problems: Problems,
    kind: BlockKind,
) -> SecurityConfig | None:
    texts = read_texts(members, problems)
    where = ("tls",) if "tls" in members else ()
    files = {name: texts.get((*where, name)) for name in FileMembers.model_fields}
    mode = _read_mode(members, texts, files, problems, kind)
    trust_domain, server_spiffe_id = read_identities(
        texts.get(("trust_domain",)),
        texts.get(("server_spiffe_id",)),
        problems,
    )
    tls = read_tls_files(
        texts.get(("cert_dir",)),
        files,
        problems,
        required=mode == "mtls",
        unread=[name for name in files if where and name in members],
    )
    workload_socket = read_workload_socket(texts.get(("workload_socket",)), problems)
    if mode is None or problems:
        return None
    return SecurityConfig(
        mode=mode,
        role=texts["role",],
        cert_dir=texts["cert_dir",],
        server_name=texts["server_name",],
        tls=tls,
        trust_domain=trust_domain,
        server_spiffe_id=server_spiffe_id,
        workload_socket=workload_socket,
    )


def _read_mode(
    members: Mapping[str, object],
    texts: Mapping[Place, str],
    files: Mapping[str, str | None],
    problems: Problems,
    kind: BlockKind,
) -> Mode | None:
    """Read the mode; only a missing one, in a block of a kind that allows it, means something."""
    if kind.without_mode is None or "mode" in members:
        if "mode" not in members and not NO_SWITCHES.isdisjoint(members):
            switch = min(NO_SWITCHES.intersection(members))
            missing = f'"{switch}" sets none, so that nothing would be secured'
            return read_mode("", problems, missing=missing)
        return read_mode(texts.get(("mode",)), problems)
    # A file that was reported already is given, for this question.
    complete = all(files[name] != "" for name in REQUIRED_FILES)
    if complete and not any(texts.get((name,)) != "" for name in _OF_SPIFFE):
        return kind.without_mode
    missing = (
        f"a block of the kind {kind.name} means {kind.without_mode} without one only with "
        f"{', '.join(REQUIRED_FILES)} and without {', '.join(_OF_SPIFFE)}"
    )
    return read_mode("", problems, missing=missing)


def _warn_of(block: SecurityConfig, path: str, kind: BlockKind, *, inferred: bool) -> None:
    """Say what is usable, but is hardly meant so."""
    if inferred:
        _log.warning(
            "%s: the mode is missing and read as %s, since %s; write it",
            path,
            block.mode,
            kind.reason,
            extra={"event": "security_mode_inferred", "paths": (path,)},
        )
    if block.mode != "mtls":
        return
    if block.role and block.role not in KNOWN_ROLES:
        _log.warning(
            "%s: role %s is not one the platform knows (%s); nothing here depends on it",
            path,
            shown(block.role),
            ", ".join(sorted(KNOWN_ROLES)),
            extra={"event": "security_role_unknown", "paths": (path,)},
        )
    if block.cert_dir and not is_absolute(block.cert_dir):
        _log.warning(
            "%s: cert_dir is relative: the files are looked for below the working directory, and "
            "other services join such a directory more than once; write an absolute one",
            path,
            extra={"event": "security_directory_relative", "paths": (path,)},
        )
