"""What a strict document is: the limits, the refusals and their words, and the copy of a mapping.

For: everything that reads a document, of whatever format. A plain document is one of dicts, lists
and scalars, as `json.loads` makes it.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serviceradar_security.config.blocks import Segment
    from serviceradar_security.config.problems import Problems

__all__ = [
    "CONTAINERS",
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_INTEGER_DIGITS",
    "TOO_DEEP",
    "DoubledObject",
    "Read",
    "copied",
    "kind_of",
    "members",
    "nests_too_deep",
    "plain_document",
    "read_mapping",
    "utf8_of",
]

MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024  # gRPC's default limit for one message
MAX_DEPTH: Final = 100  # objects and lists inside one another; real documents have 6 at most
MAX_INTEGER_DIGITS: Final = 308  # what surely fits a 64-bit float, beyond which Go refuses

TOO_DEEP: Final = f"is nested deeper than {MAX_DEPTH} objects and lists: make it flatter"

_LARGEST_INTEGER: Final = 10**MAX_INTEGER_DIGITS
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
}

_TOO_LARGE: Final = "is larger than {} bytes: make it smaller"
_NOT_FINITE: Final = (
    "is no finite 64-bit number: JSON has no NaN or Infinity, and readers differ on larger "
    "numbers: write a smaller number, or a text"
)
_LONE_SURROGATE: Final = (
    "holds half of a surrogate pair, which is no character and which readers replace: "
    "write the whole character"
)
_DOUBLED: Final = "occurs twice in one object, and readers differ on which counts: keep one"


class Read(NamedTuple):
    """A document that was read.

    Attributes:
        document: The plain document; with problems it is for inspection only.
        names: Every name that an object of it has, at whatever depth.
    """

    document: dict[str, object]
    names: set[str]


class DoubledObject(dict[str, object]):
    """An object with a name twice: never merged, kept so that all of it can be reported."""

    def __init__(self, pairs: Iterable[tuple[str, object]]) -> None:
        self.pairs: tuple[tuple[str, object], ...] = tuple(pairs)
        super().__init__(self.pairs)


CONTAINERS: Final = frozenset((dict, list, DoubledObject))
"""The types of a plain document that hold others."""


def members(mapping: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """Give all members of an object, those with a repeated name too."""
    return mapping.pairs if isinstance(mapping, DoubledObject) else mapping.items()


def kind_of(value: object) -> str:
    """Name the kind of a value, never the value."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _KINDS.get(type(value), f"of type {type(value).__name__}")


