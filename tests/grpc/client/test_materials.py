"""Slots and lanes, under a clock of our own: no handshake after a push is older than the push."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.materials import (
    HOST_SLOTS,
    LANES,
    PROVIDER_PREFIX,
    SLOTS,
    Materials,
    Slot,
)
from serviceradar_security.grpc.client.memory_file import WITHDRAWN
from tests.grpc.client.conftest import CLIENT, FakeSource, PolledSource, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serviceradar_security.identity.context import X509Context

NOBODY = f"{PROVIDER_PREFIX}identity-nobody"
WAIT = 1.625
NO_TRUST = b'{"trust_domains": {}}'


@pytest.fixture
def materials() -> Iterator[Materials]:
    """All slots of a process."""
    made = Materials()
    yield made
    made.close()


class Driver:
    """Moves one slot through time."""

    def __init__(self, slot: Slot, world: World) -> None:
        self.slot = slot
        self.world = world
        self.clock = 0.0
        self.number = 0
        self.source = FakeSource(world.context())

    def take(self) -> None:
        self.slot.take(self.source, lambda: None, self.clock)
        self.slot.users = 1

    def tick(self, after: float = 0.0) -> bool:
        self.clock += after
        return self.slot.step(datetime.now(UTC), self.clock)

    def change(self) -> X509Context:
        """Give another identity that live connections must follow to."""
        self.number += 1
        context = self.world.context(spiffe_id=f"{CLIENT}-{self.number}")
        self.source.set(context)
        return context

    @property
    def lane(self) -> str:
        kind, _, lane = self.slot.identity_name.rpartition("-")
        assert self.slot.trust_name == kind.replace("identity", "trust") + f"-{lane}"
        return lane


@pytest.fixture
def driver(materials: Materials, world: World) -> Driver:
    """A slot of a source that has an identity."""
    made = Driver(materials._slots[3], world)
    made.take()
    return made


def contents(materials: Materials, name: str) -> bytes:
    config = materials.providers()[name]["config"]
    path = config.get("certificate_file") or config["spiffe_bundle_map_file"]
    return Path(path).read_bytes()


def test_an_unused_slot_names_files_that_nobody_fills(materials: Materials) -> None:
    """Before the first identity channels are pointed at nothing."""
    slot = Slot(0)
    assert slot.identity_name == NOBODY
    assert contents(materials, slot.identity_name) == WITHDRAWN
    assert contents(materials, slot.trust_name) == NO_TRUST
    slot.close()


def test_the_first_identity_is_named_at_once(driver: Driver, materials: Materials) -> None:
    """A lane that was never named is read afresh by core: nothing is waited for."""
    assert driver.tick()
    assert driver.lane == "0"
    chain, key = driver.source.current().default.to_pem()
    assert contents(materials, driver.slot.identity_name) == key + chain
    assert b"carverauto.test" in contents(materials, driver.slot.trust_name)
    assert not driver.tick()


def test_pushes_go_from_lane_to_lane_and_wait_when_all_have_been_named(driver: Driver) -> None:
    """Cold lanes are named at once; a warm one once core has surely read it again."""
    driver.tick()
    for lane in range(1, LANES):
        driver.change()
        assert driver.tick()
        assert driver.lane == str(lane)
    driver.change()
    assert not driver.tick()
    assert driver.slot.is_waiting()
    assert driver.lane == str(LANES - 1)
    assert not driver.tick(WAIT - 0.125)
    assert driver.tick(0.125)
    assert driver.lane == "0"
    assert not driver.slot.is_waiting()


def test_further_changes_do_not_postpone_a_push(driver: Driver) -> None:
    """The wait counts from the change that asked for it, however many follow."""
    driver.tick()
    for _ in range(LANES - 1):
        driver.change()
        driver.tick()
    driver.change()
    assert not driver.tick()
    for _ in range(3):
        driver.change()
        assert not driver.tick(WAIT / 4)
    assert driver.tick(WAIT / 4)


def test_a_push_that_is_wanted_again_waits_again(driver: Driver) -> None:
    """The wait for a warm lane counts from the last change that matters, not from an older one."""
    driver.tick()
    for _ in range(LANES - 1):
        driver.change()
        driver.tick()
    before = driver.source.current()
    driver.source.set(driver.world.context(driver.world.ours.bundle, svid=before.default))
    assert not driver.tick()
    assert driver.slot.is_waiting()
    driver.source.set(before)
    assert not driver.tick()
    assert not driver.slot.is_waiting()
    driver.change()
    assert not driver.tick(WAIT)
    assert driver.tick(WAIT)


def test_withdrawal_waits_for_nothing(driver: Driver, materials: Materials) -> None:
    """It names files that never held anything, in the same step, and empties the slot's own."""
    driver.tick()
    name, trust = driver.slot.identity_name, driver.slot.trust_name
    for _ in range(LANES):
        driver.change()
        driver.tick()
    driver.source.set(None)
    assert driver.tick()
    assert driver.slot.identity_name == NOBODY
    assert not driver.slot.is_waiting()
    assert contents(materials, name) == WITHDRAWN
    assert contents(materials, trust) == NO_TRUST
    assert not driver.tick(1)


