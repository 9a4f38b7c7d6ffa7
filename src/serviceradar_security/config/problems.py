"""The list of everything that is wrong with one document, and the error made of it.

Bounded on purpose: a hostile document of a few megabytes must not become gigabytes of paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from serviceradar_security.config.blocks import Segment, join_path, render_path
from serviceradar_security.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_REPORT_CHARACTERS", "Problems", "shown"]

MAX_REPORT_CHARACTERS: Final = 256 * 1024
"""How many characters of paths and texts one error lists; what is beyond it is only counted."""

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


def _cut(problem: ConfigProblem) -> str:
    path = problem.path
    if len(path) <= _PATH_HEAD + _PATH_TAIL:
        return str(problem)
    return f"{path[:_PATH_HEAD]}...{path[-_PATH_TAIL:]}: {problem.text}"
