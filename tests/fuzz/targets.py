"""The targets: arbitrary bytes in, and what must hold whatever the bytes are.

A target returns if the bytes were refused with the error that the call documents, or accepted
with every invariant intact. Anything else leaves it as an exception. Nothing here reads a clock.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.errors import (
    PeerVerificationError,
    SpiffeIdError,
    TrustBundleError,
    WorkloadApiError,
    X509SvidError,
)
from serviceradar_security.identity.bundle import TrustBundle, read_bundle_map
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import verify_x509_svid
from serviceradar_security.workload.snapshot import SnapshotReader
from tests.fuzz.checks import call as _call
from tests.fuzz.checks import hold as _hold
from tests.fuzz.layout import LOCAL, NOW, SEPARATOR
from tests.fuzz.material import BUNDLES, GOOD_CHAIN, KNOWN_LEAVES, ROOT_KEYS, public_key
from tests.fuzz.overlay_targets import fuzz_overlay, fuzz_toml, fuzz_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serviceradar_security.identity.leaf import Purpose

__all__ = [
    "TARGETS",
    "Target",
    "fuzz_bundle",
    "fuzz_der_chain",
    "fuzz_jwks",
    "fuzz_overlay",
    "fuzz_spiffe_id",
    "fuzz_svid_response",
    "fuzz_toml",
    "fuzz_x509_svid",
    "fuzz_yaml",
]

_DOMAIN_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_PATH_CHARACTERS: Final = _DOMAIN_CHARACTERS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DER_BEGIN: Final = b"\x30"


def fuzz_spiffe_id(data: bytes) -> None:
    """Read an ID and a trust domain: accepted if and only if the grammar says so, and unchanged."""
    text = data.decode("utf-8", "surrogateescape")
    name, slash, path = text.removeprefix("spiffe://").partition("/")
    segments = path.split("/") if slash else []
    is_domain = 0 < len(name) <= 255 and _DOMAIN_CHARACTERS.issuperset(name)
    is_path = all(
        each not in {"", ".", ".."} and _PATH_CHARACTERS.issuperset(each) for each in segments
    )
    is_id = text.startswith("spiffe://") and is_domain and is_path
    parsed = _call(SpiffeIdError, lambda: SpiffeId.parse(text))
    _hold((parsed is not None) == is_id, "the grammar and the verdict differ")
    domain = _call(SpiffeIdError, lambda: TrustDomain.parse(text))
    is_name = is_domain and not slash and not text.startswith("spiffe://")
    _hold((domain is not None) == (is_id or is_name), "the grammar and the verdict differ")
    if domain is not None:
        _hold(domain.name == name, "the trust domain changed")
    if parsed is None:
        return
    _hold(str(parsed) == text, "the ID changed")
    _hold(parsed == SpiffeId.parse(str(parsed)), "the ID is not equal to itself")
    _hold(parsed.segments == tuple(segments), "the segments differ")
    _hold(parsed.trust_domain == domain, "the trust domains differ")
    built = _call(SpiffeIdError, lambda: SpiffeId.of(parsed.trust_domain, *segments))
    _hold((built == parsed) == (len(text) <= 2048), "parse and of differ")


def fuzz_der_chain(data: bytes) -> None:
    """Verify a chain: the IDs of known leaves come out, and nothing else is ever accepted."""
    chain = data.split(SEPARATOR) if data else []
    accepted = _verdict(chain, BUNDLES)
    if accepted is None:
        return
    content = x509.load_der_x509_certificate(chain[0]).tbs_certificate_bytes
    _hold(KNOWN_LEAVES.get(content) == str(accepted), "a chain that nobody signed is accepted")
    for purpose in ("client", "server"):
        proven = _verdict(chain, BUNDLES, purpose=purpose)
        _hold(proven in {None, accepted}, "the ID depends on the purpose")
    others = {each: bundle for each, bundle in BUNDLES.items() if each != accepted.trust_domain}
    _hold(_verdict(chain, others) is None, "a foreign bundle vouches for the ID")


def fuzz_bundle(data: bytes) -> None:
    """Read a bundle as DER, at once and in a set, and as PEM: whole and unchanged, or refused."""
    bundle = _call(TrustBundleError, lambda: TrustBundle.from_der(LOCAL, data))
    text = _call(TrustBundleError, lambda: TrustBundle.from_pem(LOCAL, data))
    if bundle is not None:
        _hold(all(der in data for der in bundle.der), "an authority that nobody sent")
        _check_bundle(bundle)
    if text is not None:
        _check_bundle(text)
    later = BundleSet({}, {str(LOCAL): data})
    _hold(later.get(LOCAL) == bundle, "the same bytes read later are another bundle")
    _hold((LOCAL in later) == (bundle is not None), "a set that holds what it cannot give")
    _hold(bundle is None or not later.problems, "a good bundle is complained of")


def fuzz_jwks(data: bytes) -> None:
    """Read a bundle document or map: its authorities are CA certificates that are in it.

    Bytes that begin as DER does are put into a document of one entry, so that the certificate
    is changed and not its base64.
    """
    document = _document(data) if data.startswith(_DER_BEGIN) else data
    bundle = _call(TrustBundleError, lambda: TrustBundle.from_jwks(LOCAL, document))
    if bundle is not None:
        _check_document(bundle, json.loads(document))
    bundles = _call(TrustBundleError, lambda: read_bundle_map(document))
    if bundles is None:
        return
    members = json.loads(document)["trust_domains"]
    _hold(len(bundles) == len(members), "a trust domain came or went")
    for name, member in members.items():
        trust_domain = TrustDomain.parse(name)
        _hold(bundles[trust_domain].trust_domain == trust_domain, "a bundle under a foreign name")
        _check_document(bundles[trust_domain], member)


def fuzz_x509_svid(data: bytes) -> None:
    """Read a chain and a key: the key signs for the leaf, and both come back as they were."""
    chain, _, key = data.partition(SEPARATOR)
    for svid in (
        _call(X509SvidError, lambda: X509Svid.parse(chain, key)),
        _call(X509SvidError, lambda: X509Svid.from_pem(chain, key)),
        _call(
            X509SvidError,
            lambda: X509Svid.from_pem(_pem("CERTIFICATE", chain), _pem("PRIVATE KEY", key)),
        ),
    ):
        if svid is not None:
            _check_svid(svid)
    parsed = _call(X509SvidError, lambda: X509Svid.parse(chain, key))
    if parsed is not None:
        _hold(b"".join(parsed.chain_der) == chain, "the chain changed")


def fuzz_svid_response(data: bytes) -> None:
    """Read a message of the Workload API: whole identities and bundles, or refused.

    Bytes with separators are put into a message field by field, so that the contents are
    changed and not the lengths around them.
    """
    message = _message(data.split(SEPARATOR)) if SEPARATOR in data else data
    reader = SnapshotReader()
    first = _call(WorkloadApiError, lambda: reader.read(message, at=NOW))
    again = _call(WorkloadApiError, lambda: reader.read(message, at=NOW))
    if first is None or again is None:
        _hold(first is again, "the same message is refused only once")
        return
    _hold(first.context == again.context, "the same message reads differently the second time")
    _hold(first.warnings == again.warnings, "the same message has other flaws the second time")
    context = first.context
    _hold(context.default is context.svids[0], "the default is not the first")
    _hold(all(each.isprintable() for each in first.warnings), "a warning of several lines")
    for svid in context.svids:
        _check_svid(svid)
        _hold(svid.spiffe_id.trust_domain in context.bundles, "an identity without a bundle")
        _hold(b"".join(svid.chain_der) in message, "a chain that nobody sent")
    for trust_domain, bundle in context.bundles.items():
        _hold(bundle.trust_domain == trust_domain, "a bundle under a foreign name")
        _check_bundle(bundle)


@dataclass(frozen=True, slots=True)
class Target:
    """A target and how long its inputs may grow while it is fuzzed.

    Attributes:
        run: The function.
        max_length: In bytes. Seeds may be longer, and are replayed whole by the tests.
    """

    run: Callable[[bytes], None]
    max_length: int


TARGETS: Final[Mapping[str, Target]] = {
    "spiffe_id": Target(fuzz_spiffe_id, 4_096),
    "der_chain": Target(fuzz_der_chain, 8_192),
    "bundle": Target(fuzz_bundle, 8_192),
    "jwks": Target(fuzz_jwks, 8_192),
    "x509_svid": Target(fuzz_x509_svid, 8_192),
    "svid_response": Target(fuzz_svid_response, 8_192),
    "overlay": Target(fuzz_overlay, 2_048),
    "toml": Target(fuzz_toml, 2_048),
    "yaml": Target(fuzz_yaml, 2_048),
}


def _verdict(
    chain: Sequence[bytes],
    bundles: Mapping[TrustDomain, TrustBundle],
    *,
    purpose: Purpose | None = None,
) -> SpiffeId | None:
    return _call(
        PeerVerificationError,
        lambda: verify_x509_svid(chain, bundles, at=NOW, purpose=purpose),
    )


def _check_bundle(bundle: TrustBundle) -> None:
    """Check that a bundle is one, and that it vouches for nobody whose root is not in it."""
    authorities, pem = bundle.authorities, bundle.to_pem()
    known = _verdict(GOOD_CHAIN, {LOCAL: bundle})
    der = tuple(each.public_bytes(Encoding.DER) for each in authorities)
    _hold(der == bundle.der, "certificates and bytes differ")
    _hold(len(set(der)) == len(der), "an authority is there twice")
    again = TrustBundle.from_der(bundle.trust_domain, b"".join(der))
    _hold(again.authorities == authorities, "DER does not come back")
    text = TrustBundle.from_pem(bundle.trust_domain, pem)
    _hold(text == again and hash(text) == hash(again), "PEM does not come back")
    _hold(text.authorities == authorities, "PEM does not come back")
    if known is not None:
        keys = {_readable_key(each) for each in authorities}
        _hold(not ROOT_KEYS.isdisjoint(keys), "a bundle without the root vouches for its leaf")


def _check_document(bundle: TrustBundle, document: Mapping[str, Any]) -> None:
    """Check what was read of a bundle document against the document."""
    _check_bundle(bundle)
    entries = document["keys"]
    _hold(len(bundle.der) <= len(entries), "more authorities than entries")
    for authority in bundle.authorities:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        _hold(constraints.ca, "an authority that is no CA")
    sent = {_first_certificate(each) for each in entries}
    _hold(sent.issuperset(bundle.der), "an authority that nobody sent")
    sequence = bundle.sequence
    _hold(sequence in (None, document.get("spiffe_sequence")), "another sequence number")
    _hold(sequence is None or sequence >= 0, "a negative sequence number")
    _hold(60 <= bundle.refresh_interval <= 2**53, "an interval out of bounds")
    _hold(bundle.supersedes(bundle), "a bundle that is older than itself")


def _readable_key(certificate: x509.Certificate) -> bytes:
    try:
        return public_key(certificate)
    except Exception:  # noqa: BLE001 - a key of an unknown kind: it is not the root's
        return b""


def _check_svid(svid: X509Svid) -> None:
    """Check that the key is the leaf's and signs, and that PEM gives the same SVID."""
    ours = svid.private_key.public_key().public_bytes(
        Encoding.DER,
        PublicFormat.SubjectPublicKeyInfo,
    )
    _hold(ours == public_key(svid.leaf), "the key of another")
    _hold(bool(svid.spiffe_id.path), "an SVID without a workload")
    _hold(repr(svid).isprintable(), "a repr of several lines")
    _hold(svid.not_before.utcoffset() == svid.not_after.utcoffset(), "times of two zones")
    again = X509Svid.from_pem(*svid.to_pem(), hint=svid.hint)
    _hold(again == svid and again.spiffe_id == svid.spiffe_id, "PEM does not come back")


def _pem(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def _document(der: bytes) -> bytes:
    entry = {"use": "x509-svid", "kty": "EC", "x5c": [base64.b64encode(der).decode()]}
    return json.dumps({"keys": [entry]}).encode()


def _first_certificate(entry: object) -> bytes | None:
    chain = entry.get("x5c") if isinstance(entry, dict) else None
    try:
        return base64.b64decode(chain[0]) if isinstance(chain, list) else None
    except (IndexError, TypeError, ValueError):
        return None


def _message(fields: list[bytes]) -> bytes:
    """Put fields into a message: ID, chain, key, bundle, hint, foreign domain, its bundle."""
    spiffe_id, chain, key, bundle, hint, name, foreign, *_ = [*fields, *[b""] * 7]
    texts = [each.decode("utf-8", "replace") for each in (spiffe_id, hint, name)]
    entry = X509SVID(
        spiffe_id=texts[0],
        x509_svid=chain,
        x509_svid_key=key,
        bundle=bundle,
        hint=texts[1],
    )
    response = X509SVIDResponse(svids=[entry], federated_bundles={texts[2]: foreign})
    return response.SerializeToString()
