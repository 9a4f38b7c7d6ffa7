"""The fake Workload API, spoken to by gRPC core: what it serves, and how it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.stream import CODES
from tests.testing.client import (
    CORE,
    PARTNER,
    POLLER,
    Watch,
    connected,
    eventually,
    svids_of,
)

if TYPE_CHECKING:
    import grpc

NOBODY = ("PERMISSION_DENIED", "no identity issued")  # as SPIRE says it


# ---- what it serves ----------------------------------------------------------------------------


def test_the_first_message(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A call gets the identities at once: ID, chain, key and bundle fit each other."""
    response = Watch(channel).next()

    (svid,) = svids_of(response)
    assert str(svid.spiffe_id) == response.svids[0].spiffe_id == CORE
    assert response.svids[0].bundle == b"".join(api.authority.bundle.der)
    assert dict(response.federated_bundles) == {}
    svid.leaf.verify_directly_issued_by(api.authority.bundle.authorities[0])


def test_several_identities_with_hints() -> None:
    """Identities come in their order, SVIDs as they are given, with their hints."""
    authority = FakeAuthority("example.org")
    own = authority.issue(POLLER, hint="external")
    with (
        FakeWorkloadApi([SpiffeId.parse(CORE), own], authority=authority) as api,
        connected(api) as channel,
    ):
        first, second = svids_of(Watch(channel).next())

    assert str(first.spiffe_id) == CORE
    assert second == own
    assert second.hint == "external"


