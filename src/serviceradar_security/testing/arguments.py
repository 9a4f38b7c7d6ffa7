"""What the functions of this room take: the rest is refused by name, before anything changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.workload.live import check_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MUTATIONS", "building", "check", "check_mutations"]

_MOST_INTERMEDIATES: Final = 1000
_LARGEST_MESSAGE: Final = 2**32 - 1  # what gRPC's frame can say
_KEYS: Final = (
    ec.EllipticCurvePrivateKey,
    rsa.RSAPrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)


class _Rule(NamedTuple):
    """What a value must be, and how that is said."""

    holds: Callable[[object], bool]
    what: str


def _is(*kinds: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kinds)


def _optional(rule: _Rule) -> _Rule:
    return _Rule(lambda value: value is None or rule.holds(value), f"{rule.what}, or None")


def _listed(holds: Callable[[object], bool], what: str) -> _Rule:
    def all_hold(value: object) -> bool:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
            return False
        return all(holds(each) for each in value)

    return _Rule(all_hold, f"a list of {what}")


def _whole(least: int, most: int) -> _Rule:
    def holds(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _Rule(holds, f"a whole number from {least} to {most}")


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _is_text(value: object) -> bool:
    """Tell whether this can be written in UTF-8, as protobuf, HTTP/2 and certificates need it."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_path(value: object) -> bool:
    try:
        return (
            isinstance(value, str | os.PathLike)
            and isinstance(os.fspath(value), str)
            and (os.fsencode(value) is not None)
        )
    except (TypeError, UnicodeEncodeError):
        return False


def _is_file_name(value: object) -> bool:
    return (
        isinstance(value, str) and _is_text(value) and value != "" and not set(value) & {"/", "\0"}
    )


def _is_extension(value: object) -> bool:
    match value:
        case (x509.ExtensionType(), bool()):
            return True
        case _:
            return False


_TEXT: Final = _Rule(_is_text, "a text that UTF-8 can write")
_TEXTS: Final = _listed(_is_text, "texts that UTF-8 can write")
_FLAG: Final = _Rule(_is(bool), "True or False")
_TIME: Final = _Rule(_is_aware, "a datetime with a time zone")
_FUNCTION: Final = _Rule(callable, "a function")
_PATH: Final = _Rule(_is_path, "a path")
_ID: Final = _Rule(lambda value: isinstance(value, SpiffeId) or _is_text(value), "a SPIFFE ID")
_DOMAIN: Final = _Rule(
    lambda value: isinstance(value, TrustDomain) or _is_text(value),
    "a trust domain",
)
_EXTENSIONS: Final = _listed(_is_extension, "pairs of an extension and True or False")
_LENGTH: Final = _optional(_whole(0, 2**31 - 1))

_INTERMEDIATE: Final[Mapping[str, _Rule]] = {
    "ca": _optional(_FLAG),
    "path_length": _LENGTH,
    "key_usage": _optional(_TEXTS),
    "not_before": _TIME,
    "not_after": _TIME,
    "extensions": _EXTENSIONS,
}
MUTATIONS: Final[Mapping[str, _Rule | None]] = {
    "ttl": None,
    "skew": None,
    "not_before": _optional(_TIME),
    "not_after": _optional(_TIME),
    "uris": _optional(_TEXTS),
    "dns_names": _TEXTS,
    "other_names": _listed(_is(x509.GeneralName), "names"),
    "common_name": _TEXT,
    "subject": _optional(_Rule(_is(x509.Name), "an x509.Name")),
    "ca": _optional(_FLAG),
    "path_length": _LENGTH,
    "key_usage": _optional(_TEXTS),
    "key_usage_critical": _FLAG,
    "roles": _optional(_TEXTS),
    "key": _optional(_Rule(_is(*_KEYS), "a private key")),
    "key_type": _TEXT,
    "wrong_key": _FLAG,
    "unknown_critical": _FLAG,
    "extensions": _EXTENSIONS,
    "intermediates": _whole(0, _MOST_INTERMEDIATES),
    "intermediate": _optional(_Rule(_is(Mapping), "a mapping")),
    "leaf_only": _FLAG,
    "with_root": _FLAG,
    "stranger": _FLAG,
    "self_signed": _FLAG,
    "tampered": _FLAG,
}
"""What each mutation of a certificate must be; None for a number of seconds."""
_ARGUMENTS: Final[Mapping[str, _Rule]] = {
    "bundle": _Rule(_is(TrustBundle), "a TrustBundle"),
    "chain": _listed(_is(x509.Certificate), "certificates"),
    "ca_file": _PATH,
    "cert_file": _PATH,
    "check": _FUNCTION,
    "folder": _PATH,
    "hint": _TEXT,
    "host": _TEXT,
    "keep_old": _FLAG,
    "key": _Rule(_is(*_KEYS), "a private key"),
    "key_file": _PATH,
    "key_type": _TEXT,
    "leave_socket": _FLAG,
    "name": _Rule(_is_file_name, "the name of a file, without a folder"),
    "names": _TEXTS,
    "now": _FUNCTION,
    "message_size": _whole(0, _LARGEST_MESSAGE),
    "number": _whole(0, 2**63 - 1),
    "presented": _optional(_FUNCTION),
    "size": _whole(1, _LARGEST_MESSAGE),
    "socket_path": _optional(_PATH),
    "spiffe_id": _ID,
    "start": _FUNCTION,
    "stop": _FUNCTION,
    "tcp": _FLAG,
    "text": _TEXT,
    "trust_domain": _DOMAIN,
}


def check(**arguments: object) -> None:
    """Check arguments by their names.

    Raises:
        ConfigError: One of them is something else.
    """
    for name, value in arguments.items():
        _check(name, value, _ARGUMENTS[name])


def check_mutations(mutations: Mapping[str, object]) -> None:
    """Check mutations of a certificate.

    Raises:
        ConfigError: There is no such mutation, or it cannot be so.
    """
    _check_names(mutations, MUTATIONS, "mutation of a certificate")
    for name, value in mutations.items():
        rule = MUTATIONS[name]
        if rule is not None:
            _check(name, value, rule)
        elif name == "skew" or value is not None:
            check_seconds(name, cast("float", value))  # it finds out what it is
    changes = mutations.get("intermediate")
    if isinstance(changes, Mapping):
        _check_names(changes, _INTERMEDIATE, "mutation of an intermediate")
        for name, value in changes.items():
            _check(f"intermediate[{name!r}]", value, _INTERMEDIATE[name])


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Make errors of ours of what the makers of certificates find wrong.

    Raises:
        ConfigError: Such a certificate cannot be made.
    """
    try:
        yield
    except SecurityError:
        raise
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"such a certificate cannot be made: {error}") from error


def _check(name: str, value: object, rule: _Rule) -> None:
    if not rule.holds(value):
        raise ConfigError(f"{name} is {_shown(value)}: give {rule.what}")


def _check_names(given: Iterable[object], known: Iterable[str], what: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            called = ascii(name)[:100] if isinstance(name, str) else _shown(name)
            raise ConfigError(f"there is no {what} {called}: take {', '.join(names)}")


def _shown(value: object) -> str:
    """Name a value by its kind; small ones as they are, since anything else may hold a key."""
    small = isinstance(value, int) and abs(value) < _LARGEST_MESSAGE
    if value is None or small or isinstance(value, float):
        return repr(value)
    return f"of the kind {type(value).__name__}"