def test_a_released_slot_keeps_nothing(driver: Driver, materials: Materials) -> None:
    """Key and trust are gone from the files, and the source is forgotten."""
    driver.tick()
    name = driver.slot.identity_name
    materials.release(driver.slot, driver.clock)
    assert contents(materials, name) == WITHDRAWN
    assert driver.slot.identity_name == NOBODY
    assert driver.source.subscribers == 0
    assert not driver.slot.belongs_to(driver.source)


@pytest.mark.parametrize("kind", ["identity", "trust"])
def test_a_free_slot_that_somebody_still_reads_waits_for_its_lanes(
    driver: Driver,
    materials: Materials,
    kind: str,
) -> None:
    """A channel that core has not let go of keeps a provider alive: it holds what it read last."""
    driver.tick()
    names = {"identity": driver.slot.identity_name, "trust": driver.slot.trust_name}
    for _ in range(LANES - 1):
        driver.change()
        driver.tick()
    driver.slot.users = 0
    driver.slot.release(driver.clock)
    driver.clock += 10 * WAIT
    assert driver.slot.is_quiet(driver.clock)
    contents(materials, names[kind])
    assert not driver.slot.is_quiet(driver.clock)
    driver.take()
    assert not driver.tick()
    assert driver.tick(WAIT)


def test_a_slot_that_nobody_reads_goes_before_one_that_somebody_does(
    materials: Materials,
    world: World,
) -> None:
    """Slots are used in the order of their release, the quiet ones first."""
    sources = [FakeSource(world.context()) for _ in range(SLOTS)]
    slots = [materials.acquire(source, lambda _: None, 0.0) for source in sources]
    for clock, slot in enumerate(slots):
        slot.step(datetime.now(UTC), float(clock))
    name = slots[0].identity_name
    for clock, slot in enumerate(slots):
        materials.release(slot, float(clock))
    contents(materials, name)
    late = SLOTS + 10 * WAIT
    taken = materials.acquire(FakeSource(world.context()), lambda _: None, late)
    assert taken is slots[1]


@pytest.mark.parametrize(("rest", "waits"), [(0.0, True), (WAIT - 0.125, True), (WAIT, False)])
def test_a_slot_that_was_anothers_is_not_named_too_soon(
    driver: Driver,
    *,
    rest: float,
    waits: bool,
) -> None:
    """What a former source left in core's memory is overwritten before a channel points at it."""
    driver.tick()
    for _ in range(LANES - 1):
        driver.change()
        driver.tick()
    driver.slot.users = 0
    driver.slot.release(driver.clock)
    driver.clock += rest
    driver.take()
    assert driver.tick() != waits
    assert driver.slot.is_waiting() == waits
    assert driver.tick(WAIT) == waits


def test_a_failure_to_write_is_tried_again(driver: Driver, materials: Materials) -> None:
    """What could not be written does not count as written, and channels are cut off meanwhile."""
    driver.tick()
    driver.change()
    file: Any = driver.slot._identity
    replace = file.replace

    def fail(_content: bytes) -> None:
        raise SecurityError("closed by another part of the program")

    file.replace = fail
    assert driver.tick()
    assert driver.slot.identity_name == NOBODY
    assert not driver.tick(1)
    file.replace = replace
    assert driver.tick()
    assert contents(materials, driver.slot.identity_name) == b"".join(
        reversed(driver.source.current().default.to_pem()),
    )


