"""The live source and its messages: each is the whole state, in one step and for one read."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from serviceradar_security import (
    SourceTimeoutError,
    TrustDomain,
    WorkloadApiError,
    X509Context,
    X509Source,
    verify_x509_svid,
)
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.watch import State
from tests.workload.material import DOMAIN, ID, OTHER_ID, der, entry, message
from tests.workload.peers import source_threads, until
from tests.workload.users import Seen, serial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serviceradar_security import TrustBundle
    from serviceradar_security.testing.workload_api import FakeWorkloadApi

FEDERATED: Final = TrustDomain.parse("b.test")


# ---- one step ------------------------------------------------------------------------------------


class Generation(NamedTuple):
    """A message, and what a reader finds together in it."""

    data: bytes
    own: TrustBundle
    other: TrustBundle


@cache
def generations() -> dict[int, Generation]:
    """Give messages that have nothing in common, by the serial number of their default."""
    made = {}
    for _ in range(6):
        own, other = FakeAuthority(DOMAIN), FakeAuthority("b.test")
        svid = own.issue(ID)
        data = message(entry(svid, own.bundle), federated={"b.test": der(other.bundle)})
        made[svid.leaf.serial_number] = Generation(data, own.bundle, other.bundle)
    return made


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as can be, so that races are met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def agrees(context: X509Context) -> bool:
    """Tell whether all of a snapshot came with one message."""
    made = generations()[serial(context)]
    found = context.bundles[FEDERATED], context.bundles[context.default.spiffe_id.trust_domain]
    return found == (made.other, made.own) and len(context.svids) == 1


def until_updates(source: X509Source, number: int) -> None:
    """Wait for so many updates."""
    until(lambda: source.status().updates == number)


@pytest.mark.usefixtures("hasty")
def test_readers_never_see_two_messages(api: FakeWorkloadApi) -> None:
    """SVID, own and federated bundle of a snapshot are of one message, whoever reads (R-WLAPI-06)."""
    torn: list[X509Context] = []
    read: set[int] = set()
    over = threading.Event()
    api.hang()

    def check(context: X509Context) -> None:
        read.add(serial(context))
        if not agrees(context):
            torn.append(context)

    with X509Source(api.endpoint) as source, source.subscribe(check):
        until(lambda: api.requests == 1)
        first, *others = generations().values()
        api.send(first.data)
        source.wait_ready(timeout=10)

        def follow() -> None:
            while not over.is_set():
                check(source.current())

        threads = [threading.Thread(target=follow) for _ in range(3)]
        for each in threads:
            each.start()
        for made in (*others, first) * 5:
            api.send(made.data)
        until_updates(source, 31)
        until(lambda: len(read) > 1)
        over.set()
        for each in threads:
            each.join(10)
        assert source.status().rejected == 0
    assert torn == []


class Overtaken(dict[str, Any]):
    """What was read so far, in which another thread puts its bundle right after one looked."""

    def __init__(self, theirs: TrustBundle) -> None:
        super().__init__()
        self.theirs = theirs

    def get(self, key: str, default: Any = None) -> Any:
        seen = super().get(key, default)
        self[key] = self.theirs
        return seen


def test_first_uses_at_once() -> None:
    """Of two threads that ask for a bundle first and at once, both find it (R-WLAPI-06)."""
    other = FakeAuthority("b.test").bundle
    bundles = BundleSet({}, {"b.test": der(other)})
    object.__setattr__(bundles, "_read", Overtaken(other))
    assert bundles[FEDERATED] == other


def test_a_snapshot_proves_itself(api: FakeWorkloadApi) -> None:
    """The SVID of a snapshot is always proven by the bundle beside it, through any rotation."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        for number in range(2, 6):
            api.rotate_authority()
            until_updates(source, number)
            context = source.current()
            found = verify_x509_svid(
                context.default.chain_der, context.bundles, at=datetime.now(UTC), purpose=None
            )
            assert found == context.default.spiffe_id


# ---- what is a change ----------------------------------------------------------------------------

A: Final = FakeAuthority(DOMAIN)
B: Final = FakeAuthority("b.test")
C: Final = FakeAuthority("c.test")
WEB: Final = A.issue(ID, hint="web", intermediates=1)
DB: Final = A.issue(OTHER_ID, hint="db")
LAST: Final = A.issue("spiffe://a.test/last", hint="last")
USUAL: Final = (1, 2, 3)
LATER: Final = A.issue(ID, hint="web")
LONGER: Final = b"".join((*WEB.chain_der, A.issue(ID, intermediates=1).chain_der[1]))
BUNDLES: Final = {"b.test": der(B.bundle), "c.test": der(C.bundle)}
NEXT: Final = FakeAuthority(DOMAIN)


