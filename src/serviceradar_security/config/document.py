"""Read JSON strictly, so that no two readers of one document can understand it differently.

For: bytes, text or a mapping in, a plain and private document out, or every problem at once.
Stricter than `json.loads` where Go's ``encoding/json`` is, and than both where they would guess.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from serviceradar_security.config.blocks import Segment, find_blocks, fold_name
from serviceradar_security.config.problems import Problems, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT_BYTES",
    "MAX_INTEGER_DIGITS",
    "DoubledObject",
    "copy_document",
    "find_twins",
    "freeze",
    "kind_of",
    "members",
    "parse_document",
    "plain_document",
    "read_document",
]

MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024  # gRPC's default limit for one message
MAX_DEPTH: Final = 100  # objects and lists inside one another; real documents have 6 at most
MAX_INTEGER_DIGITS: Final = 308  # what surely fits a 64-bit float, beyond which Go refuses

_LARGEST_INTEGER: Final = 10**MAX_INTEGER_DIGITS
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS_ALIKE: Final = bytes(ord("0") if chr(byte).isdecimal() else byte for byte in range(256))
_LONG_NUMBER: Final = b"0" * (MAX_INTEGER_DIGITS + 1)
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
}

_TOO_LARGE: Final = f"is larger than {MAX_DOCUMENT_BYTES} bytes: make it smaller"
_TOO_DEEP: Final = f"is nested deeper than {MAX_DEPTH} objects and lists: make it flatter"
_NOT_FINITE: Final = (
    "is no finite 64-bit number: JSON has no NaN or Infinity, and readers differ on larger "
    "numbers: write a smaller number, or a text"
)
_LONE_SURROGATE: Final = (
    "holds half of a surrogate pair, which is no character and which readers replace: "
    "write the whole character"
)
_DOUBLED: Final = "occurs twice in one object, and readers differ on which counts: keep one"


def read_document(data: bytes | str, *, source: str = "document") -> dict[str, object]:
    """Read one JSON object from its text.

    Args:
        data: UTF-8 bytes, or text.
        source: What the text came from, for messages.

    Raises:
        ConfigError: The text is no strict JSON object, or two names in it would be taken for the
            same security block. Lists every problem; holds no value of the document.
    """
    problems = Problems()
    document = parse_document(data, problems)
    find_twins(find_blocks(document), problems)
    if problems:
        raise problems.error(source)
    return document


def copy_document(mapping: Mapping[str, object], *, source: str = "document") -> dict[str, object]:
    """Copy a mapping of JSON values into a plain document that shares nothing with it.

    Raises:
        ConfigError: The mapping holds what JSON cannot say, or breaks a limit.
    """
    problems = Problems()
    document = plain_document(mapping, problems)
    if problems:
        raise problems.error(source)
    return document


def parse_document(data: bytes | str, problems: Problems) -> dict[str, object]:
    """Read one JSON object, noting problems; with problems the result is for inspection only."""
    raw = _utf8(data, problems)
    if raw is None:
        return {}
    outside = _outside_strings(raw)
    if _nesting(outside) > MAX_DEPTH:
        problems.add((), _TOO_DEEP)
        return {}
    reader = _Reader(long_numbers=_LONG_NUMBER in outside.translate(_DIGITS_ALIKE))
    try:
        value = reader.decode(raw.decode())
    except json.JSONDecodeError as error:
        problems.add((), _explain_syntax(error))
        return {}
    if not isinstance(value, dict):
        problems.add((), f"is {kind_of(value)}: a configuration is one JSON object")
        return {}
    if reader.suspect or _SURROGATE_ESCAPE.search(raw):
        return plain_document(value, problems)
    return value


def plain_document(mapping: Mapping[str, object], problems: Problems) -> dict[str, object]:
    """Copy a mapping into dicts and lists, noting everything in it that is not strict JSON."""
    return _Copier(problems).document(mapping)


def find_twins(
    blocks: Iterable[tuple[tuple[Segment, ...], object]],
    problems: Problems,
) -> None:
    """Note security names of one object that Go's ``encoding/json`` takes for the same."""
    first: dict[tuple[Segment, ...], str] = {}
    for path, _ in blocks:
        name = str(path[-1])
        known = first.setdefault((*path[:-1], fold_name(name)), name)
        if known != name:
            problems.add(path, f"is the same name as {shown(known)} to Go's decoder: keep one")


