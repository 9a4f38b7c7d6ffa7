"""Settings that are security in all but name: the second set of paths that an overlay may not set.

The first is the rule of names, ``security`` and ``*_security``. It knows nothing of an address that
names whom to trust, or of a switch that turns TLS off. Those are listed here by path, each with the
reason why; the list is data, and a service may add to it or take from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.block_members import BLOCK_NAMES, NO_SWITCHES
from serviceradar_security.config.blocks import fold_name
from serviceradar_security.config.problems import shown
from serviceradar_security.config.strict import kind_of
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROTECTED_PATHS", "ProtectedNode", "ProtectedPath", "ProtectedPaths"]

_ANY: Final = "*"
_STEP: Final = re.compile(r"""\*|[^\s.*\[\]"'\\]+""")  # what else is written would match nothing


@dataclass(frozen=True, slots=True)
class ProtectedPath:
    """One path that an overlay may not set, with all below it.

    Attributes:
        path: Names from the top of the document, as ``logging.otel.insecure``; ``*`` is any one
            name. Items of lists count as what holds the list.
        reason: Why it is security: what follows "because it".
    """

    path: str
    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not all(map(_is_step, self.path.split("."))):
            given = shown(self.path) if isinstance(self.path, str) else kind_of(self.path)
            raise ConfigError(
                f"no protected path: {given}: write names joined by dots, as "
                "logging.otel.insecure or agents.*.address, without white space, quotes or "
                "brackets (items of lists count as what holds the list)"
            )
        if not isinstance(self.reason, str):
            raise ConfigError(f"the reason of a protected path is {kind_of(self.reason)}: a text")

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class ProtectedNode:
    """What is protected below one place of a document.

    Attributes:
        entry: The path that ends here, if one does.
        children: What is protected below a name, by folded name.
        other: What is protected below any other name.
    """

    entry: ProtectedPath | None
    children: dict[str, ProtectedNode]
    other: ProtectedNode | None

    def child(self, name: str) -> ProtectedNode | None:
        """Go down by one name, as Go's decoder would read it."""
        return self.children.get(fold_name(name), self.other)


@dataclass(frozen=True, slots=True)
class ProtectedPaths:
    """A named set of protected paths; without any, it protects nothing.

    Attributes:
        entries: The paths with their reasons.
        name: What refusals call the set.
    """

    entries: tuple[ProtectedPath, ...] = ()
    name: str = "own"
    _root: ProtectedNode = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"the name of protected paths is {kind_of(self.name)}: give a text")
        entries: object = self.entries
        of_paths = isinstance(entries, tuple) and all(isinstance(e, ProtectedPath) for e in entries)
        if not of_paths:
            raise ConfigError(
                "the entries of protected paths are no tuple of ProtectedPath: give one, or texts "
                "to with_paths"
            )
        patterns = [(entry.path.split("."), entry) for entry in self.entries]
        object.__setattr__(self, "_root", _node(patterns))

    @property
    def root(self) -> ProtectedNode:
        """What is protected in a document, from its top."""
        return self._root

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths without their reasons."""
        return tuple(entry.path for entry in self.entries)

    def with_paths(
        self,
        *paths: str,
        reason: str = "is protected by this service",
        name: str | None = None,
    ) -> ProtectedPaths:
        """Give a set with more paths.

        Args:
            paths: As ``mcp.api_key`` or ``agents.*.address``.
            reason: Why they are security: what follows "because it".
            name: What refusals call the new set; as this one if none is given.

        Raises:
            ConfigError: A path is none.
        """
        added = tuple(ProtectedPath(path, reason) for path in paths if path not in self.paths)
        return ProtectedPaths(self.entries + added, name=name or self.name)

    def without(self, *paths: str) -> ProtectedPaths:
        """Give a set with fewer paths.

        Raises:
            ConfigError: A path is not in the set; what was meant would stay protected.
        """
        if unknown := [path for path in paths if path not in self.paths]:
            raise ConfigError(
                f"the set {shown(self.name)} has no path {shown(str(unknown[0]))}; "
                "it has those in .paths"
            )
        kept = tuple(entry for entry in self.entries if entry.path not in paths)
        return ProtectedPaths(kept, name=self.name)

    def __repr__(self) -> str:
        return f"ProtectedPaths({self.name!r}, {list(self.paths)!r})"


def _is_step(text: str) -> bool:
    return _STEP.fullmatch(text) is not None and text.isprintable()


def _node(patterns: Sequence[tuple[list[str], ProtectedPath]]) -> ProtectedNode:
    entry = next((entry for names, entry in patterns if not names), None)
    inner: dict[str, list[tuple[list[str], ProtectedPath]]] = {}
    for names, each in patterns:
        if names:
            inner.setdefault(fold_name(names[0]), []).append((names[1:], each))
    anywhere = inner.pop(_ANY, [])
    children = {name: _node(below + anywhere) for name, below in inner.items()}
    return ProtectedNode(entry, children, _node(anywhere) if anywhere else None)


_REASONS: Final = {
    "decides which identity may call what": ("rbac", "nats_operator.allowed_client_identities"),
    "decides who may log in and what they may do": ("auth", "cors"),
    "names keys and credentials, or holds them": (
        "nats_creds_file",
        "nats.creds_file",
        "output.nats_creds_file",
        "nats_operator.operator_seed_env",
        "nats_operator.operator_seed_file",
        "nats_operator.system_account_creds_file",
        "nats_operator.system_account_public_key_env",
        "nats_operator.system_account_public_key_file",
        "edge_onboarding.encryption_key",
        "mcp.api_key",
        "srql.api_key",
        "cnpg.password",
        "database.password",
    ),
    "decides whom this service talks to and takes orders from": (
        "core_address",
        "gateway_addr",
        "kv_address",
        "nats_url",
        "output.nats_url",
    ),
    "decides who gets a password or a key of this service": (
        "cnpg.host",
        "cnpg.port",
        "database.addresses",
        "srql.base_url",
    ),
    "decides to whom alerts go, with which headers": ("webhooks",),
    "decides which programs this service runs as checks": ("checkers_dir",),
    "is how identities are made: SPIRE's server API": ("spire_admin",),
    "decides which identities edge packages get, and for how long": (
        "edge_onboarding.default_metadata",
        "edge_onboarding.default_selectors",
        "edge_onboarding.download_token_ttl",
        "edge_onboarding.downstream_path_template",
        "edge_onboarding.join_token_ttl",
    ),
    "decides whether and with which certificates a database is reached": (
        "cnpg.cert_dir",
        "cnpg.ssl_mode",
        "cnpg.tls",
        "database.tls",
    ),
    "decides where logs and traces go, and whether encrypted": (
        "logging.otel.endpoint",
        "logging.otel.insecure",
        "logging.otel.tls",
    ),
    "is the security block of a service whose table has another name": (
        # What is read as a block there, and what looks like a switch of one: whatever the reader
        # of blocks learns to read, the overlay may not write.
        *(f"grpc.{name}" for name in sorted({*BLOCK_NAMES, *NO_SWITCHES})),
        "grpc_tls",
        "input.tls_ca_file",
        "input.tls_cert",
        "input.tls_key",
        "input.tls_verify_peer",
        "nats.tls",
        "output.nats_tls_ca_file",
        "output.nats_tls_cert",
        "output.nats_tls_key",
        "output.nats_tls_skip_verify",
    ),
}

PROTECTED_PATHS: Final = ProtectedPaths(
    tuple(ProtectedPath(path, reason) for reason, paths in _REASONS.items() for path in paths),
    name="platform",
)
"""The paths that are security on the platform, by the files of its services; on by default."""
