"""The verdict: one mutation a case, each with the reason it must have (R-X509-01 to -25)."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import PeerVerificationError, VerificationReason
from serviceradar_security.identity.bundle import MAX_CERTIFICATE_BYTES, TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.verify import (
    MAX_CHAIN_LENGTH,
    MAX_PATHS,
    verify_x509_svid,
)
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    PARTNER,
    WORKLOAD,
    Party,
    authority,
    bundle,
    certificate,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serviceradar_security.identity.leaf import Purpose

patient = settings(deadline=None, max_examples=150)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

ROOT, MIDDLE, LEAF, STRANGER = Party("root"), Party("middle"), Party("leaf"), Party("stranger")
ROOT_CERTIFICATE = signer(ROOT, ROOT)
BUNDLES = {LOCAL: bundle(ROOT_CERTIFICATE)}
DIRECT = certificate(LEAF, ROOT)
THROUGH = certificate(LEAF, MIDDLE)
MIDDLE_CERTIFICATE = signer(MIDDLE, ROOT)
NAMESAKE = signer(Party("root", STRANGER.key), Party("root", STRANGER.key))
UNKNOWN = "1.3.6.1.4.1.99999.1"


def verdict(
    chain: Sequence[x509.Certificate | bytes],
    bundles: Mapping[TrustDomain, TrustBundle] = BUNDLES,
    *,
    at: datetime = NOW,
    purpose: Purpose | None = "client",
) -> SpiffeId:
    """Verify a chain of certificates."""
    shown = [each if isinstance(each, bytes) else der(each)[0] for each in chain]
    return verify_x509_svid(shown, bundles, at=at, purpose=purpose)


def refusal(
    chain: Sequence[x509.Certificate | bytes],
    bundles: Mapping[TrustDomain, TrustBundle] = BUNDLES,
    *,
    at: datetime = NOW,
    purpose: Purpose | None = "client",
) -> PeerVerificationError:
    """Give the error with which a chain is refused; its message is one line."""
    with pytest.raises(PeerVerificationError) as caught:
        verdict(chain, bundles, at=at, purpose=purpose)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in get_args(VerificationReason)
    return caught.value


# ---- good chains -------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["client", "server", None])
@pytest.mark.parametrize("intermediates", [0, 1, 2, 14])
def test_a_good_chain(intermediates: int, purpose: Purpose | None) -> None:
    """A chain to an authority of the own trust domain proves the leaf's ID."""
    issuing = authority()
    issued = issuing.issue_certificate(WORKLOAD, intermediates=intermediates)

    found = verify_x509_svid(issued.chain_der, {LOCAL: issuing.bundle}, at=NOW, purpose=purpose)

    assert found == WORKLOAD


def test_what_plays_no_part_in_identity() -> None:
    """Subject, CN, DNS names and other kinds of names are never an identity (R-X509-03)."""
    issuing = authority()
    issued = issuing.issue_certificate(
        WORKLOAD,
        common_name="spiffe://example.org/admin",
        dns_names=["admin.example.org", "spiffe://example.org/admin"],
    )

    found = verify_x509_svid(issued.chain_der, {LOCAL: issuing.bundle}, at=NOW, purpose=None)

    assert found == WORKLOAD


# ---- leaf rules --------------------------------------------------------------------------------

