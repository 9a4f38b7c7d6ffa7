"""An application's `spiffe.X509Source` as a source of ours."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import spiffe

from serviceradar_security import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    StaticSource,
    TrustDomain,
    X509Context,
    X509SvidError,
)
from serviceradar_security.identity.context import X509ContextSource
from serviceradar_security.spiffe import SpiffeX509Source
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.watch import State
from tests.workload.material import ID, OTHER_ID, entry, key_der, message
from tests.workload.peers import source_threads, until
from tests.workload.scripts import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTNER = FakeAuthority("partner.test")


class Wall:
    """A wall clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Application:
    """An application that uses the package `spiffe`, and a Workload API behind it."""

    def __init__(self, api: FakeWorkloadApi, source: spiffe.X509Source) -> None:
        self.api = api
        self.source = source
        self.wall = Wall()
        self.ours = SpiffeX509Source(source, now=self.wall.now)

    def send_other_key(self) -> None:
        """Send an SVID with a key that is not its own, and wait until the application has it."""
        svid = self.api.authority.issue(ID)
        other = self.api.authority.issue(ID)
        before = self.source.get_x509_context().default_svid
        bad = entry(svid, self.api.authority.bundle, x509_svid_key=key_der(other))
        self.api.send(message(bad))
        until(lambda: self.source.get_x509_context().default_svid is not before)

    def callbacks(self) -> list[Any]:
        """Give what waits in the application's source for updates."""
        return list(self.source._subscribers)


@contextmanager
def running(*identities: str) -> Iterator[Application]:
    """Run an application with a source on a Workload API."""
    with (
        FakeWorkloadApi(identities or [ID]) as api,
        spiffe.X509Source(socket_path=api.endpoint, timeout_in_seconds=10) as source,
    ):
        application = Application(api, source)
        with application.ours:
            yield application


@pytest.fixture
def app() -> Iterator[Application]:
    with running() as application:
        yield application


def collect(source: SpiffeX509Source) -> X509Context:
    async def main() -> X509Context:
        async for each in source.updates():
            return each
        raise SourceClosedError("it ended")

    return asyncio.run(main())


READS: dict[str, Callable[[SpiffeX509Source], X509Context]] = {
    "current": lambda source: source.current(),
    "wait_ready": lambda source: source.wait_ready(timeout=5),
    "wait_ready_async": lambda source: asyncio.run(source.wait_ready_async(timeout=5)),
    "updates": collect,
}
reads = pytest.mark.parametrize("read", READS)


# ---- reading -----------------------------------------------------------------------------------


@reads
def test_reads(read: str, app: Application) -> None:
    """Every way of reading gives the identity and the bundles, checked and converted once."""
    context = READS[read](app.ours)
    assert str(context.default.spiffe_id) == ID
    assert context.bundles == {app.api.authority.trust_domain: app.api.authority.bundle}
    assert READS[read](app.ours) is context


def test_is_what_transports_take(app: Application) -> None:
    """It has the methods of every source of ours, and the one that transports ask for."""
    assert isinstance(app.ours, X509ContextSource)
    public = {each for each in dir(StaticSource) if not each.startswith("_")}
    assert public == {each for each in dir(SpiffeX509Source) if not each.startswith("_")}


def test_follows_rotations(app: Application) -> None:
    """A new SVID is there as soon as the application's source has it."""
    before = app.ours.current()
    (new,) = app.api.rotate()
    until(lambda: app.ours.current().default == new)
    assert app.ours.current() is not before
    assert app.ours.status().updates == 2


def test_follows_bundles(app: Application) -> None:
    """Trust domains come and go, and only what has changed is converted again."""
    own = app.ours.current().bundles[app.api.authority.trust_domain]
    svid = app.ours.current().default
    app.api.federate(PARTNER.bundle)
    until(lambda: len(app.ours.current().bundles) == 2)
    assert app.ours.current().bundles[PARTNER.trust_domain] == PARTNER.bundle
    assert app.ours.current().bundles[own.trust_domain] is own
    app.api.defederate(PARTNER.trust_domain)
    until(lambda: PARTNER.trust_domain not in app.ours.current().bundles)
    assert app.ours.current().default == svid


