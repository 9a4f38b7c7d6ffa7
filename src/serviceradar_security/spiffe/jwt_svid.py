"""The JWT-SVID: its value, and the strict reading of a token.

Standard: JWT-SVID sections 2 to 4. A signature is not verified here: the Workload API does that.
A token lets its bearer act as the workload, so it appears in no message, log or ``repr``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, final

from serviceradar_security.errors import SpiffeIdError
from serviceradar_security.identity.spiffe_id import MAX_SPIFFE_ID_BYTES, SpiffeId

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from serviceradar_security.errors import VerificationReason

__all__ = [
    "MAX_AUDIENCES",
    "MAX_DEPTH",
    "MAX_TOKEN_BYTES",
    "JwtSvid",
    "TokenError",
    "check_expiry",
    "read_token",
]

MAX_TOKEN_BYTES: Final = 16 * 1024
MAX_AUDIENCES: Final = 64
MAX_DEPTH: Final = 16  # of the claims

_TOKEN: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_ALGORITHMS: Final = frozenset(  # JWT-SVID section 2.1; neither `none` nor a shared secret
    ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"),
)
_HEADER: Final = frozenset(("alg", "kid", "typ"))
_NO_JSON: Final = object()
_TYPES: Final = ("JWT", "JOSE")  # JWT-SVID section 2.3
_NAMES: Final = frozenset(("alg", "kid", "typ", "crit", "sub", "aud", "exp", "nbf", "iat"))
_LEEWAY: Final = timedelta(seconds=60)  # for `nbf`: clocks differ; an end has no leeway
_SHOWN: Final = 120


@final
@dataclass(frozen=True, slots=True, repr=False)
class JwtSvid:
    """A JWT-SVID, as `fetch_jwt_svid` and `validate_jwt_svid` give it.

    Two are equal if their tokens are. It is not pickled, since the token would be in the pickle.

    Attributes:
        token: The token itself, a secret until it expires: not in ``repr``.
        spiffe_id: The SPIFFE ID of the workload that it speaks for (``sub``).
        audience: For whom it is meant, in the order of the token (``aud``).
        expiry: The end of its life, timezone-aware (``exp``).
        issued_at: When it was issued (``iat``), or None if it does not say.
        hint: The operator's hint, as the Workload API gave it; empty if there is none.
        claims: All claims, read-only at every depth.
    """

    token: str
    spiffe_id: SpiffeId = field(compare=False)
    audience: tuple[str, ...] = field(compare=False)
    expiry: datetime = field(compare=False)
    issued_at: datetime | None = field(compare=False)
    claims: Mapping[str, object] = field(compare=False)
    hint: str = field(default="", compare=False)

    def __repr__(self) -> str:
        hint = f", hint={self.hint!r}" if self.hint else ""
        return (
            f"JwtSvid({str(self.spiffe_id)!r}, audience={self.audience!r}, "
            f"expiry={self.expiry:%FT%TZ}{hint})"
        )

    def __copy__(self) -> JwtSvid:
        return self

    def __deepcopy__(self, _memo: object) -> JwtSvid:
        return self

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a JwtSvid is not pickled, since its token would be in the pickle")


class TokenError(ValueError):
    """A token that is no valid JWT-SVID; callers put it into an error of the family.

    Attributes:
        reason: Which kind of rule refused it.
        spiffe_id: The SPIFFE ID that it claims, if it could be read.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: VerificationReason = "malformed",
        spiffe_id: SpiffeId | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: VerificationReason = reason
        self.spiffe_id = spiffe_id


def read_token(
    token: str,
    *,
    audiences: Iterable[str],
    at: datetime,
    hint: str = "",
) -> JwtSvid:
    """Read a token and check all of it but its signature.

    Args:
        token: The token in JWS compact form.
        audiences: Each of these must be among its audiences; the callers see that there is one.
        at: The time of the verdict, timezone-aware.
        hint: The operator's hint.

    Raises:
        TokenError: It breaks a rule, which the message names.
    """
    wanted = (audiences,) if isinstance(audiences, str) else tuple(audiences)
    header, claims = _read_parts(token)
    _check_header(header)
    _check_names(claims)
    frozen = cast("Mapping[str, object]", _frozen(claims))
    spiffe_id = _read_subject(claims)
    try:
        held = _read_audience(claims)
        expiry, issued_at = _read_times(claims, at)
        _check_audience(held, wanted)
    except TokenError as error:
        error.spiffe_id = spiffe_id
        raise
    return JwtSvid(
        token=token,
        spiffe_id=spiffe_id,
        audience=held,
        expiry=expiry,
        issued_at=issued_at,
        claims=frozen,
        hint=hint,
    )


def check_expiry(svid: JwtSvid, at: datetime) -> None:
    """Refuse a token whose life is over.

    Raises:
        TokenError: It has expired.
    """
    if svid.expiry <= at:
        raise _expired(svid.expiry, at, svid.spiffe_id)


def _read_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(token, str):
        raise TokenError(f"is given as text, not as {type(token).__name__}")
    if len(token) > MAX_TOKEN_BYTES:  # before anything is parsed
        raise TokenError(
            f"has {len(token)} characters: at most {MAX_TOKEN_BYTES}",
            reason="limit",
        )
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TokenError(
            "is not in JWS compact form: three parts of base64url without padding, joined by dots "
            "(JWT-SVID section 5.1)",
        )
    _decoded(match[3], "signature")
    return _object(match[1], "header"), _object(match[2], "claims set")


