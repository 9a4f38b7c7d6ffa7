"""Read a table of methods and an ``rbac`` block: rules that are whole, or every problem at once.

An entry is a SPIFFE ID with a role. What is no SPIFFE ID but was one form of identity on the
platform (a CN, a subject) is kept apart with advice and never matches; what was meant to be a
SPIFFE ID and is none is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Final, final

from serviceradar_security.config.blocks import Segment, fold_name, join_path, render_path
from serviceradar_security.config.document import kind_of, plain_document
from serviceradar_security.config.normalise import check_text
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.config.subjects import HOW_TO_WRITE, Deployment, is_subject
from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = ["Rules", "UnmatchedEntry", "is_method_name", "read_methods", "read_rules"]

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_METHOD: Final = re.compile(rf"/(?:{_NAME}\.)*{_NAME}/{_NAME}")  # a service may have no package
_ROLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BLOCK_NAMES: Final = ("roles",)
_ENTRY_NAMES: Final = ("identity", "role")
_JSON: Final = (NoneType, bool, int, float, str, list, dict)
_NO_WILDCARDS: Final = "wildcards are not supported: write one entry for each workload"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedEntry:
    """Describe an entry of a role list that no peer will ever match.

    Attributes:
        path: Where it is, as ``rbac.roles[8].identity``.
        identity: What stands there.
        role: The role that nobody gets by it.
        spiffe_id: The SPIFFE ID that would match, where the platform's naming tells it.
        text: Why it never matches, and what to do.
    """

    path: str
    identity: str
    role: str
    spiffe_id: SpiffeId | None
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who has which role.

    Attributes:
        roles: The role of each identity.
        unmatched: Entries that never match.
        repeated: Paths of entries that say once more what was said.
        ignored: Paths of members that nobody reads.
    """

    roles: dict[SpiffeId, str]
    unmatched: tuple[UnmatchedEntry, ...] = ()
    repeated: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def is_method_name(text: str) -> bool:
    """Tell whether a text is a full gRPC method name, as ``/package.Service/Method``."""
    return _METHOD.fullmatch(text) is not None


def read_methods(methods: object, problems: Problems) -> dict[str, frozenset[str]] | None:
    """Read the methods of each role, noting every problem; None if there is no table at all."""
    if not isinstance(methods, Mapping):
        problems.add((), f"is {kind_of(methods)}, but must be a mapping of roles to method names")
        return None
    if not methods:
        problems.add((), "names no role, so that no entry could be right: give each role a list")
    table: dict[str, frozenset[str]] = {}
    for role, names in methods.items():
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            said = shown(role) if isinstance(role, str) else kind_of(role)
            problems.add((), f"has the role {said}: write a-z A-Z 0-9 . - _, at most 64 characters")
            continue
        table[role] = _read_names(role, names, problems)
    return table


def _read_names(role: str, names: object, problems: Problems) -> frozenset[str]:
    listed = isinstance(names, Iterable) and not isinstance(names, str | bytes | Mapping)
    if not listed or not isinstance(names, Iterable):
        problems.add((role,), f"is {kind_of(names)}, but must be a list of method names")
        return frozenset()
    read: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            problems.add((role,), f"has an item that is {kind_of(name)}, but must be a text")
        elif not is_method_name(name):
            problems.add((role,), f"has {shown(name)}, which {_explain_method(name)}")
        else:
            read.add(name)
    return frozenset(read)


def _explain_method(name: str) -> str:
    form = 'is no full method name: write "/package.Service/Method"'
    return f"{form}; wildcards are not supported: list each method" if "*" in name else form


def read_rules(
    value: object,
    roles: Iterable[str] | None,
    problems: Problems,
    *,
    path: str,
    trust_domain: TrustDomain | None,
) -> Rules:
    """Read an ``rbac`` block, noting every problem; with problems the rules are not to be used.

    Args:
        value: What stands where the block should be.
        roles: The roles that there are; None if they could not be read.
        problems: Where to note them.
        path: Where the block stands.
        trust_domain: The trust domain of the deployment, for advice alone.
    """
    if not isinstance(value, Mapping):
        problems.add((), f"is {kind_of(value)}, but an rbac block is an object")
        return Rules(roles={})
    members = plain_document(value, problems)
    reader = _Reader(path, None if roles is None else tuple(roles), problems)
    reader.check_names(members, _BLOCK_NAMES, ())
    entries = members.get("roles")
    if isinstance(entries, list):
        for index, entry in enumerate(entries):
            reader.read(index, entry)
    elif "roles" in members:
        reader.misfit(("roles",), entries, "a list")
    else:
        problems.add(
            ("roles",),
            'missing: write a list of {"identity": ..., "role": ...}; an empty one denies all',
        )
    return reader.rules(trust_domain)


