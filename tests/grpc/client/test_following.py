"""Channels follow their source: rotation, removal, withdrawal, and what comes later."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from serviceradar_security.grpc.client import channel
from serviceradar_security.identity.context import X509Context
from tests.grpc.client.conftest import (
    CALLS,
    CLIENT,
    DEADLINE,
    SERVER,
    FakeSource,
    PolledSource,
    Server,
    World,
    call_sync,
    eventually,
    expect,
    outcome,
)

if TYPE_CHECKING:
    from tests.grpc.client.witness import Witness

PARTNER = "spiffe://partner.test/db"


class Load:
    """Calls on several threads until told to stop; remembers each answer and each failure."""

    def __init__(self, made: grpc.Channel, threads: int = 4) -> None:
        self._unary: Any = made.unary_unary("/t/unary")
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.by_thread: list[list[str]] = [[] for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(answers,)) for answers in self.by_thread
        ]
        for each in self._threads:
            each.start()

    def _run(self, answers: list[str]) -> None:
        while not self._stop.is_set():
            try:
                answers.append(self._unary(b"load", timeout=DEADLINE).decode())
            except grpc.RpcError as error:
                failed: Any = error
                self.failures.append(f"{failed.code()}: {failed.details()}")

    def has_seen(self, answer: str) -> bool:
        """Tell whether every thread's newest answer is this one."""
        return all(answers and answers[-1] == answer for answers in self.by_thread)

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(DEADLINE)


def serial(context: X509Context) -> str:
    return str(context.default.leaf.serial_number)


def test_a_push_renews_a_live_channel_without_a_failed_call(world: World) -> None:
    """Under load, each change that asks for a push reaches the server and costs no call."""
    server, source = world.serve(), world.source()
    with channel(server.target, source, expect(SERVER)) as made:
        load = Load(made)
        try:
            for number in range(3):
                # Another SPIFFE ID of ours makes live connections follow at once.
                fresh = world.context(spiffe_id=f"{CLIENT}-{number}")
                source.set(fresh)
                eventually(partial(load.has_seen, serial(fresh)))
        finally:
            load.stop()
    assert load.failures == []


def test_pushes_in_quick_succession_never_go_back_to_an_older_identity(world: World) -> None:
    """However fast identities follow each other, the last one is in use at the end."""
    server, source = world.serve(), world.source()
    with channel(server.target, source, expect(SERVER)) as made:
        load = Load(made, threads=2)
        held: Any = made.unary_stream("/t/hold")
        streams = []
        try:
            order = [serial(source.current())]
            for number in range(10):
                fresh = world.context(spiffe_id=f"{CLIENT}-{number}")
                order.append(serial(fresh))
                source.set(fresh)
                # Open streams keep old connections alive, and with them their providers.
                streams.append(held(b"hold", timeout=DEADLINE))
                next(streams[-1])
            eventually(lambda: load.has_seen(order[-1]))
            for _ in range(200):
                assert outcome(made)[1] == order[-1]
        finally:
            load.stop()
            server.release.set()
    assert load.failures == []
    for answers in load.by_thread:
        seen = [order.index(each) for each in answers]
        assert seen == sorted(seen)


@pytest.mark.parametrize("kind", ["subscribed", "polled"])
def test_a_rotation_reaches_new_connections(world: World, kind: str) -> None:
    """Without a push, the next connection shows the new identity; the live one goes on."""
    server = world.serve()
    first, second = world.context(), world.context()
    source: Any = FakeSource(first) if kind == "subscribed" else PolledSource(first)
    with channel(server.target, source, expect(SERVER)) as live:
        assert outcome(live)[1] == serial(first)
        if kind == "subscribed":
            source.set(second)
        else:
            source.context = second
        eventually(lambda: call_sync(server.target, source, expect(SERVER))[1] == serial(second))
        assert outcome(live)[1] == serial(first)


def test_a_removed_authority_cuts_a_live_channel_off(world: World) -> None:
    """A server whose authority is taken out of the bundle is not called any more."""
    world.ours.prepare()
    server = world.serve()  # signed by the old authority
    world.ours.activate()
    source = world.source()
    with channel(server.target, source, expect(SERVER)) as made:
        assert outcome(made)[0] is grpc.StatusCode.OK
        world.ours.revoke()
        source.set(world.context())
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.UNAVAILABLE)
        reached = len(server.requests)
        assert outcome(made)[0] is grpc.StatusCode.UNAVAILABLE
        assert len(server.requests) == reached


def test_a_removed_trust_domain_cuts_its_channels_off_and_no_others(world: World) -> None:
    """After defederation the partner's server is refused; ours is called without a pause."""
    partner = world.serve(PARTNER, authority=world.theirs)
    server, source = world.serve(), world.source()
    with (
        channel(partner.target, source, expect(PARTNER)) as theirs,
        channel(server.target, source, expect(SERVER)) as ours,
    ):
        assert outcome(theirs)[0] is grpc.StatusCode.OK
        load = Load(ours, threads=1)
        try:
            source.set(world.context(world.ours.bundle))
            eventually(lambda: outcome(theirs)[0] is grpc.StatusCode.UNAVAILABLE)
        finally:
            load.stop()
    assert load.failures == []


