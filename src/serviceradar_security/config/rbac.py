"""Authorization by role: which proven SPIFFE ID may call which gRPC method.

Default deny. A policy sees a verified `SpiffeId` and a method's full name, and nothing of TLS or
gRPC. Names in certificates play no part (R-X509-03).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Self, final

from serviceradar_security.config.document import kind_of
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.config.rbac_rules import (
    Rules,
    UnmatchedEntry,
    is_method_name,
    read_methods,
    read_rules,
)
from serviceradar_security.errors import ConfigError, SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Decision", "DecisionRule", "RbacPolicy", "UnmatchedEntry"]

_AUDIT: Final = logging.getLogger("serviceradar_security.audit")
_LOG: Final = logging.getLogger("serviceradar_security.config")
_NAMED_IN_LOG: Final = 20
_LONGEST_METHOD: Final = 256
_SUBJECT: Final = "rbac policy not usable"

DecisionRule = Literal["role_allows", "no_role", "not_of_role", "unknown_method"]
"""The closed set of rules by which a call is allowed or refused.

``unknown_method`` is a method that no role may call, asked for by somebody who has a role.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Say whether one call may pass, and why. As a condition it is true if the call may.

    Attributes:
        allowed: Whether the call may pass.
        role: The caller's role; None if it has none.
        rule: Which rule decided.
        reason: The rule in a sentence, fit for the caller: it names no other identity.
        spiffe_id: The caller.
        method: The full name of the method that was asked for, as it was given.
        would_deny: Whether the call passes only because the policy observes.
    """

    allowed: bool
    role: str | None
    rule: DecisionRule
    reason: str
    spiffe_id: SpiffeId
    method: str
    would_deny: bool = False

    def __bool__(self) -> bool:
        # An object is true by default, and `if policy.decide(...)` would let everybody in.
        return self.allowed


@final
class RbacPolicy:
    """Decide by role: identities have roles, and roles have methods.

    Build one with `from_config`. Any number of threads may ask; `reload` replaces who has which
    role while they do.
    """

    __slots__ = ("_known", "_methods", "_observe_only", "_path", "_rules", "_trust_domain")

    _methods: dict[str, frozenset[str]]
    _known: frozenset[str]
    _observe_only: bool
    _path: str
    _trust_domain: TrustDomain | None
    _rules: Rules

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: a policy without rules is none."""
        raise TypeError("an RbacPolicy is made by RbacPolicy.from_config(mapping, methods=...)")

    @classmethod
    def from_config(
        cls,
        mapping: object,
        *,
        methods: Mapping[str, Iterable[str]],
        observe_only: bool = False,
        trust_domain: TrustDomain | None = None,
        path: str = "rbac",
    ) -> RbacPolicy:
        """Read an ``rbac`` block: ``{"roles": [{"identity": ..., "role": ...}]}``.

        Args:
            mapping: The block, as ``config.document.get("rbac")`` gives it.
            methods: What each role may call, by full names as ``/proto.KVService/Get``; roles
                inherit nothing from one another.
            observe_only: Refuse nobody, and log who would be refused.
            trust_domain: The trust domain of the deployment, for the advice on entries that
                never match; decides nothing.
            path: Where the block stands, for messages.

        Raises:
            ConfigError: Block or methods cannot be used. Lists every problem of both.
        """
        if not isinstance(observe_only, bool):  # the text "false" must not switch refusals off
            raise ConfigError(f"observe_only is {kind_of(observe_only)}: give True or False")
        if trust_domain is not None and not isinstance(trust_domain, TrustDomain):
            raise ConfigError(
                f"trust_domain is {kind_of(trust_domain)}: use TrustDomain.parse(text)",
            )
        problems = Problems("methods")
        table = read_methods(methods, problems)
        rules = _read(mapping, table, problems, path=path, trust_domain=trust_domain)
        made = object.__new__(cls)
        made._methods = table or {}
        made._known = frozenset().union(*made._methods.values())
        made._observe_only = observe_only
        made._path = path
        made._trust_domain = trust_domain
        made._rules = rules
        _report(rules, path, observe_only=observe_only)
        return made

    def decide(self, spiffe_id: SpiffeId, method: str) -> Decision:
        """Decide on one call, and write one event to ``serviceradar_security.audit``.

        Args:
            spiffe_id: The verified SPIFFE ID of the caller.
            method: The full name of the method, as ``/proto.KVService/Get``.

        Raises:
            SpiffeIdError: The caller is given as something else than a `SpiffeId`.
            ConfigError: The method is no text.
        """
        if not isinstance(spiffe_id, SpiffeId):
            raise SpiffeIdError(
                f"a policy takes a verified SpiffeId, not {type(spiffe_id).__name__}: "
                "give what peer_id returned",
            )
        if not isinstance(method, str):
            raise ConfigError(
                f"a method is a text as '/package.Service/Method', not {type(method).__name__}",
            )
        role = self._rules.roles.get(spiffe_id)  # asked for once: a reload may come between
        rule, reason = self._judge(spiffe_id, role, method)
        refused = rule != "role_allows"
        decision = Decision(
            allowed=not refused or self._observe_only,
            role=role,
            rule=rule,
            reason=reason,
            spiffe_id=spiffe_id,
            method=method,
            would_deny=refused and self._observe_only,
        )
        _audit(decision, refused=refused, observe_only=self._observe_only)
        return decision

    def _judge(
        self,
        spiffe_id: SpiffeId,
        role: str | None,
        method: str,
    ) -> tuple[DecisionRule, str]:
        # Whoever has no role learns nothing about methods. Names are compared as wholes.
        if role is None:
            return "no_role", f"identity {spiffe_id} not authorized: it has no role here"
        if method in self._methods[role]:
            return "role_allows", f"role {role} may call {method}"
        if method in self._known:
            return "not_of_role", f"role {role} cannot access {method}"
        return "unknown_method", f"no role may call {_shown_method(method)}"

    def reload(self, mapping: object) -> None:
        """Replace who has which role, for all decisions from now on.

        Methods and `observe_only` stay: what is read at run time cannot switch refusals off. Calls
        that were let in go on, open streams too.

        Args:
            mapping: The new block. It is read whole before anything changes.

        Raises:
            ConfigError: The block cannot be used; the policy goes on as it was.
        """
        try:
            rules = _read(
                mapping,
                self._methods,
                Problems(),
                path=self._path,
                trust_domain=self._trust_domain,
            )
        except ConfigError as error:
            _LOG.warning(
                "refused to reload roles, which stay as they are: %s",
                str(error),  # no frames in the record
                extra={
                    "event": "rbac_reload_refused",
                    "paths": tuple(each.path for each in error.problems),
                },
            )
            raise
        self._rules = rules  # one assignment: a decision sees the old rules or the new ones
        _AUDIT.info(
            "reloaded roles: %d identities have one",
            len(rules.roles),
            extra={"event": "rbac_reloaded", "identities": len(rules.roles)},
        )
        _report(rules, self._path, observe_only=self._observe_only)

    @property
    def roles(self) -> Mapping[SpiffeId, str]:
        """The role of each identity that has one, read-only."""
        return MappingProxyType(self._rules.roles)

    @property
    def methods(self) -> Mapping[str, frozenset[str]]:
        """The methods of each role, read-only."""
        return MappingProxyType(self._methods)

    @property
    def unmatched(self) -> tuple[UnmatchedEntry, ...]:
        """Entries that no peer will ever match, in the order of the document."""
        return self._rules.unmatched

    @property
    def observe_only(self) -> bool:
        """Whether nobody is refused."""
        return self._observe_only

    def __repr__(self) -> str:
        rules = self._rules
        return (
            f"RbacPolicy(identities={len(rules.roles)}, roles={sorted(self._methods)!r}, "
            f"unmatched={len(rules.unmatched)}, observe_only={self._observe_only})"
        )


