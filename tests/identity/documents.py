"""Authorities, and bundle documents that hold them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.identity.pki import Party, certificate, der, signer

if TYPE_CHECKING:
    from cryptography import x509

ROOT = Party("root")
FIRST = signer(ROOT, ROOT)
SECOND = signer(Party("second"), ROOT)
LEAF = certificate(Party("leaf"), ROOT)
FIRST_DER, SECOND_DER = der(FIRST, SECOND)


def x5c(*certificates: x509.Certificate) -> list[str]:
    """Write certificates as a JWK does."""
    return [base64.b64encode(each).decode() for each in der(*certificates)]


def jwk(**changes: Any) -> dict[str, Any]:
    """Make a good x509-svid entry, with changes; None takes a member out."""
    entry = {"kty": "EC", "use": "x509-svid", "x5c": x5c(FIRST), "crv": "P-256", **changes}
    return {name: value for name, value in entry.items() if value is not None}


def document(*keys: object, **members: object) -> bytes:
    """Make a bundle document."""
    return json.dumps({"keys": keys, **members}).encode()
