"""The live source against agents and peers that misbehave, each on a real socket."""

from __future__ import annotations

import base64
import errno
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

import h2.config
import h2.connection
import hyperframe.frame
import pytest

from serviceradar_security import (
    NoIdentityIssuedError,
    SecurityError,
    SourceError,
    WorkloadApiError,
    X509Source,
)
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from serviceradar_security.workload.stream import CODES
from serviceradar_security.workload.watch import State
from tests.workload.clock import ShiftedClock
from tests.workload.material import DOMAIN, ID, OTHER_ID, entry, key_der, message
from tests.workload.peers import Peer, relay, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from serviceradar_security import X509Context, X509Svid
    from serviceradar_security.workload.watch import Instant

LOG: Final = "serviceradar_security.workload"


def until_requests(api: FakeWorkloadApi, number: int) -> None:
    """Wait for so many calls."""
    until(lambda: api.requests >= number)


def until_refused(source: X509Source, number: int) -> None:
    """Wait for so many refused messages."""
    until(lambda: source.status().rejected == number)


# ---- an agent that comes and goes ---------------------------------------------------------------


def test_agent_killed_and_back(api: FakeWorkloadApi) -> None:
    """An outage keeps the identity and is asked after at short intervals; then all is well again."""
    with X509Source(api.endpoint) as source:
        before = source.wait_ready(timeout=10)
        for _ in range(2):
            api.stop()
            until(lambda: source.status().state is State.DEGRADED)
            end = time.monotonic() + 0.45
            while time.monotonic() < end:  # not a wait to be right: several attempts are watched
                status, now = source.status(), time.time()
                assert status.state is State.DEGRADED
                assert status.next_attempt is not None
                assert status.next_attempt.timestamp() - now < 0.45
                assert source.current() == before
                time.sleep(0.01)
            api.start()
            until(lambda: source.status().state is State.READY)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)


def test_agent_replaced(socket_path: Path) -> None:
    """Another agent on the same path, with another authority, is followed."""
    with FakeWorkloadApi([ID], socket_path=socket_path) as api, X509Source(api.endpoint) as source:
        old = source.wait_ready(timeout=10)
        api.stop()
        with FakeWorkloadApi([ID], socket_path=socket_path) as other:
            until(lambda: source.current() != old)
            assert source.current().bundles[other.authority.trust_domain] == other.authority.bundle


def test_polite_end(api: FakeWorkloadApi) -> None:
    """A clean end of the stream is no end: the source asks again and stays ready (R-WLAPI-03)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        for number in (2, 3):
            api.end_stream()
            until_requests(api, number)
            until(lambda: source.status().state is State.READY)
            assert source.current() is context
        assert source.status().updates == 1


def test_polite_closer_gets_no_busy_loop(socket_path: Path) -> None:
    """An agent that answers and ends at once is asked less and less often (R-WLAPI-04)."""
    authority = FakeAuthority(DOMAIN)
    data = message(entry(authority.issue(ID), authority.bundle))

    def lead() -> float:
        attempt = source.status().next_attempt
        return attempt.timestamp() - time.time() if attempt else 0.0

    with (
        Peer(_answering(data, "0"), path=socket_path) as peer,
        X509Source(f"unix://{socket_path}") as source,
    ):
        source.wait_ready(timeout=10)
        until(lambda: lead() > 0.5)  # the first delay is 0.1 s
        assert peer.served <= 6
        assert source.status().state is State.DEGRADED


# ---- refusals -----------------------------------------------------------------------------------

FINAL: Final = {"INVALID_ARGUMENT", "UNIMPLEMENTED"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("held", [False, True])
def test_status_code(
    code: str,
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
    *,
    held: bool,
) -> None:
    """Each status code leads where the standard's table says, and is logged (R-WLAPI-23)."""
    caplog.set_level(logging.DEBUG, LOG)
    if not held:
        api.fail(code, "told so")
    with X509Source(api.endpoint) as source:
        if held:
            source.wait_ready(timeout=10)
            api.fail(code, "told so")
        until(lambda: source.status().cause)
        status = source.status()
        number = CODES.index(code)
        if code == "OK":
            assert status.cause == f"{api.endpoint}: told so"
        else:
            assert f"{api.endpoint}: {code} ({number}): told so" in status.cause
            assert any(f"{code} ({number}): told so" in each for each in caplog.messages)
        assert (status.next_attempt is None) == (code in FINAL)
        if held:
            assert status.state is State.DEGRADED
            assert str(source.current().default.spiffe_id) == ID
            assert ("taken back" in status.cause) == (code == "PERMISSION_DENIED")
        else:
            denied = code == "PERMISSION_DENIED"
            assert status.state is (State.NO_IDENTITY if denied else State.NO_AGENT)
            with pytest.raises(NoIdentityIssuedError if denied else WorkloadApiError) as caught:
                source.current()
            assert caught.value.code == code


