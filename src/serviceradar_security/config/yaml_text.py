"""Read YAML strictly, as a JSON document.

Of YAML only what maps onto JSON one to one is read: one document, no directives, tags, anchors,
aliases or merge keys, no name twice, and names that are texts. Plain scalars mean what the JSON
and the core schema of YAML 1.2 agree on (sections 10.2 and 10.3); where these differ (``~``,
``True``, ``0x1F``), readers do, and the scalar is refused. The guesses of YAML 1.1 (``yes``,
``12:30:00``, dates) are texts.

The events of libyaml are read one by one, so no recursion, no constructor and no resolver runs.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from serviceradar_security.config.strict import (
    MAX_DEPTH,
    MAX_INTEGER_DIGITS,
    TOO_DEEP,
    DoubledObject,
    Read,
    read_mapping,
    utf8_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.config.problems import Problems

__all__ = ["MAX_YAML_BYTES", "parse_yaml"]

MAX_YAML_BYTES: Final = (
    512 * 1024
)  # real files have 10 kB; a hostile one costs seconds at this size

_MISSING: Final = "is YAML, which needs PyYAML: pip install 'serviceradar-security[yaml]'"
_NO_LIBYAML: Final = (
    "is YAML, and this PyYAML is built without libyaml: install one of its wheels, or build it "
    "with libyaml"
)
_ONE_OBJECT: Final = "a configuration is one object of names and values"
_TWO_READINGS: Final = (
    "readers differ on what it means: put a text in quotes, write null, true, false or a decimal "
    "number"
)

_WORDS: Final[dict[str, object]] = {"": None, "null": None, "true": True, "false": False}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?(?:[eE][-+]?[0-9]++)?")
# What the core schema takes for more than a text, and the JSON schema does not.
_CORE: Final = re.compile(
    r"~|Null|NULL|True|TRUE|False|FALSE"
    r"|[-+]?[0-9]++|0o[0-7]++|0x[0-9a-fA-F]++"
    r"|[-+]?(?:\.[0-9]++|[0-9]++(?:\.[0-9]*+)?)(?:[eE][-+]?[0-9]++)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
)


def parse_yaml(data: bytes | str, problems: Problems) -> Read:
    """Read one YAML document, noting problems; with problems it is for inspection only."""
    raw = utf8_of(data, problems, limit=MAX_YAML_BYTES)
    if raw is None:
        return Read({}, set())
    try:
        yaml = import_module("yaml")  # not at the top: only the extra has it
    except ImportError:
        problems.add((), _MISSING)
        return Read({}, set())
    if not yaml.__with_libyaml__:
        problems.add((), _NO_LIBYAML)
        return Read({}, set())
    builder = _Builder()
    try:
        for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
            builder.take(event)
        document = builder.document()
    except yaml.YAMLError as error:
        problems.add((), _explain(error))
        return Read({}, set())
    except _RefusedError as refusal:
        problems.add((), str(refusal))
        return Read({}, set())
    return read_mapping(document, problems)


class _RefusedError(Exception):
    """What is not read, and where it stands."""


class _Builder:
    """Builds a document of events; refuses whatever has no counterpart in JSON."""

    def __init__(self) -> None:
        self._document: dict[str, object] | None = None
        self._seen = False
        # What is open: the items of a list, or the pairs of an object and the name that waits.
        self._open: list[tuple[list[Any], bool]] = []
        self._names: list[str | None] = []
        self._takers: dict[str, Callable[[Any], None]] = {
            "DocumentStartEvent": self._start_document,
            "AliasEvent": self._alias,
            "ScalarEvent": self._scalar,
            "MappingStartEvent": self._start,
            "SequenceStartEvent": self._start,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
        }

    def document(self) -> dict[str, object]:
        """Give what was built."""
        if self._document is None:
            raise _RefusedError(f"is empty: {_ONE_OBJECT}")
        return self._document

    def take(self, event: Any) -> None:
        """Take the next event; those of the stream itself say nothing."""
        taker = self._takers.get(type(event).__name__)
        if taker is not None:
            taker(event)

    def _start_document(self, event: Any) -> None:
        if self._seen:
            raise _refused(event, "has a second document", "keep one")
        if event.version is not None or event.tags:
            raise _refused(event, "has a directive", "remove it")
        self._seen = True

    def _alias(self, event: Any) -> None:
        raise _refused(event, "has an alias", "write the value out")

    def _scalar(self, event: Any) -> None:
        _check_plain_node(event)
        plain = event.implicit[0]
        if not self._open:
            raise _refused(event, "is a single value", _ONE_OBJECT)
        if self._expects_name():
            if plain and event.value == "<<":
                raise _refused(event, "has a merge key", "write the members out")
            name = _resolved(event) if plain else event.value
            if type(name) is not str:
                raise _refused(event, "has a name that is no text", "put it in quotes")
            self._names[-1] = name
        else:
            self._put(_resolved(event) if plain else event.value)

    def _start(self, event: Any) -> None:
        _check_plain_node(event)
        is_object = type(event).__name__ == "MappingStartEvent"
        if not self._open and not is_object:
            raise _refused(event, "is a list", _ONE_OBJECT)
        if self._open and self._expects_name():
            raise _refused(event, "has a name that is no text", "names are texts")
        if len(self._open) == MAX_DEPTH:
            raise _RefusedError(TOO_DEEP)
        self._open.append(([], is_object))
        self._names.append(None)

    def _end(self, _: Any) -> None:
        held, is_object = self._open.pop()
        self._names.pop()
        made: Any = held
        if is_object:
            made = dict(held)
            if len(made) != len(held):
                made = DoubledObject(held)
        if self._open:
            self._put(made)
        else:
            self._document = made

    def _expects_name(self) -> bool:
        return self._open[-1][1] and self._names[-1] is None

    def _put(self, value: object) -> None:
        held, is_object = self._open[-1]
        if is_object:
            held.append((self._names[-1], value))
            self._names[-1] = None
        else:
            held.append(value)


def _check_plain_node(event: Any) -> None:
    if event.anchor is not None:
        raise _refused(event, "has an anchor", "remove it")
    if event.tag is not None:
        raise _refused(event, "has a tag", "remove it")


def _resolved(event: Any) -> object:
    """Give the value of a plain scalar."""
    text = event.value
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= MAX_INTEGER_DIGITS else float("inf")
    if _FLOAT.fullmatch(text):
        return float(text)
    if _CORE.fullmatch(text):
        raise _refused(event, "has an unquoted value", _TWO_READINGS)
    return text


def _refused(event: Any, what: str, remedy: str) -> _RefusedError:
    mark = event.start_mark
    return _RefusedError(f"{what} at line {mark.line + 1} column {mark.column + 1}: {remedy}")


def _explain(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" at line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
    words = getattr(error, "problem", None) or "it holds a character that YAML does not allow"
    if "nesting depth" in words:  # libyaml's own limit: it reads ahead
        return TOO_DEEP
    # Quoted words may be those of the document.
    hint = f": {words}" if "'" not in words and '"' not in words else ""
    return f"is not YAML{place}{hint}"