class _Reader:
    """Reads entries one by one and remembers where each identity was first named."""

    def __init__(self, path: str, known: tuple[str, ...] | None, problems: Problems) -> None:
        self._path = path
        self._known = known
        self._problems = problems
        self._first: dict[SpiffeId, tuple[int, str]] = {}
        self._never: list[tuple[int, str, str]] = []
        self._repeated: list[str] = []
        self._ignored: list[str] = []

    def rules(self, trust_domain: TrustDomain | None) -> Rules:
        """Give what was read."""
        seen = Deployment.seen_in(self._first, trust_domain)
        return Rules(
            roles={spiffe_id: role for spiffe_id, (_, role) in self._first.items()},
            unmatched=tuple(self._unmatched(seen, *entry) for entry in self._never),
            repeated=tuple(self._repeated),
            ignored=tuple(self._ignored),
        )

    def check_names(
        self,
        members: Mapping[str, object],
        known: tuple[str, ...],
        where: tuple[Segment, ...],
    ) -> None:
        """Remember unknown members; refuse those that only Go's decoder would read."""
        for name in members:
            meant = next((each for each in known if fold_name(name) == each), None)
            if meant is None:
                self._ignored.append(self._at(*where, name))
            elif meant != name:
                text = f'is read as "{meant}" by Go\'s decoder: write "{meant}"'
                self._problems.add((*where, name), text)

    def misfit(self, place: tuple[Segment, ...], value: object, expected: str) -> None:
        """Note a value of a wrong type."""
        if isinstance(value, _JSON):  # all else was noted when the document was copied
            self._problems.add(place, f"is {kind_of(value)}, but must be {expected}")

    def read(self, index: int, entry: object) -> None:
        """Read one entry."""
        place: tuple[Segment, ...] = ("roles", index)
        if not isinstance(entry, dict):
            self.misfit(place, entry, "an object with identity and role")
            return
        self.check_names(entry, _ENTRY_NAMES, place)
        identity = self._text(entry, "identity", place)
        role = self._role(self._text(entry, "role", place), place)
        if identity is None:
            return
        if "*" not in identity and _is_certificate_name(identity):
            self._never.append((index, identity, role or ""))
            return
        spiffe_id = _read_identity(identity, (*place, "identity"), self._problems)
        if spiffe_id is not None and role is not None:
            self._assign(spiffe_id, index, role)

    def _text(
        self,
        entry: dict[str, object],
        name: str,
        place: tuple[Segment, ...],
    ) -> str | None:
        value = entry.get(name)
        if name not in entry or value == "":
            self._problems.add((*place, name), f"missing: write the {name} of this entry")
        elif isinstance(value, str):
            found = Problems(self._at(*place))
            sound = check_text((name,), value, found)
            self._problems.extend(found)
            return value if sound else None
        else:
            self.misfit((*place, name), value, "a text")
        return None

    def _role(self, role: str | None, place: tuple[Segment, ...]) -> str | None:
        if role is None or self._known is None or role in self._known:
            return role
        there = ", ".join(f'"{each}"' for each in self._known) or "none"
        self._problems.add((*place, "role"), f"unknown role {shown(role)}: the roles are {there}")
        return None

    def _assign(self, spiffe_id: SpiffeId, index: int, role: str) -> None:
        first, known = self._first.setdefault(spiffe_id, (index, role))
        if known != role:
            # Were the first to win, as in the platform's Go services, the other would be without
            # effect and nobody would see it.
            self._problems.add(
                ("roles", index, "identity"),
                f'{spiffe_id} has the role "{role}" here and "{known}" in '
                f"{self._at('roles', first)}: an identity has one role: keep one entry",
            )
        elif first != index:
            self._repeated.append(self._at("roles", index))

    def _unmatched(self, seen: Deployment, index: int, identity: str, role: str) -> UnmatchedEntry:
        spiffe_id = seen.spiffe_id_of(identity)
        what = "a certificate's subject" if is_subject(identity) else "a plain name"
        return UnmatchedEntry(
            path=self._at("roles", index, "identity"),
            identity=identity,
            role=role,
            spiffe_id=spiffe_id,
            text=f"{shown(identity)} is {what}, no SPIFFE ID, and never matches: "
            f"{HOW_TO_WRITE if spiffe_id is None else self._advice(spiffe_id, role)}",
        )

    def _advice(self, spiffe_id: SpiffeId, role: str) -> str:
        if spiffe_id not in self._first:
            return f'for ServiceRadar\'s workload of that name write "{spiffe_id}"'
        index, held = self._first[spiffe_id]
        there = f'"{spiffe_id}" is in {self._at("roles", index)}'
        if held == role:
            return f"{there} with the same role: remove this entry"
        return f'{there} with the role "{held}": correct that entry if need be, and remove this one'

    def _at(self, *place: Segment) -> str:
        return join_path(self._path, render_path(place))


def _is_certificate_name(identity: str) -> bool:
    """Tell a subject or a plain name from what was meant to be a SPIFFE ID."""
    if "://" in identity:
        return False
    return is_subject(identity) or not ("/" in identity or ":" in identity)


def _read_identity(
    text: str,
    place: tuple[Segment, ...],
    problems: Problems,
) -> SpiffeId | None:
    if "*" in text:
        problems.add(place, f"{shown(text)} has a wildcard, and {_NO_WILDCARDS}")
        return None
    try:
        spiffe_id = SpiffeId.parse(text)  # exactly as it stands: R-ID-12, R-ID-14
    except SpiffeIdError as error:
        problems.add(place, f'is no SPIFFE ID: {error}: write it as "spiffe://..."')
        return None
    if not spiffe_id.path:  # R-X509-04: no workload has the ID of a trust domain
        problems.add(place, f"{spiffe_id} is a trust domain, no workload, and {_NO_WILDCARDS}")
        return None
    return spiffe_id
