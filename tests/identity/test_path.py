"""Paths to an authority: which are found, which are none (R-X509-12 to -23, RFC 5280 section 6)."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise, permutations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from tests.identity.chains import (
    DIRECT,
    LEAF,
    MIDDLE,
    MIDDLE_CERTIFICATE,
    NAMESAKE,
    ROOT,
    ROOT_CERTIFICATE,
    SECOND,
    STRANGER,
    THROUGH,
    refusal,
    verdict,
)
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    WORKLOAD,
    Party,
    bundle,
    certificate,
    key_ids,
    signer,
)

HEIR = Party("heir")
SAME = Party("root")  # another key under the root's name
NAMELESS = Party(x509.Name([]), ROOT.key)
PRINTABLE = Party(
    x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root", _ASN1Type.PrintableString)]),
    ROOT.key,
)


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
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [MIDDLE_CERTIFICATE, ROOT_CERTIFICATE],
            id="the intermediate among the anchors",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [signer(MIDDLE, ROOT, end=NOW - SECOND), ROOT_CERTIFICATE],
            id="the intermediate's expired twin among the anchors",
        ),
        pytest.param(
            [certificate(LEAF, ROOT)],
            [DIRECT, ROOT_CERTIFICATE],
            id="the leaf's predecessor among the anchors",
        ),
        pytest.param(
            [certificate(LEAF, HEIR), signer(HEIR, ROOT)],
            [ROOT_CERTIFICATE],
            id="a new root, signed by the old",
        ),
        pytest.param(
            [certificate(LEAF, HEIR), signer(HEIR, ROOT)],
            [signer(HEIR, HEIR)],
            id="a new root, signed by the old, which is gone",
        ),
        pytest.param(
            [certificate(LEAF, SAME), signer(SAME, ROOT)],
            [ROOT_CERTIFICATE],
            id="a self-issued intermediate",
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, end=NOW)], id="an anchor that ends now"),
        pytest.param([DIRECT], [signer(ROOT, ROOT, begin=NOW)], id="an anchor that begins now"),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, end=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))],
            id="an anchor without end",
        ),
        pytest.param(
            [certificate(LEAF, MIDDLE, end=NOW + HOUR * 9), MIDDLE_CERTIFICATE],
            [ROOT_CERTIFICATE],
            id="a leaf that outlives its issuer",
        ),
        pytest.param(
            [certificate(Party("root"), ROOT)], [ROOT_CERTIFICATE], id="a leaf of the root's name"
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
        pytest.param(
            [THROUGH], [signer(MIDDLE, ROOT, end=NOW - SECOND)], id="other anchor expired"
        ),
        pytest.param([DIRECT], [signer(ROOT, ROOT, usage=None)], id="anchor without key usage"),
        pytest.param(
            [DIRECT],
            [signer(ROOT, ROOT, usage=("crl_sign",))],
            id="anchor without keyCertSign",
        ),
        pytest.param(
            [certificate(LEAF, STRANGER)],
            [certificate(STRANGER, ROOT), ROOT_CERTIFICATE],
            id="a workload among the anchors that signs",
        ),
        pytest.param(
            [certificate(LEAF, Party("ROOT", ROOT.key))],
            [ROOT_CERTIFICATE],
            id="the issuer's name in another case",
        ),
        pytest.param(
            [certificate(LEAF, PRINTABLE)],
            [ROOT_CERTIFICATE],
            id="the issuer's name in another encoding",
        ),
        pytest.param(
            [certificate(LEAF, NAMELESS)],
            [signer(NAMELESS, NAMELESS)],
            id="an authority without a name",
        ),
        pytest.param([DIRECT], [DIRECT], id="the leaf as anchor"),
        pytest.param([DIRECT], [DIRECT, ROOT_CERTIFICATE], id="the leaf among the anchors"),
        pytest.param([certificate(LEAF, LEAF)] * 2, [certificate(LEAF, LEAF)], id="its twin"),
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


@pytest.mark.parametrize("identified", [True, False], ids=["key identifiers", "none"])
@pytest.mark.parametrize("position", range(5))
def test_roots_of_one_name(position: int, identified: bool) -> None:
    """Of five roots with one subject each is found, with and without key identifiers (R-X509-20)."""
    parties = [Party("root") for _ in range(5)]
    ids = key_ids if identified else lambda _subject, _issuer: []
    bundles = {LOCAL: bundle(*(signer(each, each, extensions=ids(each, each)) for each in parties))}
    issuer = parties[position]

    assert verdict([certificate(LEAF, issuer, extensions=ids(LEAF, issuer))], bundles) == WORKLOAD
    stranger = certificate(LEAF, SAME, extensions=ids(LEAF, SAME))
    assert refusal([stranger], bundles).reason == "untrusted_chain"


def test_a_key_identifier_that_misleads() -> None:
    """Identifiers may help to search and never decide: the signature does (R-X509-20)."""
    other = Party("root")
    bundles = {
        LOCAL: bundle(
            *(signer(each, each, extensions=key_ids(each, each)) for each in (other, ROOT))
        )
    }
    leaf = certificate(LEAF, ROOT, extensions=key_ids(LEAF, other))
    forged = certificate(LEAF, SAME, extensions=key_ids(LEAF, ROOT))

    assert verdict([leaf], bundles) == WORKLOAD
    assert refusal([forged], bundles).reason == "untrusted_chain"


# ---- cross-signed intermediates ----------------------------------------------------------------

OLD, NEW = Party("old"), Party("new")
OLD_ROOT, NEW_ROOT = signer(OLD, OLD), signer(NEW, NEW)
BY_OLD, BY_NEW = signer(MIDDLE, OLD), signer(MIDDLE, NEW)
BY_OLD_EXPIRED = signer(MIDDLE, OLD, end=NOW - SECOND)
UPPER = Party("upper")


@pytest.mark.parametrize(
    ("sent", "roots", "accepted"),
    [
        pytest.param([BY_OLD, BY_NEW], [OLD_ROOT, NEW_ROOT], True, id="both ways"),
        pytest.param([BY_OLD, BY_NEW], [OLD_ROOT], True, id="new root unknown"),
        pytest.param([BY_OLD, BY_NEW], [NEW_ROOT], True, id="old root gone"),
        pytest.param([BY_OLD_EXPIRED, BY_NEW], [OLD_ROOT, NEW_ROOT], True, id="one way expired"),
        pytest.param([BY_OLD_EXPIRED, BY_NEW], [OLD_ROOT], False, id="the only way expired"),
        pytest.param([BY_NEW], [OLD_ROOT, NEW_ROOT], True, id="one way missing"),
        pytest.param([BY_NEW], [OLD_ROOT], False, id="the only way missing"),
        pytest.param(
            [signer(MIDDLE, UPPER), signer(UPPER, OLD), signer(UPPER, NEW)],
            [NEW_ROOT],
            True,
            id="crossed one step above",
        ),
        pytest.param(
            [BY_OLD, signer(OLD, NEW), BY_OLD_EXPIRED],
            [NEW_ROOT],
            True,
            id="the old root crossed by the new",
        ),
        pytest.param(
            [BY_OLD, signer(OLD, NEW)],
            [signer(UPPER, UPPER)],
            False,
            id="crossed, and neither known",
        ),
    ],
)
def test_cross_signed_intermediates(
    sent: list[x509.Certificate],
    roots: list[x509.Certificate],
    accepted: bool,
) -> None:
    """Every way is tried, in whatever order they are sent (R-X509-20, R-X509-22)."""
    bundles = {LOCAL: bundle(*roots)}

    for order in permutations(sent):
        if accepted:
            assert verdict([THROUGH, *order], bundles) == WORKLOAD
        else:
            assert refusal([THROUGH, *order], bundles).reason == "untrusted_chain"


# ---- path length -------------------------------------------------------------------------------

STEPS = [Party(f"step {number}") for number in range(4)]


def descent(top: Party, count: int) -> list[x509.Certificate]:
    """Make a leaf, and intermediates between it and the top."""
    parties = [top, *STEPS[:count]]
    signers = [signer(below, above) for above, below in pairwise(parties)]
    return [certificate(LEAF, parties[-1]), *reversed(signers)]


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("limit", [None, 0, 1, 2])
def test_the_path_length_of_an_anchor(limit: int | None, count: int) -> None:
    """At most so many intermediates follow an anchor as it says (R-X509-23)."""
    bundles = {LOCAL: bundle(signer(ROOT, ROOT, path_length=limit))}

    if limit is None or count <= limit:
        assert verdict(descent(ROOT, count), bundles) == WORKLOAD
    else:
        assert refusal(descent(ROOT, count), bundles).reason == "untrusted_chain"


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("limit", [None, 0, 1, 2])
def test_the_path_length_of_an_intermediate(limit: int | None, count: int) -> None:
    """At most so many intermediates follow an intermediate as it says (R-X509-15)."""
    chain = [*descent(MIDDLE, count), signer(MIDDLE, ROOT, path_length=limit)]

    if limit is None or count <= limit:
        assert verdict(chain) == WORKLOAD
    else:
        assert refusal(chain).reason == "untrusted_chain"


def test_a_self_issued_intermediate_counts() -> None:
    """Stricter than RFC 5280 section 6.1.4 (l): a self-issued certificate counts as a step."""
    bundles = {LOCAL: bundle(signer(ROOT, ROOT, path_length=0))}

    chain = [certificate(LEAF, SAME), signer(SAME, ROOT)]

    assert refusal(chain, bundles).reason == "untrusted_chain"
