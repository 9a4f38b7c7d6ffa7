"""From the bytes of a set of files to a snapshot, validated whole before anyone sees it.

The own bundle belongs to the trust domain of the SVID, other bundles to the one that the user or
the document names: none is ever inferred from a file name or a certificate (R-BUNDLE-12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from cryptography import x509

from serviceradar_security.errors import (
    PeerVerificationError,
    SpiffeIdError,
    TrustBundleError,
    X509SvidError,
)
from serviceradar_security.identity.bundle import TrustBundle, read_bundle_map
from serviceradar_security.identity.bundle_document import DocumentError, load_object
from serviceradar_security.identity.certificate import (
    CertificateError,
    load_pem,
    read_extensions,
)
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.leaf import check_leaf
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import verify_x509_svid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from serviceradar_security.identity.spiffe_id import SpiffeId
    from serviceradar_security.workload.files import IdentityFile, IdentityFiles

__all__ = ["FileMaterial", "Held", "UnusableFileError", "check_not_empty", "read_material"]

_ANEW: Final = "write a certificate and its key of one issue, as PEM, the leaf first"
_PROVE: Final = (
    "write the bundle that has the authority of the certificate; peers with another bundle than "
    "this one may accept it, and those with this one refuse it"
)
_BUNDLE: Final = (
    "write the authorities of this one trust domain, as PEM or a SPIFFE bundle document"
)


class UnusableFileError(Exception):
    """What a file holds cannot be used; with what to do about it."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


SnapshotT = TypeVar("SnapshotT")


@dataclass(frozen=True, slots=True)
class Held:
    """What a record says of the identity in a snapshot.

    Attributes:
        title: What to call it in a message.
        spiffe_id: Its SPIFFE ID; None if it has none.
        not_before: Begin of its validity.
        not_after: End of its validity.
    """

    title: str
    spiffe_id: SpiffeId | None
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class FileMaterial(Generic[SnapshotT]):
    """What a set of files holds.

    Attributes:
        context: The snapshot.
        held: The identity in it.
        doubt: Why peers may refuse the identity all the same; empty if nothing is known.
        advice: What to do about the doubt.
    """

    context: SnapshotT
    held: Held
    doubt: str = ""
    advice: str = ""


def check_not_empty(by_file: Mapping[IdentityFile, bytes]) -> None:
    """Refuse an empty file: one that is being written looks so for a moment.

    Raises:
        UnusableFileError: One is empty.
    """
    for file, data in by_file.items():
        if not data.strip():
            _refuse(f"the {file.name} is empty", "see that what writes it is running, and can")


def read_material(
    files: IdentityFiles,
    contents: Sequence[bytes],
    *,
    at: datetime,
    held: X509Context | None = None,
) -> FileMaterial[X509Context]:
    """Read the contents of all files.

    Args:
        files: Which files.
        contents: Their bytes, in the same order.
        at: The time at which the chain is held against its own bundle.
        held: What was read before, which no older bundle document replaces.

    Raises:
        UnusableFileError: One of them cannot be used: nothing of any is.
    """
    by_file = dict(zip(files, contents, strict=True))
    check_not_empty(by_file)
    svid = _read_svid(files, by_file)
    bundles = _read_bundles(files, by_file, svid.spiffe_id.trust_domain)
    _check_not_older(bundles, held)
    context = X509Context(svids=[svid], bundles=bundles)
    doubt = _doubt(files, context, at)
    facts = Held(str(svid.spiffe_id), svid.spiffe_id, svid.not_before, svid.not_after)
    return FileMaterial(context, facts, doubt, _PROVE if doubt else "")


def _check_not_older(
    bundles: Mapping[TrustDomain, TrustBundle],
    held: X509Context | None,
) -> None:
    """Never replace a bundle document by an older one (R-BUNDLE-09)."""
    for trust_domain, bundle in bundles.items():
        before = None if held is None else held.bundles.get(trust_domain)
        if before is not None and not bundle.supersedes(before):
            _refuse(
                f"the bundle document of {trust_domain} has the spiffe_sequence "
                f"{bundle.sequence}, which is older than the {before.sequence} in force",
                "write the newest bundle; to go back on purpose, open the source anew",
            )


def _read_svid(files: IdentityFiles, by_file: dict[IdentityFile, bytes]) -> X509Svid:
    certificate, key = files.certificate, files.key
    try:
        spiffe_id = check_leaf(load_pem(by_file[certificate])[0])
    except (CertificateError, PeerVerificationError) as error:
        raise UnusableFileError(f"the {certificate.name}: {error}", _ANEW) from error
    wanted = files.trust_domain
    if wanted is not None and spiffe_id.trust_domain != wanted:
        _refuse(
            f"the {certificate.name} is for {spiffe_id}, which is not of {wanted}",
            "give the files of an identity of that trust domain, or correct trust_domain",
        )
    try:
        return X509Svid.from_pem(by_file[certificate], by_file[key], hint=files.hint)
    except X509SvidError as error:
        raise UnusableFileError(
            f"the {key.name} with the {certificate.name}: {error}",
            _ANEW,
        ) from error


