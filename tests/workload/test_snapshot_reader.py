"""The reader of messages: replacement, limits, the picker, its cache, and any bytes at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security import ConfigError, TrustDomain, WorkloadApiError, X509Svid
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.snapshot import SnapshotReader
from tests.workload.material import DOMAIN, ID, OTHER_ID, der, entry, message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


A = FakeAuthority(DOMAIN)
B = FakeAuthority("b.test")
WEB = A.issue(ID, hint="web")
DB = A.issue(OTHER_ID, hint="db")
FOREIGN = B.issue("spiffe://b.test/web")
GOOD = entry(WEB, A.bundle)
TD_A, TD_B, TD_C = (TrustDomain.parse(name) for name in (DOMAIN, "b.test", "c.test"))

# ---- replacement ---------------------------------------------------------------------------------


def test_each_message_is_the_whole_state() -> None:
    """Nothing of an earlier message survives in a later one (R-WLAPI-06, -07, -08)."""
    reader = SnapshotReader()
    reader.read(message(GOOD, entry(DB, A.bundle), federated={"spiffe://b.test": der(B.bundle)}))
    read = reader.read(message(entry(DB, A.bundle)))
    assert read.context.svids == (DB,)
    assert dict(read.context.bundles) == {TD_A: A.bundle}


def test_refused_message_changes_nothing() -> None:
    """A refused message leaves the reader as it was (R-WLAPI-09)."""
    reader = SnapshotReader()
    before = reader.read(message(GOOD)).context
    with pytest.raises(WorkloadApiError):
        reader.read(message())
    after = reader.read(message(GOOD)).context
    assert after.default is before.default


def test_removed_authority_is_gone() -> None:
    """An authority that is no longer sent is no longer trusted (R-WLAPI-07)."""
    authority = FakeAuthority(DOMAIN)
    svid = authority.issue(ID)
    reader = SnapshotReader()
    old = authority.bundle
    reader.read(message(entry(svid, old)))
    authority.rotate()
    both = reader.read(message(entry(svid, authority.bundle))).context.bundles[TD_A]
    assert len(both.authorities) == 2
    authority.revoke()
    new = reader.read(message(entry(svid, authority.bundle))).context.bundles[TD_A]
    assert len(new.authorities) == 1
    assert new != old


# ---- limits, pick, caching -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["svids", "bundles"])
def test_limits(what: str) -> None:
    """More SVIDs or bundles than the limits allow are refused before any is parsed."""
    data = message(
        *[entry(WEB, A.bundle, hint="", x509_svid=b"junk")] * (4 if what == "svids" else 1),
        federated={f"{n}.test": b"junk" for n in range(0 if what == "svids" else 4)},
    )
    limits = Limits(svids=3) if what == "svids" else Limits(bundles=3)
    with pytest.raises(WorkloadApiError, match="it has more than 3"):
        SnapshotReader(limits=limits).read(data)


def test_the_length_of_a_chain_has_a_limit() -> None:
    """An SVID with a longer chain than allowed is refused, and costs only itself as a second."""
    long = A.issue("spiffe://a.test/long", intermediates=1)
    reader = SnapshotReader(limits=Limits(chain_length=1))

    assert len(SnapshotReader().read(message(entry(long, A.bundle))).context.svids) == 1
    with pytest.raises(WorkloadApiError, match="at most 1 are allowed"):
        reader.read(message(entry(long, A.bundle)))
    read = reader.read(message(GOOD, entry(long, A.bundle)))
    assert read.context.svids == (WEB,)
    assert any("at most 1 are allowed" in each for each in read.warnings)


@pytest.mark.parametrize("name", ["message_bytes", "svids", "bundles", "chain_length"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "7", None])
def test_a_limit_is_a_whole_number(name: str, value: Any) -> None:
    """What is no limit is refused when it is given, with its name."""
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: value})


def test_unknown_fields_and_crls_are_skipped() -> None:
    """Fields that this version does not know, and CRLs, do no harm (R-WLAPI-02, R-WLAPI-20)."""
    unknown = b"\xfa\x7f\x03abc"  # field 2047
    read = SnapshotReader().read(message(GOOD, crl=[b"junk"]) + unknown)
    assert read.context.svids == (WEB,)


def test_pick() -> None:
    """The function given chooses the default from the tuple of all, which stay all there."""
    seen: list[Sequence[X509Svid]] = []

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        seen.append(svids)
        return svids[-1]

    context = SnapshotReader(pick=pick).read(message(GOOD, entry(DB, A.bundle))).context
    assert context.default == DB
    assert context.svids == (WEB, DB)
    assert seen == [(WEB, DB)]
    assert isinstance(seen[0], tuple)


def _raise(_: Sequence[X509Svid]) -> X509Svid:
    raise LookupError("the picker's own words")


@pytest.mark.parametrize(
    ("pick", "reason"),
    [
        pytest.param(_raise, "failed with LookupError", id="raises"),
        pytest.param(lambda _: None, "chose none", id="gives nothing"),
        pytest.param(lambda _: FOREIGN, "chose none", id="gives a stranger"),
        pytest.param(lambda _: A.issue(ID), "chose none", id="gives its like"),
        pytest.param(lambda svids: svids, "chose none", id="gives them all"),
    ],
)
def test_pick_that_fails(pick: Callable[[Sequence[X509Svid]], X509Svid], reason: str) -> None:
    """A picker that raises or chooses no identity of the message refuses it (R-WLAPI-33)."""
    with pytest.raises(WorkloadApiError, match=reason):
        SnapshotReader(pick=pick).read(message(GOOD))


def test_unchanged_bytes_give_the_same_objects() -> None:
    """What did not change is not parsed again: the very same objects are given."""
    reader = SnapshotReader()
    federated = {"spiffe://b.test": der(B.bundle)}
    one = reader.read(message(GOOD, entry(DB, A.bundle), federated=federated)).context
    new = A.issue(OTHER_ID, hint="db")
    two = reader.read(message(GOOD, entry(new, A.bundle), federated=federated)).context
    assert two.svids[0] is one.svids[0]
    assert two.svids[1] is not one.svids[1]
    assert two.bundles[TD_A] is one.bundles[TD_A]
    assert two.bundles[TD_B] is one.bundles[TD_B]


def test_the_same_message_gives_the_same_snapshot() -> None:
    """A message that is delivered again is not read again, unless a picker may choose anew."""
    reader = SnapshotReader()
    data = message(GOOD, federated={"spiffe://b.test": der(B.bundle)})
    turns: list[int] = []

    def pick(svids: Sequence[X509Svid]) -> X509Svid:
        turns.append(1)
        return svids[0]

    assert reader.read(data) is reader.read(bytes(bytearray(data)))
    choosing = SnapshotReader(pick=pick)
    assert choosing.read(data).context == choosing.read(data).context
    assert len(turns) == 2


def test_cache_checks_again_what_is_not_in_its_key() -> None:
    """Known bytes under another ID, another hint or another domain are not waved through."""
    reader = SnapshotReader()
    reader.read(message(GOOD))
    with pytest.raises(WorkloadApiError, match="the certificate spiffe"):
        reader.read(message(entry(WEB, A.bundle, spiffe_id=OTHER_ID)))
    renamed = reader.read(message(entry(WEB, A.bundle, hint="new"))).context.default
    assert renamed.hint == "new"
    read = reader.read(message(GOOD, federated={"b.test": der(A.bundle)}))
    assert read.context.bundles[TD_B].trust_domain == TD_B


def test_cache_holds_what_is_in_use_only() -> None:
    """The cache does not grow with rotations: it has the objects of the last message."""
    reader = SnapshotReader()
    for _ in range(5):
        federated = {"b.test": der(FakeAuthority("b.test").bundle)}
        reader.read(message(entry(A.issue(ID), A.bundle), federated=federated))
    assert len(reader._svids) == 1
    assert len(reader._own) == 1
    assert len(reader._bundles) == 2
    assert len(reader._bundles._read) == 1


# ---- properties ----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    """Arbitrary bytes are refused as a WorkloadApiError, and as nothing else."""
    with pytest.raises(WorkloadApiError):
        SnapshotReader().read(data)


_WHOLE = message(GOOD, entry(DB, A.bundle), federated={"spiffe://b.test": der(B.bundle)})


@settings(max_examples=250, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(_WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_damaged_message(damage: list[tuple[int, int]]) -> None:
    """A damaged message gives a snapshot whose parts are whole, or a WorkloadApiError."""
    data = bytearray(_WHOLE)
    for at, value in damage:
        data[at] = value
    try:
        read = SnapshotReader().read(bytes(data))
    except WorkloadApiError as error:
        assert str(error).isprintable()  # noqa: PT017 - only a refusal has a text
        return
    assert read.context.default is read.context.svids[0]
    assert all(each.isprintable() for each in read.warnings)
    for svid in read.context.svids:
        assert svid.private_key.public_key() == svid.leaf.public_key()


@pytest.mark.parametrize(
    "data",
    [b"\x0a\x00" * (1 << 20), b"\x1a\x00" * (1 << 20), b"\x08\x01" * (1 << 20)],
    ids=["svids", "bundles", "unknown"],
)
def test_members_are_counted_before_objects_are_made_of_them(data: bytes) -> None:
    """Millions of tiny members are refused by their number alone."""
    with pytest.raises(WorkloadApiError, match=r"more than|too many"):
        SnapshotReader().read(data)
