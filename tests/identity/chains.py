"""Chains of one little PKI, and the verdict on them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import settings

from serviceradar_security.errors import PeerVerificationError, VerificationReason
from serviceradar_security.identity.verify import (
    verify_x509_svid,
)
from tests.identity.pki import (
    LOCAL,
    NOW,
    Party,
    bundle,
    certificate,
    der,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.leaf import Purpose
    from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

patient = settings(deadline=None, max_examples=150)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

ROOT, MIDDLE, LEAF, STRANGER = Party("root"), Party("middle"), Party("leaf"), Party("stranger")
ROOT_CERTIFICATE = signer(ROOT, ROOT)
BUNDLES = {LOCAL: bundle(ROOT_CERTIFICATE)}
DIRECT = certificate(LEAF, ROOT)
THROUGH = certificate(LEAF, MIDDLE)
MIDDLE_CERTIFICATE = signer(MIDDLE, ROOT)
NAMESAKE = signer(Party("root", STRANGER.key), Party("root", STRANGER.key))
UNKNOWN = "1.3.6.1.4.1.99999.1"


def verdict(
    chain: Sequence[x509.Certificate | bytes],
    bundles: Mapping[TrustDomain, TrustBundle] = BUNDLES,
    *,
    at: datetime = NOW,
    purpose: Purpose | None = "client",
) -> SpiffeId:
    """Verify a chain of certificates."""
    shown = [each if isinstance(each, bytes) else der(each)[0] for each in chain]
    return verify_x509_svid(shown, bundles, at=at, purpose=purpose)


def refusal(
    chain: Sequence[x509.Certificate | bytes],
    bundles: Mapping[TrustDomain, TrustBundle] = BUNDLES,
    *,
    at: datetime = NOW,
    purpose: Purpose | None = "client",
) -> PeerVerificationError:
    """Give the error with which a chain is refused; its message is one line."""
    with pytest.raises(PeerVerificationError) as caught:
        verdict(chain, bundles, at=at, purpose=purpose)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in get_args(VerificationReason)
    return caught.value
