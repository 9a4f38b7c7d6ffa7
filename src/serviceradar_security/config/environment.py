"""The environment as a layer: which variables count, which members they name, what they may say.

For: a mapping of variables in (the caller's, never the process's own by itself), a plain layer
out, or every problem at once. The platform's Go services map variables by the fields of their
structs. There is no struct here: names come from the members that the document has and from the
members that security blocks are known to have. What cannot be told apart is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from serviceradar_security.config.block_members import FILE_NAMES, TEXT_NAMES
from serviceradar_security.config.blocks import Segment, is_security_name, render_path
from serviceradar_security.config.document import kind_of, parse_document
from serviceradar_security.config.problems import Problems, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from serviceradar_security.config.layers import Place

__all__ = [
    "DEFAULT_PREFIX",
    "Environment",
    "read_environment",
    "read_variables",
]

DEFAULT_PREFIX: Final = "SERVICERADAR_"

_log: Final = logging.getLogger("serviceradar_security.config")

_SOURCE: Final = "CONFIG_SOURCE"
_PREFIX: Final = "CONFIG_ENV_PREFIX"
_PINNED: Final = "PINNED_CONFIG_PATH"
_WHOLE: Final = "CONFIG_JSON"

_NAMED_IN_LOG: Final = 20
_PREFIX_RULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_OF_NAMES: Final = re.compile(r"[^A-Z0-9]")
_SECURITY: Final = re.compile(r"(?:^|_)SECURITY(?:_|$)")
# What Kubernetes sets in every container for each service of the namespace.
_SERVICE_LINK: Final = re.compile(
    r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_.*)?)?)",
)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the variables of the loader say.

    Attributes:
        used: Whether variables are a layer, as ``CONFIG_SOURCE=env`` says.
        prefix: What the names of the layer's variables begin with.
        pinned: Path of the pinned file; empty if none is named.
        document: The text of the whole document in ``CONFIG_JSON``; None if there is none.
        variables: All other variables with the prefix, by their names without it.
    """

    used: bool = False
    prefix: str = DEFAULT_PREFIX
    pinned: str = ""
    document: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def document_name(self) -> str:
        """The name of the variable that holds a whole document."""
        return f"{self.prefix}{_WHOLE}"


def read_environment(environ: Mapping[str, str], problems: Problems) -> Environment:
    """Read the variables that say where a configuration comes from.

    An empty variable counts as unset, as it does on the platform.

    Args:
        environ: Names and values, as `os.environ`.
        problems: Where to note what cannot be used.
    """
    texts = _texts(environ, problems)
    prefix = texts.pop(_PREFIX, DEFAULT_PREFIX)
    if not _PREFIX_RULE.fullmatch(prefix):
        problems.add((_PREFIX,), "is no beginning of a variable's name: use A-Z, 0-9 and _")
        prefix = DEFAULT_PREFIX
    used = _is_source(texts.pop(_SOURCE, "file"), problems)
    pinned = texts.pop(_PINNED, "")
    with_prefix = {
        name.removeprefix(prefix): value for name, value in texts.items() if name.startswith(prefix)
    }
    whole = with_prefix.pop(_WHOLE, None)
    if not used:
        unread = [name for name in with_prefix if _SECURITY.search(name.upper())]
        _warn_unread(prefix, unread if whole is None else [_WHOLE, *unread])
        return Environment(prefix=prefix, pinned=pinned)
    return Environment(
        used=True,
        prefix=prefix,
        pinned=pinned,
        document=whole,
        variables=with_prefix,
    )


def read_variables(
    environment: Environment,
    document: dict[str, object],
    kinds: Iterable[Place],
    problems: Problems,
) -> dict[str, object]:
    """Turn variables into a layer over a document.

    Args:
        environment: The variables.
        document: The plain document whose members they name: the file's, or that of
            ``CONFIG_JSON``, which no variable may change.
        kinds: The places of the objects in `document` that are security blocks by the kind of
            the file, whatever their names.
        problems: Where to note what cannot be used, by the name of the variable.

    Returns:
        A plain document of its own; with problems it is incomplete.
    """
    unnamed = set(kinds)
    prefixes = tuple(f"{'_'.join(map(_token, place))}_" for place in unnamed)
    found: dict[str, list[_Member]] = {name: [] for name in environment.variables}
    for name, member in _named(document, unnamed, found):
        found[name].append(member)
    layer: dict[str, object] = {}
    unknown: list[str] = []
    for name, members in found.items():
        variable = Problems(render_path((f"{environment.prefix}{name}",)))
        if not members:
            # A misspelt setting of security must not leave a weaker one in force.
            if _SECURITY.search(name.upper()) or name.upper().startswith(prefixes):
                variable.add((), _unknown(environment))
            else:
                unknown.append(name)
        elif environment.document is not None:
            text = f"is set beside {environment.document_name}, which is the whole document"
            variable.add((), f"{text}: unset one of them")
        elif len(members) > 1:
            paths = " and ".join(render_path(member.place) for member in members[:_NAMED_IN_LOG])
            variable.add((), f"could mean {paths}: set them in a file")
        else:
            _set(layer, members[0], environment.variables[name], variable)
        problems.extend(variable)
    _warn_unknown(environment.prefix, unknown)
    if environment.document is None and not any(found.values()) and not problems:
        problems.add((_SOURCE,), _nothing_set(environment))
    return layer


