"""Conversions between the values of py-spiffe and ours, both ways.

Towards us every value is read again from its text or its bytes by our own parsers, whatever was
checked before; the way back takes our values as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, overload

import spiffe
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe.workloadapi.x509_context import X509Context as TheirX509Context

from serviceradar_security.errors import SpiffeIdError, TrustBundleError, X509SvidError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

__all__ = ["from_spiffe", "to_spiffe"]


@overload
def from_spiffe(value: spiffe.SpiffeId) -> SpiffeId: ...
@overload
def from_spiffe(value: spiffe.TrustDomain) -> TrustDomain: ...
@overload
def from_spiffe(value: spiffe.X509Svid) -> X509Svid: ...
@overload
def from_spiffe(value: spiffe.X509Bundle) -> TrustBundle: ...
@overload
def from_spiffe(value: spiffe.X509BundleSet) -> dict[TrustDomain, TrustBundle]: ...
@overload
def from_spiffe(value: TheirX509Context) -> X509Context: ...
def from_spiffe(value: object) -> object:
    """Take over a value of the package ``spiffe``.

    Args:
        value: A ``SpiffeId``, ``TrustDomain``, ``X509Svid``, ``X509Bundle``, ``X509BundleSet`` or
            ``X509Context`` of that package. Its SVIDs know no hint, so ours have none. Its bundles
            know no order; ours have their authorities in the order of their bytes.

    Raises:
        SpiffeIdError: The text is no SPIFFE ID or trust domain by our rules.
        X509SvidError: The SVID breaks a rule of ours, its key does not fit, or it calls itself by
            another ID than its certificate does.
        TrustBundleError: An authority cannot be taken over, or two bundles are of one trust domain.
        TypeError: The value is of another type.
    """
    match value:
        case spiffe.SpiffeId():
            return SpiffeId.parse(str(value))
        case spiffe.TrustDomain():
            return _trust_domain(value)
        case spiffe.X509Svid():
            return _svid(value)
        case spiffe.X509Bundle():
            return bundle_of(value.trust_domain, value.x509_authorities)
        case spiffe.X509BundleSet():
            return _bundles(value.bundles)
        case TheirX509Context():
            svids = [_svid(each) for each in value.x509_svids]
            return X509Context(svids=svids, bundles=_bundles(value.x509_bundle_set.bundles))
    raise _wrong_type("from_spiffe", value, "of the package spiffe", "X509BundleSet")


@overload
def to_spiffe(value: SpiffeId) -> spiffe.SpiffeId: ...
@overload
def to_spiffe(value: TrustDomain) -> spiffe.TrustDomain: ...
@overload
def to_spiffe(value: X509Svid) -> spiffe.X509Svid: ...
@overload
def to_spiffe(value: TrustBundle) -> spiffe.X509Bundle: ...
@overload
def to_spiffe(value: Mapping[TrustDomain, TrustBundle]) -> spiffe.X509BundleSet: ...
@overload
def to_spiffe(value: X509Context) -> TheirX509Context: ...
def to_spiffe(value: object) -> object:
    """Give a value of ours to an application that uses the package ``spiffe``.

    Args:
        value: A `SpiffeId`, `TrustDomain`, `X509Svid`, `TrustBundle`, a mapping of bundles by
            trust domain, or an `X509Context`, whose default identity comes first.

    Raises:
        X509SvidError: An `X509Context` has no identity; that package's needs one.
        TrustBundleError: A mapping files a bundle under the name of another trust domain.
        TypeError: The value is of another type.
    """
    match value:
        case SpiffeId():
            return spiffe.SpiffeId(str(value))
        case TrustDomain():
            return spiffe.TrustDomain(value.name)
        case X509Svid():
            return _their_svid(value)
        case TrustBundle():
            return spiffe.X509Bundle(
                spiffe.TrustDomain(value.trust_domain.name),
                set(value.authorities),
            )
        case X509Context():
            first = value.default
            others = [each for each in value.svids if each is not first]
            svids = [_their_svid(each) for each in (first, *others)]
            return TheirX509Context(svids, _their_bundles(value.bundles))
        case Mapping():
            return _their_bundles(value)
    raise _wrong_type("to_spiffe", value, "of this library", "mapping of TrustBundles")


def bundle_of(
    trust_domain: spiffe.TrustDomain,
    authorities: Iterable[x509.Certificate],
) -> TrustBundle:
    """Make a bundle of ours from the parts of one of theirs.

    Raises:
        SpiffeIdError: The name is no trust domain.
        TrustBundleError: An authority cannot be taken over.
    """
    ours = _trust_domain(trust_domain)
    try:
        parts = sorted(each.public_bytes(Encoding.DER) for each in authorities)
    except Exception as error:
        raise TrustBundleError(
            f"the bundle of {ours} holds something that is not a certificate",
        ) from error
    return TrustBundle.from_der(ours, b"".join(parts))


def _trust_domain(value: spiffe.TrustDomain) -> TrustDomain:
    name = value.name
    if "/" in name:  # TrustDomain.parse takes a whole ID too; a name is none
        raise SpiffeIdError(f"the trust domain {name[:80]!r} has a slash: give its name alone")
    return TrustDomain.parse(name)


def _svid(value: spiffe.X509Svid) -> X509Svid:
    claimed = SpiffeId.parse(str(value.spiffe_id))
    try:
        chain = b"".join(each.public_bytes(Encoding.DER) for each in value.cert_chain)
    except Exception as error:
        raise X509SvidError(
            f"the chain of {claimed} holds something that is not a certificate",
        ) from error
    key = None
    with contextlib.suppress(Exception):  # neither cause nor context: it may quote the key
        key = value.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if key is None:
        raise X509SvidError(f"the private key of {claimed} cannot be written as PKCS#8")
    made = X509Svid.parse(chain, key)
    if made.spiffe_id != claimed:
        raise X509SvidError(
            f"the SVID calls itself {claimed}, and its certificate is that of {made.spiffe_id}: "
            "the certificate decides, so it is refused",
        )
    return made


def _bundles(values: Iterable[spiffe.X509Bundle]) -> dict[TrustDomain, TrustBundle]:
    made: dict[TrustDomain, TrustBundle] = {}
    for each in values:
        bundle = bundle_of(each.trust_domain, each.x509_authorities)
        if bundle.trust_domain in made:
            raise TrustBundleError(
                f"there are two bundles of {bundle.trust_domain}: a trust domain has one",
            )
        made[bundle.trust_domain] = bundle
    return made


def _their_svid(value: X509Svid) -> spiffe.X509Svid:
    return spiffe.X509Svid(
        spiffe.SpiffeId(str(value.spiffe_id)),
        list(value.certificates),
        value.private_key,
    )


def _their_bundles(values: Mapping[TrustDomain, TrustBundle]) -> spiffe.X509BundleSet:
    made: list[spiffe.X509Bundle] = []
    for trust_domain, bundle in values.items():
        if not isinstance(bundle, TrustBundle) or bundle.trust_domain != trust_domain:
            raise TrustBundleError(
                f"a mapping of bundles files each TrustBundle under its own TrustDomain, not "
                f"under {ascii(trust_domain)[:80]}",
            )
        made.append(to_spiffe(bundle))
    return spiffe.X509BundleSet.of(made)


def _wrong_type(function: str, value: object, origin: str, last: str) -> TypeError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return TypeError(
        f"{function} takes a SpiffeId, TrustDomain, X509Svid, bundle, {last} or X509Context "
        f"{origin}, not a {kind}",
    )
