"""The leaf rules: one mutation a case, each with the reason it must have (R-X509-01 to -11)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.identity.chains import (
    DIRECT,
    LEAF,
    ROOT,
    SECOND,
    TICK,
    UNKNOWN,
    refusal,
    verdict,
)
from tests.identity.pki import (
    LOCAL,
    NOW,
    WORKLOAD,
    Party,
    authority,
    certificate,
    patched,
    raw_extension,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serviceradar_security.identity.leaf import Purpose


TWIN = certificate(LEAF, ROOT)
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
    assert refusal([DIRECT, odd, DIRECT]).reason == "malformed"


def test_a_subject_that_cannot_be_read() -> None:
    """The leaf's own plays no part; where names are compared, one that cannot be read refuses."""
    leaf = certificate(Party("leafz"), ROOT)

    odd = patched(leaf, ROOT, b"\x0c\x05leafz", b"\x0c\x05\xffeafz")

    assert verdict([odd]) == WORKLOAD
    assert refusal([DIRECT, odd, TWIN]).reason == "malformed"


def test_a_subject_that_cannot_be_read_has_no_cn() -> None:
    """Where there is no SPIFFE ID, an unreadable subject changes nothing about the answer."""
    leaf = certificate(Party("leafz"), ROOT, uris=())

    odd = patched(leaf, ROOT, b"\x0c\x05leafz", b"\x0c\x05\xffeafz")

    error = refusal([odd])
    assert error.reason == "no_spiffe_id"
    assert "CN" not in str(error)


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