def kind_of(value: object) -> str:
    """Name the kind of a value, never the value."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _KINDS.get(type(value), f"of type {type(value).__name__}")


def freeze(value: object) -> object:
    """Turn a plain document into one that cannot be changed at any depth."""
    if isinstance(value, dict):
        return MappingProxyType({key: freeze(member) for key, member in value.items()})
    if isinstance(value, list):
        return _FrozenList(map(freeze, value))
    return value


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


class DoubledObject(dict[str, object]):
    """An object with a name twice: never merged, kept so that all of it can be reported."""

    def __init__(self, pairs: Iterable[tuple[str, object]]) -> None:
        self.pairs: tuple[tuple[str, object], ...] = tuple(pairs)
        super().__init__(self.pairs)


def members(mapping: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """Give all members of an object, those with a repeated name too."""
    return mapping.pairs if isinstance(mapping, DoubledObject) else mapping.items()


def _utf8(data: bytes | str, problems: Problems) -> bytes | None:
    """Give the UTF-8 bytes of a text, or note why it has none (RFC 8259 section 8.1)."""
    if len(data) > MAX_DOCUMENT_BYTES:
        problems.add((), _TOO_LARGE)
        return None
    wrong = None
    try:
        raw = data.encode() if isinstance(data, str) else data
        raw.decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        wrong = f"is not UTF-8 at offset {error.start}: save it as UTF-8"
        raw = b"" if isinstance(data, str) else data
    if len(raw) > MAX_DOCUMENT_BYTES:
        wrong = _TOO_LARGE
    elif raw.startswith(codecs.BOM_UTF8):
        wrong = "begins with a byte order mark: save it as UTF-8 without one"
    elif raw.startswith(_WIDE_MARKS) or b"\0" in raw[:4]:
        wrong = "is UTF-16 or UTF-32: save it as UTF-8"
    if wrong is not None:
        problems.add((), wrong)
        return None
    return raw


def _outside_strings(raw: bytes) -> bytes:
    """Give what stands outside the strings of a JSON text.

    Exact up to the first syntax error, and a parser goes no further than that.
    """
    return b"".join(raw.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])


def _nesting(outside: bytes) -> int:
    """Measure how deep brackets nest, without recursion and before parsing."""
    brackets = outside.translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _explain_syntax(error: json.JSONDecodeError) -> str:
    place = f"line {error.lineno} column {error.colno}"
    if error.msg == "Extra data":
        return f"has trailing data at {place}: keep one JSON object and nothing after it"
    hint = ": write a backslash as \\\\" if "escape" in error.msg else ""
    return f"is not JSON at {place}: {error.msg[:1].lower()}{error.msg[1:]}{hint}"


class _Reader:
    """A JSON decoder that notices, at little cost for good documents, what needs a second look.

    Args:
        long_numbers: Whether the text may hold integers that must not be converted.
    """

    def __init__(self, *, long_numbers: bool) -> None:
        self.suspect = False
        self.decode = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._integer if long_numbers else int,
            parse_float=self._float,
            parse_constant=self._float,
        ).decode

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        self.suspect = True
        return DoubledObject(pairs)

    def _integer(self, text: str) -> int | float:
        # Before `int`: its cost grows with the square, and its own limit is the process's to set.
        return int(text) if len(text) <= MAX_INTEGER_DIGITS else self._float("inf")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self.suspect = True
        return value


class _Copier:
    """Copies a tree of JSON values, noting what JSON cannot say."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._path: list[Segment] = []
        self._size = 0

    def document(self, mapping: Mapping[str, object]) -> dict[str, object]:
        document = self._object(mapping)
        if self._size > MAX_DOCUMENT_BYTES:
            self._problems.add((), _TOO_LARGE)
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
            self._note(f"is of type {type(value).__name__}: use plain JSON values")
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
                self._note(f"has a name of type {type(key).__name__}: names are plain texts")
                continue
            self._path.append(key)
            self._text(key)
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
        self._note(_TOO_DEEP)
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
