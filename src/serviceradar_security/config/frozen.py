"""Documents that cannot be changed: views of plain ones, made as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NoReturn, Self, final

from serviceradar_security.config.problems import shown
from serviceradar_security.config.strict import CONTAINERS

__all__ = ["freeze"]

_UNSEEN: Final = object()
_SHOWN: Final = 20
_NO_PICKLE: Final = (
    "a document is not pickled, since it holds secrets: load the configuration again, or take "
    "plain() of it"
)


def freeze(value: object) -> object:
    """Give a plain document that nobody changes any more as one that nobody can.

    It is a view: whoever freezes a document gives it away. Nothing is copied until it is asked
    for, and then one level.
    """
    if isinstance(value, dict):
        return _FrozenObject(value)
    if isinstance(value, list):
        return _FrozenList(map(freeze, value))
    return value


@final
class _FrozenObject(Mapping[str, object]):
    """An object of a document, read-only; equal to the dict with the same members."""

    __slots__ = ("_frozen", "_plain")
    _plain: dict[str, object]
    _frozen: dict[str, object]

    def __init__(self, plain: dict[str, object]) -> None:
        object.__setattr__(self, "_plain", plain)
        object.__setattr__(self, "_frozen", {})

    def __getitem__(self, name: str) -> object:
        value = self._plain[name]
        if type(value) not in CONTAINERS:
            return value
        known = self._frozen.get(name, _UNSEEN)
        return self._frozen.setdefault(name, freeze(value)) if known is _UNSEEN else known

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)

    def __contains__(self, name: object) -> bool:
        return name in self._plain

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _FrozenObject):
            return self._plain == other._plain
        # Member by member: what holds a frozen list is equal to what holds its plain twin.
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as for a dict: equal to things without a hash

    def __repr__(self) -> str:  # a document may hold secrets: names only, as in errors
        named = [shown(name) for name in islice(self._plain, _SHOWN)]
        more = len(self) - len(named)
        return f"<object of {', '.join(named) or 'nothing'}{f' and {more} more' if more else ''}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # nothing in it changes

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a document does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a document does not change: {name!r} cannot be deleted")


@final
class _FrozenList(tuple[object, ...]):
    """A list of a document, read-only; equal to the list with the same items."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, tuple(other) if isinstance(other, list) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def __repr__(self) -> str:
        return f"<list of {len(self)}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)