def test_what_a_source_says_is_logged_once(
    driver: Driver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lasting state is one line, and so is its end."""
    driver.source.set(None)
    with caplog.at_level(logging.INFO, logger="serviceradar_security.grpc"):
        for _ in range(3):
            driver.tick(1)
        driver.change()
        for _ in range(3):
            driver.tick(1)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        (
            "gRPC channels have no identity to show: "
            "no identity was issued yet: this test has not set one"
        ),
        "gRPC channels have an identity to show again",
    ]


def test_a_key_that_core_cannot_sign_with_is_named(
    driver: Driver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An identity that every handshake will fail with is said to be one."""
    driver.source.set(driver.world.context(key=ed25519.Ed25519PrivateKey.generate()))
    with caplog.at_level(logging.WARNING, logger="serviceradar_security.grpc"):
        driver.tick()
    assert "gRPC core does not sign with the kind of key" in caplog.text
    assert "P-256 or P-384" in caplog.text


def test_a_source_that_cannot_be_subscribed_to_is_polled(world: World) -> None:
    """A failing `subscribe` is no failure of the channel."""

    class Unwilling(PolledSource):
        def subscribe(self, _callback: object) -> None:
            raise RuntimeError("closed")

    slot = Slot(0)
    source = Unwilling(world.context())
    slot.take(source, lambda: None, 0.0)
    assert slot.step(datetime.now(UTC), 0.0)
    slot.close()


def test_a_source_without_weak_references_is_held(world: World) -> None:
    """Any object with `current()` is a source."""

    class Slotted:
        __slots__ = ("context",)

        def __init__(self, context: X509Context) -> None:
            self.context = context

        def current(self) -> X509Context:
            return self.context

    slot = Slot(0)
    slot.take(Slotted(world.context()), lambda: None, 0.0)
    assert slot.step(datetime.now(UTC), 0.0)
    slot.close()


def test_slots_are_assigned_to_the_longest_unused(materials: Materials) -> None:
    """A slot rests as long as possible between two sources."""
    sources = [FakeSource() for _ in range(SLOTS + 1)]
    taken = [materials.acquire(each, lambda _: None, 0.0) for each in sources[:SLOTS]]
    assert len({slot.number for slot in taken}) == SLOTS
    assert materials.acquire(sources[0], lambda _: None, 0.0) is taken[0]
    assert not materials.has_room_for(sources[-1])
    assert materials.has_room_for(sources[1])
    with pytest.raises(SecurityError, match=f"{SLOTS} sources have open gRPC channels"):
        materials.acquire(sources[-1], lambda _: None, 0.0)
    for at, slot in ((7.0, taken[5]), (6.0, taken[9]), (8.0, taken[1])):
        materials.release(slot, at)
    assert materials.acquire(sources[-1], lambda _: None, 9.0) is taken[9]
    materials.release(taken[0], 10.0)
    assert taken[0] in materials.in_use()
    materials.release(taken[0], 10.0)
    assert taken[0] not in materials.in_use()


def test_every_lane_has_a_provider_of_its_own(materials: Materials) -> None:
    """Names do not repeat; lanes of one slot read the same two files, other slots others."""
    providers = materials.providers()
    assert len(providers) == 2 * ((SLOTS + HOST_SLOTS) * LANES + 1)
    assert all(name.startswith(PROVIDER_PREFIX) for name in providers)
    files = [
        next(path for name, path in each["config"].items() if name.endswith("_file"))
        for each in providers.values()
    ]
    assert len(set(files)) == 2 * (SLOTS + HOST_SLOTS + 1)
    assert all(each["config"]["refresh_interval"] == "1s" for each in providers.values())
    # Roots that core would take for any name are in the slots of host names alone.
    rooted = {name for name, each in providers.items() if "ca_certificate_file" in each["config"]}
    slots = range(SLOTS, SLOTS + HOST_SLOTS)
    lanes = [f"{slot}-{lane}" for slot in slots for lane in range(LANES)]
    assert rooted == {f"{PROVIDER_PREFIX}trust-{each}" for each in lanes}


def test_a_source_that_gives_anything_else_has_no_identity(driver: Driver) -> None:
    """A foreign source's nonsense cuts its own channels off, and they come back with its sense."""
    assert driver.tick()
    good = driver.source.current()
    driver.source.current = lambda: "nonsense"  # type: ignore[method-assign, assignment, return-value]
    assert driver.tick(1)
    assert driver.slot.identity_name == NOBODY
    driver.source.current = lambda: good  # type: ignore[method-assign]
    assert driver.tick(WAIT)
    assert driver.slot.identity_name != NOBODY


@pytest.mark.parametrize("kind", ["identity", "trust"])
def test_channels_are_cut_off_when_files_cannot_be_written(driver: Driver, kind: str) -> None:
    """Out of descriptors or not: old material does not go on because new cannot be written."""
    assert driver.tick()
    file = getattr(driver.slot, f"_{kind}")
    write = file.replace

    def fail(_content: bytes) -> None:
        raise OSError(24, "Too many open files")

    file.replace = fail
    driver.source.set(None)
    assert driver.tick(1)
    assert driver.slot.identity_name == NOBODY
    driver.change()
    assert not driver.tick(1)
    file.replace = write
    assert driver.tick(WAIT) or driver.tick(WAIT)
    assert driver.slot.identity_name != NOBODY
