"""A service follows its document over real gRPC, with our credentials on both sides."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from serviceradar_security import SpiffeId, authorize_one_of
from serviceradar_security.kv import KvDocument, KvState
from tests.kv.conftest import (
    DATASVC,
    INTRUDER,
    KEY,
    POLLER,
    SECURITY,
    World,
    make_world,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from serviceradar_security.kv import KvStatus
    from tests.kv.conftest import Store

GOOD = b'{"poll_interval": "5s"}'
BETTER = b'{"poll_interval": "7s"}'
HOSTILE = (
    b'{"poll_interval": "1s", "security": {"mode": "none"}, "agents": [{"Kv_Security": null}]}'
)


def has(state: KvState, **facts: Any) -> Callable[[KvStatus], bool]:
    """Make a condition on a record."""
    return lambda status: (
        status.state is state and all(getattr(status, name) == facts[name] for name in facts)
    )


def test_a_document_is_applied_from_the_first_word(world: World) -> None:
    """What the key holds at start is applied once, in the overlay's thread, and no error is shown."""
    world.store.put(GOOD)
    with world.follow() as overlay:
        first = overlay.wait_first(timeout=20)
        assert (first.document, first.updates) == (KvDocument.APPLIED, 1)
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(BETTER)
        status = wait_until(overlay, has(KvState.FOLLOWING, updates=2))
    assert (status.cause, status.advice, status.next_attempt) == ("", "", None)
    assert [each.document["poll_interval"] for each in world.service.applied] == ["5s", "7s"]
    assert set(world.service.threads) == {"kv-overlay"}
    assert world.store.keys == {KEY}


def test_a_hostile_document_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused whole and shown with its paths; the service and the stream go on."""
    caplog.set_level(logging.INFO, logger="serviceradar_security.kv")
    world.store.put(GOOD)
    with world.follow() as overlay:
        overlay.wait_first(timeout=20)
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(HOSTILE)
        refused = wait_until(overlay, has(KvState.REFUSED))
        assert refused.refused == 1
        assert set(refused.refused_paths) == {"security", "agents[0].Kv_Security"}
        assert "security" in refused.refusal
        assert (world.service.interval, world.service.security) == ("5s", SECURITY)
        world.store.put(BETTER)
        status = wait_until(overlay, has(KvState.FOLLOWING, updates=2))
    assert world.service.interval == "7s"
    assert status.refused == 1
    assert world.store.watches == 1
    lines = [r.getMessage() for r in caplog.records if r.name == "serviceradar_security.kv"]
    states = [line.split(" is ")[1].split(":")[0] for line in lines]
    assert states == ["FOLLOWING", "REFUSED", "FOLLOWING", "CLOSED"]


def test_a_hostile_document_at_start(world: World) -> None:
    """If the first document is refused, the local configuration is in force, and a later one is taken."""
    world.store.put(HOSTILE)
    with world.follow() as overlay:
        first = overlay.wait_first(timeout=20)
        assert (first.state, first.document) == (KvState.REFUSED, KvDocument.REFUSED)
        assert world.service.applied == []
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(GOOD)
        wait_until(overlay, has(KvState.FOLLOWING, refused=1))
        assert world.service.interval == "5s"


def test_a_deleted_document_gives_the_local_configuration(world: World) -> None:
    """After a deletion the local layers are in force alone, and a new document is taken."""
    world.store.put(GOOD)
    with world.follow() as overlay:
        overlay.wait_first(timeout=20)
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(None)
        status = wait_until(overlay, has(KvState.ABSENT, updates=2))
        assert (status.document, world.service.interval) == (KvDocument.ABSENT, "30s")
        world.store.put(BETTER)
        wait_until(overlay, has(KvState.FOLLOWING, updates=3))
        assert world.service.interval == "7s"


def test_a_key_that_does_not_exist_is_no_outage(world: World) -> None:
    """It has a state of its own, nothing is applied, and the first document is taken when it comes."""
    with world.follow() as overlay:
        status = overlay.wait_first(timeout=20)
        assert (status.state, status.document) == (KvState.ABSENT, KvDocument.ABSENT)
        assert (status.updates, world.service.applied) == (0, [])
        assert "no document" in status.cause
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(GOOD)
        wait_until(overlay, has(KvState.FOLLOWING, updates=1))


def test_an_outage_leaves_the_configuration_and_ends(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A stopped server is an outage with cause and next attempt; after its return changes are followed."""
    caplog.set_level(logging.INFO, logger="serviceradar_security.kv")
    world.store.put(GOOD)
    with world.follow() as overlay:
        overlay.wait_first(timeout=20)
        world.store.wait(lambda: world.store.watches == 1)
        world.datasvc.stop()
        status = wait_until(overlay, has(KvState.OUTAGE))
        assert "UNAVAILABLE" in status.cause
        assert "datasvc" in status.advice
        assert status.document is KvDocument.APPLIED
        wait_until(overlay, lambda s: s.next_attempt is not None)
        assert (world.service.interval, len(world.service.applied)) == ("5s", 1)
        world.store.put(BETTER)
        world.datasvc.start()
        wait_until(overlay, has(KvState.FOLLOWING, updates=2))
        assert world.service.interval == "7s"
    lines = [r.getMessage() for r in caplog.records if r.name == "serviceradar_security.kv"]
    states = [line.split(" is ")[1].split(":")[0] for line in lines]
    assert states == ["FOLLOWING", "OUTAGE", "FOLLOWING", "CLOSED"]