MUTATIONS: list[Any] = [
    pytest.param({"uris": ()}, "no_spiffe_id", False, id="no URI"),  # R-X509-01
    pytest.param({"uris": (), "dns_names": [str(WORKLOAD)]}, "no_spiffe_id", False, id="DNS"),
    pytest.param({"uris": (), "common_name": str(WORKLOAD)}, "no_spiffe_id", False, id="CN"),
    pytest.param({"uris": [str(WORKLOAD)] * 2}, "several_uri_sans", False, id="equal URIs"),
    pytest.param({"uris": [str(WORKLOAD), "x:y"]}, "several_uri_sans", False, id="two URIs"),
    pytest.param({"uris": ["x:y", str(WORKLOAD)]}, "several_uri_sans", False, id="ID second"),
    pytest.param({"uris": ["http://example.org/x"]}, "no_spiffe_id", False, id="http"),  # -02
    pytest.param({"uris": ["SPIFFE://example.org/x"]}, "no_spiffe_id", False, id="upper scheme"),
    pytest.param({"uris": ["spiffe://Example.org/x"]}, "no_spiffe_id", False, id="upper domain"),
    pytest.param({"uris": [f"{WORKLOAD}#"]}, "no_spiffe_id", False, id="empty fragment"),
    pytest.param({"uris": [f"{WORKLOAD}?"]}, "no_spiffe_id", False, id="empty query"),
    pytest.param({"uris": [f"{WORKLOAD}/"]}, "no_spiffe_id", False, id="trailing slash"),
    pytest.param({"uris": [f" {WORKLOAD}"]}, "no_spiffe_id", False, id="space before"),
    pytest.param({"uris": [f"{WORKLOAD}\n"]}, "no_spiffe_id", False, id="newline after"),
    pytest.param({"uris": [f"{WORKLOAD}\0"]}, "no_spiffe_id", False, id="NUL after"),
    pytest.param({"uris": ["spiffe://example.org/%41"]}, "no_spiffe_id", False, id="escape"),
    pytest.param({"uris": ["spiffe://a@example.org/x"]}, "no_spiffe_id", False, id="user"),
    pytest.param({"uris": ["spiffe://example.org:1/x"]}, "no_spiffe_id", False, id="port"),
    pytest.param({"uris": ["spiffe://example.org/../x"]}, "no_spiffe_id", False, id="dots"),
    pytest.param({"uris": [""]}, "no_spiffe_id", False, id="empty URI"),
    pytest.param({"uris": ["spiffe://example.org"]}, "not_a_workload_id", True, id="root"),  # -04
    pytest.param({"uris": ["spiffe://a/" + "a" * 2038]}, "limit", False, id="2049 bytes"),  # -25
    pytest.param({"ca": True}, "is_ca", True, id="cA"),  # R-X509-05
    pytest.param({"key_usage": None}, "key_usage", True, id="no key usage"),  # R-X509-07
    pytest.param({"key_usage": ()}, "key_usage", True, id="empty key usage"),
    pytest.param({"key_usage": ("key_agreement",)}, "key_usage", True, id="agreement only"),
    pytest.param(
        {"key_usage": ("digital_signature", "key_cert_sign")},
        "key_usage",
        True,
        id="keyCertSign",
    ),  # R-X509-06
    pytest.param({"key_usage": ("digital_signature", "crl_sign")}, "key_usage", True, id="cRLSign"),
    pytest.param({"key_usage": ("key_cert_sign",)}, "key_usage", True, id="keyCertSign only"),
    pytest.param({"roles": ("server",)}, "purpose", True, id="server only"),  # R-X509-09
    pytest.param({"not_after": NOW - TICK * 10**6}, "expired", True, id="expired"),
    pytest.param({"not_before": NOW + SECOND}, "not_yet_valid", True, id="not yet valid"),
]


@pytest.mark.parametrize(("changes", "reason", "readable"), MUTATIONS)
def test_one_mutation_of_the_leaf(changes: dict[str, Any], reason: str, readable: bool) -> None:
    """Each broken rule has its reason, and the ID is there if it could be read."""
    issuing = authority()
    issued = issuing.issue_certificate(WORKLOAD, **changes)

    error = refusal(list(issued.chain_der), {LOCAL: issuing.bundle})

    assert error.reason == reason
    assert (error.spiffe_id is not None) is readable


def test_an_id_of_2048_bytes() -> None:
    """The longest ID that must be supported is (R-ID-10)."""
    longest = "spiffe://example.org/" + "a" * (2048 - 21)
    leaf = certificate(LEAF, ROOT, uris=[longest])

    assert str(verdict([leaf])) == longest


@pytest.mark.parametrize("common_name", ["", "core", str(WORKLOAD)])
def test_a_cn_is_named_only_to_be_told_that_it_is_none(common_name: str) -> None:
    """A peer with a CN and no SPIFFE ID is told that the CN is never an identity."""
    issued = authority().issue_certificate(None, common_name=common_name)

    error = refusal(list(issued.chain_der))

    assert ("CN is never an identity" in str(error)) is bool(common_name)
    assert "core" not in str(error)
    assert error.spiffe_id is None


@pytest.mark.parametrize(
    ("roles", "client", "server"),
    [
        (None, True, True),  # absent: any role
        (("client", "server"), True, True),
        (("client",), True, False),
        (("server",), False, True),
    ],
)
def test_the_purpose(roles: Sequence[str] | None, client: bool, server: bool) -> None:
    """An extended key usage, where there is one, holds the role of the peer (R-X509-09)."""
    issuing = authority()
    issued = issuing.issue_certificate(WORKLOAD, roles=roles, intermediates=1)
    bundles = {LOCAL: issuing.bundle}
    purposes: list[tuple[Purpose, bool]] = [("client", client), ("server", server)]

    for purpose, accepted in purposes:
        if accepted:
            assert verdict(issued.chain_der, bundles, purpose=purpose) == WORKLOAD
        else:
            error = refusal(issued.chain_der, bundles, purpose=purpose)
            assert error.reason == "purpose"
            assert f"{purpose}Auth" in str(error)
    assert verdict(issued.chain_der, bundles, purpose=None) == WORKLOAD


