"""Read certificates at the border to the foreign parser.

The parser raises many kinds of errors, and where an application turns warnings into errors these
too. Whatever it is, callers see one kind, so that a hostile certificate is always a refusal.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "CertificateError",
    "has_common_name",
    "load_der",
    "load_pem",
    "read_extensions",
]

MAX_CERTIFICATE_BYTES: Final = 64 * 1024
_PEM_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_PEM_END: Final = b"-----END CERTIFICATE-----"


class CertificateError(ValueError):
    """A certificate that cannot be read; callers put it into an error of the family."""


def load_der(der: bytes) -> x509.Certificate:
    """Read one DER certificate and no byte more.

    Raises:
        CertificateError: It is none.
    """
    try:
        return x509.load_der_x509_certificate(der)
    except Exception as error:
        raise CertificateError("not a certificate in DER") from error


def load_pem(pem: bytes) -> list[x509.Certificate]:
    """Read every PEM certificate; text and other blocks around them are passed over.

    Raises:
        CertificateError: There is none, or one that cannot be read; a block that is cut off
            counts, which the parser alone would pass over.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except Exception as error:
        raise CertificateError("not a row of certificates in PEM") from error
    if not len(certificates) == pem.count(_PEM_BEGIN) == pem.count(_PEM_END):
        raise CertificateError("a certificate in PEM is cut off")
    return certificates


def read_extensions(certificate: x509.Certificate) -> x509.Extensions:
    """Read the extensions, all of them: a malformed or repeated one never reads as absent.

    Raises:
        CertificateError: One of them cannot be read, or is there twice (R-X509-11).
    """
    try:
        return certificate.extensions
    except Exception as error:
        raise CertificateError("extensions that cannot be read, or one of them twice") from error


def has_common_name(certificate: x509.Certificate) -> bool:
    """Tell whether the subject has a CN, for an explanation and never for a decision."""
    try:
        return bool(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    except Exception:  # noqa: BLE001 - a subject that cannot be read has no CN to speak of
        return False
