"""Trust for gRPC core: the bundles of a snapshot as a SPIFFE bundle map.

Standard: Trust Domain and Bundle section 5 (bundle maps), gRPC proposal A87. Core verifies each
server against the bundle of the server's own trust domain. It reads the whole map or nothing: one
entry that it cannot read closes every domain. So each authority is examined before it is written,
and one that core could not read is left out, which costs nobody else anything.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity.certificate import load_der

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.identity.authorities import Authorities
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = ["BundleMap", "render_bundle_map", "render_roots"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_TEXTS: Final = frozenset(
    (
        "BMPString",
        "IA5String",
        "NumericString",
        "PrintableString",
        "T61String",
        "UTF8String",
        "UniversalString",
    ),
)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_REMEMBERED: Final = 4096
_ROOTS: Final = ""  # stands for the trust domain of roots that belong to none


@dataclass(frozen=True, slots=True)
class BundleMap:
    """A bundle map as core reads it, or a file of roots.

    Attributes:
        data: The JSON document, or PEM.
        authorities: The authorities in it, each with the name of its trust domain; roots have
            the empty one.
    """

    data: bytes
    authorities: frozenset[tuple[str, bytes]]

    @property
    def domains(self) -> frozenset[str]:
        """The names of the trust domains in it."""
        return frozenset(name for name, _ in self.authorities)


def render_bundle_map(bundles: Mapping[TrustDomain, TrustBundle]) -> BundleMap:
    """Write the bundle map of some bundles; domains without a usable authority are not in it."""
    domains: dict[str, object] = {}
    authorities: set[tuple[str, bytes]] = set()
    for trust_domain, bundle in sorted(bundles.items()):
        name = trust_domain.name
        entries = {der: _entry(name, der) for der in bundle.der}
        usable = {der: entry for der, entry in entries.items() if entry is not None}
        if usable:
            domains[name] = {"keys": list(usable.values())}
            authorities.update((name, der) for der in usable)
    return BundleMap(json.dumps({"trust_domains": domains}).encode(), frozenset(authorities))


def render_roots(authorities: Authorities) -> BundleMap:
    """Write a file of roots in the same way: what core could not read is left out.

    Raises:
        TrustBundleError: None is left.
    """
    usable = [each for each in authorities.der if _entry(authorities.name, each) is not None]
    if not usable:
        raise TrustBundleError(f"gRPC core can read no authority of {authorities.name}")
    pem = b"".join(load_der(each).public_bytes(Encoding.PEM) for each in usable)
    return BundleMap(pem, frozenset((_ROOTS, each) for each in usable))


@lru_cache(maxsize=_REMEMBERED)  # so that a certificate is examined, and a refusal logged, once
def _entry(whose: str, der: bytes) -> dict[str, object] | None:
    """Write one authority as core wants it: a label for the kind of key, and the certificate."""
    try:
        kind = _kind_of_key(der)
    except ValueError as error:
        _LOG.warning(
            "an authority of %s is left out of gRPC channels: %s; its servers are refused",
            whose,
            error,
        )
        return None
    return {"use": "x509-svid", "kty": kind, "x5c": [base64.b64encode(der).decode("ascii")]}


def _kind_of_key(der: bytes) -> str:
    """Name the kind of an authority's key, or say why core could not read the certificate."""
    certificate = load_der(der)
    if certificate.version is not x509.Version.v3:
        raise ValueError("its certificate is not X.509 version 3")
    try:
        names = [*certificate.subject, *certificate.issuer]
        key = certificate.public_key()
        _ = (certificate.extensions, certificate.not_valid_before_utc)
    except Exception as error:
        raise ValueError("its names, its extensions or its key cannot be read") from error
    if not all(_is_text(each) for each in names):
        raise ValueError("one of its names holds a value that is no text")
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return "EC"
    raise ValueError(
        "gRPC core reads authorities with RSA keys and with ECDSA keys on P-256, P-384 and P-521",
    )


def _is_text(attribute: x509.NameAttribute[str | bytes]) -> bool:
    """Tell whether core's parser takes the value: it refuses, for example, a time in a name."""
    # The parser keeps the ASN.1 type to itself.
    kind = getattr(attribute, "_type", None)
    return kind is None or kind.name in _TEXTS
