"""How targets call the library, and how they say that something does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.errors import SecurityError

__all__ = ["call", "hold"]

_Result = TypeVar("_Result")
_LONGEST_LINE: Final = 8_000


def hold(condition: bool, text: str) -> None:
    """Assert, with the text that the fuzzer will show; also where Python drops assertions."""
    if not condition:
        raise AssertionError(text)


def call(allowed: type[SecurityError], function: Callable[[], _Result]) -> _Result | None:
    """Give the result, or None for the documented refusal, whose message is one line."""
    try:
        return function()
    except allowed as error:
        text = str(error)
        hold(bool(text) and text.isprintable(), "a refusal that is not one line of text")
        hold(len(text) < _LONGEST_LINE, "a refusal that repeats what it was given")
        return None