@pytest.mark.parametrize(
    "usage",
    [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.CODE_SIGNING],
)
def test_another_purpose_is_not_ours(usage: x509.ObjectIdentifier) -> None:
    """Neither `any` nor a foreign purpose stands for the role of the peer."""
    leaf = certificate(LEAF, ROOT, extensions=[(x509.ExtendedKeyUsage([usage]), True)])

    assert refusal([leaf], purpose="client").reason == "purpose"
    assert refusal([leaf], purpose="server").reason == "purpose"


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(certificate(LEAF, ROOT, ca=None), id="no basic constraints"),  # R-X509-05
        pytest.param(
            certificate(LEAF, ROOT, extensions=[(raw_extension(UNKNOWN, b"\x05\0"), False)]),
            id="an unknown extension",
        ),
        pytest.param(
            certificate(Party("leaf", rsa.generate_private_key(65537, 2048)), ROOT),
            id="an RSA key",
        ),
        pytest.param(
            certificate(Party("leaf", ed25519.Ed25519PrivateKey.generate()), ROOT),
            id="an Ed25519 key",
        ),
    ],
)
def test_what_a_leaf_may_have(leaf: x509.Certificate) -> None:
    """These are tolerated in a peer."""
    assert verdict([leaf]) == WORKLOAD


def san(*names: bytes) -> x509.UnrecognizedExtension:
    """Make a subject alternative name of raw names beside the workload's URI."""
    uri = str(WORKLOAD).encode()
    body = b"\x86" + bytes((len(uri),)) + uri + b"".join(names)
    return raw_extension("2.5.29.17", b"\x30" + bytes((len(body),)) + body)


@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(san(b"\xa3\x02\x30\x00"), id="an X.400 address"),
        pytest.param(san(b"\xa5\x02\x30\x00"), id="an EDI party name"),
        pytest.param(san(b"\xa0\x07\x06\x03\x2a\x03\x04\xa0\x00"), id="a cut other name"),
        pytest.param(san(b"\x87\x03\x01\x02\x03"), id="an address of three bytes"),
        pytest.param(san(b"\x89\x01a"), id="a kind of name that there is not"),
        pytest.param(raw_extension("2.5.29.17", b"\x04\0"), id="a name of another type"),
        pytest.param(raw_extension("2.5.29.31", b"\x04\0"), id="CRL distribution points"),
        pytest.param(raw_extension("1.3.6.1.5.5.7.1.1", b"\x04\0"), id="authority information"),
        pytest.param(raw_extension("1.3.6.1.4.1.11129.2.4.2", b"\x04\x02\0\1"), id="timestamps"),
        pytest.param(raw_extension("2.5.29.37", b"\x30\0"), id="an empty extended key usage"),
        pytest.param(raw_extension("2.5.29.30", b"\x04\0"), id="name constraints"),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
def test_an_extension_that_cannot_be_read(extension: Any, critical: bool) -> None:
    """A malformed extension never reads as absent, whatever the parser raises on it (R-X509-11)."""
    uris = () if extension.oid.dotted_string == "2.5.29.17" else (str(WORKLOAD),)
    leaf = certificate(LEAF, ROOT, uris=uris, extensions=[(extension, critical)])

    assert refusal([leaf]).reason == "malformed"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("3003010101", id="true as 01"),
        pytest.param("3003010100", id="false written out"),
        pytest.param("30060101ff", id="cut"),
        pytest.param("30030101ff00", id="a byte too many"),
    ],
)
def test_basic_constraints_that_are_not_der(value: str) -> None:
    """`cA` in a form that DER does not have is malformed, neither true nor false (R-X509-11)."""
    leaf = certificate(
        LEAF,
        ROOT,
        ca=None,
        extensions=[(raw_extension("2.5.29.19", bytes.fromhex(value)), True)],
    )

    assert refusal([leaf]).reason == "malformed"


