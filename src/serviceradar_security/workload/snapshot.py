"""From a message of the Workload API to a snapshot, validated whole before anyone sees it.

Standard: Workload API sections 4.4, 4.5 and 5. What cannot be used is refused with its reason; a
bad federated bundle or a bad second identity costs only itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from serviceradar_security.errors import (
    PeerVerificationError,
    SecurityError,
    WorkloadApiError,
)
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import verify_x509_svid
from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.response import ResponseError, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from serviceradar_security.identity.spiffe_id import TrustDomain
    from serviceradar_security.workload.response import SvidEntry, X509SvidResponse

__all__ = ["Picker", "Snapshot", "SnapshotReader"]

if TYPE_CHECKING:
    Picker = Callable[[Sequence[X509Svid]], X509Svid]
else:
    Picker = object


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A message that was understood.

    Attributes:
        context: The material.
    """

    context: X509Context
    _left_out: tuple[str, ...]
    _bundles: BundleSet
    _at: datetime | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out or is doubtful, and why.

        For this our own chains are held against our own bundles, and every bundle is read: users
        of the material need not wait for that.
        """
        doubts = () if self._at is None else _own_doubts(self.context, self._at)
        return (*self._left_out, *doubts, *self._bundles.problems)


class SnapshotReader:
    """Read messages into snapshots; bytes that did not change are not parsed again."""

    def __init__(self, *, pick: Picker | None = None, limits: Limits | None = None) -> None:
        """Make a reader.

        Args:
            pick: Chooses the default identity from the tuple of all; None takes the first.
            limits: How much a message may hold.
        """
        self._pick = pick
        self._limits = Limits() if limits is None else limits
        self._own: dict[bytes, TrustBundle] = {}
        self._bundles = BundleSet({}, {})
        self._last: tuple[bytes, Snapshot] | None = None
        self._svids: dict[tuple[bytes, bytes, str], X509Svid] = {}

    def read(self, data: bytes, *, at: datetime | None = None) -> Snapshot:
        """Read one ``X509SVIDResponse``: the whole state, in which nothing of earlier ones is left.

        What is no longer in it is gone: bundles and SVIDs too (R-WLAPI-06 to -08).

        Args:
            data: The message.
            at: The time for which the warnings tell whether our own bundles prove our own
                chains; None leaves that out.

        Raises:
            WorkloadApiError: The message is malformed: nothing of it is used (R-WLAPI-09, -12).
        """
        digest = hashlib.sha256(data).digest()  # not the bytes, which hold keys, and may be many
        if self._last is not None and self._last[0] == digest:
            return self._last[1]
        try:
            response = read_response(
                data,
                max_svids=self._limits.svids,
                max_bundles=self._limits.bundles,
            )
        except ResponseError as error:
            raise _malformed(str(error)) from error
        if not response.svids:  # not a withdrawal: that is PERMISSION_DENIED (R-WLAPI-10)
            _refuse("it has no SVID")
        warnings: list[str] = []
        own: dict[TrustDomain, TrustBundle] = {}
        seen_svids: dict[tuple[bytes, bytes, str], X509Svid] = {}
        svids = self._read_svids(response, own, seen_svids, warnings)
        bundles = BundleSet(own, response.federated_bundles, before=self._bundles)
        if self._bundles == bundles:
            bundles = self._bundles
        self._svids, self._bundles = seen_svids, bundles
        snapshot = Snapshot(self._context(svids, bundles), tuple(warnings), bundles, at)
        # A function of the user's may choose anew.
        self._last = (digest, snapshot) if self._pick is None else None
        return snapshot

    def forget(self) -> None:
        """Let go of everything that was read."""
        self._own, self._svids, self._last = {}, {}, None
        self._bundles = BundleSet({}, {})

    def _read_svids(
        self,
        response: X509SvidResponse,
        bundles: dict[TrustDomain, TrustBundle],
        seen: dict[tuple[bytes, bytes, str], X509Svid],
        warnings: list[str],
    ) -> list[X509Svid]:
        svids: list[X509Svid] = []
        hints: set[str] = set()
        own: dict[bytes, TrustBundle] = {}
        for number, entry in enumerate(response.svids, 1):
            if entry.hint and entry.hint in hints:  # decided before parsing (R-WLAPI-15)
                warnings.append(f"SVID {number} repeats the hint of an earlier one: left out")
                continue
            hints.add(entry.hint)
            try:
                svid = self._read_svid(entry)
                bundle = own.get(entry.bundle) or self._own.get(entry.bundle)
                if bundle is None or bundle.trust_domain != svid.spiffe_id.trust_domain:
                    bundle = TrustBundle.from_der(svid.spiffe_id.trust_domain, entry.bundle)
            except Exception as error:  # parsers of foreign bytes raise anything
                if number == 1:  # the default identity must not change silently
                    raise _malformed(f"SVID 1: {_reason(error)}") from error
                warnings.append(f"SVID {number} is left out: {_reason(error)}")
                continue
            seen[(entry.x509_svid, entry.x509_svid_key, entry.hint)] = svid
            own[entry.bundle] = bundle
            svids.append(svid)
            kept = bundles.setdefault(svid.spiffe_id.trust_domain, bundle)
            if kept != bundle:  # R-WLAPI-19
                warnings.append(
                    f"SVID {number} brings another bundle for {bundle.trust_domain}: the first "
                    "is used",
                )
        self._own = own
        return svids

    def _read_svid(self, entry: SvidEntry) -> X509Svid:
        for name in ("spiffe_id", "x509_svid", "x509_svid_key", "bundle"):
            if not getattr(entry, name):
                # An empty bundle as well: R-WLAPI-09, -11.
                _refuse(f"the field {name} is empty (Workload API section 4.5)")
        key = (entry.x509_svid, entry.x509_svid_key, entry.hint)
        svid = self._svids.get(key) or X509Svid.parse(key[0], key[1], hint=key[2])
        if len(svid.certificates) > self._limits.chain_length:
            _refuse(
                f"its chain has {len(svid.certificates)} certificates: at most "
                f"{self._limits.chain_length} are allowed here",
            )
        if SpiffeId.parse(entry.spiffe_id) != svid.spiffe_id:  # R-WLAPI-13
            _refuse(
                f"the field spiffe_id says {entry.spiffe_id[:200]!a}, the certificate "
                f"{svid.spiffe_id}",
            )
        return svid

    def _context(
        self,
        svids: list[X509Svid],
        bundles: BundleSet,
    ) -> X509Context:
        if self._pick is None:
            return X509Context(svids=svids, bundles=bundles)
        try:
            picked = self._pick(tuple(svids))
        except (Exception, SystemExit) as error:  # a user's function may do anything (R-WLAPI-33)
            raise WorkloadApiError(
                f"the function given as `pick` failed with {type(error).__name__}: no identity "
                "was chosen",
            ) from error
        if not any(picked is each for each in svids):
            raise WorkloadApiError("the function given as `pick` chose none of the identities")
        return X509Context(svids=svids, bundles=bundles, default=picked)


def _own_doubts(context: X509Context, at: datetime) -> Iterator[str]:
    """Warn of an identity that its own bundle does not prove; peers decide (R-X509-29)."""
    for number, svid in enumerate(context.svids, 1):
        end = min(each.not_valid_after_utc for each in svid.certificates)
        if end < svid.not_after:
            yield (
                f"SVID {number}: an intermediate of its chain ends at {end:%FT%TZ}, before it: "
                "peers refuse it from then on"
            )
        try:
            verify_x509_svid(svid.chain_der, context.bundles, at=at, purpose=None)
        except PeerVerificationError as error:
            if svid.not_before <= at < svid.not_after:  # the watch tells of the others
                yield f"SVID {number} is not proven by the bundle that came with it: {error}"


def _reason(error: Exception) -> str:
    """Quote errors of ours; of others, which may quote a key, the name alone (R-WLAPI-36)."""
    return str(error) if isinstance(error, SecurityError) else f"{type(error).__name__}"


def _malformed(text: str) -> WorkloadApiError:
    return WorkloadApiError(f"the Workload API sent a message that cannot be used: {text}")


def _refuse(text: str) -> NoReturn:
    raise _malformed(text)