def _read_bundles(
    files: IdentityFiles,
    by_file: dict[IdentityFile, bytes],
    own: TrustDomain,
) -> dict[TrustDomain, TrustBundle]:
    bundles: dict[TrustDomain, TrustBundle] = {}
    if files.bundle is not None:
        bundles = _read_own(files.bundle, by_file[files.bundle], own)
    for file in files.federated:
        trust_domain = file.trust_domain or own
        if trust_domain in bundles:
            _refuse(
                f"the {file.name} and another file both hold the bundle of {trust_domain}",
                "give the bundle of each trust domain once",
            )
        bundles[trust_domain] = _read_bundle(file, by_file[file], trust_domain)
    if own not in bundles:
        _refuse(
            f"no file is for the bundle of {own}, which the {files.certificate.name} is of",
            "give it as bundle_file",
        )
    return bundles


def _read_own(
    file: IdentityFile,
    data: bytes,
    own: TrustDomain,
) -> dict[TrustDomain, TrustBundle]:
    if not _is_bundle_map(file, data):
        return {own: _read_bundle(file, data, own)}
    try:
        bundles = read_bundle_map(data)
    except TrustBundleError as error:
        raise UnusableFileError(f"the {file.name}: {error}", _BUNDLE) from error
    if own not in bundles:
        _refuse(
            f"the {file.name} is a bundle map without our own {own}",
            "add the bundle of the identity's own trust domain",
        )
    return bundles


def _read_bundle(file: IdentityFile, data: bytes, trust_domain: TrustDomain) -> TrustBundle:
    try:
        if not _is_json(data):
            bundle = TrustBundle.from_pem(trust_domain, data)
            _check_not_pooled(file, bundle)
            return bundle
        if _is_bundle_map(file, data):
            _refuse(
                f"the {file.name} is a bundle map, where one bundle belongs",
                "give a bundle map as bundle_file",
            )
        return TrustBundle.from_jwks(trust_domain, data)
    except TrustBundleError as error:
        raise UnusableFileError(f"the {file.name}: {error}", _BUNDLE) from error


def _check_not_pooled(file: IdentityFile, bundle: TrustBundle) -> None:
    """Refuse the authority of another trust domain: it could forge identities of this one.

    Tools can be told to write the authorities of all federated domains into one file. Those that
    say of which domain they are give that away; bundles are never merged (R-BUNDLE-13).
    """
    for authority in bundle.authorities:
        other = _named_domain(authority)
        if other is not None and other != bundle.trust_domain:
            _refuse(
                f"the {file.name} is for {bundle.trust_domain} and has an authority of {other}, "
                "which could forge identities",
                "keep the bundles of trust domains apart, in bundle_files or a bundle map (in "
                "spiffe-helper: include_federated_domains = false)",
            )


def _named_domain(authority: x509.Certificate) -> TrustDomain | None:
    try:
        names = read_extensions(authority).get_extension_for_class(x509.SubjectAlternativeName)
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        (uri,) = (each for each in uris if each.startswith("spiffe://"))
        return TrustDomain.parse(uri)
    except (CertificateError, x509.ExtensionNotFound, SpiffeIdError, ValueError):
        return None  # it does not say


def _is_json(data: bytes) -> bool:
    return data.lstrip().startswith(b"{")


def _is_bundle_map(file: IdentityFile, data: bytes) -> bool:
    if not _is_json(data):
        return False
    try:
        members = load_object(data)
    except DocumentError as error:
        raise UnusableFileError(f"the {file.name}: {error}", _BUNDLE) from error
    if "trust_domains" in members and "keys" in members:
        _refuse(f"the {file.name} is both a bundle map and a bundle document", _BUNDLE)
    return "trust_domains" in members


def _doubt(files: IdentityFiles, context: X509Context, at: datetime) -> str:
    """Say why its own bundle does not prove an identity; peers decide (R-X509-29)."""
    try:
        verify_x509_svid(context.default.chain_der, context.bundles, at=at, purpose=None)
    except PeerVerificationError as error:
        if error.reason not in ("expired", "not_yet_valid"):  # the watch tells of these
            return f"the {files.certificate.name} is not proven by the bundle beside it: {error}"
    return ""


def _refuse(text: str, advice: str) -> NoReturn:
    raise UnusableFileError(text, advice)