def copied(value: object) -> object:
    """Copy a plain document, or a part of one, and check nothing."""
    if isinstance(value, dict):
        return {
            name: copied(member) if type(member) in CONTAINERS else member
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [copied(item) if type(item) in CONTAINERS else item for item in value]
    return value


def plain_document(
    mapping: Mapping[str, object],
    problems: Problems,
    *,
    refused_types: Mapping[type, str] | None = None,
) -> dict[str, object]:
    """Copy a mapping into dicts and lists, noting everything in it that is not strict JSON.

    Args:
        mapping: What to copy; it is not changed.
        problems: Where every problem is noted.
        refused_types: What to say of a value of some type that JSON does not have.
    """
    return read_mapping(mapping, problems, refused_types=refused_types).document


def read_mapping(
    mapping: Mapping[str, object],
    problems: Problems,
    *,
    refused_types: Mapping[type, str] | None = None,
) -> Read:
    """Do as `plain_document` does, and list the names."""
    copier = _Copier(problems, refused_types or {})
    return Read(copier.document(mapping), copier.names)


def utf8_of(
    data: bytes | str,
    problems: Problems,
    *,
    limit: int = MAX_DOCUMENT_BYTES,
) -> bytes | None:
    """Give the UTF-8 bytes of a text, or note why it has none (RFC 8259 section 8.1)."""
    if len(data) > limit:
        problems.add((), _TOO_LARGE.format(limit))
        return None
    wrong = None
    try:
        raw = data.encode() if isinstance(data, str) else data
        raw.decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        wrong = f"is not UTF-8 at offset {error.start}: save it as UTF-8"
        raw = b"" if isinstance(data, str) else data
    if len(raw) > limit:
        wrong = _TOO_LARGE.format(limit)
    elif raw.startswith(codecs.BOM_UTF8):
        wrong = "begins with a byte order mark: save it as UTF-8 without one"
    elif raw.startswith(_WIDE_MARKS) or b"\0" in raw[:4]:
        wrong = "is UTF-16 or UTF-32: save it as UTF-8"
    if wrong is not None:
        problems.add((), wrong)
        return None
    return raw


def nests_too_deep(outside: bytes) -> bool:
    """Tell, without recursion and before parsing, whether brackets nest deeper than is allowed.

    Args:
        outside: The text, without its strings.
    """
    brackets = outside.translate(None, _NOT_BRACKETS)
    rest = brackets
    for _ in range(MAX_DEPTH // 2):  # each round takes one level away, or two
        if not rest:
            return False
        rest = rest.replace(b"[]", b"").replace(b"{}", b"")
    # Deep, or brackets that do not fit: count them.
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


class _Copier:
    """Copies a tree of JSON values, noting what JSON cannot say."""

    def __init__(self, problems: Problems, refused_types: Mapping[type, str]) -> None:
        self.names: set[str] = set()
        self._problems = problems
        self._refused_types = refused_types
        self._path: list[Segment] = []
        self._size = 0

    def document(self, mapping: Mapping[str, object]) -> dict[str, object]:
        document = self._object(mapping)
        if self._size > MAX_DOCUMENT_BYTES:
            self._problems.add((), _TOO_LARGE.format(MAX_DOCUMENT_BYTES))
        return document

    def _note(self, text: str) -> None:
        self._problems.add(self._path, text)

    def _value(self, value: object) -> object:
        # Exact types: a subclass may compare, fold or print as it likes.
        self._size += 1
        if type(value) is str:
            self._text(value)
        elif type(value) is int or type(value) is float:
            self._number(value)
        elif type(value) is dict or isinstance(value, Mapping):
            return self._object(value)
        elif isinstance(value, list | tuple):
            return self._list(value)
        elif value is not None and type(value) is not bool:
            named = f"is of type {type(value).__name__}: use plain JSON values"
            self._note(self._refused_types.get(type(value), named))
        return value

    def _object(self, mapping: Mapping[str, object]) -> dict[str, object]:
        pairs: list[tuple[str, object]] = []
        if self._too_deep():
            return {}
        seen: dict[str, bool] = {}
        for key, value in members(mapping):
            if self._size > MAX_DOCUMENT_BYTES:
                break
            if type(key) is not str:
                text = f"has a name of type {type(key).__name__}: names are plain texts"
                self._size += len(text)  # or a mapping without end has no end
                self._note(text)
                continue
            self._path.append(key)
            self._text(key)
            self.names.add(key)
            if seen.get(key):
                self._note(_DOUBLED)
            seen[key] = key not in seen
            pairs.append((key, self._value(value)))
            self._path.pop()
        return dict(pairs) if len(seen) == len(pairs) else DoubledObject(pairs)

    def _list(self, items: Iterable[object]) -> list[object]:
        made: list[object] = []
        if self._too_deep():
            return made
        for index, item in enumerate(items):
            if self._size > MAX_DOCUMENT_BYTES:
                break
            self._path.append(index)
            made.append(self._value(item))
            self._path.pop()
        return made

    def _too_deep(self) -> bool:
        if len(self._path) < MAX_DEPTH:
            return False
        self._note(TOO_DEEP)
        return True

    def _text(self, text: str) -> None:
        self._size += len(text)
        if not text.isascii() and _SURROGATE.search(text):
            self._note(_LONE_SURROGATE)

    def _number(self, number: float) -> None:
        if isinstance(number, int):
            sound = -_LARGEST_INTEGER < number < _LARGEST_INTEGER
        else:
            sound = math.isfinite(number)
        if not sound:
            self._note(_NOT_FINITE)
