"""The fault script of the fake Workload API, spoken to by gRPC core and by a live source."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import pytest

from serviceradar_security import X509Source
from serviceradar_security._proto.workload_pb2 import X509SVIDResponse
from serviceradar_security.errors import ConfigError, WorkloadApiError, X509SvidError
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from tests.testing.client import (
    CORE,
    DEADLINE,
    HEADER,
    METHOD,
    POLLER,
    Watch,
    connected,
    eventually,
    svids_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc


def ids(response: Any) -> list[str]:
    """Give the IDs of a response."""
    return [each.spiffe_id for each in response.svids]


# ---- identities --------------------------------------------------------------------------------


def test_hints() -> None:
    """Identities are issued with the hints that are given with them, and anew with each rotation."""
    given: list[Any] = [(CORE, "internal"), (SpiffeId.parse(CORE), "external"), POLLER]
    with FakeWorkloadApi(given) as api, connected(api) as channel:
        watch = Watch(channel)
        for _ in range(2):
            response = watch.next()
            assert [each.hint for each in response.svids] == ["internal", "external", ""]
            assert ids(response) == [CORE, CORE, POLLER]
            api.rotate()


def test_broken_certificates_are_served_as_they_are() -> None:
    """A certificate that breaks every rule goes out as an agent would never send it."""
    authority = FakeAuthority("example.org")
    broken = authority.issue_certificate(CORE, ca=True, wrong_key=True)
    with FakeWorkloadApi([broken, POLLER], authority=authority) as api:
        with connected(api) as channel:
            entry, good = Watch(channel).next().svids
        assert entry.x509_svid == broken.chain_der[0]
        assert entry.x509_svid_key == broken.key_der
        assert entry.spiffe_id == CORE
        assert [str(each.spiffe_id) for each in api.svids] == [good.spiffe_id] == [POLLER]


@pytest.mark.parametrize("given", [7, None, (CORE,), (CORE, 7), (CORE, "a", "b"), b"x"])
def test_what_cannot_be_served(given: Any) -> None:
    """Something that is no identity is refused at once, by our error."""
    with pytest.raises(ConfigError, match="cannot be served"):
        FakeWorkloadApi([CORE, given])


def test_the_svids_of_now(api: FakeWorkloadApi) -> None:
    """A test can see what is served, without a client."""
    before = api.svids
    assert [str(each.spiffe_id) for each in before] == [CORE]
    assert api.rotate() == api.svids != before


def test_expire(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """Expired identities go out, and good ones with the next rotation."""
    watch = Watch(channel)
    watch.next()

    (expired,) = api.expire()
    assert svids_of(watch.next()) == [expired]
    assert expired.not_after.timestamp() < time.time()
    (good,) = api.rotate()
    assert svids_of(watch.next()) == [good]
    assert good.not_after.timestamp() > time.time()


@pytest.mark.parametrize("seconds", [3600.0, -1800.0])
def test_skew(seconds: float, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A clock that is ahead or behind shifts the whole validity."""
    watch = Watch(channel)
    watch.next()
    (straight,) = api.svids

    (skewed,) = api.skew(seconds)

    assert svids_of(watch.next()) == [skewed]
    for of in ("not_before", "not_after"):
        shift = (getattr(skewed, of) - getattr(straight, of)).total_seconds()
        assert shift == pytest.approx(seconds, abs=DEADLINE)


