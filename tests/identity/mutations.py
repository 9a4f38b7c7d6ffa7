"""Leaves with one mutation each: what breaks a rule, and what is tolerated (R-X509-01 to -11).

The same lists are shown as a peer's certificate and loaded as our own.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509

from tests.identity.chains import LEAF, ROOT, UNKNOWN
from tests.identity.pki import (
    WORKLOAD,
    Party,
    certificate,
    der,
    key_usage,
    patched,
    raw_extension,
)

# Changes for `FakeAuthority.issue_certificate`, the reason, and whether the ID can be read.
BROKEN_RULES: list[Any] = [
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
]


def san(*names: bytes) -> x509.UnrecognizedExtension:
    """Make a subject alternative name of raw names beside the workload's URI."""
    uri = str(WORKLOAD).encode()
    body = b"\x86" + bytes((len(uri),)) + uri + b"".join(names)
    return raw_extension("2.5.29.17", b"\x30" + bytes((len(body),)) + body)


UNREADABLE_EXTENSIONS: list[Any] = [
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
]


def with_extension(extension: x509.ExtensionType, *, critical: bool) -> x509.Certificate:
    """Make a leaf with an extension of raw bytes, in place of its name where it is one."""
    uris = () if extension.oid.dotted_string == "2.5.29.17" else (str(WORKLOAD),)
    return certificate(LEAF, ROOT, uris=uris, extensions=[(extension, critical)])


def uri_name(*others: x509.GeneralName) -> x509.SubjectAlternativeName:
    """Make a subject alternative name: the workload's URI, and other kinds of names."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(WORKLOAD)), *others])


def _leaf(*extensions: tuple[x509.ExtensionType, bool], **changes: Any) -> x509.Certificate:
    return certificate(LEAF, ROOT, extensions=extensions, **changes)


_ADMIN = "spiffe://example.org/admin"
_NAMELESS = Party(x509.Name([]), LEAF.key)
TOLERATED: list[Any] = [
    pytest.param(_leaf(ca=None), id="no basic constraints"),  # R-X509-05
    pytest.param(
        _leaf((x509.BasicConstraints(ca=False, path_length=None), False), ca=None),
        id="not critical",
    ),
    pytest.param(
        _leaf((key_usage("digital_signature"), False), usage=None),
        id="key usage not critical",
    ),  # R-X509-08
    pytest.param(
        _leaf(usage=("digital_signature", "key_agreement", "key_encipherment")),
        id="more key usages",
    ),
    pytest.param(_leaf((raw_extension(UNKNOWN, b"\x05\0"), False)), id="an unknown extension"),
    pytest.param(
        certificate(_NAMELESS, ROOT, uris=(), extensions=[(uri_name(), True)]),
        id="no subject, names critical",
    ),  # R-X509-10
    pytest.param(certificate(_NAMELESS, ROOT), id="no subject, names not critical"),
    pytest.param(_leaf((uri_name(), True), uris=()), id="a subject, names critical"),
    pytest.param(certificate(Party(_ADMIN, LEAF.key), ROOT), id="an ID as CN"),  # R-X509-03
    *(
        pytest.param(_leaf((uri_name(name, name), False), uris=()), id=f"{type(name).__name__}")
        for name in (
            x509.DNSName(_ADMIN),
            x509.RFC822Name("admin@example.org"),
            x509.IPAddress(ip_address("192.0.2.1")),
            x509.DirectoryName(Party(_ADMIN, LEAF.key).subject),
            x509.RegisteredID(x509.ObjectIdentifier(UNKNOWN)),
            x509.OtherName(x509.ObjectIdentifier(UNKNOWN), b"\x0c\x05admin"),
        )
    ),
]

_SPARE = bytes.fromhex("0603551d63")  # 2.5.29.99, to become the name extension (2.5.29.17)
_TWICE = [(san(), False), (raw_extension("2.5.29.99", san().value), False)]
MALFORMED: list[Any] = [
    *(
        pytest.param(
            der(_leaf((raw_extension("2.5.29.19", bytes.fromhex(value)), True), ca=None))[0],
            id=name,
        )
        for value, name in (
            ("3003010101", "cA true as 01"),
            ("3003010100", "cA false written out"),
            ("30060101ff", "basic constraints cut"),
            ("30030101ff00", "basic constraints with a byte too many"),
        )
    ),
    *(
        pytest.param(
            patched(_leaf(*order, uris=()), ROOT, _SPARE, bytes.fromhex("0603551d11")),
            id=f"names twice, {which}",
        )
        for which, order in (("as they are", _TWICE), ("turned round", _TWICE[::-1]))
    ),
]
