"""What peers may make of our own certificate of plain mutual TLS, as far as our files tell.

Peers decide, each by files of its own (R-X509-29). But an ID that our own authorities do not prove
is not called ours, and a certificate that breaks a rule is refused wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serviceradar_security.errors import PeerVerificationError
from serviceradar_security.identity.leaf import claimed_id
from serviceradar_security.identity.verify import verify_tls_chain, verify_x509_svid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

    from serviceradar_security.identity.authorities import Authorities
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

__all__ = ["OwnVerdict", "judge_own_chain"]


@dataclass(frozen=True, slots=True)
class OwnVerdict:
    """What our certificate proves.

    Attributes:
        spiffe_id: The SPIFFE ID that it proves; None if there is none.
        why_none: Why there is none; empty if there is one.
        doubt: Why peers may refuse it; empty if nothing is known.
    """

    spiffe_id: SpiffeId | None
    why_none: str = ""
    doubt: str = ""


def judge_own_chain(
    certificates: Sequence[x509.Certificate],
    chain: Sequence[bytes],
    authorities: Sequence[Authorities],
    bundles: Mapping[TrustDomain, TrustBundle],
    *,
    at: datetime,
) -> OwnVerdict:
    """Hold our own chain against the rules by which peers are judged.

    The age of the leaf plays no part: whoever holds it looks at that.

    Args:
        certificates: The chain, leaf first.
        chain: The same as DER.
        authorities: Those that we know. None of them need be ours: which authority our certificate
            has is for peers to accept.
        bundles: The trust domains whose IDs are taken. An ID needs an authority of its own.
        at: The time, timezone-aware.

    Raises:
        PeerVerificationError: The leaf's extensions cannot be read.
    """
    leaf = certificates[0]
    claimed, why_none = claimed_id(leaf, bundles)
    moment = min(max(at, leaf.not_valid_before_utc), leaf.not_valid_after_utc)
    if claimed is None:
        return OwnVerdict(None, why_none, _doubt(certificates, chain, authorities, moment))
    try:
        verify_x509_svid(chain, bundles, at=moment, purpose=None)
    except PeerVerificationError as error:
        why_none = f"it names {claimed}, which the authorities of clients do not prove: {error}"
        return OwnVerdict(None, why_none, why_none)
    return OwnVerdict(claimed)


def _doubt(
    certificates: Sequence[x509.Certificate],
    chain: Sequence[bytes],
    authorities: Sequence[Authorities],
    at: datetime,
) -> str:
    doubts = []
    for each in authorities:
        try:
            verify_tls_chain(chain, each, {}, at=at, purpose=None)
        except PeerVerificationError as error:
            if error.reason != "untrusted_chain" or _is_named(certificates, each):
                doubts.append(str(error))
        else:
            return ""
    return doubts[0] if doubts else ""


def _is_named(certificates: Sequence[x509.Certificate], authorities: Authorities) -> bool:
    """Tell whether the chain names an authority that we know: then it should lead there."""
    try:
        known = {each.subject.public_bytes() for each in authorities.authorities}
        return any(each.issuer.public_bytes() in known for each in certificates)
    except Exception:  # noqa: BLE001 - names that cannot be read are a doubt themselves
        return True
