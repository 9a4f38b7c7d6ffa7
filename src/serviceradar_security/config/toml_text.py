"""Read TOML strictly, as a JSON document.

What JSON cannot say is refused: dates and times, infinities, numbers that a 64-bit float cannot
hold. `tomllib` refuses repeated names itself. It is written in Python and recurses, and its cost
grows with the square of the parts of a key: both are measured before it starts.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.strict import (
    MAX_DEPTH,
    TOO_DEEP,
    Read,
    nests_too_deep,
    read_mapping,
    utf8_of,
)

if TYPE_CHECKING:
    from serviceradar_security.config.problems import Problems

__all__ = ["MAX_TOML_BYTES", "parse_toml"]

MAX_TOML_BYTES: Final = (
    512 * 1024
)  # real files have 10 kB; a hostile one costs seconds at this size

# Strings and comments; what is left has only structure. Exact up to the first syntax error: what
# follows a string without an end is never parsed, and goes with it. So no byte is scanned twice
# for one that fails to match, and a hostile text costs no more than its length.
_OPAQUE: Final = re.compile(
    rb'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+(?:"{3,5}|.*+)'
    rb"|'''(?:[^']++|'{1,2}(?!'))*+(?:'{3,5}|.*+)"
    rb'|"(?:[^"\\\n]++|\\[^\n])*+(?:"|.*+)'
    rb"|'[^'\n]*+(?:'|.*+)"
    rb"|#[^\n]*+",
    re.DOTALL,
)
_BETWEEN_KEYS: Final = re.compile(rb"[,=\[\]{}\n]+")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE: Final = re.compile(r"twice|overwrite|duplicate|redefine|mutate|already", re.IGNORECASE)
_PLAIN_WORDS: Final = re.compile(r"[A-Za-z '=-]*")

_NO_DATES: Final = "is a date or time, which JSON does not have: write it as a text, in quotes"
_REFUSED: Final = dict.fromkeys((dt.datetime, dt.date, dt.time), _NO_DATES)
_TOO_LONG: Final = "has a number that is no finite 64-bit number: write a smaller number, or a text"


def parse_toml(data: bytes | str, problems: Problems) -> Read:
    """Read one TOML document, noting problems; with problems it is for inspection only."""
    raw = utf8_of(data, problems, limit=MAX_TOML_BYTES)
    if raw is None:
        return Read({}, set())
    structure = _OPAQUE.sub(b'""', raw)
    parts = max(part.count(b".") for part in _BETWEEN_KEYS.split(structure))
    if parts > MAX_DEPTH or nests_too_deep(structure):
        problems.add((), TOO_DEEP)
        return Read({}, set())
    try:
        document = tomllib.loads(raw.decode())
    except tomllib.TOMLDecodeError as error:
        text = _explain(str(error))
    except RecursionError:  # the caller was deep already
        text = TOO_DEEP
    except ValueError:  # the process's limit for the conversion of integers
        text = _TOO_LONG
    else:
        return read_mapping(document, problems, refused_types=_REFUSED)
    problems.add((), text)
    return Read({}, set())


def _explain(message: str) -> str:
    place = _PLACE.search(message)
    where = "at its end"
    if place is not None and place[1] is not None:
        where = f"at line {place[1]} column {place[2]}"
    reason = message[: place.start()] if place is not None else message
    if _TWICE.search(reason):
        return f"is not TOML {where}: a key or table is defined twice: keep one"
    # Other words may quote the document.
    hint = f": {reason[:1].lower()}{reason[1:]}" if _PLAIN_WORDS.fullmatch(reason) else ""
    return f"is not TOML {where}{hint}"
