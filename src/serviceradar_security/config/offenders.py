"""The rule of the overlay gate: which members of an overlay are refused, and why.

It walks the base along the overlay, so that what the overlay leaves alone costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from serviceradar_security.config.blocks import (
    SecurityNames,
    Segment,
    fold_name,
    holds_block,
    is_security_name,
)
from serviceradar_security.config.problems import shown
from serviceradar_security.config.protected import PROTECTED_PATHS, ProtectedPaths
from serviceradar_security.config.strict import CONTAINERS, kind_of, members
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serviceradar_security.config.protected import ProtectedNode, ProtectedPath

__all__ = ["Offender", "find_offenders"]

_REMEDY: Final = "only the local file and the pinned file may: remove it from the overlay"


class Offender(NamedTuple):
    """One member of an overlay that the gate refuses.

    Attributes:
        path: Where it is in the overlay.
        text: Which part of the rule it breaks, and what to do.
    """

    path: tuple[Segment, ...]
    text: str


def find_offenders(
    base: dict[str, object],
    overlay: dict[str, object],
    *,
    protected: ProtectedPaths = PROTECTED_PATHS,
    names: set[str] | None = None,
) -> Iterator[Offender]:
    """Find every member of an overlay that the gate refuses, in the order of the overlay.

    Args:
        base: The plain document that the overlay is meant for.
        overlay: The overlay as a plain document; objects with a name twice are looked at whole.
        protected: What an overlay may not set beside security blocks.
        names: Every name in the overlay, if they are known.

    Yields:
        The offenders, one for each member at most.

    Raises:
        ConfigError: What is protected is no set of paths.
    """
    if not isinstance(protected, ProtectedPaths):
        raise ConfigError(f"protected is {kind_of(protected)}: give ProtectedPaths")
    hostile = names is None or any(map(is_security_name, names))
    search = _Search(protected.name, everywhere=hostile)
    return search.in_object(overlay, base, protected.root, [])


class _Place(NamedTuple):
    """An object of the base that an object of the overlay would be merged into.

    Attributes:
        base: The object, empty where there is none.
        node: What is protected there.
        parents: The names of those members that may hold something, by folded name.
    """

    base: dict[str, object]
    node: ProtectedNode | None
    parents: dict[str, list[str]]

    def below(self, name: str) -> ProtectedNode | None:
        """Give what is protected below a member."""
        return self.node.child(name) if self.node is not None else None


class _Search:
    """A search through one overlay.

    Args:
        protected: The name of the set of protected paths.
        everywhere: Whether security names may be anywhere in the overlay.
    """

    def __init__(self, protected: str, *, everywhere: bool) -> None:
        self._protected = protected
        self._everywhere = everywhere
        # By identity: a hostile overlay has many twins of one large parent.
        self._held: dict[tuple[int, int], ProtectedPath | bool | None] = {}
        self._is_named = SecurityNames().__getitem__

    def in_object(
        self,
        overlay: Mapping[str, object],
        base: dict[str, object] | None,
        node: ProtectedNode | None,
        path: list[Segment],
    ) -> Iterator[Offender]:
        """Find the offenders below an object of the overlay.

        Args:
            overlay: The object.
            base: What it would be merged into, if that is an object.
            node: What is protected there.
            path: Where it is.
        """
        place = _Place(base or {}, node, _parents_in(base) if base else {})
        for key, value in members(overlay):
            inner = place.below(key)
            text = self._set_by(key, inner) or self._hidden_by(key, value, place)
            is_container = type(value) in CONTAINERS
            if text is None and not is_container:
                continue
            path.append(key)
            if text is not None:
                yield Offender(tuple(path), text)
            if is_container:
                yield from self._below(value, place.base.get(key), inner, path)
            path.pop()

    def _below(
        self,
        value: object,
        held: object,
        node: ProtectedNode | None,
        path: list[Segment],
    ) -> Iterator[Offender]:
        if node is not None and node.entry is not None:
            node = None  # reported whole
        base = held if isinstance(held, dict) else None
        if isinstance(value, dict):
            if base or node is not None or self._everywhere:
                yield from self.in_object(value, base, node, path)
        elif isinstance(value, list) and (node is not None or self._everywhere):
            for index, item in enumerate(value):
                path.append(index)
                yield from self._below(item, None, node, path)
                path.pop()

    def _set_by(self, key: str, inner: ProtectedNode | None) -> str | None:
        """Say what a member of an overlay would set that is not the overlay's, if anything."""
        if self._everywhere and is_security_name(key):
            exact = key.endswith("security")
            name = "" if exact else f", as Go's decoder reads {shown(key)}"
            return f"would set a security block{name}: {_REMEDY}"
        if inner is not None and inner.entry is not None:
            return f"would set {self._described(inner.entry)}: {_REMEDY}"
        return None

    def _hidden_by(self, key: str, value: object, place: _Place) -> str | None:
        """Say what a member of an overlay would hide or remove, if anything."""
        if not place.parents:
            return None
        # A twin of a parent is a second door: Go decodes both names into one place, the last one
        # wins.
        for name in place.parents.get(fold_name(key), ()):
            if name == key:
                continue
            if (holds := self._holds(place.base[name], place.below(name))) is not None:
                return (
                    f"is to Go's decoder the same name as {shown(name)}, which holds "
                    f"{self._described(holds)}: write {shown(name)}"
                )
        held = place.base.get(key)
        if held is None or (isinstance(value, dict) and isinstance(held, dict)):
            return None
        if (holds := self._holds(held, place.below(key))) is None:
            return None
        what, new = kind_of(held), kind_of(value)
        if isinstance(holds, bool):
            return f"would replace {what} that holds security blocks with {new}: {_REMEDY}"
        return f"would replace {what} with {new}, and it holds {self._described(holds)}: {_REMEDY}"

    def _holds(self, value: object, node: ProtectedNode | None) -> ProtectedPath | bool | None:
        """Give what a part of the base has that is not the overlay's: True for a block."""
        if type(value) not in CONTAINERS:
            return None
        place = (id(value), id(node))
        if place not in self._held:
            is_block = holds_block(value, self._is_named)
            self._held[place] = is_block or _first_protected(value, node)
        return self._held[place]

    def _described(self, holds: ProtectedPath | bool) -> str:  # noqa: FBT001 - True is a block
        if isinstance(holds, bool):
            return "security blocks"
        return f"{holds.path}, which is protected (set {self._protected}) because it {holds.reason}"


def _parents_in(base: dict[str, object]) -> dict[str, list[str]]:
    """Give the members of a base that may hold something, by folded name."""
    parents: dict[str, list[str]] = {}
    for name in [name for name, value in base.items() if type(value) in CONTAINERS]:
        parents.setdefault(fold_name(name), []).append(name)
    return parents


def _first_protected(value: object, node: ProtectedNode | None) -> ProtectedPath | None:
    """Give the first protected path that a part of the base has."""
    if node is None or node.entry is not None:
        return node.entry if node is not None else None
    below: Iterator[ProtectedPath | None] = iter(())
    if isinstance(value, dict):
        below = (_first_protected(member, node.child(name)) for name, member in value.items())
    elif isinstance(value, list):
        below = (_first_protected(item, node) for item in value)
    return next((entry for entry in below if entry is not None), None)
