"""The formats of a document, and the one function that reads any of them strictly.

Whatever the format, the result is a JSON document: the same values, limits and refusals, so that
the gate and everything behind it know documents, not formats.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from serviceradar_security.config.json_text import parse_json
from serviceradar_security.config.problems import shown
from serviceradar_security.config.toml_text import parse_toml
from serviceradar_security.config.yaml_text import parse_yaml
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from serviceradar_security.config.problems import Problems
    from serviceradar_security.config.strict import Read

__all__ = ["Format", "format_of", "parse_text", "read_text"]

Format: TypeAlias = Literal["json", "toml", "yaml"]
"""How a document is written."""

_READERS: Final = {"json": parse_json, "toml": parse_toml, "yaml": parse_yaml}
_ENDINGS: Final[dict[str, Format]] = {
    ".json": "json",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}


def format_of(path: str | os.PathLike[str]) -> Format:
    """Tell the format of a file, or of a KV key, by how its name ends; JSON if that says nothing.

    Args:
        path: The name; upper and lower case are the same.
    """
    return _ENDINGS.get(PurePath(os.fspath(path)).suffix.lower(), "json")


def parse_text(
    data: bytes | str,
    problems: Problems,
    *,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> dict[str, object]:
    """Read one document from its text, noting problems; with problems it is for inspection only.

    Args:
        data: UTF-8 bytes, or text.
        problems: Where every problem is noted; none holds a value of the document.
        format: How it is written.

    Raises:
        ConfigError: There is no such format.
    """
    return read_text(data, problems, format=format).document


def read_text(
    data: bytes | str,
    problems: Problems,
    *,
    format: Format = "json",  # noqa: A002 - the word that callers look for
) -> Read:
    """Do as `parse_text` does, and list the names."""
    reader = _READERS.get(format) if isinstance(format, str) else None
    if reader is None:
        known = ", ".join(get_args(Format))
        raise ConfigError(f"there is no format {shown(str(format))}; there are: {known}")
    return reader(data, problems)