def test_a_mutation_that_cannot_be_served_changes_nothing(
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """A rotation into an unusable SVID is refused; what was served before goes on."""
    watch = Watch(channel)
    before = watch.raw()

    with pytest.raises(X509SvidError):
        api.rotate(ca=True)

    assert Watch(channel).raw() == before
    assert watch.silent


def test_redact_one_of_two() -> None:
    """One identity is taken back, the other stays as it is; `allow` gives it back as it was."""
    with FakeWorkloadApi([CORE, POLLER]) as api, connected(api) as channel:
        watch = Watch(channel)
        core, poller = svids_of(watch.next())

        api.redact(CORE)
        assert svids_of(watch.next()) == [poller]
        with pytest.raises(ConfigError, match="not served"):
            api.redact(SpiffeId.parse(CORE))
        api.rotate()
        assert ids(watch.next()) == [POLLER]
        api.redact(SpiffeId.parse(POLLER))
        assert watch.status() == ("PERMISSION_DENIED", "no identity issued")
        assert api.svids == ()
        api.rotate()
        assert Watch(channel).status() == ("PERMISSION_DENIED", "no identity issued")
        api.allow()
        again = Watch(channel)
        assert ids(again.next()) == [CORE, POLLER]
        api.redact(POLLER)
        again.next()
        api.set_identities([POLLER, CORE])
        assert ids(again.next()) == [POLLER, CORE]
        assert core not in api.svids


def test_defederate_by_name(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A trust domain may be named by its text."""
    api.federate(FakeAuthority("partner.example").bundle)
    watch = Watch(channel)
    assert list(watch.next().federated_bundles) == ["spiffe://partner.example"]

    api.defederate("partner.example")

    assert list(watch.next().federated_bundles) == []


# ---- ways to send ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_drip(size: int, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A message that comes in drops is the same message, on old and new streams, until `allow`."""
    watch = Watch(channel)
    first = watch.raw()

    api.drip(size=size, pause=0.0)

    assert watch.raw() == first
    assert Watch(channel).raw() == first
    with connected(api) as other:
        assert Watch(other).raw() == first
    (renewed,) = api.rotate()
    assert svids_of(watch.next()) == [renewed]
    api.allow()
    assert svids_of(watch.next()) == [renewed]


def test_a_drip_that_stands_still(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """The first drop comes and no other; the command returns, and `allow` sends all the rest."""
    watch = Watch(channel)
    first = watch.raw()

    api.drip(size=1, pause=3600.0)
    api.publish()

    assert watch.silent
    api.allow()
    assert [watch.raw() for _ in range(3)] == [first] * 3


@pytest.mark.parametrize(
    "pace", [{"size": 0}, {"size": -1}, {"pause": -0.1}, {"pause": float("nan")}]
)
def test_no_pace(pace: dict[str, Any], api: FakeWorkloadApi) -> None:
    """Numbers that are no pace are refused."""
    with pytest.raises(ConfigError, match=r"^(size|pause) is .*: give "):
        api.drip(**pace)


@pytest.mark.parametrize("size", [0, 5_000, 4 * 1024 * 1024 + 1])
def test_oversize(size: int, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """The message is as large as asked for and says the same; new calls get the small one."""
    watch = Watch(channel)
    small = watch.raw()

    api.oversize(size)

    large = watch.raw()
    assert len(large) == max(size, len(small) + 6)
    assert svids_of(X509SVIDResponse.FromString(large)) == list(api.svids)
    assert Watch(channel).raw() == small


def test_a_message_that_no_source_takes(api: FakeWorkloadApi) -> None:
    """By default the message is larger than a source takes: it is refused, and the source goes on."""
    with X509Source(api.endpoint) as source:
        before = source.wait_ready(timeout=DEADLINE)
        api.oversize()
        api.wait_requests(2)
        assert source.current().default == before.default
        (renewed,) = api.rotate()
        eventually(lambda: source.current().default == renewed)


# ---- deadlines ---------------------------------------------------------------------------------


def stalled(api: FakeWorkloadApi) -> socket.socket:
    """Open a call whose client never reads what it gets."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x")]
    client.send_headers(1, [*headers, *HEADER])
    client.send_data(1, b"\0\0\0\0\0", end_stream=True)
    plain = socket.socket(socket.AF_UNIX)
    plain.connect(str(api.socket_path))
    plain.sendall(client.data_to_send())
    return plain


COMMANDS: list[Callable[[FakeWorkloadApi], object]] = [
    lambda api: api.oversize(10_000_000),
    lambda api: api.send(bytes(10_000_000)),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_client_that_does_not_read(command: Callable[[FakeWorkloadApi], object]) -> None:
    """A command that cannot be carried out has a deadline, and ends with our error; a stop still works."""
    with FakeWorkloadApi([CORE], timeout=0.2) as api, stalled(api):
        api.wait_requests(1, timeout=DEADLINE)
        with pytest.raises(WorkloadApiError, match="client does not read") as caught:
            command(api)
        assert caught.value.code == "DEADLINE_EXCEEDED"
        api.stop()
        assert api.connections == 0


def test_a_client_that_leaves_ends_the_wait() -> None:
    """A command returns when the client that did not read has hung up."""
    with FakeWorkloadApi([CORE], timeout=0.2) as api:
        plain = stalled(api)
        api.wait_requests(1, timeout=DEADLINE)
        with pytest.raises(WorkloadApiError):
            api.oversize(10_000_000)
        plain.close()
        eventually(lambda: api.connections == 0)
        api.rotate()


def test_waiting_for_calls(api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """A test waits for the calls of its service, and is told when they do not come."""
    api.wait_requests(0)
    with pytest.raises(WorkloadApiError, match=r"0 calls came within 0\.05 s, and not 1"):
        api.wait_requests(1, timeout=0.05)

    Watch(channel)

    api.wait_requests(1)


def test_a_mutated_svid_of_a_source(api: FakeWorkloadApi) -> None:
    """Mutations reach a live source as they would from an agent."""
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=DEADLINE)
        (renewed,) = api.rotate(key_type="rsa2048", intermediates=1)
        eventually(lambda: source.current().default == renewed)
        assert isinstance(renewed, X509Svid)
        assert len(source.current().default.certificates) == 2