def said(*, order: tuple[int, ...] = USUAL, first: Any = None, **changes: Any) -> bytes:
    """Write the usual message, changed in one thing."""
    default = entry(WEB, A.bundle) if first is None else first
    entries = {1: default, 2: entry(DB, A.bundle), 3: entry(LAST, A.bundle)}
    return message(*(entries[each] for each in order), **{"federated": BUNDLES, **changes})


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        pytest.param(said(), False, id="the same bytes"),
        pytest.param(said() + b"\xfa\x7f\x03abc", False, id="an unknown field"),
        pytest.param(said(crl=[b"x"]), False, id="a CRL"),
        pytest.param(
            said(federated=dict(reversed(BUNDLES.items()))), False, id="bundles in another order"
        ),
        pytest.param(said(order=(2, 1, 3)), True, id="another first SVID"),
        pytest.param(said(order=(1, 3, 2)), True, id="another order behind the first"),
        pytest.param(
            said(first=entry(WEB, A.bundle, x509_svid=LONGER)), True, id="one more intermediate"
        ),
        pytest.param(said(first=entry(WEB, A.bundle, hint="other")), True, id="another hint"),
        pytest.param(said(first=entry(LATER, A.bundle)), True, id="another SVID"),
        pytest.param(said(order=(1, 2)), True, id="one SVID less"),
        pytest.param(
            said(first=entry(WEB, A.bundle, bundle=der(A.bundle) + der(NEXT.bundle))),
            True,
            id="one more authority",
        ),
        pytest.param(said(federated={"b.test": BUNDLES["b.test"]}), True, id="one bundle less"),
        pytest.param(said(federated={**BUNDLES, "c.test": b""}), True, id="an empty bundle"),
    ],
)
def test_what_is_an_update(data: bytes, *, changed: bool, api: FakeWorkloadApi) -> None:
    """Any difference that a user could see is an update, and nothing else is (R-WLAPI-14, -32)."""
    seen = Seen()
    last = message(entry(A.issue("spiffe://a.test/end"), A.bundle))
    api.hang()
    with X509Source(api.endpoint) as source:
        until(lambda: api.requests == 1)
        api.send(said())
        source.wait_ready(timeout=10)
        with source.subscribe(seen):
            api.send(data)
            if changed:
                until(lambda: len(seen.contexts) == 1)
            api.send(last)
            until(lambda: seen.contexts and seen.contexts[-1].default.spiffe_id.path == "/end")
        assert source.status().updates == 2 + changed
        assert len(seen.contexts) == 1 + changed
        assert (source.status().state, source.status().rejected) == (State.READY, 0)


# ---- one read, and its deadline ------------------------------------------------------------------


async def _wait_async(source: X509Source, timeout: float) -> X509Context:  # noqa: ASYNC109 - as the source's own
    async with source:
        return await source.wait_ready_async(timeout=timeout)


def _wait_sync(source: X509Source, timeout: float) -> X509Context:
    with source:
        return source.wait_ready(timeout=timeout)


WAYS: Final[dict[str, Callable[[X509Source, float], X509Context]]] = {
    "sync": _wait_sync,
    "async": lambda source, timeout: asyncio.run(_wait_async(source, timeout)),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_fetch(way: str, api: FakeWorkloadApi) -> None:
    """A `with` block around one wait is one call, which ends with the block (R-WLAPI-05)."""
    context = WAYS[way](X509Source(api.endpoint), 10)

    assert str(context.default.spiffe_id) == ID
    until(lambda: api.connections == 0)
    assert api.requests == 1
    until(lambda: not source_threads())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(lambda api: api.deny(), SourceTimeoutError, id="denied"),
        pytest.param(lambda api: api.hang(), SourceTimeoutError, id="silent"),
        pytest.param(lambda api: api.stop(), SourceTimeoutError, id="no agent"),
        pytest.param(lambda api: api.fail("UNAVAILABLE"), SourceTimeoutError, id="unavailable"),
        pytest.param(lambda api: api.fail("UNIMPLEMENTED"), WorkloadApiError, id="for good"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_wait_that_fails_leaves_nothing(
    way: str,
    fault: Callable[[FakeWorkloadApi], None],
    error: type[Exception],
    api: FakeWorkloadApi,
) -> None:
    """However a wait fails, after the block there is no thread and no connection (R-WLAPI-31)."""
    fault(api)
    source = X509Source(api.endpoint)

    with pytest.raises(error, match=api.endpoint):
        WAYS[way](source, 0.1 if error is SourceTimeoutError else 30)

    assert source.status().state is State.CLOSED
    until(lambda: not source_threads())
    until(lambda: api.connections == 0)


# ---- too large -----------------------------------------------------------------------------------


def test_a_message_that_is_too_large_is_no_loss(api: FakeWorkloadApi) -> None:
    """It is reported by its code, what is held stays, and the agent is asked again (R-WLAPI-30)."""
    with X509Source(api.endpoint, limits=Limits(message_bytes=100_000)) as source:
        context = source.wait_ready(timeout=10)
        assert source.status().failures == {}

        api.send(bytes(100_001))
        until(lambda: source.status().failures)

        assert source.current() is context
        assert source.status().failures == {"exhausted": 1}
        until(lambda: source.status().state is State.READY)
        assert api.requests == 2
        assert source.current() is context
        assert source.status().updates == 1
