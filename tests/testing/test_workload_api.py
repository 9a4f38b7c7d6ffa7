"""The fake Workload API, spoken to by gRPC core: a peer that shares no code with it."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import h2.config
import h2.connection
import pytest

from serviceradar_security._proto.workload_pb2 import X509SVIDRequest, X509SVIDResponse
from serviceradar_security.errors import ConfigError, SpiffeIdError
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.stream import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORE = "spiffe://example.org/core"
POLLER = "spiffe://example.org/poller"
PARTNER = TrustDomain.parse("partner.example")
METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
HEADER = (("workload.spiffe.io", "true"),)
DEADLINE = 10.0


class Watch:
    """One call of a plain gRPC stub, read by a thread: what came, in its order."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        metadata: tuple[tuple[str, str], ...] = HEADER,
        method: str = METHOD,
        request: bytes = b"",
    ) -> None:
        stub: Any = channel.unary_stream(method)
        self._call = stub(request, metadata=metadata, timeout=DEADLINE * 2)
        self._came: queue.Queue[bytes | tuple[str, str]] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._call:
                self._came.put(message)
            self._came.put(("OK", self._call.details()))
        except grpc.RpcError as error:
            self._came.put((error.code().name, error.details() or ""))

    def raw(self) -> bytes:
        """Wait for the next message."""
        came = self._came.get(timeout=DEADLINE)
        assert isinstance(came, bytes), came
        return came

    def next(self) -> Any:
        """Wait for the next response."""
        return X509SVIDResponse.FromString(self.raw())

    def status(self) -> tuple[str, str]:
        """Wait for the end of the call."""
        came = self._came.get(timeout=DEADLINE)
        assert isinstance(came, tuple), f"{len(came)} bytes"
        return came

    @property
    def silent(self) -> bool:
        """Whether nothing has come that was not taken."""
        return self._came.empty()

    def cancel(self) -> None:
        """End the call on our side."""
        self._call.cancel()
        self._thread.join(DEADLINE)


