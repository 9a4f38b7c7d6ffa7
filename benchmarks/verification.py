"""Verification of an SVID, against the bare path validator that it is built on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store

from benchmarks.interleave import Row, compare
from serviceradar_security import verify_x509_svid
from serviceradar_security.testing import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows() -> Iterator[Row]:
    """Measure."""
    authority = FakeAuthority("example.org")
    chain = authority.issue("spiffe://example.org/core").chain_der
    bundles = {authority.trust_domain: authority.bundle}
    store = Store(list(authority.bundle.authorities))
    now = datetime.now(UTC)
    signers = ExtensionPolicy.webpki_defaults_ca()
    leaves = ExtensionPolicy.permit_all()

    def ours() -> None:
        verify_x509_svid(chain, bundles, at=now, purpose="client")

    def theirs() -> None:
        builder = PolicyBuilder().store(store).time(now)
        builder = builder.extension_policies(ca_policy=signers, ee_policy=leaves)
        builder.build_client_verifier().verify(x509.load_der_x509_certificate(chain[0]), [])

    yield compare("verify_x509_svid", ours, "cryptography's path validator", theirs, number=500)
