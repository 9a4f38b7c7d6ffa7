"""From messages to snapshots: what is taken, what costs only itself, what is refused whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from serviceradar_security import TrustDomain, WorkloadApiError, X509SvidError
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.snapshot import SnapshotReader
from tests.workload.material import DOMAIN, ID, OTHER_ID, der, entry, key_der, message

A = FakeAuthority(DOMAIN)
B = FakeAuthority("b.test")
WEB = A.issue(ID, hint="web")
DB = A.issue(OTHER_ID, hint="db")
FOREIGN = B.issue("spiffe://b.test/web")
GOOD = entry(WEB, A.bundle)
TD_A, TD_B, TD_C = (TrustDomain.parse(name) for name in (DOMAIN, "b.test", "c.test"))


@cache
def with_bad_version(certificate: bytes) -> bytes:
    """Give a certificate a version that does not exist; parsers say so in their own way."""
    at = certificate.index(b"\xa0\x03\x02\x01\x02") + 4
    return certificate[:at] + b"\x07" + certificate[at + 1 :]


# ---- the whole message ---------------------------------------------------------------------------


def test_good_message() -> None:
    """A message becomes a snapshot of identities and bundles, without warnings."""
    read = SnapshotReader().read(
        message(GOOD, entry(DB, A.bundle), federated={"spiffe://b.test": der(B.bundle)}),
    )
    assert read.warnings == ()
    assert read.context.svids == (WEB, DB)
    assert dict(read.context.bundles) == {TD_A: A.bundle, TD_B: B.bundle}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "it has no SVID", id="R-WLAPI-09 nothing"),
        pytest.param(message(), "it has no SVID", id="R-WLAPI-10 no SVID"),
        pytest.param(
            message(federated={"spiffe://b.test": der(B.bundle)}),
            "it has no SVID",
            id="R-WLAPI-10 bundles alone",
        ),
        pytest.param(b"\xff", "cut off or too long", id="R-WLAPI-12 no message"),
        pytest.param(message(GOOD)[:-1], "cut off", id="R-WLAPI-12 cut off"),
    ],
)
def test_unusable_message(data: bytes, reason: str) -> None:
    """A message without an identity, or that is none, is refused; it is no withdrawal."""
    with pytest.raises(WorkloadApiError, match=reason):
        SnapshotReader().read(data)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"spiffe_id": ""}, "field spiffe_id is empty", id="R-WLAPI-09 ID"),
        pytest.param({"x509_svid": b""}, "field x509_svid is empty", id="R-WLAPI-09 chain"),
        pytest.param({"x509_svid_key": b""}, "field x509_svid_key is empty", id="R-WLAPI-09 key"),
        pytest.param({"bundle": b""}, "field bundle is empty", id="R-WLAPI-11 bundle"),
        pytest.param({"spiffe_id": "web"}, "SPIFFE ID", id="R-WLAPI-12 ID is none"),
        pytest.param({"x509_svid": b"\x30\x01"}, "chain", id="R-WLAPI-12 chain is cut off"),
        pytest.param(
            {"x509_svid": b"\x30\x00"}, "not a certificate", id="R-WLAPI-12 no certificate"
        ),
        pytest.param(
            {"x509_svid": b"".join(WEB.chain_der) + b"\0"},
            "is not 0x30",
            id="R-X509-26 surplus byte",
        ),
        pytest.param({"x509_svid": b"-----BEGIN"}, "chain", id="R-X509-26 PEM"),
        pytest.param({"x509_svid": A.bundle.der[0]}, "unusable", id="R-WLAPI-12 leaf is a CA"),
        pytest.param(
            {"x509_svid": with_bad_version(WEB.chain_der[0])},
            "SVID 1",
            id="R-WLAPI-12 version of X.509 that does not exist",
        ),
        pytest.param({"x509_svid_key": b"\x30\x00"}, "PKCS#8", id="R-X509-27 no key"),
        pytest.param({"x509_svid_key": key_der(DB)}, "does not belong", id="R-X509-28 other key"),
        pytest.param({"bundle": b"\x30\x00"}, "not a certificate", id="R-WLAPI-12 bundle"),
        pytest.param({"bundle": b"junk"}, "not a row", id="R-WLAPI-12 bundle is no DER"),
        pytest.param({"spiffe_id": OTHER_ID}, "the certificate spiffe", id="R-WLAPI-13 other ID"),
        pytest.param(
            {"spiffe_id": "spiffe://b.test/web"},
            "the certificate spiffe",
            id="R-WLAPI-13 other trust domain",
        ),
    ],
)
def test_bad_svid(changes: dict[str, Any], reason: str) -> None:
    """A bad first SVID refuses the message; a bad later one costs only itself."""
    bad = entry(WEB, A.bundle, hint="", **changes)
    with pytest.raises(WorkloadApiError, match=reason) as caught:
        SnapshotReader().read(message(bad, entry(DB, A.bundle)))
    assert str(caught.value).isprintable()
    read = SnapshotReader().read(message(entry(DB, A.bundle), bad))
    assert read.context.svids == (DB,)
    assert dict(read.context.bundles) == {TD_A: A.bundle}
    (warning,) = read.warnings
    assert warning.startswith("SVID 2 is left out")
    assert warning.isprintable()


def test_key_is_never_quoted() -> None:
    """No refusal and no warning quotes key bytes, and they are in no repr (R-WLAPI-36)."""
    secret = b"\x30\x0fnever-shown-key"
    bad = entry(WEB, A.bundle, hint="", x509_svid_key=secret)
    reader = SnapshotReader()
    with pytest.raises(WorkloadApiError) as caught:
        reader.read(message(bad))
    read = reader.read(message(entry(DB, A.bundle), bad))
    shown = f"{caught.value!r} {caught.value.__cause__!r} {read!r} {read.warnings} {reader!r}"
    assert "never-shown" not in shown


# ---- several SVIDs -------------------------------------------------------------------------------


def test_first_is_the_default() -> None:
    """The first entry is the default; another order is another snapshot (R-WLAPI-14)."""
    reader = SnapshotReader()
    one = reader.read(message(entry(WEB, A.bundle), entry(DB, A.bundle))).context
    other = reader.read(message(entry(DB, A.bundle), entry(WEB, A.bundle))).context
    assert (one.default, other.default) == (WEB, DB)
    assert one != other


def test_same_hint_twice() -> None:
    """Of several SVIDs with one hint the first is kept, before parsing (R-WLAPI-15)."""
    unreadable = entry(DB, A.bundle, hint="web", x509_svid=b"junk", x509_svid_key=b"junk")
    read = SnapshotReader().read(message(GOOD, unreadable, entry(DB, A.bundle, hint="web")))
    assert read.context.svids == (WEB,)
    assert read.warnings == tuple(
        f"SVID {number} repeats the hint of an earlier one: left out" for number in (2, 3)
    )


def test_bad_svid_keeps_its_hint() -> None:
    """A hint is taken even by an SVID that is left out: nobody slips into its place."""
    bad = entry(DB, A.bundle, hint="db", bundle=b"")
    read = SnapshotReader().read(message(GOOD, bad, entry(DB, A.bundle, hint="db")))
    assert read.context.svids == (WEB,)
    with pytest.raises(X509SvidError, match="no identity has the hint 'db'"):
        read.context.by_hint("db")


def test_empty_hints_are_not_merged() -> None:
    """SVIDs without a hint stand beside each other (R-WLAPI-15)."""
    read = SnapshotReader().read(
        message(entry(WEB, A.bundle, hint=""), entry(DB, A.bundle, hint="")),
    )
    assert [str(each.spiffe_id) for each in read.context.svids] == [ID, OTHER_ID]
    assert read.warnings == ()


def test_by_hint() -> None:
    """A hint finds its identity and never another one (R-WLAPI-16)."""
    long = "h" * 2000
    context = SnapshotReader().read(message(GOOD, entry(DB, A.bundle, hint=long))).context
    assert context.by_hint("web").spiffe_id == WEB.spiffe_id
    assert context.by_hint(long).spiffe_id == DB.spiffe_id
    for missing in ("", "WEB", "we", "web "):
        with pytest.raises(X509SvidError, match="no identity has the hint"):
            context.by_hint(missing)


def test_other_bundle_of_the_same_domain() -> None:
    """Of two bundles that SVIDs bring for one domain the first counts (R-WLAPI-19)."""
    other = FakeAuthority(DOMAIN)
    read = SnapshotReader().read(message(GOOD, entry(DB, A.bundle, bundle=der(other.bundle))))
    assert read.context.bundles[TD_A] == A.bundle
    assert read.warnings == ("SVID 2 brings another bundle for a.test: the first is used",)


def test_bundle_is_filed_under_the_certificates_domain() -> None:
    """Each SVID's bundle stands under the trust domain of its certificate (R-WLAPI-13)."""
    read = SnapshotReader().read(message(GOOD, entry(FOREIGN, B.bundle)))
    assert dict(read.context.bundles) == {TD_A: A.bundle, TD_B: B.bundle}