def _decoded(part: str, what: str) -> bytes:
    # The cause is dropped here and below: it would carry parts of the token.
    data = None
    with contextlib.suppress(ValueError):
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if data is None:
        raise TokenError(f"has a {what} that is not base64url")
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise TokenError(f"has a {what} that is not base64url in its one right form")
    return data


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(
            _decoded(part, what).decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
        )
    except TokenError:
        raise
    except (ValueError, RecursionError):
        value = _NO_JSON
    # Here, where the parser's error is no context of ours: it holds what it read.
    if value is _NO_JSON:
        raise TokenError(f"has a {what} that is not JSON")
    if not isinstance(value, dict):
        raise TokenError(f"has a {what} that is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7519 section 4: of two claims of one name, readers take different ones."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise TokenError("has the same name twice in one JSON object")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise TokenError(f"has the number {name}, which is not JSON")


def _check_names(values: dict[str, Any]) -> None:
    """Refuse look-alikes of the names that decide: some readers take them for the same."""
    for name in values:
        if name not in _NAMES and name.casefold() in _NAMES:
            raise TokenError(f"has the name {_shown(name)}: write {name.casefold()!r}")


def _check_header(header: dict[str, Any]) -> None:
    _check_names(header)
    algorithm, kind = header.get("alg"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise TokenError(
            f"has the algorithm {_shown(algorithm)}: a JWT-SVID is signed with RS, ES or PS and "
            "256, 384 or 512 (JWT-SVID section 2.1)",
        )
    if "typ" in header and (not isinstance(kind, str) or kind not in _TYPES):
        raise TokenError(
            f"has the type {_shown(kind)}: it is JWT or JOSE, or left out (JWT-SVID section 2.3)",
        )
    if "kid" in header and not isinstance(header["kid"], str):
        raise TokenError("has a key ID that is not text (JWT-SVID section 2.2)")
    strange = header.keys() - _HEADER
    if strange:
        raise TokenError(
            f"has the header {_shown(min(strange))}: only alg, kid and typ are allowed (JWT-SVID "
            "section 2)",
        )


def _read_subject(claims: dict[str, Any]) -> SpiffeId:
    """JWT-SVID section 3.1."""
    text = claims.get("sub")
    if not isinstance(text, str):
        raise TokenError("has no subject: 'sub' is a SPIFFE ID", reason="no_spiffe_id")
    if len(text) > MAX_SPIFFE_ID_BYTES:  # R-ID-10
        raise TokenError(
            f"has a subject of {len(text)} characters: a SPIFFE ID has at most "
            f"{MAX_SPIFFE_ID_BYTES}",
            reason="limit",
        )
    try:
        spiffe_id = SpiffeId.parse(text)
    except SpiffeIdError as error:
        raise TokenError(
            f"has a subject that is no SPIFFE ID: {error}",
            reason="no_spiffe_id",
        ) from error
    if not spiffe_id.path:
        raise TokenError(
            f"is of {spiffe_id}, which names a trust domain and not a workload",
            reason="not_a_workload_id",
            spiffe_id=spiffe_id,
        )
    return spiffe_id


def _read_audience(claims: dict[str, Any]) -> tuple[str, ...]:
    """JWT-SVID section 3.2."""
    value = claims.get("aud")
    held = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
    if not held or not all(isinstance(each, str) and each for each in held):
        raise TokenError("has no audience: 'aud' is a text or a list of texts, none of them empty")
    if len(held) > MAX_AUDIENCES:
        raise TokenError(
            f"has {len(held)} audiences: at most {MAX_AUDIENCES}",
            reason="limit",
        )
    return held


def _check_audience(held: tuple[str, ...], wanted: Iterable[str]) -> None:
    for audience in wanted:
        if audience not in held:  # JWT-SVID section 3.2
            raise TokenError(
                f"is for {_list(held)} and not for {_shown(audience)}: ask for a token of that "
                "audience",
                reason="audience",
            )


def _read_times(claims: dict[str, Any], at: datetime) -> tuple[datetime, datetime | None]:
    """JWT-SVID section 3.3."""
    if "exp" not in claims:
        raise TokenError("has no end: 'exp' is required (JWT-SVID section 3.3)")
    expiry = _time(claims, "exp")
    if expiry <= at:
        raise _expired(expiry, at, None)
    if "nbf" in claims and (begin := _time(claims, "nbf")) > at + _LEEWAY:
        raise TokenError(
            f"begins in {(begin - at).total_seconds():.0f} s, at {begin:%FT%TZ} by our clock: "
            "compare the clocks of both sides",
            reason="not_yet_valid",
        )
    return expiry, _time(claims, "iat") if "iat" in claims else None


def _time(claims: dict[str, Any], name: str) -> datetime:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise TokenError(f"has the time {name!r} that is no number of seconds")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise TokenError(f"has the time {name!r} outside the years 1 to 9999") from None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _expired(expiry: datetime, at: datetime, spiffe_id: SpiffeId | None) -> TokenError:
    late = (at - expiry).total_seconds()
    return TokenError(
        f"expired {late:.0f} s ago, at {expiry:%FT%TZ} by our clock: fetch a new one",
        reason="expired",
        spiffe_id=spiffe_id,
    )


def _frozen(value: object, depth: int = 0) -> object:
    """Make JSON read-only."""
    if depth > MAX_DEPTH:
        raise TokenError(f"has claims nested more than {MAX_DEPTH} deep", reason="limit")
    if isinstance(value, dict):
        return MappingProxyType({name: _frozen(each, depth + 1) for name, each in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(each, depth + 1) for each in value)
    return value


def _shown(value: object) -> str:
    quoted = ascii(value)
    return quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}…"


def _list(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""  # noqa: PLR2004 - a few are shown
    return ", ".join(_shown(each) for each in values[:3]) + more
