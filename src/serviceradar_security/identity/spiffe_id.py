"""SPIFFE IDs and trust domain names: strict, immutable, never equal to text.

Standard: SPIFFE-ID sections 2 and 2.1 to 2.4. Matching is on ASCII as given: nothing is trimmed,
decoded or folded, and no URL library is asked (R-ID-14, R-ID-15).
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Final, NoReturn, Self, final

from serviceradar_security.errors import SpiffeIdError

__all__ = [
    "MAX_SPIFFE_ID_BYTES",
    "MAX_TRUST_DOMAIN_BYTES",
    "SpiffeId",
    "TrustDomain",
    "shown",
]

MAX_SPIFFE_ID_BYTES: Final = 2048  # SPIFFE-ID section 2.3 (R-ID-10)
MAX_TRUST_DOMAIN_BYTES: Final = 255  # SPIFFE-ID section 2.3 (R-ID-11)

_SCHEME: Final = "spiffe://"
# `fullmatch` on explicit ASCII classes: no `$` before a final newline, no Unicode digits (R-ID-14).
# R-ID-04, R-ID-05: no user, no port, nothing but these in a trust domain.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
# R-ID-06, R-ID-07: a per cent sign is no more allowed in a path than any other character.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)")
_DOTS: Final = frozenset((".", ".."))
_SHOWN: Final = 120


def shown(text: object) -> str:
    """Quote what was given, shortened and without control characters; nothing of a PEM block."""
    if "-----BEGIN" in ascii(text):
        return "a PEM block"
    quoted = ascii(text)
    return quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}… ({len(quoted)} characters)"


@final
@total_ordering
class TrustDomain:
    """Name of a trust domain, as ``carverauto.dev``.

    Build one with `parse`. Names are compared byte for byte: no DNS, no wildcard, no parent
    (SPIFFE-ID section 2.1; R-TD-02, R-ID-18).
    """

    __slots__ = ("_name",)
    _name: str

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: a name is only ever parsed."""
        raise TypeError("a TrustDomain is made by TrustDomain.parse(text)")

    @classmethod
    def parse(cls, text: str) -> TrustDomain:
        """Parse a trust domain name or the trust domain of a whole SPIFFE ID.

        Args:
            text: ``carverauto.dev`` or ``spiffe://carverauto.dev/ns/demo/sa/core``.

        Raises:
            SpiffeIdError: The text is neither (SPIFFE-ID section 2.1; R-TD-01, R-TD-03).
        """
        if isinstance(text, str) and text.startswith(_SCHEME):
            return SpiffeId.parse(text).trust_domain  # R-TD-03: the whole ID is validated
        return _trust_domain(_check_trust_domain(text, text))

    @property
    def name(self) -> str:
        """The name, as ``carverauto.dev``."""
        return self._name

    @property
    def id(self) -> SpiffeId:
        """The trust domain's own SPIFFE ID, which has no path (SPIFFE-ID section 3.1; R-TD-04)."""
        return _spiffe_id(self, "")

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"TrustDomain({self._name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrustDomain) and self._name == other._name

    def __lt__(self, other: object) -> bool:
        return self._name < other._name if isinstance(other, TrustDomain) else NotImplemented

    def __hash__(self) -> int:
        return hash((TrustDomain, self._name))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a TrustDomain does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a TrustDomain does not change: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (TrustDomain.parse, (self._name,))


@final
@total_ordering
class SpiffeId:
    """A SPIFFE ID, as ``spiffe://carverauto.dev/ns/demo/sa/core``.

    Build one with `parse` or `of`. Equality, order and hash come from trust domain and path;
    an ID never equals a string (SPIFFE-ID section 2.4; R-ID-13, R-ID-16).
    """

    __slots__ = ("_path", "_trust_domain")
    _path: str
    _trust_domain: TrustDomain

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: an ID is parsed or built from checked segments."""
        raise TypeError("a SpiffeId is made by SpiffeId.parse(text) or SpiffeId.of(td, *segments)")

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Parse the text of a SPIFFE ID exactly as it stands.

        Raises:
            SpiffeIdError: The text is no SPIFFE ID (SPIFFE-ID sections 2 to 2.3). Upper case in
                scheme or trust domain is refused, not folded (R-ID-12).
        """
        match = _ID.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            _explain_refusal(text)
        path = match[2]
        if "/." in path:
            _check_dots(text, path)
        return _spiffe_id(_trust_domain(match[1]), path)

    @classmethod
    def of(cls, trust_domain: TrustDomain, *segments: str) -> SpiffeId:
        """Build the SPIFFE ID of a path given by its segments (R-ID-17).

        Args:
            trust_domain: The trust domain.
            *segments: Path segments, each without a slash; none gives the domain's own ID.

        Raises:
            SpiffeIdError: A segment is empty, ``.``, ``..`` or has a character that no path may
                have, or the ID would be longer than 2048 bytes (R-ID-10).
        """
        if not isinstance(trust_domain, TrustDomain):
            raise SpiffeIdError(
                f"trust domain {shown(trust_domain)} is not a TrustDomain: "
                "use TrustDomain.parse(text)",
            )
        path = "".join(f"/{_checked_segment(segment)}" for segment in segments)
        size = len(_SCHEME) + len(trust_domain.name) + len(path)
        if size > MAX_SPIFFE_ID_BYTES:
            raise SpiffeIdError(
                f"a SPIFFE ID of {size} bytes is too long: at most {MAX_SPIFFE_ID_BYTES} "
                "(SPIFFE-ID section 2.3)",
            )
        return _spiffe_id(trust_domain, path)

    @property
    def trust_domain(self) -> TrustDomain:
        """The trust domain."""
        return self._trust_domain

    @property
    def path(self) -> str:
        """The path with its leading slash; empty for a trust domain's own ID."""
        return self._path

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of the path; empty for a trust domain's own ID."""
        return tuple(self._path.split("/")[1:])

    def member_of(self, trust_domain: TrustDomain) -> bool:
        """Tell whether the ID is of this very trust domain, not of a relative (R-ID-18)."""
        return self._trust_domain == trust_domain

    def __str__(self) -> str:
        return f"{_SCHEME}{self._trust_domain.name}{self._path}"

    def __repr__(self) -> str:
        return f"SpiffeId({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SpiffeId)
            and self._path == other._path
            and self._trust_domain == other._trust_domain
        )

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, SpiffeId):
            return NotImplemented
        return (self._trust_domain.name, self._path) < (other._trust_domain.name, other._path)

    def __hash__(self) -> int:
        return hash((SpiffeId, self._trust_domain.name, self._path))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a SpiffeId does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a SpiffeId does not change: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (SpiffeId.parse, (str(self),))