def test_a_repeated_extension() -> None:
    """An extension that is there twice is malformed, whichever of the two is the good one (R-X509-11)."""
    spare = bytes.fromhex("0603551d63")  # 2.5.29.99, to become the name extension (2.5.29.17)
    for first in (True, False):
        name = (san(), False)
        other = (raw_extension("2.5.29.99", san().value), False)
        leaf = certificate(
            LEAF, ROOT, uris=(), extensions=[name, other] if first else [other, name]
        )
        assert (
            refusal([patched(leaf, ROOT, spare, bytes.fromhex("0603551d11"))]).reason == "malformed"
        )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("a003020102", "a003020107", id="a version that there is not"),
        pytest.param("a003020102", "a003020100", id="version 1 with extensions"),
        pytest.param("06035504030c056c6561667a", "06038004030c056c6561667a", id="subject's OID"),
        pytest.param("06035504030c056f74686572", "06038004030c056f74686572", id="issuer's OID"),
    ],
)
def test_a_certificate_of_an_odd_form(old: str, new: str) -> None:
    """Forms at which the parser raises its own kinds of errors are refused by ours."""
    leaf = certificate(Party("leafz"), Party("other", ROOT.key))

    odd = patched(leaf, ROOT, bytes.fromhex(old), bytes.fromhex(new))

    assert refusal([odd]).reason == "malformed"
    assert refusal([DIRECT, odd]).reason == "malformed"


@pytest.mark.parametrize("serial", [0, 0x80])
def test_a_serial_number_that_is_not_positive(serial: int) -> None:
    """The parser warns of it; where warnings are errors, the peer is refused by our error still."""
    leaf = certificate(LEAF, ROOT)
    content = leaf.tbs_certificate_bytes
    at = content.index(b"\x02", content.index(bytes.fromhex("a003020102")) + 5)
    size = content[at + 1]
    old = content[at : at + 2 + size]
    odd = patched(leaf, ROOT, old, old[:2] + (bytes((serial,)) + bytes(size - 1)))

    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            assert refusal([odd]).reason in {"malformed", "untrusted_chain"}


# ---- chain and trust ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        pytest.param([THROUGH, MIDDLE_CERTIFICATE], [ROOT_CERTIFICATE], id="plain"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, ROOT_CERTIFICATE], [ROOT_CERTIFICATE], id="root sent"
        ),
        pytest.param(
            [THROUGH, ROOT_CERTIFICATE, signer(STRANGER, STRANGER), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="order and surplus",
        ),  # R-X509-22
        pytest.param(
            [THROUGH, THROUGH, MIDDLE_CERTIFICATE, MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="repeated",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, ROOT_CERTIFICATE, NAMESAKE, ROOT_CERTIFICATE],
            [NAMESAKE, ROOT_CERTIFICATE],
            id="two roots of one name, sent too",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE, NAMESAKE, NAMESAKE, NAMESAKE],
            [ROOT_CERTIFICATE],
            id="a root of the same name, sent thrice",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, STRANGER), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="cross-signed, the other first",
        ),  # R-X509-20
        pytest.param(
            [THROUGH, signer(Party("middle"), ROOT), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="a namesake first",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, end=NOW - SECOND), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="an expired twin first",
        ),
        pytest.param([THROUGH], [MIDDLE_CERTIFICATE], id="anchor not self-signed"),  # R-X509-19
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [MIDDLE_CERTIFICATE],
            id="anchor not self-signed, sent too",
        ),
        pytest.param(
            [DIRECT],
            [signer(Party("root"), Party("root")), ROOT_CERTIFICATE],
            id="a root of the same name before",
        ),
        pytest.param(
            [DIRECT],
            [ROOT_CERTIFICATE, signer(Party("root"), Party("root"))],
            id="a root of the same name after",
        ),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, end=NOW - SECOND), ROOT_CERTIFICATE],
            id="the root's expired twin before",
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, path_length=0)], id="path length 0, direct"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [signer(ROOT, ROOT, path_length=1)],
            id="path length 1, one intermediate",
        ),
    ],
)
def test_chains_that_lead_to_an_authority(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
) -> None:
    """Order, surplus, namesakes and rotation do not hide a path that is there."""
    assert verdict(chain, {LOCAL: bundle(*roots)}) == WORKLOAD