@dataclass(frozen=True, slots=True)
class _Member:
    """A member that a variable names.

    Attributes:
        place: Where it is.
        value: What stands there now; a text where a text belongs.
        is_block: Whether it is a security block as a whole.
    """

    place: Place
    value: object
    is_block: bool = False


def _texts(environ: object, problems: Problems) -> dict[str, str]:
    if not isinstance(environ, Mapping):
        problems.add((), f"is {kind_of(environ)}: give a mapping of texts, as os.environ")
        return {}
    texts: dict[str, str] = {}
    for name, value in environ.items():
        if not isinstance(name, str):
            problems.add((), f"has a name of type {type(name).__name__}: names are texts")
        elif not isinstance(value, str):
            problems.add((name,), f"is {kind_of(value)}: the values of variables are texts")
        elif value:
            texts[name] = value
    return texts


def _is_source(source: str, problems: Problems) -> bool:
    word = source.lower()
    if word == "kv":
        problems.add(
            (_SOURCE,),
            "is kv, and no document from outside replaces the local file here: leave it at file "
            "or env, and give the KV document as overlay, through the gate",
        )
    elif word not in ("file", "env"):
        problems.add((_SOURCE,), f"is {shown(source)}: use file or env")
    return word == "env"


def _named(
    document: dict[str, object],
    kinds: set[Place],
    names: Iterable[str],
) -> Iterator[tuple[str, _Member]]:
    """Find the members of a document that variables name; one may name several."""
    if not isinstance(document.get("security"), dict):
        document = document | {"security": {}}  # the one block that variables may make
    yield from _named_below(document, (), kinds, [(name, name) for name in names])


def _named_below(
    held: dict[str, object],
    place: Place,
    kinds: set[Place],
    rests: list[tuple[str, str]],
) -> Iterator[tuple[str, _Member]]:
    if not rests:
        return
    for key, value in held.items():
        here = (*place, key)
        token = _token(key)
        named = is_security_name(key)
        inner = _with_known(value) if named and isinstance(value, dict) else value
        deeper = []
        for name, rest in rests:
            if rest == token:
                yield name, _Member(here, value, named or here in kinds)
            elif isinstance(inner, dict) and rest.startswith(f"{token}_"):
                deeper.append((name, rest[len(token) + 1 :]))
        if isinstance(inner, dict):
            yield from _named_below(inner, here, kinds, deeper)


def _with_known(block: dict[str, object]) -> dict[str, object]:
    """Give a security block with every member that it may have, and texts where they belong."""
    files = block.get("tls", {})
    known: dict[str, object] = block | dict.fromkeys(TEXT_NAMES, "")
    known |= {name: "" for name in FILE_NAMES if name in block}
    if isinstance(files, dict):
        known["tls"] = files | dict.fromkeys(FILE_NAMES, "")
    return known


def _set(layer: dict[str, object], member: _Member, text: str, problems: Problems) -> None:
    """Put the value of a variable into the layer, by the kind of what it replaces."""
    value = _value(member, text, problems)
    for key in member.place[:-1]:
        layer = layer.setdefault(str(key), {})  # type: ignore[assignment]  # made here, of dicts
    layer[str(member.place[-1])] = value


def _value(member: _Member, text: str, problems: Problems) -> object:
    held = member.value
    kind = kind_of(held)
    path = render_path(member.place)
    if member.is_block or isinstance(held, dict):
        problems.add((), f"names all of {path}, an object: name one of its members")
        return None
    if held is None:
        problems.add((), f"replaces {path}, a null, so its kind is not known: set it in a file")
        return None
    if isinstance(held, str):
        if not _is_utf8(text):
            problems.add((), "is not UTF-8: set it anew")
        return text
    read = Problems()
    wrapped = parse_document(f'{{"":{text}}}', read)
    if read or set(wrapped) != {""} or kind_of(wrapped[""]) != kind:
        problems.add((), f"replaces {path}, {kind}, and does not hold one: write it as JSON does")
        return None
    return wrapped[""]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte that `os.environ` could not decode
        return False
    return True


def _token(key: Segment) -> str:
    return _NOT_OF_NAMES.sub("_", str(key).upper())


def _unknown(environment: Environment) -> str:
    return (
        "looks like a setting of security and names no member: correct the name, make the block "
        f"in the file, give the whole document in {environment.document_name}, or unset it"
    )


def _nothing_set(environment: Environment) -> str:
    return (
        f"is env, and no variable beginning with {environment.prefix} names a member: set "
        f"{environment.document_name} or a member's variable, check {_PREFIX}, or use file"
    )


def _warn_unread(prefix: str, names: list[str]) -> None:
    if names:
        _warn(
            "environment_variables_unread",
            f"{_SOURCE} is not env, so variables that look like settings of security are not read",
            prefix,
            names,
        )


def _warn_unknown(prefix: str, names: list[str]) -> None:
    named = [name for name in names if not _SERVICE_LINK.fullmatch(name)]
    if named:
        _warn(
            "environment_variables_ignored",
            "variables name no member of the configuration and are ignored",
            prefix,
            named,
        )


def _warn(event: str, what: str, prefix: str, names: list[str]) -> None:
    variables = tuple(render_path((f"{prefix}{name}",)) for name in names[:_NAMED_IN_LOG])
    _log.warning(
        "%s: %d: %s",
        what,
        len(names),
        ", ".join(variables),
        extra={"event": event, "variables": variables},
    )
