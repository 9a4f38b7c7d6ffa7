"""What a loaded configuration is: a document that does not change, its layers, its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, cast, final, get_args

from serviceradar_security.config.block_members import FILE_NAMES, TEXT_NAMES
from serviceradar_security.config.blocks import find_blocks, is_security_name, render_path
from serviceradar_security.config.document import (
    copy_document,
    find_parent_twins,
    find_twins,
    freeze,
    kind_of,
)
from serviceradar_security.config.formats import Format
from serviceradar_security.config.kinds import find_kinds
from serviceradar_security.config.layers import (
    MISSING,
    Layer,
    Origin,
    Place,
    look,
    may_have_twins,
    origin_of,
    parse_path,
    same,
    together,
)
from serviceradar_security.config.overlay import admit_overlay, refusal_of
from serviceradar_security.config.problems import Problems, refusing_deep_callers, shown
from serviceradar_security.config.protected import PROTECTED_PATHS, ProtectedPaths
from serviceradar_security.config.security import SecurityConfig, read_block
from serviceradar_security.config.strict import copied
from serviceradar_security.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Config", "find_all_blocks", "find_unnamed_blocks", "make_config", "overlaid"]

_NAMED_IN_MESSAGE: Final = 20
_FILES: Final = frozenset(("tls", name) for name in FILE_NAMES)
_MEMBERS: Final = frozenset((name,) for name in (*TEXT_NAMES, "tls"))


class _Block(NamedTuple):
    """What stands where a security block is.

    Attributes:
        value: What the local layers put there, usable or not.
        kind: Which kind of block it is.
    """

    value: object
    kind: str


@final
class Config:
    """A configuration: a document that cannot be changed, and the security blocks in it.

    Args:
        document: The merged document; it is copied, and becomes the one layer ``file``.
        name: What the document came from, for messages.

    Raises:
        ConfigError: The document holds what JSON cannot say, or two names in it would be taken
            for the same security block.
    """

    __slots__ = ("_blocks", "_document", "_format", "_layers", "_plain", "_protected", "_read")
    _blocks: Mapping[str, _Block] | None
    _document: Mapping[str, object] | None
    _format: Format
    _layers: tuple[Layer, ...]
    _plain: dict[str, object]
    _protected: ProtectedPaths
    _read: dict[str, tuple[object, SecurityConfig]]

    def __new__(cls, document: Mapping[str, object], *, name: str = "configuration") -> Config:
        """Copy and check a document."""
        if not isinstance(name, str):
            raise ConfigError(f"name is {kind_of(name)}: give a text")
        if not isinstance(document, Mapping):
            raise ConfigError(f"{name}: is {kind_of(document)}: give a mapping of JSON values")
        with refusing_deep_callers(name):
            layers = [Layer("file", name, copy_document(document, source=name))]
            check_parents(layers)
            return make_config(layers)

    @property
    def document(self) -> Mapping[str, object]:
        """The merged document, read-only at every depth."""
        made = self._document
        if made is None:  # on first use: a program that reads blocks alone pays nothing
            made = cast("Mapping[str, object]", freeze(self._plain))
            object.__setattr__(self, "_document", made)
        return made

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the document was merged from, in the order of precedence: later ones win."""
        return self._layers

    @property
    def block_paths(self) -> tuple[str, ...]:
        """Paths of all security blocks, usable or not, in the order of the document."""
        return tuple(self._all_blocks)

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
        found = self._all_blocks.items()
        read = {path: self._block(path, block, problems) for path, block in found}
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
        found = self._all_blocks.get(path) if isinstance(path, str) else None
        if found is None:
            problems.add((), self._no_block(path))
            raise problems.error(self._name)
        block = self._block(path, found, problems)
        if block is None:
            raise problems.error(self._name)
        return block

    def origin(self, path: str) -> Origin:
        """Name the layer that set a value.

        For an object it is the newest layer that wrote any part of it; a list has one origin,
        since lists are replaced whole. ``default`` is what the reading of a security block
        supplies for a member that no layer wrote. Costs nothing until it is asked.

        Args:
            path: Where the value is, as ``agents.k8s-agent.security.tls.ca_file``, and
                ``checks[0].name`` for items of lists; a key with a dot, a bracket, a quote or
                white space is written as a JSON string.

        Raises:
            ConfigError: Nothing is there, or the path is none.
        """
        place = parse_path(path) if isinstance(path, str) else None
        if place is None:
            given = shown(path) if isinstance(path, str) else kind_of(path)
            raise ConfigError(
                f"{self._name}: {given} is no path: write one as checks[0].security.mode",
            )
        return origin_of(self._layers, place) or self._supplied(place) or self._nothing_at(place)

    def with_overlay(
        self,
        overlay: bytes | str | Mapping[str, object] | None,
        *,
        format: Format | None = None,  # noqa: A002 - the word that callers look for
    ) -> Config:
        """Give the same local layers with another overlay, through the gate.

        The gate holds the overlay to what all local layers say together, the pinned file too,
        which is then merged last: the result is that of a start with this overlay.

        Args:
            overlay: The overlay instead of the one there is; None for none.
            format: How it is written, if it is a text; as the local file if not given.

        Raises:
            OverlayRefusedError: The gate refuses it.
            ConfigError: There is no such format.
        """
        own, protected = self._format, self._protected
        written = own if format is None else format
        with refusing_deep_callers("overlay", refusal_of):
            layers = overlaid(self._layers, overlay, protected=protected, format=written)
            return make_config(layers, protected=protected, format=own, read=self._read)

    def same_document(self, other: Config) -> bool:
        """Tell whether another configuration says the same, whatever layers say it.

        Exact, unlike ``==`` of documents: to Python 1, 1.0 and true are equal.
        """
        return same(self._plain, other._plain)

    def plain(self) -> dict[str, object]:
        """Give the merged document as dicts and lists of your own, to change or to write out."""
        return cast("dict[str, object]", copied(self._plain))

    @property
    def _name(self) -> str:
        return self._layers[0].source

    @property
    def _all_blocks(self) -> Mapping[str, _Block]:
        made = self._blocks
        if made is None:  # on first use: to find them all means a walk through the document
            # What is a block, of which kind, and what it says, the local layers alone decide. The
            # gate keeps an overlay away from blocks by their names; those that are blocks by their
            # shape (`grpc`) are in a set that a service may give up.
            local = together(_local(self._layers))
            made = {
                render_path(place): _Block(value, kind) for place, value, kind in find_kinds(local)
            }
            object.__setattr__(self, "_blocks", made)
        return made

    def _block(self, path: str, found: _Block, problems: Problems) -> SecurityConfig | None:
        known = self._read.get(path)
        if known is not None and same(known[0], found.value):
            return known[1]
        noted = Problems(path)
        block = read_block(found.value, noted, path=path, kind=found.kind)
        if block is None:
            problems.extend(noted)
        else:
            # Read once, so that its warnings are logged once, for all overlays to come.
            self._read[path] = found.value, block
        return block

    def _no_block(self, path: object) -> str:
        given = shown(path) if isinstance(path, str) else kind_of(path)
        return (
            f"there is no security block {given}; the blocks there are: {_listed(self.block_paths)}"
        )

    def _supplied(self, place: Place) -> Origin | None:
        """Name what set a member of a security block that is not in the document."""
        for end in (len(place) - 1, len(place) - 2):
            found = self._all_blocks.get(render_path(place[:end])) if end > 0 else None
            if found is not None and isinstance(found.value, dict):
                return self._supplied_in(found.value, place[:end], place[end:])
        return None

    def _supplied_in(
        self,
        block: dict[str, object],
        where: Place,
        member: Place,
    ) -> Origin | None:
        if member == ("mode",):  # only some kinds of blocks have a mode without saying it
            try:
                self.security_block(render_path(where))
            except ConfigError:
                return None
            return "default"
        if member in _FILES:
            flat = "tls" not in block and member[-1] in block
            return origin_of(self._layers, (*where, member[-1])) if flat else "default"
        return "default" if member in _MEMBERS else None

    def _nothing_at(self, place: Place) -> NoReturn:
        end = len(place) - 1
        while look(self._plain, place[:end]) is MISSING:
            end -= 1
        held = look(self._plain, place[:end])
        if isinstance(held, dict):
            there = f"has: {_listed([render_path((key,)) for key in held])}"
        elif isinstance(held, list):
            there = f"has {len(held)} items"
        else:
            there = f"is {kind_of(held)}"
        problems = Problems()
        where = shown(render_path(place[:end])) if end else "the document"
        problems.add(place, f"no layer sets it, and it has no default; {where} {there}")
        raise problems.error(self._name)

    def __repr__(self) -> str:
        return f"Config({self._name!r}, blocks={list(self.block_paths)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Config is not copied or pickled, since it holds secrets: load it again")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name!r} cannot be deleted")