@pytest.mark.parametrize(
    ("chain", "roots"),
    [
        pytest.param([certificate(LEAF, Party("root"))], [ROOT_CERTIFICATE], id="forged issuer"),
        pytest.param([THROUGH], [ROOT_CERTIFICATE], id="intermediate missing"),
        pytest.param(
            [certificate(LEAF, STRANGER), signer(STRANGER, STRANGER)],
            [ROOT_CERTIFICATE],
            id="the peer's own root",
        ),  # R-X509-21
        pytest.param([certificate(LEAF, LEAF)], [ROOT_CERTIFICATE], id="self-signed"),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, ca=False)],
            [ROOT_CERTIFICATE],
            id="intermediate without cA",
        ),  # R-X509-12
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, ca=None)],
            [ROOT_CERTIFICATE],
            id="intermediate without basic constraints",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, usage=None)],
            [ROOT_CERTIFICATE],
            id="intermediate without key usage",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, usage=("digital_signature", "crl_sign"))],
            [ROOT_CERTIFICATE],
            id="intermediate without keyCertSign",
        ),
        pytest.param(
            [certificate(LEAF, MIDDLE), certificate(MIDDLE, ROOT)],
            [ROOT_CERTIFICATE],
            id="a workload that signs",
        ),  # R-X509-14
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, end=NOW - SECOND)],
            [ROOT_CERTIFICATE],
            id="intermediate expired",
        ),  # R-X509-15
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, begin=NOW + SECOND)],
            [ROOT_CERTIFICATE],
            id="intermediate not yet valid",
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, end=NOW - SECOND)], id="anchor expired"),  # -23
        pytest.param([DIRECT], [signer(ROOT, ROOT, begin=NOW + SECOND)], id="anchor to come"),
        pytest.param([DIRECT], [signer(ROOT, ROOT, ca=False)], id="anchor without cA"),
        pytest.param([DIRECT], [signer(ROOT, ROOT, ca=None)], id="anchor without constraints"),
        pytest.param([DIRECT], [DIRECT], id="the leaf as anchor"),
        pytest.param([DIRECT], [DIRECT, ROOT_CERTIFICATE], id="the leaf among the anchors"),
        pytest.param([certificate(LEAF, LEAF)] * 2, [certificate(LEAF, LEAF)], id="its twin"),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [signer(ROOT, ROOT, path_length=0)],
            id="path length of the anchor",
        ),
        pytest.param(
            [
                certificate(LEAF, STRANGER),
                signer(STRANGER, MIDDLE),
                signer(MIDDLE, ROOT, path_length=0),
            ],
            [ROOT_CERTIFICATE],
            id="path length of an intermediate",
        ),
        pytest.param(
            [certificate(LEAF, ROOT, extensions=[(raw_extension(UNKNOWN, b"\x05\0"), True)])],
            [ROOT_CERTIFICATE],
            id="unknown critical extension in the leaf",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, extensions=[(raw_extension(UNKNOWN, b"\5\0"), True)])],
            [ROOT_CERTIFICATE],
            id="unknown critical extension in an intermediate",
        ),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, extensions=[(raw_extension(UNKNOWN, b"\5\0"), True)])],
            id="unknown critical extension in the anchor",
        ),
        pytest.param([DIRECT], [], id="empty bundle"),  # R-X509-17
    ],
)
def test_chains_that_lead_nowhere(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
) -> None:
    """Each of these is untrusted, and the message tells ID and trust domain."""
    error = refusal(chain, {LOCAL: bundle(*roots)})

    assert error.reason == "untrusted_chain"
    assert error.spiffe_id == WORKLOAD
    assert str(WORKLOAD) in str(error)
    assert "example.org" in str(error)


@pytest.mark.parametrize(
    "constraint",
    [
        pytest.param(([x509.UniformResourceIdentifier("example.org")], None), id="permits us"),
        pytest.param(([x509.UniformResourceIdentifier("other.org")], None), id="permits another"),
        pytest.param((None, [x509.UniformResourceIdentifier("example.org")]), id="excludes us"),
        pytest.param((None, [x509.UniformResourceIdentifier("other.org")]), id="excludes another"),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("where", ["intermediate", "anchor"])
def test_uri_name_constraints_fail_closed(constraint: Any, critical: bool, where: str) -> None:
    """The validator cannot weigh URI constraints, so a path with one is no path (R-X509-16)."""
    extensions = [(x509.NameConstraints(*constraint), critical)]
    middle = signer(MIDDLE, ROOT, extensions=extensions if where == "intermediate" else ())
    root = signer(ROOT, ROOT, extensions=extensions if where == "anchor" else ())

    assert refusal([THROUGH, middle], {LOCAL: bundle(root)}).reason == "untrusted_chain"


@pytest.mark.parametrize(
    ("permitted", "accepted"),
    [(["core.example.org"], True), (["example.org"], True), (["other.org"], False)],
)
def test_dns_name_constraints_are_kept(permitted: list[str], accepted: bool) -> None:
    """A constraint on DNS names holds for the DNS names of the leaf (R-X509-15)."""
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(str(WORKLOAD)), x509.DNSName("core.example.org")],
    )
    leaf = certificate(LEAF, MIDDLE, uris=(), extensions=[(names, False)])
    constraint = x509.NameConstraints([x509.DNSName(each) for each in permitted], None)
    middle = signer(MIDDLE, ROOT, extensions=[(constraint, True)])

    if accepted:
        assert verdict([leaf, middle]) == WORKLOAD
    else:
        assert refusal([leaf, middle]).reason == "untrusted_chain"


