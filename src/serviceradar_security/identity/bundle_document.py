"""SPIFFE bundle documents: a JWK set in, its X.509 authorities and its two numbers out.

Standard: Trust Domain and Bundle section 4, X509-SVID section 6. The document is refused whole
only where it is no bundle document at all; an entry that cannot be used costs only itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography import x509

from serviceradar_security.identity.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    load_der,
    read_extensions,
)

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import TrustDomain

__all__ = ["BundleDocument", "DocumentError", "load_object", "read_document"]

_LOG: Final = logging.getLogger("serviceradar_security.identity")
_KEY_TYPES: Final = ("EC", "RSA", "OKP")


class DocumentError(ValueError):
    """A text that is no such document; callers put it into an error of the family."""


@dataclass(frozen=True, slots=True)
class BundleDocument:
    """What a bundle document says of X.509.

    Attributes:
        authorities: The usable authorities, in the order of the document.
        sequence: The ``spiffe_sequence``, or None (Trust Domain and Bundle section 4.1.1).
        refresh_hint: The ``spiffe_refresh_hint`` in seconds, or None (section 4.1.2).
    """

    authorities: tuple[x509.Certificate, ...]
    sequence: int | None
    refresh_hint: int | None


class _Ambiguous:
    """A JSON object that names a member twice: parsers disagree on what it says (RFC 7517 4)."""


def load_object(document: bytes) -> dict[str, object]:
    """Read JSON in UTF-8 that is one object.

    Raises:
        DocumentError: It is not, or the object names a member twice.
    """
    try:
        parsed = json.loads(
            document.decode(),
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        raise DocumentError("it is not JSON in UTF-8") from error
    if isinstance(parsed, _Ambiguous):
        raise DocumentError("it names a member twice")
    if not isinstance(parsed, dict):
        raise DocumentError("it is not a JSON object")
    return parsed


def read_document(trust_domain: TrustDomain, members: object) -> BundleDocument:
    """Read the members of a bundle document; unknown ones are ignored (R-BUNDLE-11).

    Args:
        trust_domain: Whose authorities these are: the document does not say (R-BUNDLE-12).
        members: The document, as parsed by `load_object`.

    Raises:
        DocumentError: It is no object with an array ``keys`` (R-BUNDLE-01).
    """
    keys = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(members, dict) or not isinstance(keys, list):
        raise DocumentError("it has no array 'keys' (Trust Domain and Bundle section 4.1.3)")
    authorities: list[x509.Certificate] = []
    causes: Counter[str] = Counter()
    for entry in keys:
        found = _authority(entry)
        if isinstance(found, x509.Certificate):
            authorities.append(found)
        elif found:
            causes[found] += 1
    for cause, count in causes.items():  # one line each, however many there are
        _LOG.warning(
            "%d of the entries of the bundle document of %s are left out: %s",
            count,
            trust_domain,
            cause,
        )
    return BundleDocument(
        authorities=tuple(authorities),  # R-BUNDLE-02
        sequence=_number(trust_domain, members, "spiffe_sequence", least=0),  # R-BUNDLE-09
        # Zero and less count as absent (R-BUNDLE-10).
        refresh_hint=_number(trust_domain, members, "spiffe_refresh_hint", least=1),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object] | _Ambiguous:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _Ambiguous()


def _number(
    trust_domain: TrustDomain,
    members: dict[str, object],
    name: str,
    *,
    least: int,
) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        _LOG.warning(
            "%s in the bundle document of %s is no integer: it counts as absent", name, trust_domain
        )
        return None
    return value if value >= least else None


def _authority(entry: object) -> x509.Certificate | str:
    """Read one JWK, or say why it is left out; empty for what this library does not use.

    Its ``kid`` plays no part.
    """
    if isinstance(entry, _Ambiguous):
        return "it names a member twice"
    if not isinstance(entry, dict) or entry.get("use") != "x509-svid":  # R-BUNDLE-04, R-BUNDLE-08
        return ""
    if entry.get("kty") not in _KEY_TYPES:  # R-BUNDLE-03
        return ""
    chain = entry.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):  # R-BUNDLE-05
        return ""
    # R-BUNDLE-06, R-BUNDLE-07: the values after the first are not even parsed.
    return _ca_certificate(chain[0]) or "the first x5c value is not the base64 of a CA certificate"


def _ca_certificate(text: str) -> x509.Certificate | None:
    try:
        der = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(der) > MAX_CERTIFICATE_BYTES:
        return None
    try:
        certificate = load_der(der)
        constraints = read_extensions(certificate).get_extension_for_class(x509.BasicConstraints)
    except (CertificateError, x509.ExtensionNotFound):
        return None
    return certificate if constraints.value.ca else None