def _read(
    mapping: object,
    methods: dict[str, frozenset[str]] | None,
    problems: Problems,
    *,
    path: str,
    trust_domain: TrustDomain | None,
) -> Rules:
    found = Problems(path)
    rules = read_rules(mapping, methods, found, path=path, trust_domain=trust_domain)
    problems.extend(found)
    if problems:
        raise problems.error(_SUBJECT)
    return rules


def _audit(decision: Decision, *, refused: bool, observe_only: bool) -> None:
    # Most calls are allowed, and a busy server makes thousands a second: a record of each costs
    # several decisions, so it is written only where somebody asked for the level.
    level = logging.WARNING if refused else logging.DEBUG
    if not _AUDIT.isEnabledFor(level):
        return
    word = "would deny" if decision.would_deny else "denied" if refused else "allowed"
    method = _shown_method(decision.method)
    _AUDIT.log(
        level,
        "%s %s for %s: %s",
        word,
        method,
        decision.spiffe_id,
        decision.reason,
        extra={
            "event": "rbac_decision",
            "spiffe_id": str(decision.spiffe_id),
            "method": method,
            "role": decision.role,
            "allowed": decision.allowed,
            "would_deny": decision.would_deny,
            "rule": decision.rule,
            "reason": decision.reason,
            "observe_only": observe_only,
        },
    )


def _shown_method(method: str) -> str:
    """Write a method's name as it is; what a caller made up is escaped and shortened."""
    if len(method) <= _LONGEST_METHOD and is_method_name(method):
        return method
    return shown(method)


def _report(rules: Rules, path: str, *, observe_only: bool) -> None:
    """Log what an operator should look at, once per reading."""
    _warn(path, "rbac_members_ignored", "unknown members are ignored", rules.ignored)
    _warn(path, "rbac_entries_repeated", "entries say what was said before", rules.repeated)
    _warn(
        path,
        "rbac_entries_unmatched",
        "entries are no SPIFFE IDs and never match",
        [each.path for each in rules.unmatched],
        [each.path + _hint(each) for each in rules.unmatched[:_NAMED_IN_LOG]],
    )
    if not rules.roles:
        _LOG.warning(
            "%s: nobody has a role, so %s",
            path,
            "every call would be denied" if observe_only else "every call is denied",
            extra={"event": "rbac_denies_everybody", "paths": (path,)},
        )


def _hint(entry: UnmatchedEntry) -> str:
    return f" ({entry.spiffe_id} would)" if entry.spiffe_id else ""


def _warn(
    path: str,
    event: str,
    what: str,
    paths: Sequence[str],
    named: Sequence[str] | None = None,
) -> None:
    if not paths:
        return
    _LOG.warning(
        "%s: %d %s: %s",
        path,
        len(paths),
        what,
        ", ".join((named or paths)[:_NAMED_IN_LOG]),
        extra={"event": event, "paths": tuple(paths[:_NAMED_IN_LOG])},
    )