@pytest.mark.parametrize(
    ("make", "accepted"),
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), True, id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), True, id="P-384"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), True, id="P-521"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), True, id="RSA 2048"),
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), False, id="RSA 1024"),  # noqa: S505
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), False, id="secp256k1"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, False, id="Ed25519"),
    ],
)
def test_kinds_of_authorities(make: Callable[[], Any], accepted: bool) -> None:
    """Which keys of authorities the validator takes; the others are refused, never skipped over."""
    root = Party("root", make())
    bundles = {LOCAL: bundle(signer(root, root))}
    leaf = certificate(LEAF, root)

    if accepted:
        assert verdict([leaf], bundles) == WORKLOAD
    else:
        assert refusal([leaf], bundles).reason == "untrusted_chain"


# ---- trust domains -----------------------------------------------------------------------------


def test_each_domain_is_verified_against_its_own_bundle() -> None:
    """Peers of both domains are proven, each by its own authority (R-X509-17)."""
    local, partner = authority(), authority(PARTNER)
    bundles = {LOCAL: local.bundle, PARTNER: partner.bundle}

    assert verdict(local.issue_certificate(WORKLOAD).chain_der, bundles) == WORKLOAD
    foreign = SpiffeId.parse("spiffe://partner.example/ns/demo/sa/core")
    assert verdict(partner.issue_certificate(foreign).chain_der, bundles) == foreign


@pytest.mark.parametrize("intermediates", [0, 1])
@pytest.mark.parametrize("with_root", [True, False])
def test_a_federated_authority_cannot_mint_a_local_id(intermediates: int, with_root: bool) -> None:
    """The federated domain's root is loaded, and still no anchor for our IDs (R-X509-18)."""
    local, partner = authority(), authority(PARTNER)
    forged = partner.issue_certificate(WORKLOAD, intermediates=intermediates)
    chain = [*forged.chain_der, *(partner.bundle.der if with_root else ())]

    error = refusal(chain, {LOCAL: local.bundle, PARTNER: partner.bundle})

    assert error.reason == "untrusted_chain"
    assert error.spiffe_id == WORKLOAD


def test_a_local_authority_cannot_mint_a_federated_id() -> None:
    """The wall stands in both directions."""
    local, partner = authority(), authority(PARTNER)
    forged = local.issue_certificate("spiffe://partner.example/x")

    error = refusal(forged.chain_der, {LOCAL: local.bundle, PARTNER: partner.bundle})

    assert error.reason == "untrusted_chain"


@pytest.mark.parametrize(
    "trust_domain",
    ["org", "sub.example.org", "example.org.", "xample.org", "example.or", "partner.example"],
)
def test_no_other_bundle_stands_in(trust_domain: str) -> None:
    """Neither a parent's, a child's nor a neighbour's bundle is asked, though it holds the root (R-X509-17)."""
    other = TrustDomain.parse(trust_domain)

    error = refusal([DIRECT], {other: bundle(ROOT_CERTIFICATE, of=other)})

    assert error.reason == "unknown_trust_domain"
    assert error.spiffe_id == WORKLOAD
    assert f"known: {trust_domain}" in str(error)


def test_a_bundle_filed_under_a_foreign_name() -> None:
    """A mapping that lends one domain's authorities to another is not believed."""
    error = refusal([DIRECT], {LOCAL: bundle(ROOT_CERTIFICATE, of=PARTNER)})

    assert error.reason == "unknown_trust_domain"
    assert "partner.example" in str(error)


def test_known_domains_are_listed_up_to_a_few() -> None:
    """The refusal of an unknown domain names some of the known ones and counts the rest."""
    names = [f"td{number:02}" for number in range(30)]
    bundles = {TrustDomain.parse(each): bundle(of=TrustDomain.parse(each)) for each in names}

    assert "known: td00, td01, td02, td03, td04 and 25 more" in str(refusal([DIRECT], bundles))
    assert "known: none" in str(refusal([DIRECT], {}))


# ---- rotation ----------------------------------------------------------------------------------