def test_a_bundle_that_is_edited_in_place(app: Application) -> None:
    """An authority that the application takes out of its bundle is trusted no more."""
    before = app.ours.current()
    bundle = app.source.get_bundle_for_trust_domain(spiffe.TrustDomain("a.test"))
    assert bundle is not None
    for authority in bundle.x509_authorities:
        bundle.remove_authority(authority)
    own = TrustDomain.parse("a.test")
    assert app.ours.current().bundles[own].authorities == ()
    assert before.bundles[own].authorities
    assert app.ours.current().default is before.default


def test_the_picked_identity() -> None:
    """The identity that the application's picker takes is the default one here."""
    with (
        FakeWorkloadApi([ID, OTHER_ID]) as api,
        spiffe.X509Source(
            socket_path=api.endpoint, timeout_in_seconds=10, svid_picker=lambda svids: svids[1]
        ) as source,
    ):
        assert str(SpiffeX509Source(source).current().default.spiffe_id) == OTHER_ID


@reads
def test_expiry(read: str, app: Application) -> None:
    """An expired identity is never given (R-WLAPI-26); its state says so."""
    end = app.ours.current().default.not_after
    app.wall.ahead = end - datetime.now(UTC)
    if read == "current":
        with pytest.raises(SourceError, match=f"{ID} expired at .* has not renewed it: look at"):
            app.ours.current()
    elif read != "updates":
        waits: dict[str, Callable[[], object]] = {
            "wait_ready": lambda: app.ours.wait_ready(timeout=0),
            "wait_ready_async": lambda: asyncio.run(app.ours.wait_ready_async(timeout=0)),
        }
        with pytest.raises(SourceTimeoutError, match=r"within 0 s: .* expired at"):
            waits[read]()
    else:
        threading.Timer(0.05, app.ours.close).start()
        with pytest.raises(SourceClosedError, match="it ended"):
            collect(app.ours)
        return
    status = app.ours.status()
    assert status.state is State.EXPIRED
    assert status.not_after == end
    assert status.cause
    assert status.advice
    app.wall.ahead = timedelta()
    assert app.ours.status().state is State.READY


# ---- updates that break a rule -----------------------------------------------------------------


