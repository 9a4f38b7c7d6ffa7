"""The leaf rules: what makes a certificate an X.509-SVID, for our own and for a peer's.

Standard: X509-SVID sections 2, 3, 4 and 5.2. One function, so that there is no second opinion.
The Subject and its CN play no part (R-X509-03).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NoReturn

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from serviceradar_security.errors import PeerVerificationError, SpiffeIdError
from serviceradar_security.identity.certificate import (
    CertificateError,
    has_common_name,
    read_extensions,
)
from serviceradar_security.identity.spiffe_id import MAX_SPIFFE_ID_BYTES, SpiffeId

if TYPE_CHECKING:
    from serviceradar_security.errors import VerificationReason

__all__ = ["Purpose", "check_leaf", "check_purpose"]

Purpose = Literal["client", "server"]
"""The role in which a peer uses its certificate."""

_PURPOSES: Final = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}


def check_leaf(certificate: x509.Certificate) -> SpiffeId:
    """Check the leaf rules and give the SPIFFE ID, which is not yet proven.

    Raises:
        PeerVerificationError: With the rule that is broken in `reason`.
    """
    try:
        extensions = read_extensions(certificate)  # R-X509-11
    except CertificateError as error:
        raise PeerVerificationError(
            f"the certificate has {error}",
            reason="malformed",
        ) from error
    spiffe_id = _read_spiffe_id(certificate, extensions)
    if not spiffe_id.path:  # R-X509-04
        _refuse(spiffe_id, "not_a_workload_id", "names a trust domain and not a workload")
    _check_constraints(extensions, spiffe_id)
    return spiffe_id


def check_purpose(certificate: x509.Certificate, spiffe_id: SpiffeId, purpose: Purpose) -> None:
    """Check that an extended key usage, where there is one, allows the role (R-X509-09)."""
    wanted = _PURPOSES[purpose]
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if wanted not in usage:
        _refuse(
            spiffe_id,
            "purpose",
            f"may not act as a {purpose}: its extended key usage lacks {purpose}Auth",
        )


def _read_spiffe_id(certificate: x509.Certificate, extensions: x509.Extensions) -> SpiffeId:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if not uris:
        raise PeerVerificationError(
            "the certificate has no SPIFFE ID: it needs one as its URI subject alternative name"
            + (", and its CN is never an identity" if has_common_name(certificate) else "")
            + " (X509-SVID section 2)",
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
            f"the certificate's URI name is no SPIFFE ID: {error}",
            reason="no_spiffe_id",
        ) from error


def _check_constraints(extensions: x509.Extensions, spiffe_id: SpiffeId) -> None:
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:  # R-X509-05
            _refuse(spiffe_id, "is_ca", "is on a CA certificate: that never authenticates")
    except x509.ExtensionNotFound:
        pass  # absent means false (RFC 5280 section 4.2.1.9)
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        _refuse(spiffe_id, "key_usage", "has no key usage: digitalSignature is required")
    if usage.key_cert_sign or usage.crl_sign:  # R-X509-06
        _refuse(spiffe_id, "key_usage", "may sign certificates or CRLs: a workload must not")
    if not usage.digital_signature:  # R-X509-07
        _refuse(spiffe_id, "key_usage", "lacks the key usage digitalSignature")


def _refuse(spiffe_id: SpiffeId, reason: VerificationReason, text: str) -> NoReturn:
    raise PeerVerificationError(
        f"the certificate of {spiffe_id} {text} (X509-SVID section 4)",
        reason=reason,
        spiffe_id=spiffe_id,
    )
