"""Read JSON strictly, at the speed of `json.loads` for a document that needs no second look.

What could be wrong is looked for with scans of the bytes that run in C; only a text that has it
is read with hooks, and only a document that shows it is walked to say where.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.config.strict import (
    MAX_INTEGER_DIGITS,
    TOO_DEEP,
    DoubledObject,
    Read,
    kind_of,
    nests_too_deep,
    read_mapping,
    utf8_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from serviceradar_security.config.problems import Problems

__all__ = ["parse_json"]

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_NOT_NAMES: Final = bytes(set(range(256)) - set(b':"'))
# Digits become 0 and E becomes e: what numbers may be there is then found as it is.
_NUMBERS_ALIKE: Final = bytes(
    ord("0") if chr(byte).isdecimal() else ord("e") if byte == ord("E") else byte
    for byte in range(256)
)
_PLUS_AND_SPACE: Final = b"+ \t\r\n"
# One of these is in every number beyond 64 bits: 10**99 times what has fewer digits is within.
_LARGE_NUMBERS: Final = (b"e000", b"0" * (MAX_INTEGER_DIGITS - 100))
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes | str, problems: Problems) -> Read:
    """Read one JSON object, noting problems; with problems the result is for inspection only."""
    raw = utf8_of(data, problems)
    fault = None
    if raw is not None and nests_too_deep(_brackets_outside_strings(raw)):
        fault = TOO_DEEP
    elif raw is not None:
        try:
            return _read(raw, problems)
        except json.JSONDecodeError as error:
            fault = _explain_syntax(error)
    if fault is not None:
        problems.add((), fault)
    return Read({}, set())


def _read(raw: bytes, problems: Problems) -> Read:
    """Read a text that is not nested too deep; raises `json.JSONDecodeError`."""
    reader = _Reader(raw)
    text = raw.decode()
    value = reader.decode(text)
    if not isinstance(value, dict):
        problems.add((), f"is {kind_of(value)}: a configuration is one JSON object")
        return Read({}, set())
    # An equal count proves that no member was lost; another only suggests that one was.
    if reader.members != reader.most_members and reader.members != _count_members(raw):
        return read_mapping(reader.decode_doubled(text), problems)
    if reader.suspect or (b"\\u" in raw and _SURROGATE_ESCAPE.search(raw)):
        return read_mapping(value, problems)
    return Read(value, reader.names)


def _count_members(raw: bytes) -> int:
    """Count the members of all objects in a text that was read."""
    structure = _without_escapes(raw).translate(None, _NOT_NAMES)
    return b"".join(structure.split(b'"')[::2]).count(b":")


def _without_escapes(raw: bytes) -> bytes:
    """Give a JSON text without the escapes that could be mistaken for the end of a string."""
    return raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw


def _brackets_outside_strings(raw: bytes) -> bytes:
    """Give the brackets that stand outside the strings of a JSON text.

    Exact up to the first syntax error, and a parser goes no further than that.
    """
    structure = _without_escapes(raw).translate(None, _NOT_BRACKETS)
    # Strings without brackets are gone with their quotes; if a quote is left, one has brackets.
    bare = structure.replace(b'""', b"")
    return b"".join(structure.split(b'"')[::2]) if b'"' in bare else bare


def _explain_syntax(error: json.JSONDecodeError) -> str:
    place = f"line {error.lineno} column {error.colno}"
    if error.msg == "Extra data":
        return f"has trailing data at {place}: keep one JSON object and nothing after it"
    hint = ": write a backslash as \\\\" if "escape" in error.msg else ""
    return f"is not JSON at {place}: {error.msg[:1].lower()}{error.msg[1:]}{hint}"


class _Reader:
    """A JSON decoder that notices, at little cost for good documents, what needs a second look.

    Args:
        raw: The text, whose numbers decide which hooks are needed.
    """

    def __init__(self, raw: bytes) -> None:
        self.suspect = False
        self.members = 0
        self.names: set[str] = set()
        objects = self._objects()
        next(objects)
        alike = raw.translate(_NUMBERS_ALIKE, _PLUS_AND_SPACE)
        # Each name ends with a quote and has a colon next, and strings may look as if.
        self.most_members = alike.count(b'":')
        self._numbers: dict[str, Any] = {"parse_constant": self._float}
        if any(part in alike for part in _LARGE_NUMBERS):
            self._numbers |= {"parse_int": self._integer, "parse_float": self._float}
        # A generator costs half of a call.
        self.decode = json.JSONDecoder(object_hook=objects.send, **self._numbers).decode

    def decode_doubled(self, text: str) -> Any:
        """Decode a text once more, keeping the members with a name that occurs twice."""
        return json.JSONDecoder(object_pairs_hook=_object, **self._numbers).decode(text)

    def _objects(self) -> Generator[dict[str, object], dict[str, object], None]:
        made: dict[str, object] = {}
        note = self.names.update
        while True:
            made = yield made
            self.members += len(made)
            note(made)

    def _integer(self, text: str) -> int | float:
        # Before `int`: its cost grows with the square, and its own limit is the process's to set.
        return int(text) if len(text) <= MAX_INTEGER_DIGITS else self._float("inf")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self.suspect = True
        return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else DoubledObject(pairs)
