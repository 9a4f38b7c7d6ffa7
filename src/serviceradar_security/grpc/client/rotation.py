"""When files are written, and when live connections must follow: decisions without I/O.

A snapshot and a time in, a step out. gRPC core reads our files when a connection begins and once
a second while one of its certificate providers lives. A live connection keeps what it was made
with, until a push makes core connect anew; that costs a handshake and no call. So new material is
written at once, and a push is kept for when an old connection must not go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from cryptography import x509

from serviceradar_security.grpc.client.bundle_map import BundleMap
from serviceradar_security.grpc.client.trust import identity_of, trust_of

if TYPE_CHECKING:
    from datetime import datetime

    from serviceradar_security.identity.context import X509Context
    from serviceradar_security.identity.credentials import TlsCredentials
    from serviceradar_security.identity.svid import X509Svid

    Snapshot = X509Context | TlsCredentials
    Identity = X509Svid | TlsCredentials

__all__ = ["Reliance", "Standing", "Step", "mark_pushed", "plan_step"]

_NOTHING: Final = BundleMap(b"", frozenset())
_OLD_AGE: Final = 2 / 3  # of a life: SPIRE renews at one half


@dataclass(frozen=True, slots=True)
class Reliance:
    """What connections that were made since some moment may rest on.

    Attributes:
        authorities: Every authority by which one may have been verified.
        domains: The trust domains that were known at that moment.
        renew_at: When the first identity that one may have shown, and that was replaced since,
            is too old; None if none was replaced.
    """

    authorities: frozenset[tuple[str, bytes]]
    domains: frozenset[str]
    renew_at: datetime | None = None

    def joined(self, trust: BundleMap, renew_at: datetime | None) -> Reliance:
        """Count in that other trust was written, and perhaps another identity."""
        moments = [each for each in (self.renew_at, renew_at) if each is not None]
        return Reliance(
            self.authorities | trust.authorities,
            self.domains,
            min(moments, default=None),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What is written, and what live connections rest on.

    Attributes:
        context: The snapshot that was written; None while the identity is withdrawn.
        trust: Its bundle map.
        svid: Its identity.
        svid_since: When we got that identity.
        live: What connections since the last push rest on; None while channels point at nothing.
        wanted: What connections would rest on that are made from now on, if a push is wanted.
    """

    context: Snapshot | None = None
    trust: BundleMap = _NOTHING
    svid: Identity | None = None
    svid_since: datetime | None = None
    live: Reliance | None = None
    wanted: Reliance | None = None


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
    identity: Identity | None = field(default=None, repr=False)
    push: str = ""


def plan_step(
    standing: Standing,
    found: Snapshot | None,
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
    push = _reason_to_push(after, now)
    if not push:
        after = replace(after, wanted=None)
    elif after.wanted is None:
        after = replace(after, wanted=Reliance(after.trust.authorities, after.trust.domains))
    step = Step(
        trust=after.trust.data if after.trust.data != standing.trust.data else None,
        identity=None if _is_same(standing.svid, svid) else svid,
        push=push,
    )
    return after, step


def mark_pushed(standing: Standing) -> Standing:
    """Say that connections are being made anew, with what was written since the push was wanted.

    They may miss what was written after that: it stays to be judged.
    """
    return replace(standing, live=standing.wanted, wanted=None)


def _renew(standing: Standing, found: Snapshot, svid: Identity, now: datetime) -> Standing:
    trust = trust_of(found)
    renew_at = _renewal(standing, svid, now)
    live, wanted = standing.live, standing.wanted
    return Standing(
        context=found,
        trust=trust,
        svid=svid,
        svid_since=standing.svid_since if _is_same(standing.svid, svid) else now,
        live=live.joined(trust, renew_at) if live is not None else None,
        wanted=wanted.joined(trust, renew_at) if wanted is not None else None,
    )


def _renewal(standing: Standing, fresh: Identity, now: datetime) -> datetime | None:
    """Give the time by which connections must have left the identity that is replaced, if any."""
    old = standing.svid
    if old is None or _is_same(old, fresh) or standing.svid_since is None:
        return None
    if old.spiffe_id != fresh.spiffe_id:
        return now
    if _signer(old) != _signer(fresh):
        # The authority rotates: servers that hear of the old one's end before we do would refuse
        # what live connections have shown.
        return now
    # SPIRE backdates: the part of a life before we had the SVID does not count.
    begin = max(old.not_before, standing.svid_since)
    return begin + _OLD_AGE * (old.not_after - begin)


def _is_same(old: Identity | None, fresh: Identity) -> bool:
    """Tell whether peers are shown the same: trust, which some of these hold too, is apart."""
    return old is not None and old.chain_der == fresh.chain_der


def _signer(svid: Identity) -> tuple[bytes, bytes]:
    """Tell which authority stands at the end of a chain: by its name, and its key's ID."""
    last = svid.certificates[-1]
    try:
        key = last.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        key_id = key.key_identifier or b""
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        key_id = b""
    return last.issuer.public_bytes(), key_id


def _usable_identity(found: Snapshot | None, now: datetime) -> Identity | None:
    svid = identity_of(found) if found is not None else None
    return svid if svid is not None and svid.not_after > now else None


def _withdrawn(standing: Standing) -> tuple[Standing, Step]:
    if standing.svid is None:
        return standing, Step()
    return Standing(), Step(withdraw=True, push="the identity was withdrawn or has expired")


def _reason_to_push(standing: Standing, now: datetime) -> str:
    live = standing.live
    if live is None:
        return "an identity is there"
    if not live.authorities <= standing.trust.authorities:
        return "an authority or a trust domain was removed"
    if not standing.trust.domains <= live.domains:
        return "a trust domain was added"  # channels that failed for want of it try again now
    if live.renew_at is not None and now >= live.renew_at:
        return "an identity in use nears its end, is no longer ours, or its authority rotates"
    return ""
