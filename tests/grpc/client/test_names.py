"""Names and addresses end to end: unknown, late, several, moved; and what the server sees."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from serviceradar_security.grpc.client import channel, resolver
from tests.grpc.client.child import IS_BEFORE_1_80, run, write_identity
from tests.grpc.client.conftest import (
    CALLS,
    DEADLINE,
    SERVER,
    World,
    call_sync,
    eventually,
    expect,
    outcome,
)

if TYPE_CHECKING:
    from tests.grpc.client.witness import Witness

NAME = "core.carverauto.test"


class Names:
    """The system's resolver, with one name more."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.delay = 0.0
        self.questions = 0
        self._system = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host != NAME:
            return self._system(host, port, *args, **kwargs)
        self.questions += 1
        time.sleep(self.delay)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [each for ip in self.addresses for each in self._system(ip, port, *args, **kwargs)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A name server for `core.carverauto.test`."""
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@pytest.mark.parametrize("form", ["localhost:{}", "dns:localhost:{}", "dns:///localhost:{}"])
@pytest.mark.parametrize("kind", CALLS)
def test_a_name_is_dialled(world: World, kind: str, form: str) -> None:
    """Names work in each of their forms."""
    target = form.format(world.serve().port)
    assert CALLS[kind](target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("form", ["ipv4:127.0.0.1:{}", "ipv4:127.0.0.1:{},127.0.0.2:{}"])
def test_addresses_are_dialled(world: World, form: str) -> None:
    """Literal addresses and lists of them work."""
    port = world.serve().port
    target = form.replace("{}", str(port))
    assert call_sync(target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("form", ["[::1]:{}", "ipv6:[::1]:{}"])
def test_ipv6_addresses_are_dialled(world: World, form: str) -> None:
    """IPv6 works, and the server sees the address in brackets."""
    server = world.serve(host="[::1]")
    assert call_sync(form.format(server.port), world.source(), expect(SERVER))[0] is (
        grpc.StatusCode.OK
    )
    assert server.authorities == [f"[::1]:{server.port}"]


def test_an_unknown_name_fails_and_works_once_it_is_known(world: World, names: Names) -> None:
    """Calls fail at once while a name is unknown; the same channel works when it appears."""
    server = world.serve()
    with channel(f"{NAME}:{server.port}", world.source(), expect(SERVER)) as made:
        began = time.monotonic()
        assert outcome(made)[0] is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - began < DEADLINE / 2
        names.addresses = ["127.0.0.1"]
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK)


def test_the_first_call_waits_for_a_slow_lookup(world: World, names: Names) -> None:
    """A lookup that takes its time delays the first call and does not fail it."""
    names.addresses, names.delay = ["127.0.0.1"], 0.5
    target = f"{NAME}:{world.serve().port}"
    assert call_sync(target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("dead", ["first", "last"])
def test_of_two_addresses_the_dead_one_is_passed_over(
    world: World,
    names: Names,
    dead: str,
) -> None:
    """One address that works is enough, whichever place it has."""
    names.addresses = ["127.0.0.9", "127.0.0.1"] if dead == "first" else ["127.0.0.1", "127.0.0.9"]
    target = f"{NAME}:{world.serve().port}"
    assert call_sync(target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK


def test_a_wrong_server_at_one_address_is_passed_over(world: World, names: Names) -> None:
    """An address where somebody else answers is no better than a dead one, and no worse."""
    good = world.serve(host="127.0.0.1")
    bad = world.serve("spiffe://carverauto.test/other", host="127.0.0.2", port=good.port)
    names.addresses = ["127.0.0.2", "127.0.0.1"]
    target = f"{NAME}:{good.port}"
    assert call_sync(target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK
    assert bad.requests == []


def test_a_name_that_moves_is_followed(
    world: World,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the address of a name changed, calls reach the new place."""
    monkeypatch.setattr(resolver, "_FRESH", (0.05, 0.1))
    old = world.serve(host="127.0.0.1")
    new = world.serve(host="127.0.0.2", port=old.port)
    names.addresses = ["127.0.0.1"]
    with channel(f"{NAME}:{old.port}", world.source(), expect(SERVER)) as made:
        assert outcome(made)[0] is grpc.StatusCode.OK
        names.addresses = ["127.0.0.2"]
        eventually(lambda: outcome(made)[0] is grpc.StatusCode.OK and bool(new.requests))


def test_lookups_end_with_the_last_channel(
    world: World,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Channels to one name share its lookups, which end when the last of them is closed."""
    monkeypatch.setattr(resolver, "_FRESH", (0.02, 0.03))
    names.addresses = ["127.0.0.1"]
    target, source = f"{NAME}:{world.serve().port}", world.source()
    one = channel(target, source, expect(SERVER))
    two = channel(target, source, expect(SERVER + "-2"))
    eventually(lambda: names.questions > 2)
    one.close()
    asked = names.questions
    eventually(lambda: names.questions > asked + 2)
    two.close()
    time.sleep(0.2)
    asked = names.questions
    time.sleep(0.2)
    assert names.questions == asked


# What is dialled and the authority option; the server name and the authority that are seen.
SEEN: list[tuple[str, object, str | None, str]] = [
    ("127.0.0.1:{}", None, None, "127.0.0.1:{}"),
    ("localhost:{}", None, "localhost", "localhost:{}"),
    ("dns:///localhost:{}", None, "localhost", "localhost:{}"),
    ("ipv4:127.0.0.1:{},127.0.0.1:{}", None, None, "127.0.0.1:{}"),
    ("127.0.0.1:{}", "core.example", None, "core.example"),
    ("localhost:{}", b"Core:7", "localhost", "Core:7"),
]


@pytest.mark.parametrize("case", SEEN, ids=str)
def test_the_server_sees_what_was_dialled(
    world: World,
    witness: Witness,
    case: tuple[str, object, str | None, str],
) -> None:
    """The authority is the target or what the caller says; a server name is sent for names only."""
    form, option, name, authority = case
    port = str(witness.port)
    options = [("grpc.default_authority", option)] if option else []
    target = form.replace("{}", port)
    code, text = call_sync(target, world.source(), expect(SERVER), options=options)
    assert code is grpc.StatusCode.OK, text
    (seen,) = witness.calls
    if IS_BEFORE_1_80 and option:
        name = authority.partition(":")[0]  # there core takes the name from the authority
    assert seen.server_name == name
    assert seen.authority == authority.replace("{}", port)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_configured_proxy_is_not_used(world: World, tmp_path: Any, variable: str) -> None:
    """A proxy that does not answer changes nothing."""
    write_identity(world, tmp_path)
    done = run(
        "made = dial(*sys.argv[1:])\nprint(call(made))",
        world.serve().target,
        str(tmp_path),
        environment={variable: "http://127.0.0.1:9"},
    )
    assert done.stdout.startswith("answered"), done.stderr