@pytest.mark.parametrize(
    ("offset", "doubted"),
    [
        pytest.param(timedelta(), True, id="of its time"),
        pytest.param(timedelta(days=400), False, id="expired, of which the watch tells"),
        pytest.param(None, False, id="not asked"),
    ],
)
def test_an_identity_that_its_own_bundle_does_not_prove(
    offset: timedelta | None,
    *,
    doubted: bool,
) -> None:
    """An SVID that does not lead to its own bundle is used, with a warning (R-X509-29)."""
    stranger = FakeAuthority(DOMAIN)
    at = None if offset is None else datetime.now(UTC) + offset
    read = SnapshotReader().read(message(GOOD, entry(DB, stranger.bundle)), at=at)
    other = SnapshotReader().read(message(entry(DB, stranger.bundle)), at=at)

    assert read.context.svids == (WEB, DB)
    assert not any("not proven" in each for each in read.warnings)
    assert [each.startswith("SVID 1 is not proven") for each in other.warnings] == [True] * doubted


def test_a_chain_that_ends_before_its_leaf() -> None:
    """An intermediate that ends first is a warning, with the time, and after it another."""
    now = datetime.now(UTC)
    end = now + timedelta(minutes=10)
    authority = FakeAuthority(DOMAIN)
    svid = authority.issue(ID, intermediates=1, intermediate={"not_after": end})
    data = message(entry(svid, authority.bundle))
    (early,) = SnapshotReader().read(data, at=now).warnings
    late = SnapshotReader().read(data, at=end + timedelta(minutes=1)).warnings

    assert f"an intermediate of its chain ends at {end:%FT%TZ}" in early
    assert late[0] == early
    assert late[1].startswith("SVID 1 is not proven")