def test_denied_and_dropped(api: FakeWorkloadApi) -> None:
    """An identity that is taken back serves for the grace period, is dropped, and may come back."""
    clock = ShiftedClock()
    with X509Source(api.endpoint, redaction_grace=60.0, clock=clock) as source:
        context = source.wait_ready(timeout=10)
        api.deny()
        until(lambda: source.status().state is State.DEGRADED)
        assert source.current() == context
        clock.advance(30)
        assert source.current() == context
        clock.advance(31)
        with pytest.raises(NoIdentityIssuedError, match="create a registration entry"):
            source.current()
        assert source.status().state is State.NO_IDENTITY
        assert source.status().spiffe_id is None
        api.allow()
        clock.advance(10)
        assert source.wait_ready(timeout=10) == context
        assert source.status().updates == 2


def test_denied_and_dropped_by_time_alone(
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The end of the grace period is logged although nobody asks and the agent is silent."""
    caplog.set_level(logging.INFO, LOG)
    with X509Source(api.endpoint, redaction_grace=0.05) as source:
        source.wait_ready(timeout=10)
        api.deny()
        until(lambda: any("NO_IDENTITY" in each for each in caplog.messages))
        assert source.status().state is State.NO_IDENTITY


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_expiry(fault: str, api: FakeWorkloadApi) -> None:
    """Whatever the agent does, an identity ends at its end; the next one starts over."""
    clock = ShiftedClock()
    with X509Source(api.endpoint, clock=clock) as source:
        source.wait_ready(timeout=10)
        getattr(api, fault)()
        clock.advance(3590)
        source.current()
        clock.advance(20)
        with pytest.raises(SourceError, match="expired at"):
            source.current()
        status = source.status()
        assert status.state is State.EXPIRED
        assert status.since == status.not_after
        if fault == "stop":
            api.start()
        authority = api.authority
        api.set_identities([authority.issue(ID, ttl=7200)])
        source.wait_ready(timeout=10)
        assert source.status().state is State.READY


def test_expiry_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The end of an identity is logged once, though readers notice it before the watch does."""
    caplog.set_level(logging.INFO, LOG)
    with FakeWorkloadApi([ID], ttl=2.0) as api, X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.hang()
        until(lambda: source.status().state is State.EXPIRED)
        until(lambda: any("source is EXPIRED" in each for each in caplog.messages))
    expired = [each for each in caplog.messages if "source is EXPIRED" in each]
    assert len(expired) == 1
    assert ID in expired[0]


# ---- messages -----------------------------------------------------------------------------------


def test_garbage_is_counted(api: FakeWorkloadApi) -> None:
    """A message that cannot be used is counted, and the last good one stays (R-WLAPI-12)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        for number, garbage in enumerate((b"\xff", b"", message(), b"\x0a\x00"), 1):
            api.send(garbage)
            until_refused(source, number)
            assert source.status().state is State.DEGRADED
            assert source.current() is context
        assert "a message that cannot be used" in source.status().cause
        assert api.requests == 1  # the stream is kept (R-WLAPI-09)
        api.publish()
        until(lambda: source.status().state is State.READY)


def test_garbage_first(api: FakeWorkloadApi) -> None:
    """At the start a source waits on for a good message (R-WLAPI-12)."""
    api.hang()
    with X509Source(api.endpoint) as source:
        until(lambda: api.requests == 1)
        api.send(message())
        until(lambda: source.status().rejected == 1)
        assert source.status().state is State.NO_AGENT
        with pytest.raises(WorkloadApiError, match="it has no SVID"):
            source.current()
        api.publish()
        source.wait_ready(timeout=10)


def test_expired_update(api: FakeWorkloadApi) -> None:
    """An update that comes expired is refused with the skew of the clocks (R-WLAPI-26)."""
    with X509Source(api.endpoint) as source:
        context = source.wait_ready(timeout=10)
        api.set_identities([api.authority.issue(ID, ttl=-600)])
        until(lambda: source.status().rejected == 1)
        assert source.current() is context
        assert "compare the clocks" in source.status().cause


@pytest.mark.parametrize("days", [30, 400, 9000])
def test_long_life(days: int) -> None:
    """An identity that lives for months is followed as any other."""
    with (
        FakeWorkloadApi([ID], ttl=days * 86400.0) as api,
        X509Source(api.endpoint) as source,
    ):
        source.wait_ready(timeout=10)
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().state is State.READY
        assert api.requests == 1


def test_large_message(api: FakeWorkloadApi) -> None:
    """A message of 20 MB comes through (R-WLAPI-30)."""
    svid = api.authority.issue(OTHER_ID)
    data = message(entry(svid, api.authority.bundle), crl=[b"x" * 1024 * 1024] * 20)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.send(data)
        until(lambda: source.current().default == svid)


def test_oversized_message(api: FakeWorkloadApi, socket_path: Path) -> None:
    """A message beyond the limit is reported at its head, and the state is kept (R-WLAPI-30)."""

    def serve(connection: socket.socket) -> None:
        server = _Server(connection)
        server.head()
        server.data(b"\0" + (2**31).to_bytes(4))
        server.drain()

    with Peer(serve, path=socket_path), X509Source(f"unix://{socket_path}") as source:
        until(lambda: "RESOURCE_EXHAUSTED (8)" in source.status().cause)


# ---- peers that are no agents -------------------------------------------------------------------


class _Server:
    """The server's side of HTTP/2 on a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.flush()
        while self.h2.highest_inbound_stream_id == 0:
            self.h2.receive_data(connection.recv(65536))
        self.flush()

    def flush(self) -> None:
        self.connection.sendall(self.h2.data_to_send())

    def head(self) -> None:
        self.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        self.flush()

    def data(self, data: bytes) -> None:
        for start in range(0, len(data), 16_000):
            self.h2.send_data(1, data[start : start + 16_000])
        self.flush()

    def trailers(self, status: str) -> None:
        self.h2.send_headers(1, [("grpc-status", status)], end_stream=True)
        self.flush()

    def drain(self) -> None:
        while self.connection.recv(65536):
            pass


def _answering(data: bytes, status: str) -> Callable[[socket.socket], None]:
    """Answer with a message and a status, and hang up."""

    def serve(connection: socket.socket) -> None:
        server = _Server(connection)
        server.head()
        server.data(b"\0" + len(data).to_bytes(4) + data)
        server.trailers(status)

    return serve


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _saying(*chunks: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        for chunk in chunks:
            connection.sendall(chunk)
        _silent(connection)

    return serve


def _dripping(connection: socket.socket) -> None:
    settings = hyperframe.frame.SettingsFrame(0).serialize() * 10_000
    for byte in settings:
        connection.sendall(bytes([byte]))
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        pytest.param(_silent, "no answer within 0.3 s", id="says nothing"),
        pytest.param(_dripping, "no answer within 0.3 s", id="drips"),
        pytest.param(lambda _: None, "the agent closed the connection", id="hangs up"),
        pytest.param(
            _saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
            "the peer speaks HTTP/1, not HTTP/2",
            id="HTTP/1",
        ),
        pytest.param(
            _saying(bytes.fromhex("15030300020246")),
            "the peer speaks TLS: a Workload API is plaintext",
            id="TLS alert",
        ),
        pytest.param(_saying(b"\0\0", b"\0", b"\1garbage"), "does not speak HTTP/2", id="garbage"),
        pytest.param(_saying(b"\0\0\x01\x04\0\0\0\0\0x"), "does not speak HTTP/2", id="bad frame"),
    ],
)
def test_peer(serve: Callable[[socket.socket], None], cause: str, socket_path: Path) -> None:
    """A peer that is no agent gives a state with its cause, and is asked again."""
    with (
        Peer(serve, path=socket_path) as peer,
        X509Source(f"unix://{socket_path}", answer_timeout=0.3) as source,
    ):
        until(lambda: cause in source.status().cause, cause)
        assert source.status().state is State.NO_AGENT
        with pytest.raises(WorkloadApiError, match=cause):
            source.current()
        until(lambda: peer.served >= 2)


