"""The list of everything that is wrong with one document, and the error made of it.

Bounded on purpose: a hostile document of a few megabytes must not become gigabytes of paths.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.blocks import Segment, join_path, render_path
from serviceradar_security.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "MAX_LOGGED_PATHS",
    "MAX_REPORT_CHARACTERS",
    "Problems",
    "refusing_deep_callers",
    "shortened",
    "shown",
]

MAX_REPORT_CHARACTERS: Final = 256 * 1024
"""How many characters of paths and texts one error lists; what is beyond it is only counted."""

MAX_LOGGED_PATHS: Final = 20
"""How many paths one log record or repr shows."""

_TOO_DEEP_CALLER: Final = (
    "is nested too deep for a caller that is itself this deep in calls: call from fewer functions "
    "inside one another, or make it flatter"
)
_IN_MESSAGE: Final = 5
_SHOWN_NAME: Final = 60
_PATH_HEAD: Final = 100
_PATH_TAIL: Final = 50


def shown(text: str) -> str:
    """Quote a name for a message: ASCII only, escaped and shortened."""
    return ascii(text if len(text) <= _SHOWN_NAME else f"{text[:_SHOWN_NAME]}...")


class Problems:
    """Collect problems in the order of the document.

    Args:
        prefix: Rendered path of the part of the document that is looked at.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._listed: list[ConfigProblem] = []
        self._characters = 0
        self.count: int = 0

    def add(self, path: Sequence[Segment], text: str) -> None:
        """Note one problem: where, and the rule with its remedy."""
        self.count += 1
        if self._characters > MAX_REPORT_CHARACTERS:
            return
        problem = ConfigProblem(join_path(self._prefix, render_path(path)), text)
        self._characters += len(problem.path) + len(text)
        self._listed.append(problem)

    def extend(self, other: Problems) -> None:
        """Take over the problems of another part."""
        self.count += other.count
        self._characters += other._characters
        self._listed += other._listed

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def listed(self) -> tuple[ConfigProblem, ...]:
        """The problems, but for those beyond `MAX_REPORT_CHARACTERS`."""
        return tuple(self._listed)

    def message(self, subject: str) -> str:
        """Say in one line what is wrong with `subject`."""
        first = [_cut(problem) for problem in self._listed[:_IN_MESSAGE]]
        total = f"{self.count} problems: " if self.count > 1 else ""
        rest = self.count - len(first)
        more = f"; and {rest} more" if rest else ""
        return f"{subject}: {total}{'; '.join(first)}{more}"

    def error(self, subject: str) -> ConfigError:
        """Make the error that lists them all."""
        return ConfigError(self.message(subject), problems=self.listed)


@contextmanager
def refusing_deep_callers(
    subject: str,
    refusal: Callable[[Problems], ConfigError] | None = None,
) -> Iterator[None]:
    """Turn the end of the stack into an error of ours: the limits of a document allow for most.

    For: entry points, whose frame has room again once the frames below it are gone.

    Args:
        subject: What the document is, for the message.
        refusal: Makes the error; a `ConfigError` about the subject if not given.
    """
    try:
        yield
    except RecursionError:
        problems = Problems()
        problems.add((), _TOO_DEEP_CALLER)
        # Not kept as a cause: its traceback is a thousand frames with parts of the document.
        raise (problems.error(subject) if refusal is None else refusal(problems)) from None


def shortened(paths: Iterable[str]) -> tuple[str, ...]:
    """Give the first few of some paths, none of them long: for log records and the like."""
    return tuple(map(_short, islice(paths, MAX_LOGGED_PATHS)))


def _cut(problem: ConfigProblem) -> str:
    short = _short(problem.path)
    return str(problem) if short == problem.path else f"{short}: {problem.text}"


def _short(path: str) -> str:
    if len(path) <= _PATH_HEAD + _PATH_TAIL:
        return path
    return f"{path[:_PATH_HEAD]}...{path[-_PATH_TAIL:]}"