def test_every_call_and_connection_is_served(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Two calls on one connection and one on another get the same, and each gets each update."""
    with connected(api) as other:
        watches = [Watch(channel), Watch(channel), Watch(other)]
        assert len({each.raw() for each in watches}) == 1
        api.rotate()
        assert len({each.raw() for each in watches}) == 1


def test_rotate(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A rotation sends new certificates of the same identities from the same authority."""
    watch = Watch(channel)
    before = watch.next()
    bundle = before.svids[0].bundle

    for _ in range(3):
        returned = api.rotate()
        after = watch.next()
        assert tuple(svids_of(after)) == returned
        assert after.svids[0].x509_svid != before.svids[0].x509_svid
        assert after.svids[0].x509_svid_key != before.svids[0].x509_svid_key
        assert after.svids[0].bundle == bundle
        before = after


def test_rotate_authority(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """An authority rotation publishes both roots, and issues from the new one."""
    watch = Watch(channel)
    old = watch.next().svids[0].bundle

    api.rotate_authority()

    entry = watch.next().svids[0]
    bundle = TrustBundle.from_der(api.authority.trust_domain, entry.bundle)
    assert entry.bundle.startswith(old)
    assert len(bundle.authorities) == 2
    svids_of_entry = X509Svid.parse(entry.x509_svid, entry.x509_svid_key)
    svids_of_entry.leaf.verify_directly_issued_by(bundle.authorities[1])


def test_publish_sends_the_authority_of_now(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """The steps of a rotation can be taken one by one: the SVIDs stay, the bundle follows."""
    watch = Watch(channel)
    first = watch.next().svids[0]

    api.authority.prepare()
    api.publish()
    second = watch.next().svids[0]

    assert second.x509_svid == first.x509_svid
    assert second.bundle == b"".join(api.authority.bundle.der) != first.bundle


def test_set_identities(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Other identities replace the ones before; none at all is SPIRE's refusal (R-WLAPI-10)."""
    watch = Watch(channel)
    watch.next()

    api.set_identities([POLLER, CORE])
    assert [each.spiffe_id for each in watch.next().svids] == [POLLER, CORE]
    api.set_identities([])
    assert watch.status() == NOBODY
    assert api.svids == ()
    api.set_identities([CORE])
    assert [each.spiffe_id for each in Watch(channel).next().svids] == [CORE]


@pytest.mark.parametrize("action", ["rotate", "publish", "federate", "allow", "drip"])
def test_nobody_is_never_served_an_empty_message(
    action: str,
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """While there is no identity, each command leaves callers refused, as an agent does."""
    api.set_identities([])
    arguments = [FakeAuthority(PARTNER).bundle] if action == "federate" else []

    getattr(api, action)(*arguments)

    assert Watch(channel).status() == NOBODY


def test_an_empty_message_on_request(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """The malformed message without SVIDs can be sent as bytes."""
    watch = Watch(channel)
    watch.next()

    api.send(b"")

    assert watch.raw() == b""


def test_federate_and_defederate(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Foreign bundles come under the ID of their trust domain, and go again."""
    partner = FakeAuthority(PARTNER)
    watch = Watch(channel)
    watch.next()

    api.federate(partner.bundle)
    assert dict(watch.next().federated_bundles) == {
        "spiffe://partner.example": b"".join(partner.bundle.der),
    }
    partner.rotate()
    api.federate(partner.bundle)
    assert dict(watch.next().federated_bundles) == {
        "spiffe://partner.example": b"".join(partner.bundle.der),
    }
    api.defederate(PARTNER)
    assert dict(watch.next().federated_bundles) == {}


def test_send(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Arbitrary bytes go out as one message, the empty one too; what new calls get stays."""
    watch = Watch(channel)
    first = watch.raw()

    for data in (b"garbage", b"", b"\0" * 70_000):
        api.send(data)
        assert watch.raw() == data
    assert Watch(channel).raw() == first


@pytest.mark.parametrize("megabytes", [1, 10])
def test_a_large_message_passes_flow_control(
    megabytes: int,
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """A message far beyond every window arrives whole, and the stream goes on behind it."""
    watch = Watch(channel)
    watch.next()
    data = bytes(range(256)) * (4096 * megabytes)

    api.send(data)

    assert watch.raw() == data
    api.rotate()
    watch.next()


# ---- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [each for each in CODES if each != "OK"])
def test_fail(code: str, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A failure ends the open streams and answers new calls, with its code and text, until it is lifted."""
    watch = Watch(channel)
    watch.next()

    api.fail(code, "for 100 % of 'reasons': ä\n€")

    assert watch.status() == (code, "for 100 % of 'reasons': ä\n€")
    assert Watch(channel).status() == (code, "for 100 % of 'reasons': ä\n€")
    api.allow()
    assert [each.spiffe_id for each in Watch(channel).next().svids] == [CORE]


def test_fail_with_ok_is_a_polite_end(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """An agent that ends every call with OK can be had too."""
    api.fail("OK")

    assert Watch(channel).status()[0] == "OK"


@pytest.mark.parametrize("code", ["", "ok", "GONE", "14", 14])
def test_a_code_that_there_is_not(code: Any, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A misspelt code is refused at once, and changes nothing."""
    watch = Watch(channel)
    watch.next()

    with pytest.raises(ConfigError, match="UNAVAILABLE"):
        api.fail(code)

    api.rotate()
    watch.next()
    Watch(channel).next()


def test_deny(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A workload without a registration entry is answered as SPIRE does."""
    watch = Watch(channel)
    watch.next()

    api.deny()

    assert watch.status() == ("PERMISSION_DENIED", "no identity issued")
    assert Watch(channel).status() == ("PERMISSION_DENIED", "no identity issued")
    api.rotate()
    Watch(channel).next()


def test_hang(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A hanging agent accepts calls and says nothing; open streams stay; then all of them go on."""
    before = Watch(channel)
    before.next()
    api.hang()
    during = Watch(channel)
    eventually(lambda: api.requests == 2)

    api._listener.run(_nothing())  # one turn of the loop: what it had to say is said
    assert before.silent
    assert during.silent
    api.rotate()
    assert before.raw() == during.raw()


async def _nothing() -> None:
    return


def test_end_stream(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Open streams end with OK, and new calls are served as before."""
    watch = Watch(channel)
    watch.next()

    api.end_stream()

    assert watch.status() == ("OK", "")
    Watch(channel).next()


@pytest.mark.parametrize("action", ["federate", "defederate", "publish", "set_identities"])
def test_whatever_changes_what_is_served_serves_again(
    action: str,
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """After a fault each of these commands serves again."""
    api.deny()
    arguments: dict[str, tuple[Any, ...]] = {
        "federate": (FakeAuthority(PARTNER).bundle,),
        "defederate": (PARTNER,),
        "publish": (),
        "set_identities": ([POLLER],),
    }

    getattr(api, action)(*arguments[action])

    assert len(Watch(channel).next().svids) == 1
