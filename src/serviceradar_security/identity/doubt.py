"""Say why a chain is not trusted, after the validator has refused it.

Facts for a person, and never a verdict: nothing here can let anybody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from serviceradar_security.identity.authorities import Authorities, whose
from serviceradar_security.identity.leaf import MIN_RSA_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from serviceradar_security.identity.bundle import TrustBundle

__all__ = ["why_untrusted"]

_LOOKED_AT: Final = 64  # authorities; a refusal must not cost more than the verdict


def why_untrusted(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    bundle: TrustBundle | Authorities,
    at: datetime,
) -> str:
    """Name the likeliest cause, in a sentence with its facts."""
    is_plain = isinstance(bundle, Authorities)
    anchors = bundle.authorities[:_LOOKED_AT]
    try:
        found = _causes(leaf, intermediates, anchors, at, is_plain=is_plain)
        cause = next(found, "")
    except Exception:  # noqa: BLE001 - names and keys of foreign certificates fail in many ways
        cause = ""
    count = len(bundle.authorities)
    ours = "the one authority" if count == 1 else f"any of the {count} authorities"
    return cause or (
        f"it does not lead to {ours} of {whose(bundle)}: it was signed by another, or an "
        "intermediate is missing or not allowed to sign it"
    )


def _causes(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    at: datetime,
    *,
    is_plain: bool,
) -> Iterator[str]:
    # Only what the leaf and its issuers name: surplus certificates explain nothing.
    named, chain = {leaf.issuer.public_bytes()}, [leaf]
    left = [(each, each.subject.public_bytes()) for each in intermediates]
    while found := [pair for pair in left if pair[1] in named]:
        left = [pair for pair in left if pair[1] not in named]
        chain += [each for each, _ in found]
        named |= {each.issuer.public_bytes() for each, _ in found}
    anchors = [each for each in authorities if each.subject.public_bytes() in named]
    for what, signers in (("an intermediate", chain[1:]), ("the authority", anchors)):
        for signer in signers:
            yield from _flaws(f"{what} that it names", signer, at)
            yield from _usage_flaws(f"{what} that it names", signer, is_plain=is_plain)
    for each in (*chain, *anchors):
        for extension in each.extensions:
            if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
                yield (
                    f"it needs the critical extension {extension.oid.dotted_string}, which is not "
                    "known here (RFC 5280 section 4.2)"
                )


def _flaws(what: str, signer: x509.Certificate, at: datetime) -> Iterator[str]:
    end, begin = signer.not_valid_after_utc, signer.not_valid_before_utc
    if at > end:
        late = (at - end).total_seconds()
        yield f"{what} expired {late:.0f} s ago, at {end:%FT%TZ} by our clock"
    if at < begin:
        early = (begin - at).total_seconds()
        yield f"{what} begins in {early:.0f} s, at {begin:%FT%TZ} by our clock"
    key = signer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            yield f"{what} has an RSA key of {key.key_size} bits: at least {MIN_RSA_BITS}"
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        yield f"{what} signs with a key that is neither ECDSA nor RSA"
    values = {type(each.value): each.value for each in signer.extensions}
    constraints = values.get(x509.NameConstraints)
    if isinstance(constraints, x509.NameConstraints) and _is_about_uris(constraints):
        yield (
            f"{what} has name constraints on URIs, which cannot be evaluated here and so are "
            "never taken as met (RFC 5280 section 4.2.1.10)"
        )


def _usage_flaws(what: str, signer: x509.Certificate, *, is_plain: bool) -> Iterator[str]:
    """Name a missing keyCertSign; plain TLS asks for it only where there is a key usage."""
    found = [each.value for each in signer.extensions if isinstance(each.value, x509.KeyUsage)]
    signs = found[0].key_cert_sign if found else is_plain
    if not signs:
        rule = "RFC 5280 section 4.2.1.3" if is_plain else "X509-SVID section 4.3"
        yield f"{what} lacks the key usage keyCertSign ({rule})"


def _is_about_uris(constraints: x509.NameConstraints) -> bool:
    trees = (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ()))
    return any(isinstance(each, x509.UniformResourceIdentifier) for each in trees)
