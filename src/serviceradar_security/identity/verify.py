"""The verdict on a peer: which SPIFFE ID does this certificate chain prove, now, to us?

Every transport calls `verify_x509_svid`, or `verify_tls_chain` where plain mutual TLS is spoken;
there is no second opinion anywhere. Bytes and a time in, an ID or a refusal out. The path is
validated by the `cryptography` package; what it leaves open is closed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    VerificationError,
)

from serviceradar_security.errors import PeerVerificationError
from serviceradar_security.identity.authorities import whose
from serviceradar_security.identity.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    load_der,
)
from serviceradar_security.identity.doubt import why_untrusted
from serviceradar_security.identity.leaf import (
    Purpose,
    check_leaf,
    check_purpose,
    check_tls_leaf,
    claimed_id,
)
from serviceradar_security.identity.spiffe_id import SpiffeId, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serviceradar_security.identity.authorities import Authorities
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = [
    "MAX_CHAIN_BYTES",
    "MAX_CHAIN_LENGTH",
    "MAX_PATHS",
    "TlsPeer",
    "verify_tls_chain",
    "verify_x509_svid",
]

MAX_CHAIN_LENGTH: Final = 16
MAX_CHAIN_BYTES: Final = 256 * 1024
MAX_PATHS: Final = 100
_SHOWN_DOMAINS: Final = 5


def verify_x509_svid(
    chain: Sequence[bytes],
    bundles: Mapping[TrustDomain, TrustBundle],
    *,
    at: datetime,
    purpose: Purpose | None,
) -> SpiffeId:
    """Verify a presented chain and give the SPIFFE ID that it proves.

    The order is fixed (R-X509-24): leaf rules, validity, the bundle of the leaf's own trust
    domain, the path to one of its authorities, the purpose.

    Args:
        chain: DER certificates as presented, leaf first; the rest are intermediates only, never
            anchors (R-X509-21), and their order does not matter (R-X509-22).
        bundles: The bundles by trust domain. Only that of the leaf's trust domain is used, with
            no fallback (X509-SVID section 5; R-X509-17, R-X509-18).
        at: The time of the verdict, timezone-aware.
        purpose: The role of the peer, or None to leave the extended key usage aside.

    Raises:
        PeerVerificationError: The chain proves nothing; `reason` names the rule.
    """
    _check_arguments("verify_x509_svid", chain, at, purpose)
    leaf, *intermediates = _parse_chain(chain)
    spiffe_id = check_leaf(leaf)  # a signing certificate never authenticates (R-X509-14)
    _check_validity(leaf, spiffe_id, at)
    bundle = _find_bundle(bundles, spiffe_id)
    _validate_path(leaf, intermediates, bundle, spiffe_id, at, signers=_SIGNERS)
    if purpose is not None:
        check_purpose(leaf, spiffe_id, purpose)
    return spiffe_id


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """Whom a chain proves where plain mutual TLS is spoken.

    Attributes:
        spiffe_id: The proven SPIFFE ID; None if there is none.
        why_none: Why there is none; empty if there is one.
    """

    spiffe_id: SpiffeId | None
    why_none: str = ""


def verify_tls_chain(
    chain: Sequence[bytes],
    authorities: Authorities,
    bundles: Mapping[TrustDomain, TrustBundle],
    *,
    at: datetime,
    purpose: Purpose | None,
) -> TlsPeer:
    """Verify a presented chain that need not carry a SPIFFE ID, as plain mutual TLS does.

    A SPIFFE ID is claimed by a certificate whose only URI name is a SPIFFE ID of a trust domain in
    `bundles`. Such a chain is verified as an X.509-SVID, against that domain's bundle alone: where
    the claim does not hold the peer is refused. Every other SPIFFE ID is a text that some
    authority wrote, and nobody's identity. The CN is none either.

    Where none is claimed, signing certificates may lack a key usage, as RFC 5280 has it
    (section 6.1.4, step n). X.509-SVIDs need signers that have one (X509-SVID section 4.3).

    Args:
        chain: DER certificates as presented, leaf first.
        authorities: Where the chain of every peer must lead.
        bundles: The trust domains whose IDs are taken; empty for none.
        at: The time of the verdict, timezone-aware.
        purpose: The role of the peer, or None to leave the extended key usage aside.

    Raises:
        PeerVerificationError: The chain proves nothing; `reason` names the rule.
    """
    _check_arguments("verify_tls_chain", chain, at, purpose)
    leaf, *intermediates = _parse_chain(chain)
    owner = _owner(leaf)
    check_tls_leaf(leaf, owner)
    _check_validity(leaf, owner, at)
    _validate_path(leaf, intermediates, authorities, owner, at, signers=_TLS_SIGNERS)
    if purpose is not None:
        check_purpose(leaf, owner, purpose)
    claimed, why_none = claimed_id(leaf, bundles)
    if claimed is None:
        return TlsPeer(None, why_none)
    return TlsPeer(verify_x509_svid(chain, bundles, at=at, purpose=purpose))


def _owner(leaf: x509.Certificate) -> str:
    """Describe a leaf by its first DNS name: for a message, and never for a decision."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return shown(names.get_values_for_type(x509.DNSName)[0])
    except Exception:  # noqa: BLE001 - a foreign certificate fails in many ways
        return "a peer without a DNS name"


