"""A policy behind the verdict: each call is decided on, before a request is read."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from serviceradar_security.config.rbac import RbacPolicy
from serviceradar_security.identity.authorizer import authorize_any, authorize_id
from serviceradar_security.identity.spiffe_id import SpiffeId
from tests.grpc.server.conftest import CLIENT, World
from tests.grpc.server.service import (
    KINDS,
    SERVICE,
    STACKS,
    Setup,
    aio_writer_behaviors,
    call,
    connected,
    running,
    sync_behaviors,
)

GUEST = "spiffe://example.org/guest"
STRANGER = "spiffe://example.org/stranger"
OTHER = SpiffeId.parse("spiffe://example.org/other")
UNKNOWN_ID = f"identity {STRANGER} not authorized: it has no role here"
METHODS = {
    "poller": [f"/{SERVICE}/{kind}" for kind in KINDS] + [f"/{SERVICE}/Planned"],
    "guest": [f"/{SERVICE}/Other"],
}
BLOCK = {"roles": [{"identity": CLIENT, "role": "poller"}, {"identity": GUEST, "role": "guest"}]}


def policy(*, observe_only: bool = False) -> RbacPolicy:
    """Let the poller call everything that there is, and the guest nothing of it."""
    return RbacPolicy.from_config(BLOCK, methods=METHODS, observe_only=observe_only)


def setup(world: World, **options: Any) -> Setup:
    """Serve whoever is of a known trust domain, and leave the rest to the policy."""
    return Setup(world.source(), authorize_any(), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack", STACKS)
def test_role_by_kind(stack: str, kind: str, world: World) -> None:
    """Each kind of method is decided on, and a refused call reaches nothing of the application."""
    outcomes = {}
    with running(stack, setup(world, policy=policy())) as server:
        for client in (STRANGER, GUEST):
            with connected(server.port, world.local.bundle, world.local.issue(client)) as channel:
                outcomes[client] = call(channel, kind, requests=[b"unreadable"])
        assert server.seen.nothing
        with connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel:
            outcomes[CLIENT] = call(channel, kind)

    assert outcomes == {
        STRANGER: ("PERMISSION_DENIED", UNKNOWN_ID),
        GUEST: ("PERMISSION_DENIED", f"role guest cannot access /{SERVICE}/{kind}"),
        CLIENT: ("OK", CLIENT),
    }


@pytest.mark.parametrize("behaviors", [sync_behaviors, aio_writer_behaviors])
def test_other_handlers_of_asyncio(behaviors: Any, world: World) -> None:
    """On an asyncio server plain functions and writing coroutines stand behind the policy too."""
    with (
        running("aio", setup(world, policy=policy(), behaviors=behaviors)) as server,
        connected(server.port, world.local.bundle, world.local.issue(GUEST)) as channel,
    ):
        outcomes = {call(channel, kind)[0] for kind in KINDS}
        assert server.seen.nothing

    assert outcomes == {"PERMISSION_DENIED"}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    ("client", "method", "outcome"),
    [
        (CLIENT, "Nobody", ("UNIMPLEMENTED", "Method not found!")),
        (GUEST, "Nobody", ("UNIMPLEMENTED", "Method not found!")),
        (STRANGER, "Nobody", ("PERMISSION_DENIED", UNKNOWN_ID)),
        (CLIENT, "Planned", ("UNIMPLEMENTED", "Method not found!")),
        (GUEST, "Planned", ("PERMISSION_DENIED", f"role guest cannot access /{SERVICE}/Planned")),
    ],
)
def test_a_method_that_nobody_wrote(
    stack: str,
    client: str,
    method: str,
    outcome: tuple[str, str],
    world: World,
) -> None:
    """Who has a role is told that there is no such method; a stranger is told nothing of methods."""
    with (
        running(stack, setup(world, policy=policy())) as server,
        connected(server.port, world.local.bundle, world.local.issue(client)) as channel,
    ):
        assert call(channel, "unary_unary", method=method) == outcome


@pytest.mark.parametrize("stack", STACKS)
def test_a_method_that_no_role_lists(stack: str, world: World) -> None:
    """A method that somebody wrote and no role lists is forbidden, not missing."""
    methods = {"poller": METHODS["poller"][1:]}
    block = {"roles": BLOCK["roles"][:1]}
    made = RbacPolicy.from_config(block, methods=methods)
    with (
        running(stack, setup(world, policy=made)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcome = call(channel, KINDS[0])
        assert server.seen.nothing

    assert outcome == ("PERMISSION_DENIED", f"no role may call /{SERVICE}/{KINDS[0]}")


@pytest.mark.parametrize("stack", STACKS)
def test_observe_only(stack: str, world: World) -> None:
    """A policy that observes refuses nobody."""
    with (
        running(stack, setup(world, policy=policy(observe_only=True))) as server,
        connected(server.port, world.local.bundle, world.local.issue(STRANGER)) as channel,
    ):
        assert {call(channel, kind) for kind in KINDS} == {("OK", STRANGER)}


@pytest.mark.parametrize("stack", STACKS)
def test_reload_counts_on_a_live_connection(stack: str, world: World) -> None:
    """The next call after a reload is decided on by the new roles, on the same connection."""
    made = policy()
    with (
        running(stack, setup(world, policy=made)) as server,
        connected(server.port, world.local.bundle, world.local.issue(GUEST)) as channel,
    ):
        before = call(channel, "unary_unary")[0]
        made.reload({"roles": [{"identity": GUEST, "role": "poller"}]})
        after = call(channel, "unary_unary")
        made.reload({"roles": []})
        at_last = call(channel, "unary_unary")[0]

    assert (before, after, at_last) == ("PERMISSION_DENIED", ("OK", GUEST), "PERMISSION_DENIED")


class Broken:
    """A policy that fails, or says something else than yes."""

    def __init__(self, says: Any) -> None:
        self._says = says
        self.asked = threading.Event()

    def decide(self, spiffe_id: SpiffeId, method: str, /) -> Any:
        """Answer as told."""
        self.asked.set()
        if isinstance(self._says, Exception):
            raise self._says
        return self._says


class Truthy:
    """A decision whose `allowed` is no boolean."""

    allowed = "no"
    rule = "own"
    reason = "own reason"


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    ("says", "code"),
    [
        (RuntimeError("x"), "INTERNAL"),
        (None, "INTERNAL"),
        (True, "INTERNAL"),
        (Truthy(), "PERMISSION_DENIED"),
    ],
)
def test_a_broken_policy_lets_nobody_in(stack: str, says: Any, code: str, world: World) -> None:
    """Whatever a policy does but say yes refuses the call."""
    broken = Broken(says)
    with (
        running(stack, setup(world, policy=broken)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        outcome = call(channel, "unary_unary")[0]
        assert server.seen.nothing

    assert broken.asked.is_set()
    assert outcome == code


@pytest.mark.parametrize("stack", STACKS)
def test_who_is_not_authorized_is_not_asked_about(stack: str, world: World) -> None:
    """The authorizer comes first: a policy sees only callers that it let in."""
    asked = Broken(RuntimeError("x"))
    with (
        running(stack, Setup(world.source(), authorize_id(OTHER), policy=asked)) as server,
        connected(server.port, world.local.bundle, world.local.issue(CLIENT)) as channel,
    ):
        code = call(channel, "unary_unary")[0]

    assert code == "PERMISSION_DENIED"
    assert not asked.asked.is_set()