def test_the_steps_of_an_authority_rotation() -> None:
    """Prepared, activated and revoked roots trust what they should, step by step."""
    issuing = authority()
    old = issuing.issue_certificate(WORKLOAD).chain_der

    issuing.prepare()
    still_old = issuing.issue_certificate(WORKLOAD).chain_der
    assert verdict(old, {LOCAL: issuing.bundle}) == WORKLOAD
    assert verdict(still_old, {LOCAL: issuing.bundle}) == WORKLOAD
    issuing.activate()
    new = issuing.issue_certificate(WORKLOAD).chain_der
    assert verdict(old, {LOCAL: issuing.bundle}) == WORKLOAD
    assert verdict(new, {LOCAL: issuing.bundle}) == WORKLOAD
    issuing.revoke()
    assert refusal(old, {LOCAL: issuing.bundle}).reason == "untrusted_chain"
    assert refusal(still_old, {LOCAL: issuing.bundle}).reason == "untrusted_chain"
    assert verdict(new, {LOCAL: issuing.bundle}) == WORKLOAD


@pytest.mark.parametrize("position", range(5))
def test_roots_of_one_name(position: int) -> None:
    """Of five roots with one subject and no key identifiers, each is found (R-X509-20)."""
    parties = [Party("root") for _ in range(5)]
    bundles = {LOCAL: bundle(*(signer(each, each) for each in parties))}

    assert verdict([certificate(LEAF, parties[position])], bundles) == WORKLOAD
    assert refusal([certificate(LEAF, Party("root"))], bundles).reason == "untrusted_chain"


# ---- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - SECOND, "not_yet_valid"),
        (NOW - TICK, "not_yet_valid"),
        (NOW, None),
        (NOW + TICK, None),
        (NOW + HOUR - TICK, None),
        (NOW + HOUR, None),
        (NOW + HOUR + TICK, "expired"),
        (NOW + HOUR + SECOND, "expired"),
        (NOW + timedelta(days=36500), "expired"),
        (NOW - timedelta(days=36500), "not_yet_valid"),
    ],
)
def test_the_edges_of_validity(at: datetime, reason: str | None) -> None:
    """Both ends of the validity belong to it, to the microsecond, in whatever time zone."""
    root = signer(ROOT, ROOT, begin=NOW - HOUR * 9000, end=NOW + HOUR * 9000)
    chain = [certificate(LEAF, ROOT, begin=NOW, end=NOW + HOUR)]

    for zone in (NOW.tzinfo, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))):
        clock = at.astimezone(zone)
        if reason is None:
            assert verdict(chain, {LOCAL: bundle(root)}, at=clock) == WORKLOAD
        else:
            assert refusal(chain, {LOCAL: bundle(root)}, at=clock).reason == reason


def test_the_message_tells_by_how_much() -> None:
    """Expired and to come are told in seconds, with the time in UTC."""
    late = refusal([DIRECT], at=NOW + HOUR + timedelta(seconds=90))
    early = refusal([DIRECT], at=NOW - HOUR - timedelta(seconds=90))

    assert "expired 90 s ago, at 2031-05-06T13:30:00Z by our clock" in str(late)
    assert "begins in 90 s, at 2031-05-06T11:30:00Z by our clock" in str(early)


def test_the_time_is_aware() -> None:
    """A naive time is the caller's mistake, and said so, whatever the chain."""
    with pytest.raises(TypeError, match="timezone-aware"):
        verdict([], at=datetime(2031, 5, 6))  # noqa: DTZ001 - the mistake is the test


@pytest.mark.parametrize("purpose", ["", "Client", "both", b"client", 1])
def test_the_purpose_is_one_of_three(purpose: Any) -> None:
    """An unknown purpose is the caller's mistake, and never reads as none."""
    with pytest.raises(ValueError, match="purpose"):
        verdict([DIRECT], purpose=purpose)


# ---- limits ------------------------------------------------------------------------------------


def test_no_certificate() -> None:
    """A peer that shows nothing is told what it needs."""
    assert refusal([]).reason == "no_certificate"


def test_the_length_of_the_chain() -> None:
    """Sixteen certificates are looked at, seventeen are not even parsed (R-X509-25)."""
    surplus = der(*[signer(Party(f"s{number}"), ROOT) for number in range(MAX_CHAIN_LENGTH - 1)])

    assert verdict([DIRECT, *surplus]) == WORKLOAD
    assert refusal([DIRECT, *surplus, b"garbage"]).reason == "limit"
    assert refusal([b"garbage"] * 1_000_000).reason == "limit"


def test_the_size_of_a_certificate() -> None:
    """A certificate of more than 64 KiB is not parsed, wherever it stands (R-X509-25)."""
    big = b"\x30" * (MAX_CERTIFICATE_BYTES + 1)

    assert refusal([big]).reason == "limit"
    assert refusal([DIRECT, big]).reason == "limit"
    uri = "spiffe://example.org/" + "a" * 60_000
    assert refusal([certificate(LEAF, ROOT, uris=[uri])]).reason == "limit"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("data", [b"", b"garbage", b"\x30\x00", der(DIRECT)[0] + b"\0"])