def make_config(
    layers: Sequence[Layer],
    *,
    protected: ProtectedPaths = PROTECTED_PATHS,
    format: Format = "json",  # noqa: A002 - as the gate calls it
    read: dict[str, tuple[object, SecurityConfig]] | None = None,
) -> Config:
    """Make a configuration of layers whose documents nobody changes.

    Args:
        layers: At least one; the overlay among them went through the gate.
        protected: What else than security blocks later overlays may not touch.
        format: How the local file is written, and later overlays if nobody says.
        read: Blocks that were read for other overlays over the same local layers.

    Raises:
        ConfigError: Two names of one object would be taken for the same security block.
    """
    plain = together(layers)
    problems = Problems()
    if may_have_twins(layers):
        find_twins(find_blocks(plain), problems)
    if problems:
        raise problems.error(layers[0].source)
    made = object.__new__(Config)
    for name, value in (
        ("_layers", tuple(layers)),
        ("_plain", plain),
        ("_document", None),
        ("_blocks", None),
        ("_format", format),
        ("_protected", protected),
        ("_read", {} if read is None else read),
    ):
        object.__setattr__(made, name, value)
    return made


def overlaid(
    layers: Iterable[Layer],
    overlay: bytes | str | Mapping[str, object] | None,
    *,
    protected: ProtectedPaths,
    format: Format,  # noqa: A002 - as the gate calls it
) -> list[Layer]:
    """Put another overlay among layers, above the file and the environment.

    Raises:
        OverlayRefusedError: The gate refuses it over what the local layers say together.
        ConfigError: There is no such format.
    """
    local = _local(layers)
    if overlay is None:
        return local
    if format not in get_args(Format):
        raise ConfigError(f"format is none of those there are: {', '.join(get_args(Format))}")
    change = admit_overlay(together(local), overlay, protected=protected, format=format)
    pinned = [layer for layer in local if layer.name == "pinned"]
    below = [layer for layer in local if layer.name != "pinned"]
    # The gate let it in, so there is no security name in it.
    return [*below, Layer("overlay", "overlay", change, frozenset()), *pinned]


def check_parents(layers: Sequence[Layer]) -> None:
    """Refuse local layers in which two names are one to Go's decoder, and one holds a block.

    Raises:
        ConfigError: There are such names.
    """
    problems = Problems()
    plain = together(layers)
    find_parent_twins(plain, find_all_blocks(plain), problems)
    if problems:
        raise problems.error(layers[0].source)


def find_all_blocks(document: dict[str, object]) -> list[Place]:
    """Find the places of all security blocks: by their names, and by the kind of the file."""
    return [place for place, _, _ in find_kinds(document)]


def find_unnamed_blocks(document: dict[str, object]) -> list[Place]:
    """Find the places of the objects that are security blocks by the kind of the file alone."""
    return [place for place in find_all_blocks(document) if not is_security_name(str(place[-1]))]


def _local(layers: Iterable[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.name != "overlay"]


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    shown_names = ", ".join(list(names)[:_NAMED_IN_MESSAGE]) or "none"
    more = len(names) - _NAMED_IN_MESSAGE
    return f"{shown_names} and {more} more" if more > 0 else shown_names
