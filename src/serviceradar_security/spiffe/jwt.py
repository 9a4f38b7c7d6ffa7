"""JWT-SVIDs: fetched and validated by the Workload API, through the client of ``spiffe``.

Every call has a deadline and a client of its own, which is closed when it ends. What comes back is
read once more by our own strict rules before anybody gets it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NoReturn

import spiffe

from serviceradar_security.errors import (
    ConfigError,
    PeerVerificationError,
    SpiffeIdError,
    WorkloadApiError,
)
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.spiffe.exchange import Exchange
from serviceradar_security.spiffe.jwt_svid import (
    MAX_AUDIENCES,
    JwtSvid,
    TokenError,
    check_expiry,
    read_token,
)
from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.failure import ADVICE, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_AUDIENCE_BYTES", "fetch_jwt_svid", "validate_jwt_svid"]

MAX_AUDIENCE_BYTES: Final = 2048  # room for a SPIFFE ID
_LONGEST: Final = 86_400.0  # seconds of a call; more overflows timers
# `spiffe` splits a query off, and gRPC core a second address.
_PLAIN_PATH: Final = re.compile(r"[^,?#\x00-\x1f\x7f]+")


def _now() -> datetime:
    return datetime.now(UTC)


def fetch_jwt_svid(
    endpoint: str | WorkloadEndpoint | None,
    audiences: str | Iterable[str],
    *,
    spiffe_id: SpiffeId | None = None,
    timeout: float = 10.0,
    now: Callable[[], datetime] = _now,
) -> JwtSvid:
    """Fetch a JWT-SVID of our own from the Workload API.

    Args:
        endpoint: Address of the Workload API; None takes ``SPIFFE_ENDPOINT_SOCKET``.
        audiences: For whom it is meant, one or several.
        spiffe_id: Which of our identities; None takes the first that the Workload API gives.
        timeout: Seconds for the whole call.
        now: The clock that decides whether it has expired.

    Raises:
        WorkloadApiError: The exchange failed, or what came is no JWT-SVID of what was asked for.
        NoIdentityIssuedError: No such identity is issued to this workload.
        ConfigError: An argument cannot be used.
    """
    place, seconds = _place(endpoint), _seconds(timeout)
    if not isinstance(audiences, Iterable):
        raise ConfigError("audiences are given as one text or several")
    given = (audiences,) if isinstance(audiences, str) else audiences
    wanted = tuple(islice(given, MAX_AUDIENCES + 1))
    if not 1 <= len(wanted) <= MAX_AUDIENCES:
        raise ConfigError(f"none or too many audiences are asked for: name 1 to {MAX_AUDIENCES}")
    for audience in wanted:
        _check_audience(audience)
    if spiffe_id is not None and not isinstance(spiffe_id, SpiffeId):
        raise ConfigError("the identity asked for is no SpiffeId: use SpiffeId.parse(text)")
    subject = None if spiffe_id is None else spiffe.SpiffeId(str(spiffe_id))

    exchange = Exchange(place, seconds)
    exchange.run(lambda client: client.fetch_jwt_svid(set(wanted), subject, timeout=seconds))
    if exchange.code:
        raise exchange.failure()
    return _read_own(exchange, wanted, spiffe_id, now)


def validate_jwt_svid(
    endpoint: str | WorkloadEndpoint | None,
    token: str,
    audience: str,
    *,
    timeout: float = 10.0,
    now: Callable[[], datetime] = _now,
) -> JwtSvid:
    """Let the Workload API validate the JWT-SVID of a peer.

    A token that breaks a rule is refused without asking. The SPIFFE ID of the result is proven;
    whether it is let in is an authorizer's decision.

    Args:
        endpoint: Address of the Workload API; None takes ``SPIFFE_ENDPOINT_SOCKET``.
        token: What the peer showed.
        audience: Our name: a token for others is refused.
        timeout: Seconds for the whole call.
        now: The clock that decides whether it has expired.

    Raises:
        PeerVerificationError: The token proves nothing; `reason` names the kind of rule.
        WorkloadApiError: The exchange failed, so nothing is known of the token.
        ConfigError: An argument of ours cannot be used.
    """
    place, seconds = _place(endpoint), _seconds(timeout)
    _check_audience(audience)
    try:
        svid = read_token(token, audiences=(audience,), at=now())
    except TokenError as error:
        raise _refused(error) from error

    exchange = Exchange(place, seconds, token=token)
    exchange.run(lambda client: client.validate_jwt_svid(token, audience, timeout=seconds))
    if exchange.code == "INVALID_ARGUMENT":
        raise PeerVerificationError(
            f"the token of {svid.spiffe_id} was refused by the Workload API at {place}"
            f"{exchange.details}: no authority of that trust domain signed it, or none is known "
            "here",
            reason="signature",
            spiffe_id=svid.spiffe_id,
        ) from exchange.cause
    if exchange.code:
        raise exchange.failure()
    _compare(exchange, svid)
    try:
        check_expiry(svid, now())  # it may have ended meanwhile
    except TokenError as error:
        raise _refused(error) from error
    if exchange.error is not None:
        raise PeerVerificationError(
            f"the package spiffe refuses the token of {svid.spiffe_id}",
            spiffe_id=svid.spiffe_id,
        ) from exchange.cause
    return svid


# ---- what came back ----------------------------------------------------------------------------


def _read_own(
    exchange: Exchange,
    audiences: tuple[str, ...],
    spiffe_id: SpiffeId | None,
    now: Callable[[], datetime],
) -> JwtSvid:
    if not exchange.answer.svids:
        _refuse_answer(exchange, "gave no JWT-SVID")
    first = exchange.answer.svids[0]
    exchange.keep_secret(first.svid)
    try:
        svid = read_token(first.svid, audiences=audiences, at=now(), hint=first.hint)
    except TokenError as error:
        _refuse_answer(exchange, f"gave a token that {error}", error)
    if spiffe_id is not None and svid.spiffe_id != spiffe_id:
        _refuse_answer(exchange, f"gave a token of {svid.spiffe_id} when asked for {spiffe_id}")
    _compare(exchange, svid, told=first.spiffe_id)
    if exchange.error is not None:
        _refuse_answer(exchange, "gave a token that the package spiffe refuses", exchange.cause)
    return svid


def _compare(exchange: Exchange, svid: JwtSvid, *, told: str | None = None) -> None:
    """Refuse an answer that speaks of another workload than its token does."""
    text = exchange.answer.spiffe_id if told is None else told
    try:
        same = SpiffeId.parse(text) == svid.spiffe_id
    except SpiffeIdError:
        same = False
    if not same:
        _refuse_answer(
            exchange,
            f"said that the token of {svid.spiffe_id} is that of {ascii(text)[:160]}",
        )


def _refuse_answer(exchange: Exchange, what: str, cause: Exception | None = None) -> NoReturn:
    raise WorkloadApiError(
        f"the Workload API at {exchange.endpoint} {what}: {ADVICE[Kind.FAILED]}",
    ) from cause


def _refused(error: TokenError) -> PeerVerificationError:
    whose = f"the token of {error.spiffe_id}" if error.spiffe_id else "the token"
    return PeerVerificationError(
        f"{whose} {error}",
        reason=error.reason,
        spiffe_id=error.spiffe_id,
    )


# ---- arguments ---------------------------------------------------------------------------------


def _place(endpoint: object) -> WorkloadEndpoint:
    if endpoint is None:
        place = WorkloadEndpoint.from_environment()
    elif isinstance(endpoint, WorkloadEndpoint):
        place = endpoint
    else:
        place = WorkloadEndpoint.parse(endpoint)  # type: ignore[arg-type] # it refuses what is no text
    if place.kind != "unix":
        raise ConfigError(
            f"JWT-SVIDs come over Unix sockets only, and the Workload API address is {place}: "
            "give unix:///path",
        )
    if not _PLAIN_PATH.fullmatch(place.path):
        raise ConfigError(
            f"JWT-SVIDs cannot be fetched at {place}: the path has a character that would split "
            "it, so link the socket to a path without",
        )
    return place


def _seconds(timeout: float) -> float:
    fine = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not fine or not 0.0 < timeout < math.inf:  # which NaN is not
        raise ConfigError(
            f"timeout is {ascii(timeout)[:80]}: give a finite number of seconds above 0",
        )
    return float(min(timeout, _LONGEST))


def _check_audience(audience: object) -> None:
    if not isinstance(audience, str) or not audience:
        raise ConfigError(f"an audience is a text that is not empty, not {ascii(audience)[:80]}")
    try:
        size = len(audience.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"the audience {ascii(audience)[:80]} is not Unicode text") from None
    if size > MAX_AUDIENCE_BYTES:
        raise ConfigError(
            f"the audience {ascii(audience)[:80]} has {size} bytes: at most {MAX_AUDIENCE_BYTES}",
        )
