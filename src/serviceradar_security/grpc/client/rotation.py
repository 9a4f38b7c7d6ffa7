"""When files are written, and when live connections must follow: decisions without I/O.

A snapshot and a time in, a step out. gRPC core reads our files when a connection begins and once
a second while one of its certificate providers lives. A live connection keeps what it was made
with, until a push makes core connect anew; that costs a handshake and no call. So new material is
written at once, and a push is kept for when an old connection must not go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import X509SvidError
from serviceradar_security.grpc.client.bundle_map import BundleMap, render_bundle_map

if TYPE_CHECKING:
    from datetime import datetime

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.svid import X509Svid

__all__ = ["Standing", "Step", "mark_pushed", "plan_step"]

_NOTHING: Final = BundleMap(b"", frozenset())
_OLD_AGE: Final = 2 / 3  # of a life: SPIRE renews at one half


@dataclass(frozen=True, slots=True)
class Standing:
    """What is written, and what live connections may still rest on.

    Attributes:
        context: The snapshot that was written; None while the identity is withdrawn.
        trust: Its bundle map.
        svid: Its identity.
        svid_since: When we got that identity.
        shown: Whether channels are pointed at the files, and not at nothing.
        live_svid: The oldest identity that a live connection may have shown.
        live_since: When we got that one.
        live_authorities: Every authority by which a live connection may have been verified.
        live_domains: The trust domains that were known when channels last connected anew.
    """

    context: X509Context | None = None
    trust: BundleMap = _NOTHING
    svid: X509Svid | None = None
    svid_since: datetime | None = None
    shown: bool = False
    live_svid: X509Svid | None = None
    live_since: datetime | None = None
    live_authorities: frozenset[tuple[str, bytes]] = frozenset()
    live_domains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now, in this order.

    Attributes:
        withdraw: Make the files unusable and point channels at nothing.
        trust: The new bundle map, if it changed. Trust goes first: an identity may be signed by
            an authority that only the new bundles know.
        identity: The new identity, if it changed.
        push: Why live connections must be made anew; empty if they need not be.
    """

    withdraw: bool = False
    trust: bytes | None = None
    identity: X509Svid | None = field(default=None, repr=False)
    push: str = ""


def plan_step(
    standing: Standing,
    found: X509Context | None,
    now: datetime,
) -> tuple[Standing, Step]:
    """Decide what a snapshot asks for.

    Args:
        standing: What is written and in use.
        found: What the source gives now; None if it gives an error instead.
        now: The time, timezone-aware.

    Returns:
        What stands once the files are written, and the step to take. A push that is asked for is
        asked for again until `mark_pushed` says that it happened.
    """
    svid = _usable_identity(found, now)
    if found is None or svid is None:
        return _withdrawn(standing)
    after = standing if found is standing.context else _renew(standing, found, svid, now)
    step = Step(
        trust=after.trust.data if after.trust.data != standing.trust.data else None,
        identity=svid if svid != standing.svid else None,
        push=_reason_to_push(after, svid, now),
    )
    return after, step


def mark_pushed(standing: Standing) -> Standing:
    """Say that live connections are being made anew with what is written."""
    return replace(
        standing,
        shown=True,
        live_svid=standing.svid,
        live_since=standing.svid_since,
        live_authorities=standing.trust.authorities,
        live_domains=standing.trust.domains,
    )


def _renew(standing: Standing, found: X509Context, svid: X509Svid, now: datetime) -> Standing:
    trust = render_bundle_map(found.bundles)
    return replace(
        standing,
        context=found,
        trust=trust,
        svid=svid,
        svid_since=standing.svid_since if svid == standing.svid else now,
        live_authorities=standing.live_authorities | trust.authorities,
    )


def _usable_identity(found: X509Context | None, now: datetime) -> X509Svid | None:
    if found is None:
        return None
    try:
        svid = found.default
    except X509SvidError:
        return None
    return svid if svid.not_after > now else None


def _withdrawn(standing: Standing) -> tuple[Standing, Step]:
    if standing.svid is None:
        return standing, Step()
    return Standing(), Step(withdraw=True, push="the identity was withdrawn or has expired")


def _reason_to_push(standing: Standing, svid: X509Svid, now: datetime) -> str:
    live = standing.live_svid
    if not standing.shown or live is None or standing.live_since is None:
        return "an identity is there"
    if not standing.live_authorities <= standing.trust.authorities:
        return "an authority or a trust domain was removed"
    if not standing.trust.domains <= standing.live_domains:
        return "a trust domain was added"  # channels that failed for want of it try again now
    if live.spiffe_id != svid.spiffe_id:
        return "our SPIFFE ID changed"
    # SPIRE backdates: the part of a life before we had the SVID does not count.
    begin = max(live.not_before, standing.live_since)
    if live != svid and now >= begin + _OLD_AGE * (live.not_after - begin):
        return "the identity in use nears its end"
    return ""