def _first_failure(endpoint: str) -> State:
    with X509Source(endpoint) as source:
        until(lambda: source.status().cause)
        return source.status().state


def test_peer_that_says_no_and_hangs_up(socket_path: Path) -> None:
    """A refusal is heard although the connection is closed right behind it."""
    settings = hyperframe.frame.SettingsFrame(0).serialize()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.send_headers(
        1, [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
    )
    server.receive_data(client.data_to_send())
    server.data_to_send()
    server.send_headers(1, [(":status", "200"), ("grpc-status", "7")], end_stream=True)
    refusal = server.data_to_send()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(settings)
        connection.sendall(refusal)

    with Peer(serve, path=socket_path):
        for _ in range(40):
            assert _first_failure(f"unix://{socket_path}") is State.NO_IDENTITY


def test_peer_that_asks_and_does_not_listen(socket_path: Path) -> None:
    """A peer that wants answers and reads none does not fill our memory."""

    def serve(connection: socket.socket) -> None:
        server = _Server(connection)
        server.head()
        ping = hyperframe.frame.PingFrame(0, b"12345678").serialize() * 1000
        while True:
            connection.sendall(ping)

    with Peer(serve, path=socket_path), X509Source(f"unix://{socket_path}") as source:
        until(lambda: "reads none of them" in source.status().cause)


def test_queue_is_full(socket_path: Path) -> None:
    """A socket whose queue of connections is full is as one where nobody listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(0)
        waiting = []
        with pytest.raises(BlockingIOError):  # noqa: PT012 - until it is full
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)  # noqa: FBT003 - the name says what it is
                waiting[-1].connect(str(socket_path))
        with X509Source(f"unix://{socket_path}") as source:
            until(lambda: "its queue of connections is full" in source.status().cause)
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        pytest.param(lambda path: path.write_text(""), "nobody listens there", id="a file"),
        pytest.param(lambda path: path.mkdir(), "nobody listens there", id="a folder"),
        pytest.param(lambda path: path.symlink_to(path), "symbolic links", id="a loop of links"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "no such socket", id="a dead link"),
    ],
)
def test_no_socket(make: Callable[[Path], object], cause: str, socket_path: Path) -> None:
    """A path that is no socket has its cause told, and is tried again."""
    make(socket_path)
    with X509Source(f"unix://{socket_path}") as source:
        until(lambda: cause in source.status().cause, cause)
        assert source.status().next_attempt is not None


# ---- TCP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp(
    family: socket.AddressFamily,
    api: FakeWorkloadApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tcp address is usable, and goes through no proxy (R-EP-13, R-EP-15)."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Peer(relay(api.socket_path), family=family) as peer:
        host = "127.0.0.1" if family == socket.AF_INET else "[::1]"
        with X509Source(f"tcp://{host}:{peer.port}") as source:
            source.wait_ready(timeout=10)
            (new,) = api.rotate()
            until(lambda: source.current().default == new)


def test_tcp_refused() -> None:
    """A port where nobody listens is told as such."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with X509Source(f"tcp://127.0.0.1:{held.getsockname()[1]}") as source:
            until(lambda: "nobody listens there" in source.status().cause)


def test_tcp_that_does_not_connect() -> None:
    """A connection that is not opened in time is a failure; closing does not wait for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(8):  # the kernel drops what no longer fits into the queue
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)  # noqa: FBT003 - the name says what it is
            assert waiting[-1].connect_ex(address) in {0, errno.EINPROGRESS}
        with X509Source(f"tcp://127.0.0.1:{address[1]}", connect_timeout=0.2) as source:
            until(lambda: "no connection within 0.2 s" in source.status().cause)
        with X509Source(f"tcp://127.0.0.1:{address[1]}", connect_timeout=60) as source:
            with pytest.raises(SourceError, match="not connected yet"):
                source.wait_ready(timeout=0.05)
            before = time.monotonic()
        assert time.monotonic() - before < 4
        for each in waiting:
            each.close()


# ---- defects of our own -------------------------------------------------------------------------


class _FailingClock(ShiftedClock):
    """A clock that fails in the receiving thread while it is told to."""

    broken = False

    def __call__(self) -> Instant:
        if self.broken and threading.current_thread().name == "serviceradar-security-workload":
            raise LookupError("no time")
        return super().__call__()


def test_defect(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """What should never fail in the receiving thread is logged, and the thread outlives it."""
    clock = _FailingClock()
    with X509Source(api.endpoint, clock=clock) as source:
        source.wait_ready(timeout=10)
        clock.broken = True
        api.rotate()
        until(lambda: any("fails again and goes on" in each for each in caplog.messages))
        source.current()
        clock.broken = False
        (new,) = api.rotate()
        until(lambda: source.current().default == new)
        assert source.status().state is State.READY
        assert len(caplog.messages) < 30  # no busy loop


# ---- logs ---------------------------------------------------------------------------------------


def test_logged_once(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """A transition is logged once, not with each attempt; so is each new cause in a state."""
    caplog.set_level(logging.INFO, LOG)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        api.fail("CANCELLED", "told so")
        until_requests(api, 4)
        api.stop()
        until(lambda: "no such socket" in source.status().cause)
        api.start()
        api.allow()
        until(lambda: source.status().state is State.READY)
    texts = [record.getMessage() for record in caplog.records if record.name == LOG]
    assert [text.split(" ", 4)[3] for text in texts] == [
        "READY",
        "DEGRADED",
        "DEGRADED",
        "READY",
        "CLOSED",
    ]
    assert "CANCELLED (1): told so: look at the log of the SPIRE agent" in texts[1]
    assert "there is no such socket: start the SPIRE agent" in texts[2]
    assert all(text.isprintable() for text in texts)
    levels = [record.levelname for record in caplog.records if record.name == LOG]
    assert levels == ["INFO", "WARNING", "WARNING", "INFO", "INFO"]


def test_left_out_is_logged_once(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """What is left out of a message is logged, and not again with each message."""
    caplog.set_level(logging.WARNING, LOG)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        for _ in range(2):
            good = entry(api.authority.issue(ID), api.authority.bundle)
            api.send(message(good, federated={"b.test": b"junk"}))
        until(lambda: source.status().updates == 3)
        assert source.status().state is State.READY
    assert len([each for each in caplog.messages if "b.test" in each]) == 1


def test_flood_of_refusals_is_not_a_flood_of_logs(
    api: FakeWorkloadApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ever new bad messages do not fill the log."""
    caplog.set_level(logging.INFO, LOG)
    svid = api.authority.issue(ID)
    with X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        for number in range(100):
            api.send(message(entry(svid, api.authority.bundle, spiffe_id=f"{ID}/{number}")))
        until(lambda: source.status().rejected == 100)
    assert len(caplog.messages) < 30


def _shows(text: str, svid: X509Svid) -> bool:
    """Tell whether a text has the private key in it, in any of the usual spellings."""
    der = key_der(svid)
    number = svid.private_key.private_numbers().private_value  # type: ignore[union-attr] # EC keys here
    scalar = number.to_bytes(32)
    forms = [
        repr(scalar)[2:-1],
        scalar.hex(),
        scalar.hex(":"),
        str(number),
        base64.b64encode(der).decode()[60:90],
        str(list(scalar))[1:-1],
        "".join(f"\\{byte:03o}" for byte in scalar[:8]),
        "PRIVATE KEY",
    ]
    return any(form in text or form.upper() in text for form in forms)


def test_key_is_never_shown(api: FakeWorkloadApi, caplog: pytest.LogCaptureFixture) -> None:
    """No log record, error, status or repr of a whole life shows a key (R-WLAPI-36)."""
    caplog.set_level(logging.DEBUG)
    clock = ShiftedClock()
    svids, shown = [api.authority.issue(ID)], []

    def pick(given: Sequence[X509Svid]) -> X509Svid:
        if any("picky" in str(each.spiffe_id) for each in given):
            raise LookupError(f"none of {given!r}")
        return given[0]

    def fail(context: X509Context) -> None:
        raise LookupError(f"cannot take {context!r}")

    def note(source: X509Source) -> None:
        shown.extend([repr(source), repr(source.status()), repr(vars(source))])
        try:
            shown.append(repr(source.current()))
        except SecurityError as error:
            shown.append(f"{error!r} {error.__cause__!r}")

    api.set_identities(svids)
    with X509Source(api.endpoint, pick=pick, clock=clock) as source, source.subscribe(fail):
        source.wait_ready(timeout=10)
        note(source)
        svids.append(api.authority.issue(ID))
        api.set_identities(svids[-1:])
        until(lambda: source.current().default == svids[-1])
        good = message(entry(svids[0], api.authority.bundle))
        other_key = entry(svids[0], api.authority.bundle, x509_svid_key=key_der(svids[1]))
        no_key = entry(svids[0], api.authority.bundle, x509_svid_key=key_der(svids[1])[:-1])
        picky = entry(api.authority.issue("spiffe://a.test/picky"), api.authority.bundle)
        bad = [good[:-5], message(other_key), message(no_key), message(picky), b"\xff" + good]
        for number, each in enumerate(bad, 1):
            api.send(each)
            until_refused(source, number)
            note(source)
        api.fail("INTERNAL")
        until(lambda: "INTERNAL" in source.status().cause)
        note(source)
        api.deny()
        until(lambda: "taken back" in source.status().cause)
        clock.advance(100)
        note(source)
        clock.advance(10_000)
        note(source)
    shown.append(repr(source))
    everything = caplog.text + "\n".join(shown)
    assert "a subscriber of the identity source failed" in everything
    for svid in svids:
        assert _shows(repr(key_der(svid)), svid)
        assert _shows(svid.to_pem()[1].decode(), svid)
        assert not _shows(everything, svid)