@contextlib.contextmanager
def connected(api: FakeWorkloadApi) -> Iterator[grpc.Channel]:
    """Open a channel of its own."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.min_reconnect_backoff_ms", 20),
        ("grpc.initial_reconnect_backoff_ms", 20),
        ("grpc.enable_http_proxy", 0),
    ]
    with grpc.insecure_channel(f"unix:{api.socket_path}", options=options) as channel:
        yield channel


@pytest.fixture
def api() -> Iterator[FakeWorkloadApi]:
    with FakeWorkloadApi([CORE]) as running:
        yield running


@pytest.fixture
def channel(api: FakeWorkloadApi) -> Iterator[grpc.Channel]:
    with connected(api) as opened:
        yield opened


def svids_of(response: Any) -> list[X509Svid]:
    """Load the SVIDs of a response as a client does."""
    return [
        X509Svid.parse(each.x509_svid, each.x509_svid_key, hint=each.hint)
        for each in response.svids
    ]


def eventually(claim: Any) -> None:
    """Wait until a claim about another thread holds."""
    end = time.monotonic() + DEADLINE
    while not claim():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.002)


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
    """Other identities replace the ones before; none at all is a message without SVIDs."""
    watch = Watch(channel)
    watch.next()

    api.set_identities([POLLER, CORE])
    assert [each.spiffe_id for each in watch.next().svids] == [POLLER, CORE]
    api.set_identities([])
    assert list(watch.next().svids) == []


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

    api._run(_nothing())  # one turn of the server's loop: what it had to say is said
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


# ---- the protocol ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param((), id="none"),
        pytest.param((("workload.spiffe.io", "false"),), id="false"),
        pytest.param((("workload.spiffe.io", "True"),), id="another case"),
        pytest.param((("workload.spiffe.io", ""),), id="empty"),
        pytest.param((*HEADER, *HEADER), id="twice"),
        pytest.param((*HEADER, ("workload.spiffe.io", "false")), id="true, then false"),
        pytest.param((("workload.spiffe.io", "false"), *HEADER), id="false, then true"),
        pytest.param((("x-workload.spiffe.io", "true"),), id="another name"),
    ],
)
def test_the_security_header(
    metadata: tuple[tuple[str, str], ...],
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """Without the header exactly once a call is refused as SPIRE does, fault or no fault (R-WLAPI-01)."""
    refused = ("INVALID_ARGUMENT", "security header missing from request")

    assert Watch(channel, metadata=metadata).status() == refused
    api.hang()
    assert Watch(channel, metadata=metadata).status() == refused
    assert api.requests == 0


@pytest.mark.parametrize(
    "method",
    [
        "/SpiffeWorkloadAPI/FetchX509Bundles",
        "/SpiffeWorkloadAPI/FetchJWTSVID",
        "/spiffe.workload.SpiffeWorkloadAPI/FetchX509SVID",
        "/SpiffeWorkloadAPI/fetchX509SVID",
        "/",
    ],
)
def test_other_methods(method: str, api: FakeWorkloadApi, channel: grpc.Channel) -> None:
    """It serves the one method, and says so to the others."""
    assert Watch(channel, method=method).status()[0] == "UNIMPLEMENTED"
    assert api.requests == 0


def test_the_request_may_hold_anything(channel: grpc.Channel) -> None:
    """The request is an empty message; unknown fields in it are ignored (R-WLAPI-02)."""
    assert X509SVIDRequest().SerializeToString() == b""
    Watch(channel, request=b"\x0a\x03abc").next()


def test_connections_and_requests_are_counted(api: FakeWorkloadApi) -> None:
    """A test can see who is there, and how often was asked."""
    assert (api.connections, api.requests) == (0, 0)
    with connected(api) as one, connected(api) as other:
        watches = [Watch(one), Watch(one), Watch(other)]
        for each in watches:
            each.next()
        assert (api.connections, api.requests) == (2, 3)
        watches[0].cancel()
        Watch(one).next()
        assert (api.connections, api.requests) == (2, 4)
    eventually(lambda: api.connections == 0)
    assert api.requests == 4


def test_a_call_that_was_cancelled_gets_nothing_more(
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """Commands go on working on the streams that are left."""
    gone, there = Watch(channel), Watch(channel)
    gone.next()
    there.next()
    gone.cancel()

    for _ in range(3):
        api.rotate()
        there.next()
    api.deny()
    assert there.status()[0] == "PERMISSION_DENIED"


@pytest.mark.parametrize("last", ["cancel", "goaway", "garbage", "hang up"])
def test_a_client_that_leaves_in_the_same_breath(
    last: str,
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call with its cancellation, a farewell or garbage behind it disturbs nobody, and breaks nothing."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x")]
    connection.send_headers(1, [*headers, *HEADER])
    connection.send_data(1, b"\0\0\0\0\0", end_stream=True)
    if last == "cancel":
        connection.reset_stream(1)
    if last == "goaway":
        connection.close_connection()
    data = connection.data_to_send() + (b"\0" * 50 if last == "garbage" else b"")
    with socket.socket(socket.AF_UNIX) as plain, connected(api) as channel:
        plain.settimeout(DEADLINE)
        plain.connect(str(api.socket_path))
        plain.sendall(data)
        if last == "hang up":
            plain.close()
        elif last == "cancel":
            assert plain.recv(1)  # its settings: the connection lives
        else:
            while plain.recv(65536):
                pass  # it hangs up
        watch = Watch(channel)
        watch.next()
        api.rotate()
        watch.next()
        api.fail("INTERNAL")
        assert watch.status()[0] == "INTERNAL"
    assert [each for each in caplog.records if each.name == "asyncio"] == []


# ---- life --------------------------------------------------------------------------------------


def test_stop_and_start(api: FakeWorkloadApi) -> None:
    """A stop cuts every connection and removes the socket; a start serves on the same path again."""
    path = api.socket_path
    with connected(api) as channel:
        watch = Watch(channel)
        before = watch.raw()
        api.stop()
        assert watch.status()[0] == "UNAVAILABLE"
        assert not path.exists()
        assert api.connections == 0
        assert Watch(channel).status()[0] == "UNAVAILABLE"
        api.start()
        assert api.socket_path == path
    with connected(api) as again:
        assert Watch(again).raw() == before
    assert api.requests == 2


def test_commands_while_it_is_stopped(api: FakeWorkloadApi) -> None:
    """What is said to a stopped agent holds when it starts again."""
    api.stop()
    api.set_identities([POLLER])
    api.end_stream()
    api.send(b"to nobody")
    api.start()

    with connected(api) as channel:
        assert [each.spiffe_id for each in Watch(channel).next().svids] == [POLLER]
    api.stop()
    api.deny()
    api.start()
    with connected(api) as channel:
        assert Watch(channel).status()[0] == "PERMISSION_DENIED"


def test_start_and_stop_are_idempotent(api: FakeWorkloadApi) -> None:
    """Twice is once."""
    api.start()
    with connected(api) as channel:
        Watch(channel).next()
    api.stop()
    api.stop()
    api.start()


def test_its_folder_goes_with_it() -> None:
    """The socket's own private folder is gone after the context manager, and no thread is left."""
    before = threading.active_count()
    with FakeWorkloadApi([CORE]) as api:
        path = api.socket_path
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert api.endpoint == f"unix://{path}"

    assert not path.parent.exists()
    assert threading.active_count() == before


def test_a_socket_path_of_ones_own(tmp_path: Path) -> None:
    """A given path is used, an old socket there is replaced, and the folder stays."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with FakeWorkloadApi([CORE], socket_path=str(path)) as api, connected(api) as channel:
        assert api.socket_path == path
        Watch(channel).next()

    assert not path.exists()
    assert tmp_path.exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    """Where there is something other than a socket, the start fails and the file stays."""
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ConfigError, match="cannot listen"):
        FakeWorkloadApi([CORE], socket_path=path).start()

    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["missing/agent.sock", "x" * 200])
def test_a_path_that_cannot_be_listened_on(path: str, tmp_path: Path) -> None:
    """The start fails with our error, which names the path, and can be tried again."""
    api = FakeWorkloadApi([CORE], socket_path=tmp_path / path)

    for _ in range(2):
        with pytest.raises(ConfigError, match="cannot listen on") as caught:
            api.start()
        assert isinstance(caught.value.__cause__, OSError)
    api.stop()


def test_what_it_needs() -> None:
    """Neither identity nor authority, or an identity that is none, is refused by our errors."""
    with pytest.raises(ConfigError, match="identity or an authority"):
        FakeWorkloadApi([])
    with pytest.raises(SpiffeIdError):
        FakeWorkloadApi(["core"])
    with (
        FakeWorkloadApi([], authority=FakeAuthority("example.org")) as api,
        connected(api) as channel,
    ):
        assert list(Watch(channel).next().svids) == []
