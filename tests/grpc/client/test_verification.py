"""Who may answer: every way to be good or bad, on both kinds of channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from serviceradar_security.grpc.client import channel
from serviceradar_security.identity.authorizer import (
    Authorizer,
    authorize_any,
    authorize_member_of,
    authorize_one_of,
)
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.grpc.client.conftest import CALLS, CLIENT, SERVER, World, call_sync, expect, outcome

PARTNER = "spiffe://partner.test/db"
REFUSED: dict[str, dict[str, Any]] = {
    "another ID of the same trust domain": {"spiffe_id": CLIENT},
    "the ID in another case": {"spiffe_id": SERVER.replace("core", "CORE")},
    "a prefix of the ID": {"spiffe_id": SERVER[:-1]},
    "the ID and more": {"spiffe_id": SERVER + "-2"},
    "the ID and a further segment": {"spiffe_id": SERVER + "/x"},
    "the trust domain's own ID": {"spiffe_id": "spiffe://carverauto.test"},
    "two URI names, one of them right": {"spiffe_id": None, "uris": [SERVER, CLIENT]},
    "no name": {"spiffe_id": None},
    "the ID as a common name": {"spiffe_id": None, "common_name": SERVER[:64]},
    "expired": {"spiffe_id": SERVER, "not_after": datetime.now(UTC) - timedelta(seconds=30)},
    "no TLS": {"spiffe_id": SERVER, "plaintext": True},
}


@pytest.mark.parametrize("kind", CALLS)
def test_the_expected_server_is_called_with_our_identity(world: World, kind: str) -> None:
    """The right server gets the request and sees our SPIFFE ID."""
    server = world.serve()
    code, _ = CALLS[kind](server.target, world.source(), expect(SERVER), request=b"for core")
    assert code is grpc.StatusCode.OK
    assert server.requests == [b"for core"]
    assert server.callers == [CLIENT]


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_server_gets_no_byte_of_a_request(world: World, kind: str, case: str) -> None:
    """Whoever is not the expected server is refused before a request is sent."""
    server = world.serve(**REFUSED[case])
    code, _ = CALLS[kind](server.target, world.source(), expect(SERVER))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert server.requests == []


@pytest.mark.parametrize("kind", CALLS)
def test_a_federated_authority_cannot_forge_our_names(world: World, kind: str) -> None:
    """An ID of our trust domain that a federated authority signed is refused."""
    server = world.serve(authority=world.theirs)
    code, _ = CALLS[kind](server.target, world.source(), expect(SERVER))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert server.requests == []


@pytest.mark.parametrize("kind", CALLS)
def test_a_federated_server_is_called(world: World, kind: str) -> None:
    """A server of a federated trust domain is verified against that domain's bundle."""
    server = world.serve(PARTNER, authority=world.theirs)
    code, _ = CALLS[kind](server.target, world.source(), expect(PARTNER))
    assert code is grpc.StatusCode.OK


def test_a_server_with_an_intermediate_is_called(world: World) -> None:
    """The chain that the server presents leads to an authority of the bundle."""
    server = world.serve(intermediates=2)
    assert call_sync(server.target, world.source(), expect(SERVER))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("authorizer", "accepted"),
    [
        (authorize_member_of(TrustDomain.parse("carverauto.test")), "ours"),
        (authorize_member_of(TrustDomain.parse("partner.test")), "theirs"),
        (authorize_member_of(TrustDomain.parse("test")), ""),
        (authorize_any(), "ours theirs"),
        (authorize_one_of([]), ""),
        (authorize_one_of([SpiffeId.parse(SERVER), SpiffeId.parse(PARTNER)]), "ours theirs"),
        (expect("spiffe://carverautoXtest/ns/demo/sa/core".lower()), ""),
    ],
    ids=repr,
)
def test_each_authorizer_decides_in_core(
    world: World,
    authorizer: Authorizer,
    accepted: str,
) -> None:
    """Core accepts exactly the servers that the authorizer accepts."""
    source = world.source()
    servers = {"ours": world.serve(), "theirs": world.serve(PARTNER, authority=world.theirs)}
    codes = {name: call_sync(each.target, source, authorizer)[0] for name, each in servers.items()}
    assert [name for name, code in codes.items() if code is grpc.StatusCode.OK] == accepted.split()


def test_a_root_path_id_is_never_accepted(world: World) -> None:
    """The trust domain's own ID on a leaf is refused even when every ID is let in."""
    server = world.serve("spiffe://carverauto.test")
    assert call_sync(server.target, world.source(), authorize_any())[0] is not grpc.StatusCode.OK
    assert server.requests == []


def test_channels_to_one_server_do_not_share_a_verdict(world: World) -> None:
    """A live connection of one channel helps no other channel with another expectation."""
    server, source = world.serve(), world.source()
    with channel(server.target, source, expect(SERVER)) as good:
        assert outcome(good)[0] is grpc.StatusCode.OK
        with channel(server.target, source, expect(CLIENT)) as bad:
            assert outcome(bad)[0] is grpc.StatusCode.UNAVAILABLE
        assert outcome(good)[0] is grpc.StatusCode.OK
    assert len(server.requests) == 2


def test_each_source_shows_its_own_identity(world: World) -> None:
    """Two sources in one process, dialling one server, are told apart by it."""
    server = world.serve()
    source = world.source()
    other = world.source()
    other.set(world.context(spiffe_id=CLIENT + "-2"))
    with (
        channel(server.target, source, expect(SERVER)) as one,
        channel(server.target, other, expect(SERVER)) as two,
    ):
        outcome(one)
        outcome(two)
        outcome(one)
    assert server.callers == [CLIENT, CLIENT + "-2", CLIENT]
