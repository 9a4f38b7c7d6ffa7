"""Messages and snapshots for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security import X509Context
from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.testing.authority import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serviceradar_security import TrustBundle, X509Svid

DOMAIN = "a.test"
ID = "spiffe://a.test/web"
OTHER_ID = "spiffe://a.test/db"


def der(bundle: TrustBundle) -> bytes:
    """Write a bundle as the Workload API does."""
    return b"".join(bundle.der)


def key_der(svid: X509Svid) -> bytes:
    """Write a key as the Workload API does."""
    return svid.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def entry(svid: X509Svid, trusted: TrustBundle, /, **changes: Any) -> X509SVID:
    """Make the entry of an SVID; `changes` replace its fields."""
    fields = {
        "spiffe_id": str(svid.spiffe_id),
        "x509_svid": b"".join(svid.chain_der),
        "x509_svid_key": key_der(svid),
        "bundle": der(trusted),
        "hint": svid.hint,
    }
    return X509SVID(**{**fields, **changes})


def message(
    *entries: X509SVID,
    federated: Mapping[str, bytes] | None = None,
    crl: Sequence[bytes] = (),
) -> bytes:
    """Write a response."""
    return X509SVIDResponse(
        svids=entries,
        federated_bundles=federated or {},
        crl=crl,
    ).SerializeToString()


_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_AUTHORITY = FakeAuthority(DOMAIN, now=lambda: _NOW)


def context_until(
    seconds: float,
    *,
    start: datetime = _NOW,
    name: str = "web",
    begins: float | None = None,
) -> X509Context:
    """Make a snapshot whose identity ends so many seconds after the start, and may begin then."""
    svid = _AUTHORITY.issue(
        f"spiffe://{DOMAIN}/{name}",
        not_before=None if begins is None else start + timedelta(seconds=begins),
        not_after=start + timedelta(seconds=seconds),
    )
    return X509Context(svids=[svid], bundles={_AUTHORITY.trust_domain: _AUTHORITY.bundle})
