"""Routes: which authority leads to which cluster, shared by channels with equal policies.

There is one listener for the whole process, in which core finds a channel's route by the authority
of its calls. Where one authority is dialled with two policies, or a listener is full, the next one
takes the route.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serviceradar_security.grpc.client.resolver import follow_name
from serviceradar_security.grpc.client.resources import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    Verification,
    build_cluster,
    build_endpoints,
    build_listener,
    resource_name,
)

if TYPE_CHECKING:
    from serviceradar_security.grpc.client.control_plane import ControlPlane
    from serviceradar_security.grpc.client.materials import Slot
    from serviceradar_security.grpc.client.targets import Address, Target
    from serviceradar_security.identity.authorizer import Authorizer
    from serviceradar_security.identity.host import HostName

__all__ = ["PIN_AUTHORITY", "Policy", "Route", "Routes", "listener_name"]

PIN_AUTHORITY: Final = "pin.invalid"
"""Authority of the pin, a channel that is never called; the first listener knows it."""

# Each change of a listener reaches all channels on it: many channels are spread over several.
_ROUTES_ON_A_LISTENER: Final = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that tells two channels apart.

    Attributes:
        target: What is dialled.
        authority: What the server sees.
        expected: Who may answer.
        patterns: The same, for core.
        slot: Whose identity is shown.
        server_name: The name for SNI; empty to send none.
    """

    target: Target
    authority: str
    expected: Authorizer | HostName
    patterns: tuple[str, ...]
    slot: Slot
    server_name: str


@dataclass(eq=False)
class Route:
    """A policy in use: its place on a listener, its cluster, its users."""

    policy: Policy
    listener: int
    cluster: str
    endpoints: str
    users: int = 0


@dataclass(eq=False)
class _Endpoints:
    name: str
    users: int = 0
    follower: asyncio.Task[None] | None = None


def listener_name(number: int) -> str:
    """Give the name of a listener as a channel dials it."""
    return f"channels-{number}"


class Routes:
    """All routes of the process; lives on the plane's loop."""

    def __init__(self, plane: ControlPlane) -> None:
        """Make the first listener, without routes."""
        self._plane = plane
        self._numbers = itertools.count(1)
        self._routes: dict[Policy, Route] = {}
        self._listeners: list[dict[str, Route]] = []  # by authority
        self._unwritten: set[int] = set()
        self._endpoints: dict[Target, _Endpoints] = {}
        self._listener_for("")
        self.write()

    def __len__(self) -> int:
        return len(self._routes)

    def add(self, policy: Policy) -> Route:
        """Count a user of a policy's route, and make it if there is none. Write afterwards."""
        route = self._routes.get(policy)
        if route is None:
            key = _key(policy.authority)
            number = self._listener_for(key)
            route = Route(
                policy,
                number,
                resource_name(CLUSTER, str(next(self._numbers))),
                self._hold_endpoints(policy.target),
            )
            self._routes[policy] = route
            self._put_cluster(route)
            self._listeners[number][key] = route
            self._unwritten.add(number)
        route.users += 1
        return route

    def drop(self, route: Route) -> None:
        """Uncount a user of a route; the last one ends it. Write afterwards."""
        route.users -= 1
        if route.users:
            return
        del self._routes[route.policy]
        del self._listeners[route.listener][_key(route.policy.authority)]
        self._unwritten.add(route.listener)
        self._plane.remove(CLUSTER, route.cluster)
        self._release_endpoints(route.policy.target)

    def point_anew(self, slot: Slot) -> None:
        """Let every route of a slot name the slot's present lane."""
        for route in self._routes.values():
            if route.policy.slot is slot:
                self._put_cluster(route)

    def write(self) -> None:
        """Put the listeners that changed into the table."""
        for number in self._unwritten:
            name = resource_name(LISTENER, listener_name(number))
            clusters = {key: each.cluster for key, each in self._listeners[number].items()}
            silent = (PIN_AUTHORITY,) if number == 0 else ()
            self._plane.put(LISTENER, name, build_listener(name, clusters, silent))
        self._unwritten.clear()

    def close(self) -> None:
        """End all lookups."""
        for each in self._endpoints.values():
            if each.follower is not None:
                each.follower.cancel()

    def _listener_for(self, key: str) -> int:
        for number, listener in enumerate(self._listeners):
            if key not in listener and len(listener) < _ROUTES_ON_A_LISTENER:
                return number
        self._listeners.append({})
        self._unwritten.add(len(self._listeners) - 1)
        return len(self._listeners) - 1

    def _put_cluster(self, route: Route) -> None:
        policy = route.policy
        verification = Verification(
            identity=policy.slot.identity_name,
            trust=policy.slot.trust_name,
            patterns=policy.patterns,
            server_name=policy.server_name,
        )
        body = build_cluster(route.cluster, route.endpoints, verification)
        self._plane.put(CLUSTER, route.cluster, body)

    def _hold_endpoints(self, target: Target) -> str:
        held = self._endpoints.get(target)
        if held is None:
            held = _Endpoints(resource_name(ENDPOINTS, str(next(self._numbers))))
            self._endpoints[target] = held
            if target.addresses:
                self._put_endpoints(held.name, target.addresses)
            else:
                held.follower = asyncio.create_task(self._follow(target, held.name))
        held.users += 1
        return held.name

    def _release_endpoints(self, target: Target) -> None:
        held = self._endpoints[target]
        held.users -= 1
        if held.users:
            return
        del self._endpoints[target]
        if held.follower is not None:
            held.follower.cancel()
        self._plane.remove(ENDPOINTS, held.name)

    def _put_endpoints(self, name: str, addresses: tuple[Address, ...]) -> None:
        self._plane.put(ENDPOINTS, name, build_endpoints(name, addresses))

    async def _follow(self, target: Target, name: str) -> None:
        def publish(addresses: tuple[Address, ...]) -> None:
            self._put_endpoints(name, addresses)
            self._plane.flush()

        await follow_name(target.host, target.port, publish)


def _key(authority: str) -> str:
    """Give the form in which core compares authorities with the domains of a virtual host."""
    return authority.lower()
