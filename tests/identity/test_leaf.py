"""The leaf rules: one mutation a case, each with the reason it must have (R-X509-01 to -11)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.identity.chains import (
    DIRECT,
    LEAF,
    ROOT,
    SECOND,
    TICK,
    refusal,
    verdict,
)
from tests.identity.mutations import (
    BROKEN_RULES,
    MALFORMED,
    TOLERATED,
    UNREADABLE_EXTENSIONS,
    with_extension,
)
from tests.identity.pki import (
    LOCAL,
    NOW,
    WORKLOAD,
    Party,
    authority,
    certificate,
    patched,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serviceradar_security.identity.leaf import Purpose


TWIN = certificate(LEAF, ROOT)
PEER_ONLY: list[Any] = [
    pytest.param({"roles": ("server",)}, "purpose", True, id="server only"),  # R-X509-09
    pytest.param({"not_after": NOW - TICK * 10**6}, "expired", True, id="expired"),
    pytest.param({"not_before": NOW + SECOND}, "not_yet_valid", True, id="not yet valid"),
]


@pytest.mark.parametrize(("changes", "reason", "readable"), [*BROKEN_RULES, *PEER_ONLY])
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


@pytest.mark.parametrize("leaf", TOLERATED)
def test_what_a_leaf_may_have(leaf: x509.Certificate) -> None:
    """These are tolerated in a peer, and prove the URI's ID and no other (R-X509-03, -05, -08, -10)."""
    assert verdict([leaf]) == WORKLOAD


@pytest.mark.parametrize("extension", UNREADABLE_EXTENSIONS)
@pytest.mark.parametrize("critical", [True, False])
def test_an_extension_that_cannot_be_read(extension: Any, critical: bool) -> None:
    """A malformed extension never reads as absent, whatever the parser raises on it (R-X509-11)."""
    leaf = with_extension(extension, critical=critical)

    assert refusal([leaf]).reason == "malformed"


@pytest.mark.parametrize("leaf", MALFORMED)
def test_a_leaf_that_is_not_der(leaf: bytes) -> None:
    """`cA` in a form that DER does not have, or an extension twice: malformed, neither true nor false (R-X509-11)."""
    assert refusal([leaf]).reason == "malformed"


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
