"""Load a service's configuration: its file, the overlay through the gate, the pinned file.

The file and the pinned file belong to the local operator and may hold security blocks; the
overlay comes from outside and may not. A block is read when it is asked for, so that a file with
a block that this service does not use still loads.
"""

from __future__ import annotations

import os
import stat
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn, final

from serviceradar_security.config.blocks import find_blocks, render_path
from serviceradar_security.config.document import (
    MAX_DOCUMENT_BYTES,
    copy_document,
    find_twins,
    freeze,
    read_document,
)
from serviceradar_security.config.overlay import merge_into, merge_overlay
from serviceradar_security.config.problems import Problems, shown
from serviceradar_security.config.security import SecurityConfig, read_block
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Config", "load_config"]

_BLOCKS_IN_MESSAGE: Final = 20


def load_config(
    path: str | os.PathLike[str],
    *,
    overlay: bytes | str | Mapping[str, object] | None = None,
    pinned: str | os.PathLike[str] | None = None,
) -> Config:
    """Load the configuration of a service.

    Args:
        path: The local JSON file.
        overlay: A document from outside, merged into the file if the gate lets it.
        pinned: A local JSON file, merged last; it may set what the overlay may not.

    Raises:
        OverlayRefusedError: The overlay touches a security block or a parent of one.
        ConfigError: A file cannot be read or is no strict JSON object.
    """
    document = _read_file(path)
    if overlay is not None:
        merge_overlay(document, overlay)
    if pinned is not None:
        merge_into(document, _read_file(pinned))
    return _config(document, _name_of(path))


@final
class Config:
    """A configuration: a document that cannot be changed, and the security blocks in it.

    Args:
        document: The merged document; it is copied.
        name: What the document came from, for messages.

    Raises:
        ConfigError: The document holds what JSON cannot say, or two names in it would be taken
            for the same security block.
    """

    __slots__ = ("_blocks", "_document", "_name", "_read")
    _name: str
    _document: Mapping[str, object]
    _blocks: Mapping[str, object]
    _read: dict[str, SecurityConfig]

    def __new__(cls, document: Mapping[str, object], *, name: str = "configuration") -> Config:
        """Copy and check a document."""
        return _config(copy_document(document, source=name), name)

    @property
    def document(self) -> Mapping[str, object]:
        """The merged document, read-only at every depth."""
        return self._document

    @property
    def block_paths(self) -> tuple[str, ...]:
        """Paths of all security blocks, usable or not, in the order of the document."""
        return tuple(self._blocks)

    @property
    def security(self) -> SecurityConfig:
        """The block ``security`` at the top of the document.

        Raises:
            ConfigError: There is none, or it cannot be used.
        """
        return self.security_block("security")

    @property
    def blocks(self) -> Mapping[str, SecurityConfig]:
        """Every security block by its path, wherever it sits.

        Raises:
            ConfigError: One or more of them cannot be used. Lists all problems of all of them.
        """
        problems = Problems()
        read = {path: self._block(path, problems) for path in self._blocks}
        usable = {path: block for path, block in read.items() if block is not None}
        if problems:
            raise problems.error(self._name)
        return MappingProxyType(usable)

    def security_block(self, path: str) -> SecurityConfig:
        """Give one security block.

        Args:
            path: Where it sits, as ``kv_security`` or ``agents.k8s-agent.security``.

        Raises:
            ConfigError: There is none, or it cannot be used.
        """
        problems = Problems()
        if path not in self._blocks:
            problems.add((), self._no_block(path))
            raise problems.error(self._name)
        block = self._block(path, problems)
        if block is None:
            raise problems.error(self._name)
        return block

    def _block(self, path: str, problems: Problems) -> SecurityConfig | None:
        known = self._read.get(path)
        if known is not None:
            return known
        found = Problems(path)
        block = read_block(self._blocks[path], found, path=path)
        if block is None:
            problems.extend(found)
        else:
            self._read[path] = block  # read once, so that its warnings are logged once
        return block

    def _no_block(self, path: str) -> str:
        there = ", ".join(self.block_paths[:_BLOCKS_IN_MESSAGE]) or "none"
        return f"there is no security block {shown(path)}; the blocks there are: {there}"

    def __repr__(self) -> str:
        return f"Config({self._name!r}, blocks={list(self.block_paths)!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name!r} cannot be deleted")


def _config(plain: dict[str, object], name: str) -> Config:
    """Make a configuration of a plain document that nobody else holds."""
    problems = Problems()
    found = find_blocks(plain)
    find_twins(found, problems)
    if problems:
        raise problems.error(name)
    made = object.__new__(Config)
    blocks = {render_path(place): value for place, value in found}
    object.__setattr__(made, "_name", name)
    object.__setattr__(made, "_document", freeze(plain))
    object.__setattr__(made, "_blocks", MappingProxyType(blocks))
    object.__setattr__(made, "_read", {})
    return made


def _read_file(path: str | os.PathLike[str]) -> dict[str, object]:
    name = _name_of(path)
    try:
        with open(path, "rb", opener=_open_now) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_DOCUMENT_BYTES + 1) if regular else b""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{name}: cannot be read: {reason}") from error
    if not regular:
        raise ConfigError(f"{name}: is no regular file: give the path of a JSON file")
    return read_document(data, source=name)


def _open_now(path: str, flags: int) -> int:
    # A pipe without a writer must not hold the service up.
    return os.open(path, flags | os.O_NONBLOCK)


def _name_of(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name if name.isprintable() else ascii(name)