def _trust_domain(name: str) -> TrustDomain:
    made = object.__new__(TrustDomain)
    object.__setattr__(made, "_name", name)
    return made


def _spiffe_id(trust_domain: TrustDomain, path: str) -> SpiffeId:
    made = object.__new__(SpiffeId)
    object.__setattr__(made, "_trust_domain", trust_domain)
    object.__setattr__(made, "_path", path)
    return made


# A checked text is taken from the match: what a subclass of `str` says of itself when it is
# formatted (an enum, for one) was not checked.
def _checked_segment(segment: object) -> str:
    match = _SEGMENT.fullmatch(segment) if isinstance(segment, str) else None
    if match is None or match[0] in _DOTS:
        raise SpiffeIdError(
            f"path segment {shown(segment)} is not allowed: one or more of "
            "a-z A-Z 0-9 . - _, and not '.' or '..' (SPIFFE-ID section 2.2)",
        )
    return match[0]


def _check_trust_domain(name: object, text: object) -> str:
    if not isinstance(name, str):
        raise SpiffeIdError(f"a trust domain is text, not {type(name).__name__}")
    if not name:  # R-ID-03
        raise SpiffeIdError(
            f"{shown(text)} has no trust domain: write one (SPIFFE-ID section 2.1)",
        )
    if len(name) > MAX_TRUST_DOMAIN_BYTES:
        raise SpiffeIdError(
            f"the trust domain of {shown(text)} has {len(name)} characters: at most "
            f"{MAX_TRUST_DOMAIN_BYTES} (SPIFFE-ID section 2.3)",
        )
    match = _TRUST_DOMAIN.fullmatch(name)
    if match is None:
        raise SpiffeIdError(
            f"trust domain {shown(name)} has a character that is not allowed: only "
            "a-z 0-9 . - _, in lower case, without user, port or escapes (SPIFFE-ID section 2.1)",
        )
    return match[0]


def _check_dots(text: str, path: str) -> None:
    for segment in path.split("/")[1:]:
        if segment in _DOTS:  # R-ID-09
            raise SpiffeIdError(
                f"{shown(text)} has the path segment {segment!r}: it is never resolved "
                "(SPIFFE-ID section 2.2)",
            )


def _explain_refusal(text: object) -> NoReturn:
    """Say which rule a text breaks that the grammar refused."""
    if not isinstance(text, str):
        raise SpiffeIdError(f"a SPIFFE ID is text, not {type(text).__name__}")
    if not text.startswith(_SCHEME):  # R-ID-01
        raise SpiffeIdError(
            f"{shown(text)} does not begin with {_SCHEME!r}: a SPIFFE ID is a whole URI "
            "(SPIFFE-ID section 2)",
        )
    name, _, path = text.removeprefix(_SCHEME).partition("/")
    for mark, what in (("?", "query"), ("#", "fragment")):  # R-ID-02
        if mark in text:
            raise SpiffeIdError(
                f"{shown(text)} has a {what}: a SPIFFE ID has none (SPIFFE-ID section 2)",
            )
    _check_trust_domain(name, text)
    # The trust domain is good, so a segment is not: the first that the grammar refuses.
    segment = next((each for each in path.split("/") if not _SEGMENT.fullmatch(each)), "")
    if not segment:  # R-ID-08
        raise SpiffeIdError(
            f"{shown(text)} has an empty path segment or ends with a slash (SPIFFE-ID section 2.2)",
        )
    raise SpiffeIdError(
        f"{shown(text)} has the path segment {shown(segment)}: only "
        "a-z A-Z 0-9 . - _ are allowed, and no escapes (SPIFFE-ID section 2.2)",
    )