def _id(owner: SpiffeId | str) -> SpiffeId | None:
    return owner if isinstance(owner, SpiffeId) else None


def _check_arguments(name: str, chain: object, at: object, purpose: object) -> None:
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise TypeError(f"{name} needs a timezone-aware datetime in `at`")
    if purpose not in ("client", "server", None):
        raise ValueError(f"purpose is 'client', 'server' or None, not {purpose!r}")
    if (
        isinstance(chain, bytes | str)
        or not isinstance(chain, Sequence)
        or not all(isinstance(each, bytes) for each in chain[: MAX_CHAIN_LENGTH + 1])
    ):
        raise TypeError(f"{name} needs a sequence of DER certificates in `chain`")


def _parse_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    if not chain:
        raise PeerVerificationError(
            "the peer showed no certificate: it needs an X.509-SVID",
            reason="no_certificate",
        )
    if len(chain) > MAX_CHAIN_LENGTH:  # R-X509-25: counted before anything is parsed
        raise PeerVerificationError(
            f"the peer showed {len(chain)} certificates: at most {MAX_CHAIN_LENGTH}",
            reason="limit",
        )
    parsed = []
    total = 0
    for number, der in enumerate(chain, 1):
        total += len(der)
        if total > MAX_CHAIN_BYTES:
            raise PeerVerificationError(
                f"the peer showed certificates of more than {MAX_CHAIN_BYTES} bytes",
                reason="limit",
            )
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise PeerVerificationError(
                f"certificate {number} of the peer has {len(der)} bytes: at most "
                f"{MAX_CERTIFICATE_BYTES}",
                reason="limit",
            )
        try:
            parsed.append(load_der(der))
        except CertificateError as error:
            raise PeerVerificationError(
                f"certificate {number} of the peer cannot be read",
                reason="malformed",
            ) from error
    return parsed


def _check_validity(leaf: x509.Certificate, owner: SpiffeId | str, at: datetime) -> None:
    """Say by how much, before the validator would only say no."""
    not_before, not_after = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if at > not_after:
        late = (at - not_after).total_seconds()
        raise PeerVerificationError(
            f"the certificate of {owner} expired {late:.0f} s ago, at {not_after:%FT%TZ} by "
            "our clock: the peer must renew it",
            reason="expired",
            spiffe_id=_id(owner),
        )
    if at < not_before:
        early = (not_before - at).total_seconds()
        raise PeerVerificationError(
            f"the certificate of {owner} begins in {early:.0f} s, at {not_before:%FT%TZ} by "
            "our clock: compare the clocks of both sides",
            reason="not_yet_valid",
            spiffe_id=_id(owner),
        )


def _find_bundle(
    bundles: Mapping[TrustDomain, TrustBundle],
    spiffe_id: SpiffeId,
) -> TrustBundle:
    bundle = bundles.get(spiffe_id.trust_domain)
    if bundle is None:
        known = [each.name for each in islice(bundles, _SHOWN_DOMAINS)]
        names = ", ".join(sorted(known)) or "none"
        more = f" and {len(bundles) - len(known)} more" if len(bundles) > len(known) else ""
        raise PeerVerificationError(
            f"{spiffe_id} is of a trust domain without a bundle here (known: {names}{more}): "
            "federate with it, or do not expect its peers",
            reason="unknown_trust_domain",
            spiffe_id=spiffe_id,
        )
    # The name alone gives no trust, only the pair of name and bundle that was delivered (R-TD-05).
    # A mapping that files a bundle under a foreign name must not lend its authorities to it.
    if bundle.trust_domain != spiffe_id.trust_domain:
        raise PeerVerificationError(
            f"the bundle filed under {spiffe_id.trust_domain} is that of {bundle.trust_domain}",
            reason="unknown_trust_domain",
            spiffe_id=spiffe_id,
        )
    if not bundle.authorities:
        raise PeerVerificationError(
            f"{spiffe_id} is not trusted: the bundle of {bundle.trust_domain} has no authority, so "
            "nobody of it is",
            reason="untrusted_chain",
            spiffe_id=spiffe_id,
        )
    return bundle


