"""Say why a chain is not trusted, after the validator has refused it.

Facts for a person, and never a verdict: nothing here can let anybody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from serviceradar_security.identity.bundle import TrustBundle

__all__ = ["why_untrusted"]

_LOOKED_AT: Final = 64  # authorities; a refusal must not cost more than the verdict
_SIGNERS: Final = (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)


def why_untrusted(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    bundle: TrustBundle,
    at: datetime,
) -> str:
    """Name the likeliest cause, in a sentence with its facts."""
    count = len(bundle.authorities)
    ours = f"the {count} {'authority' if count == 1 else 'authorities'} of {bundle.trust_domain}"
    try:
        causes = list(_causes(leaf, intermediates, bundle.authorities[:_LOOKED_AT], at))
    except Exception:  # noqa: BLE001 - names and keys of foreign certificates fail in many ways
        causes = []
    if causes:
        return causes[0]
    return (
        f"it does not lead to any of {ours}: it was signed by another, or an intermediate is "
        "missing or not allowed to sign it"
    )


def _causes(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    at: datetime,
) -> Iterator[str]:
    issuers = {leaf.issuer, *(each.issuer for each in intermediates)}
    anchors = [each for each in authorities if each.subject in issuers]
    for what, signers in (("an intermediate", intermediates), ("the authority", anchors)):
        for signer in signers:
            yield from _flaws(what, signer, at)
    critical = {
        extension.oid.dotted_string
        for each in (leaf, *intermediates, *anchors)
        for extension in each.extensions
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension)
    }
    if critical:
        yield (
            f"it needs the critical extension {min(critical)}, which is not known here "
            "(RFC 5280 section 4.2)"
        )


def _flaws(what: str, signer: x509.Certificate, at: datetime) -> Iterator[str]:
    end, begin = signer.not_valid_after_utc, signer.not_valid_before_utc
    if at > end:
        late = (at - end).total_seconds()
        yield f"{what} that it names expired {late:.0f} s ago, at {end:%FT%TZ} by our clock"
    if at < begin:
        early = (begin - at).total_seconds()
        yield f"{what} that it names begins in {early:.0f} s, at {begin:%FT%TZ} by our clock"
    key = signer.public_key()
    if not isinstance(key, _SIGNERS):
        yield f"{what} that it names signs with a key that is neither ECDSA nor RSA"
    for extension in signer.extensions:
        if isinstance(extension.value, x509.NameConstraints) and _is_about_uris(extension.value):
            yield (
                f"{what} that it names has name constraints on URIs, which cannot be evaluated "
                "here and so are never taken as met (RFC 5280 section 4.2.1.10)"
            )


def _is_about_uris(constraints: x509.NameConstraints) -> bool:
    trees = (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ()))
    return any(isinstance(each, x509.UniformResourceIdentifier) for each in trees)