def test_a_bad_update_is_refused(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    """The last good snapshot serves on until it expires, the state says why, one line is logged."""
    good = app.ours.current()
    app.send_other_key()
    for _ in range(3):
        assert app.ours.current() is good
    status = app.ours.status()
    assert status.state is State.DEGRADED
    assert "does not belong" in status.cause
    assert status.advice
    assert (status.updates, status.rejected) == (1, 1)
    ours = [each for each in caplog.records if each.name == "serviceradar_security.spiffe"]
    assert [each.levelname for each in ours] == ["WARNING"]

    app.wall.ahead = timedelta(days=1)
    with pytest.raises(SourceError, match=r"expired .* update was refused: .*does not belong"):
        app.ours.current()
    app.wall.ahead = timedelta()
    (new,) = app.api.rotate()
    until(lambda: app.ours.current().default == new)
    assert app.ours.status().state is State.READY
    assert app.ours.status().cause == ""


def test_bad_from_the_start() -> None:
    """Without a good snapshot there is an error of ours with the cause, until a good one comes."""
    with running() as app:
        app.send_other_key()
        with pytest.raises(SourceError, match="does not belong") as caught:
            app.ours.current()
        assert isinstance(caught.value.__cause__, X509SvidError)
        status = app.ours.status()
        assert status.state is State.NO_IDENTITY
        assert status.spiffe_id is None
        with pytest.raises(SourceTimeoutError, match="within 0 s"):
            app.ours.wait_ready(timeout=0)

        timer = threading.Timer(0.1, app.api.rotate)
        timer.start()
        assert str(app.ours.wait_ready(timeout=10).default.spiffe_id) == ID
        timer.join()


def test_bad_from_the_start_in_asyncio() -> None:
    """Waiting in asyncio ends when a good identity comes, and does not block the loop."""
    with running() as app:
        app.send_other_key()

        async def main() -> X509Context:
            waiting = asyncio.create_task(app.ours.wait_ready_async(timeout=10))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(app.api.rotate)
            return await waiting

        assert str(asyncio.run(main()).default.spiffe_id) == ID
        assert app.callbacks() == []


def test_a_bad_federated_bundle_costs_only_itself(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """A bundle whose name we refuse is left out; the rest of the update is taken."""

    class Name(spiffe.TrustDomain):
        def __init__(self) -> None:
            self._name = "partner.test\n"

    (new,) = app.api.rotate()
    until(lambda: app.ours.current().default == new)
    app.source._x509_bundle_set.put(spiffe.X509Bundle(Name(), None))
    assert [each.name for each in app.ours.current().bundles] == ["a.test"]
    assert app.ours.status().state is State.READY
    assert "a federated bundle of the spiffe source is left out" in caplog.text


def test_a_bad_bundle_of_our_own_domain(app: Application) -> None:
    """An update whose own bundle cannot be taken over is refused whole; a good one is taken."""
    good = app.ours.current()
    theirs = app.source._x509_bundle_set
    bundle = theirs.get_bundle_for_trust_domain(spiffe.TrustDomain("a.test"))
    assert bundle is not None
    bundle.add_authority("no certificate")  # type: ignore[arg-type] # what is tested
    app.source._x509_bundle_set.put(
        spiffe.X509Bundle(spiffe.TrustDomain("partner.test"), set(PARTNER.bundle.authorities))
    )
    assert app.ours.current() is good
    assert app.ours.status().state is State.DEGRADED
    bundle.remove_authority("no certificate")  # type: ignore[arg-type] # what is tested
    assert app.ours.current().bundles[PARTNER.trust_domain] == PARTNER.bundle
    assert app.ours.current().bundles[TrustDomain.parse("a.test")] == app.api.authority.bundle
    assert app.ours.status().state is State.READY


# ---- the end -----------------------------------------------------------------------------------


@reads
@pytest.mark.parametrize("who", ["ours", "theirs", "failed"])
def test_closed(who: str, read: str, app: Application) -> None:
    """After the end of either source every use is refused, and nothing waits for a deadline."""
    app.ours.current()
    if who == "ours":
        app.ours.close()
        app.ours.close()
    elif who == "theirs":
        app.source.close()
    else:
        app.api.fail("INVALID_ARGUMENT", "on purpose")
        until(app.source.is_closed)
    text = "the source is closed" if who == "ours" else "closed or has failed for good"
    text = "it ended|the source is closed" if (who, read) == ("ours", "updates") else text
    start = time.monotonic()
    with pytest.raises(SourceClosedError, match=text) as caught:
        READS[read](app.ours)
    assert time.monotonic() - start < 3
    assert not caught.value.retryable
    with pytest.raises(SourceClosedError):
        app.ours.subscribe(print)
    status = app.ours.status()
    assert status.state is State.CLOSED
    assert status.spiffe_id is None
    assert bool(status.cause) is (who != "ours")
    assert bool(status.advice) is (who != "ours")
    assert ("INVALID_ARGUMENT" in status.cause) is (who == "failed")
    if who == "ours":
        with pytest.raises(SourceClosedError):
            app.ours.open()


def test_the_application_closes_its_own(app: Application) -> None:
    """Closing ours leaves the application's source open and as it was."""
    with SpiffeX509Source(app.source) as second:
        second.current()

    async def main() -> None:
        async with SpiffeX509Source(app.source) as third:
            assert await third.wait_ready_async() == app.ours.current()

    asyncio.run(main())
    assert not app.source.is_closed()
    assert app.callbacks() == []
    assert str(app.ours.current().default.spiffe_id) == ID


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_a_waiter_is_woken_by_the_end(who: str, app: Application) -> None:
    """Whoever waits hears of the end long before its deadline."""
    app.wall.ahead = timedelta(days=1)  # so that there is something to wait for
    threading.Timer(0.05, app.ours.close if who == "ours" else app.source.close).start()
    start = time.monotonic()
    with pytest.raises(SourceClosedError):
        app.ours.wait_ready(timeout=60)
    assert time.monotonic() - start < 10


# ---- subscribers -------------------------------------------------------------------------------


def test_subscribe(app: Application) -> None:
    """A subscriber gets what is new, and neither thread nor callback outlives it."""
    got: list[X509Context] = []
    with app.ours.subscribe(got.append), app.ours.subscribe(got.append):
        assert len(app.callbacks()) == 1
        (new,) = app.api.rotate()
        until(lambda: len(got) == 2)
        assert {each.default for each in got} == {new}
    assert app.callbacks() == []
    assert source_threads() == []


def test_close_ends_subscriptions(app: Application) -> None:
    """Closing the source ends its subscriptions; closing them again does nothing."""
    subscription = app.ours.subscribe(print)
    app.ours.close()
    subscription.close()
    assert app.callbacks() == []
    assert source_threads() == []


def test_a_subscriber_during_a_bad_update(app: Application) -> None:
    """A refused update is not delivered, and the next good one is."""
    got: list[X509Context] = []
    with app.ours.subscribe(got.append):
        app.send_other_key()
        until(lambda: app.ours.status().rejected == 1)
        (new,) = app.api.rotate()
        until(lambda: [each.default for each in got] == [new])


def test_updates(app: Application) -> None:
    """Iterating gives the newest snapshot and each new one, and ends when ours is closed."""

    async def main() -> list[str]:
        got: list[str] = []
        async for context in app.ours.updates():
            got.append(format(context.default.leaf.serial_number, "x"))
            if len(got) < 3:
                await asyncio.to_thread(app.api.rotate)
            else:
                app.ours.close()
        return got

    assert len(set(asyncio.run(main()))) == 3
    assert app.callbacks() == []


def test_updates_that_are_left(app: Application) -> None:
    """Leaving the iteration leaves nothing behind."""

    async def main() -> None:
        stream = app.ours.updates()
        assert await anext(stream) == app.ours.current()
        assert len(app.callbacks()) == 1
        await stream.aclose()  # type: ignore[attr-defined] # it is a generator

    asyncio.run(main())
    assert app.callbacks() == []


def test_many_at_once(app: Application) -> None:
    """Subscribers that come and go in many threads leave no callback and lose none."""

    def come_and_go() -> None:
        for _ in range(20):
            with app.ours.subscribe(print):
                app.ours.current()

    workers = [threading.Thread(target=come_and_go) for _ in range(4)]
    for each in workers:
        each.start()
    for _ in range(5):
        app.api.rotate()
    for each in workers:
        each.join(30)
    assert app.callbacks() == []
    assert source_threads() == []


# ---- forks, arguments, form --------------------------------------------------------------------


def test_fork() -> None:
    """In a forked child, where nothing renews it, the source is refused at once, and not frozen."""
    run(
        """
        os.environ["GRPC_VERBOSITY"] = "NONE"  # core writes a line about forks
        import logging
        import spiffe
        logging.getLogger("spiffe").addHandler(logging.NullHandler())
        from serviceradar_security.spiffe import SpiffeX509Source

        with FakeWorkloadApi([ID]) as api:
            theirs = spiffe.X509Source(socket_path=api.endpoint, timeout_in_seconds=10)
            source = SpiffeX509Source(theirs)
            source.current()
            subscription = source.subscribe(print)

            def child():
                for use in (source.current, source.wait_ready, lambda: source.subscribe(print)):
                    try:
                        use()
                    except SourceClosedError as error:
                        assert "before this process was forked" in str(error)
                    else:
                        raise AssertionError("not refused")
                assert source.status().state is State.CLOSED
                source.close()

            # gRPC core itself does not bear a fork while a call of it runs.
            api.stop()
            until(lambda: "spin" not in "".join(each.name for each in threading.enumerate()))
            assert in_child(child) == 0
            assert source.current()
            source.close()
            theirs.close()
        """,
    )


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), None, "5"])
def test_deadlines_that_are_none(timeout: Any, app: Application) -> None:
    """Waiting takes a finite number of seconds."""
    with pytest.raises(ConfigError, match="number of seconds"):
        app.ours.wait_ready(timeout=timeout)
    with pytest.raises(ConfigError, match="number of seconds"):
        asyncio.run(app.ours.wait_ready_async(timeout=timeout))


@pytest.mark.parametrize("wrong", [None, "unix:///run/agent.sock", 7])
def test_other_types(wrong: Any) -> None:
    """What is no source of theirs is refused at once."""
    with pytest.raises(TypeError, match=r"made of a spiffe\.X509Source"):
        SpiffeX509Source(wrong)


def test_form(app: Application) -> None:
    """It shows the identity and no key, and is not pickled."""
    assert "None" in repr(app.ours)
    app.ours.current()
    assert ID in repr(app.ours)
    assert key_der(app.ours.current().default).hex() not in repr(app.ours)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(app.ours)
