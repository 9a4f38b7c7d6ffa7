"""What a Workload API is asked to serve, and the message that serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.certificates import IssuedCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = ["Given", "Identity", "Material", "grown", "response", "wanted"]

Given = SpiffeId | str | tuple[SpiffeId | str, str] | X509Svid | IssuedCertificate
"""What a user may ask to be served."""
Material = X509Svid | IssuedCertificate
"""What can be served: a good SVID, or a certificate that may break every rule."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity that is to be issued."""

    spiffe_id: SpiffeId
    hint: str = ""


def wanted(given: Given) -> Identity | Material:
    """Read what a user asks to be served.

    Raises:
        SpiffeIdError: An ID is none.
        ConfigError: It is something else.
    """
    match given:
        case X509Svid() | IssuedCertificate():
            return given
        case SpiffeId() | str():
            return Identity(_parsed(given))
        case (SpiffeId() | str() as spiffe_id, str(hint)):
            return Identity(_parsed(spiffe_id), hint)
        case _:
            raise ConfigError(
                f"a {type(given).__name__} cannot be served: give SPIFFE IDs, pairs of an ID and a "
                "hint, SVIDs, or certificates of a FakeAuthority",
            )


def response(
    served: Iterable[Material],
    bundle: TrustBundle,
    federated: Mapping[TrustDomain, TrustBundle],
) -> bytes:
    """Write the message of the Workload API that serves this."""
    own = b"".join(bundle.der)
    message = X509SVIDResponse(
        svids=[
            X509SVID(
                spiffe_id=str(each.spiffe_id),
                x509_svid=b"".join(each.chain_der),
                x509_svid_key=_key_der(each),
                bundle=own,
                hint=each.hint if isinstance(each, X509Svid) else "",
            )
            for each in served
        ],
        federated_bundles={
            str(trust_domain.id): b"".join(each.der) for trust_domain, each in federated.items()
        },
    )
    return message.SerializeToString()


def grown(message: bytes, size: int) -> bytes:
    """Grow a message to so many bytes, or more if it has more, by an unknown field."""
    rest = max(0, size - len(message) - 6)
    digits = [(rest >> shift) & 0x7F for shift in (0, 7, 14, 21, 28)]
    # Field 15 of wire type 2, and its length in five bytes whatever it is.
    return (
        message + b"\x7a" + bytes([*(0x80 | each for each in digits[:4]), digits[4]]) + bytes(rest)
    )


def _parsed(given: SpiffeId | str) -> SpiffeId:
    return SpiffeId.parse(given) if isinstance(given, str) else given


def _key_der(material: Material) -> bytes:
    if isinstance(material, IssuedCertificate):
        return material.key_der
    return material.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