def test_what_was_deleted_during_an_outage(world: World) -> None:
    """A key that went away unseen is known after the reconnect, though its stream says nothing."""
    world.store.put(GOOD)
    with world.follow() as overlay:
        overlay.wait_first(timeout=20)
        world.datasvc.stop()
        wait_until(overlay, has(KvState.OUTAGE))
        world.store.put(None)
        world.datasvc.start()
        wait_until(overlay, has(KvState.ABSENT))
        assert world.service.interval == "30s"


def test_a_server_that_bounds_the_age_of_connections(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that lasted is opened anew without an outage, and nothing is applied again."""
    caplog.set_level(logging.INFO, logger="serviceradar_security.kv")
    world.store.put(GOOD)
    world.datasvc.stop()
    # gRPC varies the age by a tenth.
    world.datasvc.start(
        ("grpc.max_connection_age_ms", 6500), ("grpc.max_connection_age_grace_ms", 200)
    )
    with world.follow() as overlay:
        overlay.wait_first(timeout=20)
        world.store.wait(lambda: world.store.watches == 2)
        world.store.put(BETTER)
        wait_until(overlay, has(KvState.FOLLOWING, updates=2))
    lines = [r.getMessage() for r in caplog.records if r.name == "serviceradar_security.kv"]
    states = [line.split(" is ")[1].split(":")[0] for line in lines]
    assert states == ["FOLLOWING", "CLOSED"]
    assert [each.document["poll_interval"] for each in world.service.applied] == ["5s", "7s"]


def test_a_server_with_the_wrong_identity() -> None:
    """It is refused by its SPIFFE ID before the key leaves us, and the record says so."""
    with make_world(identity=INTRUDER) as world:
        world.store.put(GOOD)
        with world.follow(server=DATASVC) as overlay:
            status = wait_until(overlay, has(KvState.OUTAGE))
            assert f"another server than {DATASVC} answers there" in status.cause
            assert "SPIFFE ID" in status.advice
        assert (world.store.gets, world.store.watches) == (0, 0)
        assert world.service.applied == []


def test_a_caller_whom_the_server_does_not_let_in() -> None:
    """Its refusal names our SPIFFE ID in the record, and the store is asked again only gently."""
    callers = authorize_one_of([SpiffeId.parse(INTRUDER)])
    with make_world(callers=callers) as world, world.follow(server=DATASVC) as overlay:
        status = wait_until(overlay, has(KvState.DENIED))
        assert "PERMISSION_DENIED" in status.cause
        assert POLLER in status.cause
        assert "rbac" in status.advice
        assert world.store.gets == 0


def test_a_document_in_toml(world: World) -> None:
    """The ending of the key names the format, and the gate is the same."""
    world.store.put(b'poll_interval = "9s"')
    with world.follow(key="config/poller.toml") as overlay:
        assert overlay.wait_first(timeout=20).state is KvState.FOLLOWING
        assert world.service.interval == "9s"
        world.store.wait(lambda: world.store.watches == 1)
        world.store.put(b'poll_interval = "1s"\n[nats.Security]\nmode = "none"')
        status = wait_until(overlay, has(KvState.REFUSED))
        assert status.refused_paths == ("nats.Security",)
        assert world.service.interval == "9s"


def test_a_service_that_leaves_without_closing(plain_store: tuple[Store, str]) -> None:
    """A program that ends while it follows ends at once and quietly."""
    script = (
        "import grpc, sys\n"
        "from serviceradar_security import ConfigWatch\n"
        "from serviceradar_security.kv import KvOverlay\n"
        "channel = grpc.insecure_channel(sys.argv[1])\n"
        "overlay = KvOverlay(channel, 'a', ConfigWatch({}, print)).start()\n"
        "print(overlay.wait_first(timeout=20).state.value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, plain_store[1]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ABSENT\n", "")