def _check_signing_usage(
    _policy: Policy,
    _certificate: x509.Certificate,
    usage: x509.KeyUsage | None,
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a signing certificate without keyCertSign")


# The leaf rules are ours, above. Of signing certificates we demand cA and keyCertSign, whether
# marked critical or not (R-X509-12), and no SPIFFE ID (R-X509-13). Unknown critical extensions and
# name constraints that the validator cannot read are refused by it (R-X509-15, R-X509-16).
_SIGNERS: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signing_usage)
)
# Of those of plain TLS a key usage is not demanded: `openssl req -x509` makes authorities without
# one. Where it is present it has keyCertSign (RFC 5280 sections 4.2.1.3 and 6.1.4, step n).
_TLS_SIGNERS: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_signing_usage)
)
_LEAVES: Final = ExtensionPolicy.permit_all()


def _validate_path(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    anchors: TrustBundle | Authorities,
    owner: SpiffeId | str,
    at: datetime,
    *,
    signers: ExtensionPolicy,
) -> None:
    verifier = (
        PolicyBuilder()
        .store(anchors.verification_store())
        .time(at)
        .max_chain_depth(MAX_CHAIN_LENGTH)
        .extension_policies(ca_policy=signers, ee_policy=_LEAVES)
        .build_client_verifier()
    )
    try:
        if intermediates:
            intermediates = _useful_intermediates(intermediates, anchors)
            _check_paths(leaf, intermediates, owner)
        path = verifier.verify(leaf, intermediates).chain  # tries every anchor (R-X509-20)
    except VerificationError as error:
        raise PeerVerificationError(
            f"the certificate of {owner} is not trusted: "
            f"{why_untrusted(leaf, intermediates, anchors, at)}",
            reason="untrusted_chain",
            spiffe_id=_id(owner),
        ) from error
    except PeerVerificationError:
        raise
    except Exception as error:  # the validator reads names lazily, and fails in its own ways
        raise PeerVerificationError(
            f"the certificate of {owner} or one presented with it has parts that cannot be read",
            reason="malformed",
            spiffe_id=_id(owner),
        ) from error
    if len(path) == 1:  # R-X509-23: an anchor has cA, which the leaf rules forbid
        raise PeerVerificationError(
            f"the certificate of {owner} is itself listed among the authorities of "
            f"{whose(anchors)}: a workload's certificate is no authority",
            reason="untrusted_chain",
            spiffe_id=_id(owner),
        )


def _useful_intermediates(
    intermediates: list[x509.Certificate],
    anchors: TrustBundle | Authorities,
) -> list[x509.Certificate]:
    """Leave out repeated certificates and authorities sent along: the validator has them."""
    return [each for each in dict.fromkeys(intermediates) if each not in anchors.authorities]


def _check_paths(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    owner: SpiffeId | str,
) -> None:
    """Bound the search for a path before its first signature (R-X509-25).

    Look-alikes that sign each other join in exponentially many ways, and before version 49
    `cryptography` tries them all. Names alone say how many ways there are.
    """
    if len(intermediates) < 2:  # noqa: PLR2004 - one certificate joins in one way
        return
    # By their bytes: to compare names attribute by attribute, sixteen times, is a peer's lever.
    links = [(each.subject.public_bytes(), each.issuer.public_bytes()) for each in intermediates]
    ways = Counter((leaf.issuer.public_bytes(),))
    paths = 0
    for _ in range(MAX_CHAIN_LENGTH):
        longer: Counter[bytes] = Counter()
        for subject, issuer in links:
            longer[issuer] += ways[subject]
        paths += longer.total()
        if paths > MAX_PATHS:
            raise PeerVerificationError(
                f"the {len(intermediates)} intermediates of {owner} can be joined in more "
                f"than {MAX_PATHS} ways: send only those that lead to an authority",
                reason="limit",
                spiffe_id=_id(owner),
            )
        if not longer.total():
            return
        ways = longer
