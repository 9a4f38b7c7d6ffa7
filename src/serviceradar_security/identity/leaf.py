"""The leaf rules: what makes a certificate an X.509-SVID, for our own and for a peer's.

Standard: X509-SVID sections 2, 3, 4 and 5.2. One function, so that there is no second opinion.
The Subject and its CN play no part (R-X509-03), be it empty, and the names marked critical, or
not (R-X509-10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, PublicKeyAlgorithmOID

from serviceradar_security.errors import PeerVerificationError, SpiffeIdError
from serviceradar_security.identity.certificate import (
    CertificateError,
    has_common_name,
    read_extensions,
)
from serviceradar_security.identity.spiffe_id import MAX_SPIFFE_ID_BYTES, SpiffeId

if TYPE_CHECKING:
    from collections.abc import Collection

    from serviceradar_security.errors import VerificationReason
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = [
    "MAX_RSA_BITS",
    "MIN_RSA_BITS",
    "Purpose",
    "check_leaf",
    "check_purpose",
    "check_tls_leaf",
    "claimed_id",
]

Purpose = Literal["client", "server"]
"""The role in which a peer uses its certificate."""

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_PURPOSES: Final = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}
_TLS_RULE: Final = "a rule of this library: let the peer have a certificate of its own"
_KEY_RULE: Final = "a rule of this library: let the peer have a new key"
_KEYS: Final = (
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
    PublicKeyAlgorithmOID.ED25519,
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5,
)


def check_leaf(certificate: x509.Certificate) -> SpiffeId:
    """Check the leaf rules and give the SPIFFE ID, which is not yet proven.

    Raises:
        PeerVerificationError: With the rule that is broken in `reason`.
    """
    extensions = _read_extensions(certificate)
    _check_dates(certificate)
    spiffe_id = _read_spiffe_id(certificate, extensions.get(x509.SubjectAlternativeName))
    if not spiffe_id.path:  # R-X509-04
        _refuse(spiffe_id, "not_a_workload_id", "names a trust domain and not a workload")
    constraints = extensions.get(x509.BasicConstraints)
    # Absent means false (RFC 5280 section 4.2.1.9).
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:  # R-X509-05
        _refuse(spiffe_id, "is_ca", "is on a CA certificate: that never authenticates")
    # Critical or not: no implementation asks for the mark that issuers must set (R-X509-08).
    usage = extensions.get(x509.KeyUsage)
    if not isinstance(usage, x509.KeyUsage):
        _refuse(spiffe_id, "key_usage", "has no key usage: digitalSignature is required")
    if usage.key_cert_sign or usage.crl_sign:  # R-X509-06
        _refuse(spiffe_id, "key_usage", "may sign certificates or CRLs: a workload must not")
    if not usage.digital_signature:  # R-X509-07
        _refuse(spiffe_id, "key_usage", "lacks the key usage digitalSignature")
    _check_key(certificate, spiffe_id)
    return spiffe_id


def check_tls_leaf(certificate: x509.Certificate, owner: str) -> None:
    """Check what a leaf without a SPIFFE ID must be: readable, of no authority, with a fit key.

    The rules of X.509-SVIDs are not asked of it; where a SPIFFE ID is claimed, `check_leaf` is.

    Args:
        certificate: The leaf.
        owner: Whose it is, for messages.

    Raises:
        PeerVerificationError: With the rule that is broken in `reason`.
    """
    extensions = _read_extensions(certificate)
    _check_dates(certificate)
    constraints = extensions.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        _refuse(owner, "is_ca", "is a CA certificate: that never authenticates", _TLS_RULE)
    usage = extensions.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
        rule = "RFC 8446 section 4.4.2.2"
        _refuse(owner, "key_usage", "lacks the key usage digitalSignature", rule)
    _check_key(certificate, owner)


def check_purpose(
    certificate: x509.Certificate,
    owner: SpiffeId | str,
    purpose: Purpose,
) -> None:
    """Check that an extended key usage, where there is one, allows the role (R-X509-09)."""
    usage = _read_extensions(certificate).get(x509.ExtendedKeyUsage)
    if isinstance(usage, x509.ExtendedKeyUsage) and _PURPOSES[purpose] not in usage:
        _refuse(
            owner,
            "purpose",
            f"may not act as a {purpose}: its extended key usage lacks {purpose}Auth",
            "X509-SVID section 4" if isinstance(owner, SpiffeId) else "RFC 5280 section 4.2.1.12",
        )


def claimed_id(
    certificate: x509.Certificate,
    trust_domains: Collection[TrustDomain],
) -> tuple[SpiffeId | None, str]:
    """Give the SPIFFE ID that a certificate of plain TLS claims to have, or say why it claims none.

    Only an ID of one of the trust domains is a claim, and only if it is the one URI name: any
    other is a text that some authority wrote (R-X509-01).

    Raises:
        PeerVerificationError: The certificate's extensions cannot be read.
    """
    if not trust_domains:
        return None, "no trust_domain is set whose SPIFFE IDs could be taken"
    names = _read_extensions(certificate).get(x509.SubjectAlternativeName)
    uris = (
        names.get_values_for_type(x509.UniformResourceIdentifier)
        if isinstance(names, x509.SubjectAlternativeName)
        else []
    )
    if len(uris) != 1:
        count = f"{len(uris)} URI names" if uris else "no URI name"
        return None, f"the certificate has {count}, where one is the SPIFFE ID"
    try:
        claimed = SpiffeId.parse(uris[0])
    except SpiffeIdError:
        return None, "the URI name of the certificate is no SPIFFE ID"
    if claimed.trust_domain not in trust_domains:
        taken = ", ".join(sorted(each.name for each in trust_domains))
        return None, f"the certificate names {claimed}, and only IDs of {taken} are taken"
    return claimed, ""


def _read_extensions(certificate: x509.Certificate) -> dict[type, x509.ExtensionType]:
    try:
        return {type(each.value): each.value for each in read_extensions(certificate)}  # R-X509-11
    except CertificateError as error:
        raise PeerVerificationError(
            f"the certificate has {error}",
            reason="malformed",
        ) from error


def _check_dates(certificate: x509.Certificate) -> None:
    """Refuse dates that are none, as of the year 0: reading them later would raise."""
    try:
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except Exception as error:
        raise PeerVerificationError(
            "the certificate has a validity that cannot be read",
            reason="malformed",
        ) from error


def _read_spiffe_id(
    certificate: x509.Certificate,
    names: x509.ExtensionType | None,
) -> SpiffeId:
    # Names of other types play no part (R-X509-03).
    uris = (
        names.get_values_for_type(x509.UniformResourceIdentifier)
        if isinstance(names, x509.SubjectAlternativeName)
        else ()
    )
    if not uris:
        raise PeerVerificationError(
            "the certificate has no SPIFFE ID: it needs one as its URI subject alternative name"
            f"{_not_the_name(certificate)} (X509-SVID section 2)",
            reason="no_spiffe_id",
        )
    if len(uris) > 1:  # R-X509-01: counted before looking at schemes
        raise PeerVerificationError(
            f"the certificate has {len(uris)} URI names: an X.509-SVID has exactly one "
            "(X509-SVID section 2)",
            reason="several_uri_sans",
        )
    if len(uris[0]) > MAX_SPIFFE_ID_BYTES:  # R-ID-10, R-X509-25
        raise PeerVerificationError(
            f"the certificate's URI name has {len(uris[0])} bytes: a SPIFFE ID has at most "
            f"{MAX_SPIFFE_ID_BYTES}",
            reason="limit",
        )
    try:
        return SpiffeId.parse(uris[0])  # R-X509-02
    except SpiffeIdError as error:
        raise PeerVerificationError(
            f"the certificate's URI name is no SPIFFE ID{_not_the_name(certificate)}: {error}",
            reason="no_spiffe_id",
        ) from error


def _not_the_name(certificate: x509.Certificate) -> str:
    return ", and its CN is never an identity" if has_common_name(certificate) else ""


def _check_key(certificate: x509.Certificate, owner: SpiffeId | str) -> None:
    """Refuse keys that prove nothing any more, and RSA keys that cost minutes (R-X509-25, -30)."""
    algorithm = certificate.public_key_algorithm_oid
    if algorithm not in _KEYS:
        _refuse(
            owner,
            "weak_key",
            "has a key that is neither ECDSA, RSA nor Ed25519",
            _KEY_RULE,
        )
    if algorithm != PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5:
        return
    try:
        key = certificate.public_key()
    except Exception as error:
        raise PeerVerificationError(
            f"the certificate of {owner} has an RSA key that cannot be read",
            reason="malformed",
            spiffe_id=_id(owner),
        ) from error
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        _refuse(
            owner,
            "weak_key",
            f"has an RSA key of {bits} bits, where {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed",
            _KEY_RULE,
        )


def _id(owner: SpiffeId | str) -> SpiffeId | None:
    return owner if isinstance(owner, SpiffeId) else None


def _refuse(
    owner: SpiffeId | str,
    reason: VerificationReason,
    text: str,
    rule: str = "X509-SVID section 4",
) -> NoReturn:
    raise PeerVerificationError(
        f"the certificate of {owner} {text} ({rule})",
        reason=reason,
        spiffe_id=_id(owner),
    )