# ---- federated bundles ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["spiffe://b.test", "b.test"])
def test_federated_key(key: str) -> None:
    """A key is a trust domain's ID or its bare name (R-WLAPI-17)."""
    read = SnapshotReader().read(message(GOOD, federated={key: der(B.bundle)}))
    assert read.context.bundles[TD_B] == B.bundle
    assert read.warnings == ()


def test_empty_federated_bundle() -> None:
    """An empty value is a bundle that trusts nobody, not one that is missing (R-WLAPI-11)."""
    read = SnapshotReader().read(message(GOOD, federated={"spiffe://b.test": b""}))
    assert read.context.bundles[TD_B].authorities == ()
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("", der(B.bundle), id="R-WLAPI-17 empty key"),
        pytest.param("spiffe://", der(B.bundle), id="R-WLAPI-17 no name"),
        pytest.param("spiffe://b.test/", der(B.bundle), id="R-WLAPI-17 slash"),
        pytest.param("spiffe://b.test/web", der(B.bundle), id="R-WLAPI-17 key with a path"),
        pytest.param("spiffe://B.test", der(B.bundle), id="R-WLAPI-17 upper case"),
        pytest.param("b.test\n", der(B.bundle), id="R-WLAPI-17 newline"),
        pytest.param("https://b.test", der(B.bundle), id="R-WLAPI-17 https"),
        pytest.param("x" * 5000, der(B.bundle), id="R-WLAPI-17 long"),
        pytest.param("b.test", b"junk", id="R-WLAPI-12 no DER"),
        pytest.param("b.test", der(B.bundle) + b"\0", id="R-WLAPI-12 surplus byte"),
        pytest.param("b.test", der(B.bundle)[:-1], id="R-WLAPI-12 cut off"),
    ],
)
def test_bad_federated_bundle(key: str, value: bytes) -> None:
    """A bad federated bundle costs only itself: its domain is unknown, the rest is used."""
    c = FakeAuthority("c.test")
    read = SnapshotReader().read(
        message(GOOD, federated={key: value, "spiffe://c.test": der(c.bundle)}),
    )
    assert dict(read.context.bundles) == {TD_A: A.bundle, TD_C: c.bundle}
    (warning,) = read.warnings
    assert "is left out" in warning
    assert warning.isprintable()
    assert len(warning) < 700


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\x30\x00", id="R-WLAPI-12 no certificate"),
        pytest.param(with_bad_version(B.bundle.der[0]), id="R-WLAPI-12 bad version"),
    ],
)
def test_a_federated_bundle_is_read_on_first_use(
    value: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that then proves to be no row of certificates costs only itself: nobody of it is trusted."""
    read = SnapshotReader().read(message(GOOD, federated={"b.test": value, "c.test": b""}))

    assert read.warnings == ()
    assert caplog.messages == []
    assert read.context.bundles.get(TD_B) is None
    assert set(read.context.bundles) == {TD_A, TD_C}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("bad", [False, True])
def test_two_bundles_for_one_domain(*, bad: bool) -> None:
    """A domain with two keys is not trusted at all, even if one of them is bad (R-WLAPI-17)."""
    other = FakeAuthority("b.test")
    for keys in (("b.test", "spiffe://b.test"), ("spiffe://b.test", "b.test")):
        values = (b"junk" if bad else der(other.bundle), der(B.bundle))
        read = SnapshotReader().read(message(GOOD, federated=dict(zip(keys, values, strict=True))))
        assert dict(read.context.bundles) == {TD_A: A.bundle}
        assert any("two bundles for b.test" in each for each in read.warnings)


def test_federated_bundle_for_our_own_domain() -> None:
    """The bundle that an SVID brings wins over a federated one, with a warning (R-WLAPI-18)."""
    other = FakeAuthority(DOMAIN)
    read = SnapshotReader().read(message(GOOD, federated={"spiffe://a.test": der(other.bundle)}))
    assert dict(read.context.bundles) == {TD_A: A.bundle}
    assert read.warnings == ("a federated bundle for our own a.test is left out",)


def test_federated_bundle_beside_a_bad_svid() -> None:
    """A second SVID that is left out does not take its domain's federated bundle with it."""
    bad = entry(FOREIGN, B.bundle, bundle=b"")
    read = SnapshotReader().read(message(GOOD, bad, federated={"b.test": der(B.bundle)}))
    assert read.context.svids == (WEB,)
    assert read.context.bundles[TD_B] == B.bundle
