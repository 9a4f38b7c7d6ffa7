"""Load a service's configuration: its file, the environment, the overlay, the pinned file.

File, environment and pinned file belong to the local operator and may set security blocks; the
overlay comes from outside, passes the gate and may not. A block is read when it is asked for, so
that a file with a block that this service does not use still loads.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, get_args

from serviceradar_security.config.blocks import find_blocks
from serviceradar_security.config.configuration import (
    Config,
    check_parents,
    find_all_blocks,
    find_unnamed_blocks,
    make_config,
    overlaid,
)
from serviceradar_security.config.document import MAX_DOCUMENT_BYTES, find_twins, kind_of
from serviceradar_security.config.environment import (
    Environment,
    read_environment,
    read_variables,
)
from serviceradar_security.config.formats import Format, format_of, read_text
from serviceradar_security.config.layers import (
    Layer,
    LayerName,
    check_local,
    layer_of,
    may_have_twins,
    plain_of,
    together,
)
from serviceradar_security.config.problems import Problems, refusing_deep_callers
from serviceradar_security.config.protected import PROTECTED_PATHS, ProtectedPaths
from serviceradar_security.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Config", "load_config"]

_T = TypeVar("_T")

_log: Final = logging.getLogger("serviceradar_security.config")


def load_config(
    path: str | os.PathLike[str],
    *,
    overlay: bytes | str | Mapping[str, object] | None = None,
    pinned: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    protected: ProtectedPaths = PROTECTED_PATHS,
    overlay_format: Format | None = None,
) -> Config:
    """Load the configuration of a service, its layers in this order; later ones win.

    1. The file; 2. the environment, if ``CONFIG_SOURCE`` is ``env``; 3. the overlay, if the gate
    lets it; 4. the pinned file. Files are JSON, TOML or YAML, by how their names end.

    Args:
        path: The local file.
        overlay: A document from outside.
        pinned: A local file, merged last. It wins over ``PINNED_CONFIG_PATH``.
        environ: The environment, as a service gives it with `os.environ`; without it no variable
            is read, so that a stray one can weaken neither a service nor a test.
        protected: What else than security blocks the overlay may not touch.
        overlay_format: How an overlay is written that is a text; as the file if not given.

    Raises:
        OverlayRefusedError: The overlay touches a security block, a parent of one or a
            protected path, or is no strict document.
        ConfigError: A file or the environment cannot be used, or would take a security block
            away, or an argument is wrong. Lists every problem of all of them.
    """
    _check_arguments(path, pinned, protected, overlay_format)
    with refusing_deep_callers(_name_of(path)):
        return _load(
            path,
            overlay=overlay,
            pinned=pinned,
            environ=environ,
            protected=protected,
            overlay_format=overlay_format,
        )


def _load(
    path: str | os.PathLike[str],
    *,
    overlay: bytes | str | Mapping[str, object] | None,
    pinned: str | os.PathLike[str] | None,
    environ: Mapping[str, str] | None,
    protected: ProtectedPaths,
    overlay_format: Format | None,
) -> Config:
    failures: list[ConfigError] = []
    environment = _attempt(failures, _read_environment, environ) or Environment()
    layers = _attempt(failures, _local_layers, path, environment) or []
    chosen = _choose_pinned(pinned, environment.pinned)
    if chosen is not None:
        layers += _attempt(failures, _pinned_layers, chosen, layers) or []
    if failures:
        raise _joined(failures)
    check_parents(layers)
    written = format_of(path)
    if overlay is not None:
        chosen_format = overlay_format or written
        layers = overlaid(layers, overlay, protected=protected, format=chosen_format)
    return make_config(layers, protected=protected, format=written)


def _check_arguments(
    path: object,
    pinned: object,
    protected: object,
    overlay_format: object,
) -> None:
    problems = Problems()
    for name, value in (("path", path), ("pinned", pinned)):
        optional = name == "pinned" and value is None
        if not optional and not _is_path(value):
            problems.add((name,), f"is {kind_of(value)}: give the path of a file, as text or Path")
    if not isinstance(protected, ProtectedPaths):
        problems.add(("protected",), f"is {kind_of(protected)}: give ProtectedPaths")
    if overlay_format is not None and overlay_format not in get_args(Format):
        known = ", ".join(get_args(Format))
        problems.add(("overlay_format",), f"is none of the formats there are: {known}")
    if problems:
        raise problems.error("load_config")


def _is_path(value: object) -> bool:
    try:
        return isinstance(os.fspath(value), str)  # type: ignore[call-overload]  # that is asked
    except TypeError:
        return False


def _attempt(failures: list[ConfigError], call: Callable[..., _T], *args: object) -> _T | None:
    """Call, and keep the error, so that the other documents are looked at, too."""
    try:
        return call(*args)
    except ConfigError as error:
        failures.append(error)
        return None


def _joined(failures: list[ConfigError]) -> ConfigError:
    if len(failures) == 1:
        return failures[0]
    problems = [
        ConfigProblem(each.path, f"{each.text} (of {str(error).partition(': ')[0]})")
        for error in failures
        for each in error.problems
    ]
    return ConfigError("; ".join(map(str, failures)), problems=problems)


def _read_environment(environ: Mapping[str, str] | None) -> Environment:
    problems = Problems()
    environment = Environment() if environ is None else read_environment(environ, problems)
    if problems:
        raise problems.error("environment")
    return environment


def _local_layers(path: str | os.PathLike[str], environment: Environment) -> list[Layer]:
    if environment.document is not None:
        return [_whole_document(environment, environment.document)]
    data = _read_file(path, may_be_missing=environment.used)
    layers = [] if data is None else [_parse("file", path, data)]
    if environment.used:
        problems = Problems()
        below = together(layers)
        change = read_variables(environment, below, find_unnamed_blocks(below), problems)
        if problems:
            raise problems.error("environment")
        layer = Layer("environment", f"{environment.prefix}*", change)
        # A list may hold blocks, and then says what they are as a file does.
        _check_layer(layer, below, problems)
        if problems:
            raise problems.error(f"environment ({layer.source})")
        layers.append(layer)
    return layers


def _whole_document(environment: Environment, text: str) -> Layer:
    """Read the variable that replaces the file."""
    problems = Problems(environment.document_name)
    read = read_text(text, problems)
    layer = layer_of("environment", environment.document_name, read)
    _check_layer(layer, {}, problems)
    others = Problems()
    read_variables(environment, read.document, find_unnamed_blocks(read.document), others)
    problems.extend(others)
    if problems:
        raise problems.error("environment")
    return layer


def _choose_pinned(
    given: str | os.PathLike[str] | None,
    named: str,
) -> str | os.PathLike[str] | None:
    if given is None:
        return named or None
    if named and _absolute(named) != _absolute(given):
        _log.warning(
            "PINNED_CONFIG_PATH names %s and is not used: the program pins %s",
            _name_of(named),
            _name_of(given),
            extra={"event": "pinned_path_unused"},
        )
    return given


def _absolute(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).absolute()
    except OSError:  # the working directory is gone: what is relative cannot be compared further
        return Path(path)


def _pinned_layers(path: str | os.PathLike[str], below: list[Layer]) -> list[Layer]:
    layer = _parse("pinned", path, _read_file(path) or b"")
    problems = Problems()
    _check_layer(layer, together(below), problems)
    if problems:
        raise problems.error(layer.source)
    return [layer]


def _check_layer(layer: Layer, below: dict[str, object], problems: Problems) -> None:
    document = plain_of(layer)
    if may_have_twins([layer]):
        find_twins(find_blocks(document), problems)
    check_local(document, below, find_all_blocks, problems)


def _parse(name: LayerName, path: str | os.PathLike[str], data: bytes) -> Layer:
    problems = Problems()
    read = read_text(data, problems, format=format_of(path))
    if problems:
        raise problems.error(_name_of(path))
    return layer_of(name, _name_of(path), read)


def _read_file(path: str | os.PathLike[str], *, may_be_missing: bool = False) -> bytes | None:
    name = _name_of(path)
    try:
        with open(path, "rb", opener=_open_now) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_DOCUMENT_BYTES + 1) if regular else b""
    except (OSError, ValueError) as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            return None
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{name}: cannot be read: {reason}") from error
    if not regular:
        raise ConfigError(f"{name}: is no regular file: give the path of a configuration file")
    return data


def _open_now(path: str, flags: int) -> int:
    # A pipe without a writer must not hold the service up.
    return os.open(path, flags | os.O_NONBLOCK)


def _name_of(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name if name and name.isprintable() else ascii(name)