@pytest.mark.parametrize("kind", CALLS)
def test_a_trust_domain_federated_later_is_called(world: World, kind: str) -> None:
    """A domain that appears after the process started its channels is served like any other."""
    partner = world.serve(PARTNER, authority=world.theirs)
    source = world.source(world.ours.bundle)
    assert CALLS[kind](partner.target, source, expect(PARTNER))[0] is grpc.StatusCode.UNAVAILABLE
    with channel(partner.target, source, expect(PARTNER)) as waiting:
        assert outcome(waiting)[0] is grpc.StatusCode.UNAVAILABLE
        source.set(world.context())
        eventually(lambda: outcome(waiting)[0] is grpc.StatusCode.OK, within=5)
    assert CALLS[kind](partner.target, source, expect(PARTNER))[0] is grpc.StatusCode.OK


def test_without_an_identity_nobody_is_called_not_even_without_a_certificate(
    world: World,
    witness: Witness,
) -> None:
    """A withdrawn identity ends calls; a server that would take anybody sees no request."""
    source = world.source()
    with channel(witness.target, source, expect(SERVER)) as made:
        assert outcome(made)[0] is grpc.StatusCode.OK
        source.set(None)
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.UNAVAILABLE)
        assert call_sync(witness.target, source, expect(SERVER))[0] is grpc.StatusCode.UNAVAILABLE
        for _ in range(3):
            assert outcome(made)[0] is grpc.StatusCode.UNAVAILABLE
        source.set(world.context())
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK)
    assert len(witness.handshakes) >= 2
    assert None not in witness.handshakes


def test_an_expired_identity_is_not_shown(world: World, witness: Witness) -> None:
    """When our own SVID expires and nothing follows it, connections end and none begins."""
    source = FakeSource(world.context(ttl=2))
    with channel(witness.target, source, expect(SERVER)) as made:
        assert outcome(made)[0] is grpc.StatusCode.OK
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.UNAVAILABLE)
        assert call_sync(witness.target, source, expect(SERVER))[0] is grpc.StatusCode.UNAVAILABLE
    assert len(witness.handshakes) == 1
    assert None not in witness.handshakes


@pytest.mark.parametrize("state", ["error", "no identity"])
def test_an_identity_may_come_after_the_channel(world: World, state: str) -> None:
    """A channel made before the first identity fails calls, and works by itself once it is there."""
    server = world.serve()
    bundles_only = X509Context(svids=[], bundles={world.ours.trust_domain: world.ours.bundle})
    source = FakeSource(None if state == "error" else bundles_only)
    with channel(server.target, source, expect(SERVER)) as made:
        assert outcome(made)[0] is grpc.StatusCode.UNAVAILABLE
        source.set(world.context())
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK)


def test_a_waiting_call_is_answered_once_an_identity_comes(world: World) -> None:
    """`wait_for_ready` works across the time without an identity."""
    server, source = world.serve(), FakeSource()
    with channel(server.target, source, expect(SERVER)) as made:
        unary: Any = made.unary_unary("/t/unary")
        waiting = unary.future(b"hello", timeout=DEADLINE, wait_for_ready=True)
        time.sleep(0.1)
        assert not waiting.done()
        source.set(world.context())
        assert waiting.result(DEADLINE)


def test_an_identity_near_its_end_is_replaced_on_live_connections(world: World) -> None:
    """A plain rotation reaches a live connection when two thirds of the old life are over."""
    server, source = world.serve(), FakeSource(world.context(ttl=4))
    old = serial(source.current())
    with channel(server.target, source, expect(SERVER)) as made:
        load = Load(made, threads=1)
        try:
            eventually(lambda: load.has_seen(old))
            fresh = world.context()
            source.set(fresh)
            eventually(lambda: load.has_seen(serial(fresh)))
        finally:
            load.stop()
    assert load.failures == []


def test_an_open_stream_ends_by_itself_after_a_push(world: World) -> None:
    """A stream that began before a push goes on over its old connection."""
    server, source = world.serve(), world.source()
    with channel(server.target, source, expect(SERVER)) as made:
        held: Any = made.unary_stream("/t/hold")
        stream = held(b"hold", timeout=DEADLINE)
        before = next(stream)
        source.set(world.context(spiffe_id=CLIENT + "-2"))
        eventually(lambda: outcome(made)[1] != before.decode())
        server.release.set()
        assert list(stream) == [b"released"]


def test_a_source_that_fails_unexpectedly_is_no_identity(world: World) -> None:
    """An exception of a foreign kind from the source closes the channel and harms nothing else."""

    class Broken(PolledSource):
        broken = False

        def current(self) -> X509Context:
            if self.broken:
                raise ZeroDivisionError
            return super().current()

    server, source = world.serve(), Broken(world.context())
    other = world.source()
    with (
        channel(server.target, source, expect(SERVER)) as made,
        channel(server.target, other, expect(SERVER)) as fine,
    ):
        assert outcome(made)[0] is grpc.StatusCode.OK
        source.broken = True
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.UNAVAILABLE)
        assert outcome(fine)[0] is grpc.StatusCode.OK
        source.broken = False
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK)


def test_a_server_that_comes_back_is_called_again(world: World) -> None:
    """A restart of the server is survived as on any channel."""
    server, source = world.serve(), world.source()
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    with channel(server.target, source, expect(SERVER), options=options) as made:
        assert outcome(made)[0] is grpc.StatusCode.OK
        server.stop()
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.UNAVAILABLE)
        again: Server = world.serve(port=server.port)
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK)
        assert again.requests