def test_bytes_that_are_no_certificate(data: bytes, number: int) -> None:
    """A certificate that cannot be read refuses the peer, also where it would be surplus."""
    chain = der(DIRECT)
    chain.insert(number, data)

    error = refusal(chain)

    assert error.reason == "malformed"
    assert f"certificate {number + 1}" in str(error)


@pytest.mark.parametrize("count", [2, 3, 14])
def test_look_alikes_that_sign_each_other(count: int) -> None:
    """Intermediates that join in exponentially many ways are refused before they are tried (R-X509-25)."""
    forger = Party("forger")
    chain = [certificate(LEAF, forger), *(signer(forger, forger) for _ in range(count))]

    error = refusal(chain)

    assert error.reason == "limit"
    assert f"more than {MAX_PATHS} ways" in str(error)
    assert error.spiffe_id == WORKLOAD


def test_look_alikes_in_two_rings() -> None:
    """Two names that sign each other in turn are a maze too."""
    one, other = Party("one"), Party("other")
    ring = [each for _ in range(3) for each in (signer(one, other), signer(other, one))]

    assert refusal([certificate(LEAF, one), *ring]).reason == "limit"


def test_look_alikes_beside_a_good_path() -> None:
    """A maze that the leaf's issuer does not lead into costs nothing and changes nothing."""
    forger = Party("forger")
    maze = [signer(forger, forger) for _ in range(8)]

    assert verdict([DIRECT, *maze]) == WORKLOAD
    assert verdict([THROUGH, *maze, MIDDLE_CERTIFICATE]) == WORKLOAD


def test_a_mesh_of_cross_signed_intermediates() -> None:
    """A few cross-signed generations are within the bound (R-X509-20, R-X509-22)."""
    upper = [Party("upper") for _ in range(3)]
    middle = Party("middle")
    chain = [
        certificate(LEAF, middle),
        *(signer(middle, each) for each in upper),
        *(signer(each, ROOT) for each in upper),
        *(signer(each, STRANGER) for each in upper),
    ]

    assert verdict(chain) == WORKLOAD


def test_a_thousand_look_alike_authorities() -> None:
    """Authorities of one name are tried up to a bound, and a stranger is refused by all (R-X509-25)."""
    forged = certificate(LEAF, Party("root"))
    crowd = [signer(Party("root", key), Party("root", key)) for key in _keys(1000)]

    assert refusal([forged], {LOCAL: bundle(*crowd)}).reason == "untrusted_chain"
    assert verdict([DIRECT], {LOCAL: bundle(ROOT_CERTIFICATE, *crowd)}) == WORKLOAD


def _keys(count: int) -> list[ec.EllipticCurvePrivateKey]:
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]


# ---- arbitrary bytes ---------------------------------------------------------------------------

_FUZZED = der(THROUGH, MIDDLE_CERTIFICATE)


@patient
@given(
    st.sampled_from([0, 1]),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.integers(1, 255)),
        min_size=1,
        max_size=3,
    ),
)
def test_no_changed_content_is_accepted(which: int, changes: list[tuple[int, int]]) -> None:
    """What was not signed proves nothing, and raises nothing but our error."""
    changed = bytearray(_FUZZED[which])
    for place, flip in changes:
        changed[place % len(changed)] ^= flip
    chain = list(_FUZZED)
    chain[which] = bytes(changed)

    try:
        verdict(chain)
    except PeerVerificationError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ways are fine
    else:
        # Around the signed content a bit may be free, as where the signature counts unused bits.
        before, after = (x509.load_der_x509_certificate(each[which]) for each in (_FUZZED, chain))
        assert after.tbs_certificate_bytes == before.tbs_certificate_bytes


@patient
@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_changed_authority_raises_nothing_strange(changes: list[tuple[int, int]]) -> None:
    """An authority with changed bytes is refused with its bundle, or verifies, or does not."""
    changed = bytearray(der(ROOT_CERTIFICATE)[0])
    for place, flip in changes:
        changed[place % len(changed)] ^= flip
    try:
        bundles = {LOCAL: TrustBundle.from_der(LOCAL, bytes(changed))}
    except ValueError:
        return

    try:
        assert verdict(_FUZZED, bundles) == WORKLOAD  # its own signature is not looked at
    except PeerVerificationError as error:
        assert error.reason in {"untrusted_chain", "malformed"}  # noqa: PT017 - both ways are fine


@patient
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_arbitrary_chains(chain: list[bytes]) -> None:
    """Arbitrary bytes are no certificates."""
    assert refusal(chain).reason in {"malformed", "no_certificate"}
