"""Messages of a Workload API, made before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.identity.svid import X509Svid
    from serviceradar_security.testing import FakeAuthority


def message(authority: FakeAuthority, svid: X509Svid, federated: Mapping[str, bytes]) -> bytes:
    """Write a message with one SVID, its authority's bundle, and federated bundles."""
    own = X509SVID(
        spiffe_id=str(svid.spiffe_id),
        x509_svid=b"".join(svid.chain_der),
        x509_svid_key=svid.private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        ),
        bundle=b"".join(authority.bundle.der),
    )
    return X509SVIDResponse(svids=[own], federated_bundles=federated).SerializeToString()
