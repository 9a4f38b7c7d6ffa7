"""JWT-SVIDs through the Workload API: what is asked, what is refused, and that nothing hangs."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from spiffe._proto.workload_pb2 import JWTSVID, JWTSVIDResponse, ValidateJWTSVIDResponse

from serviceradar_security import (
    ConfigError,
    NoIdentityIssuedError,
    PeerVerificationError,
    SecurityError,
    SpiffeId,
    WorkloadApiError,
    WorkloadEndpoint,
)
from serviceradar_security.spiffe import JwtSvid, fetch_jwt_svid, validate_jwt_svid
from serviceradar_security.spiffe.exchange import _Client
from serviceradar_security.spiffe.jwt import MAX_AUDIENCE_BYTES
from serviceradar_security.spiffe.jwt_svid import MAX_AUDIENCES, MAX_TOKEN_BYTES
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.spiffe.agent import AUDIENCE, ID, OTHER_ID, Agent, good_claims, token_of
from tests.workload.peers import Peer, until
from tests.workload.scripts import run

if TYPE_CHECKING:
    from collections.abc import Callable

WEB = SpiffeId.parse(ID)
DB = SpiffeId.parse(OTHER_ID)
CALLS: dict[str, Callable[..., JwtSvid]] = {
    "fetch": lambda endpoint, **given: fetch_jwt_svid(endpoint, AUDIENCE, **given),
    "validate": lambda endpoint, **given: validate_jwt_svid(
        endpoint, token_of(good_claims()), AUDIENCE, **given
    ),
}
Code = grpc.StatusCode
both = pytest.mark.parametrize("call", CALLS)


def everything_of(error: BaseException) -> str:
    """Write an error as a log with its traceback would, with all its causes."""
    return "".join(traceback.format_exception(error)) + repr(error)


def assert_hidden(token: str, error: BaseException) -> None:
    """No part of the token that matters is in the error, its causes or their ``repr``."""
    text = everything_of(error)
    seen: BaseException | None = error
    while seen is not None:
        text += repr(seen)
        seen = seen.__cause__
    assert not any(part in text for part in token.split(".") if len(part) > 20)


# ---- fetching ----------------------------------------------------------------------------------


def test_fetch(agent: Agent) -> None:
    """A token of ours comes with the audience, and the hint, that the Workload API gave it."""
    svid = fetch_jwt_svid(agent.endpoint, [AUDIENCE, "b"])

    assert svid.spiffe_id == WEB
    assert set(svid.audience) == {AUDIENCE, "b"}
    assert svid.hint == "internal"
    assert svid.expiry > datetime.now(UTC)
    ((name, metadata, request, left),) = agent.calls
    assert name == "fetched"
    assert metadata["workload.spiffe.io"] == "true"
    assert sorted(request.audience) == sorted([AUDIENCE, "b"])
    assert request.spiffe_id == ""
    assert 0 < left < 11


def test_fetch_for_one_identity(agent: Agent) -> None:
    """The identity that is asked for is the one that comes."""
    svid = fetch_jwt_svid(WorkloadEndpoint.parse(agent.endpoint), AUDIENCE, spiffe_id=DB, timeout=3)
    assert svid.spiffe_id == DB
    ((_, _, request, left),) = agent.calls
    assert request.spiffe_id == OTHER_ID
    assert left < 4


@both
def test_address_from_the_environment(
    call: str, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an address the environment's is taken; with one, the environment is not asked."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent.endpoint)
    assert CALLS[call](None).spiffe_id == WEB
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere")
    assert CALLS[call](agent.endpoint).spiffe_id == WEB
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    with pytest.raises(ConfigError, match="set SPIFFE_ENDPOINT_SOCKET"):
        CALLS[call](None)


@pytest.mark.parametrize(
    "name", ["a+b@c=d:e;f", "(x)!$&'*~", "-._", "100%", "%41", "a b", "é", "[x]"]
)
def test_paths(socket_path: Path, name: str) -> None:
    """A socket is reached whatever is in its name, also what a URI escapes."""
    with Agent(socket_path.with_name("plain")) as agent:
        link = socket_path.with_name(name)
        link.symlink_to(agent.endpoint.removeprefix("unix://"))
        assert fetch_jwt_svid(WorkloadEndpoint("unix", path=str(link)), AUDIENCE).spiffe_id == WEB


def answer(*svids: dict[str, str]) -> JWTSVIDResponse:
    return JWTSVIDResponse(svids=[JWTSVID(**each) for each in svids])


def given_token(claims: dict[str, Any], header: object = None, **fields: str) -> JWTSVIDResponse:
    return answer({"spiffe_id": ID, "svid": token_of(claims, header), **fields})


WRONG_ANSWERS: dict[str, tuple[Callable[[], JWTSVIDResponse], str]] = {
    "nothing": (answer, "gave no JWT-SVID"),
    "no token": (lambda: answer({"spiffe_id": ID}), "compact form"),
    "garbage": (lambda: answer({"spiffe_id": ID, "svid": "no token"}), "compact form"),
    "expired": (lambda: given_token(good_claims(exp=int(time.time()) - 5)), "expired"),
    "no end": (lambda: given_token(good_claims(exp=None)), "no end"),
    "none": (lambda: given_token(good_claims(), {"alg": "none"}), "algorithm 'none'"),
    "shared secret": (lambda: given_token(good_claims(), {"alg": "HS256"}), "'HS256'"),
    "type": (lambda: given_token(good_claims(), {"alg": "ES256", "typ": "X"}), "type 'X'"),
    "other audience": (lambda: given_token(good_claims(aud="x")), "is for 'x' and not for"),
    "other subject": (
        lambda: given_token(good_claims(sub=OTHER_ID), spiffe_id=OTHER_ID),
        f"gave a token of {OTHER_ID} when asked for {ID}",
    ),
    "two minds": (lambda: given_token(good_claims(), spiffe_id=OTHER_ID), "is that of"),
    "no name": (lambda: given_token(good_claims(), spiffe_id=""), "is that of ''"),
    "newline": (lambda: given_token(good_claims(sub=f"{ID}\n")), "no SPIFFE ID"),
    "trust domain": (lambda: given_token(good_claims(sub="spiffe://a.test")), "not a workload"),
    "twice": (
        lambda: answer({"spiffe_id": ID, "svid": token_of(b'{"sub":"a","sub":"b"}')}),
        "twice",
    ),
    "too large": (
        lambda: given_token(good_claims(x="y" * MAX_TOKEN_BYTES)),
        f"at most {MAX_TOKEN_BYTES}",
    ),
    "deep": (
        lambda: answer({"spiffe_id": ID, "svid": token_of(b'{"x":' + b"[" * 9000)}),
        "JSON|nested",
    ),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_wrong_answers(name: str, agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """A token that is not what was asked for is refused by the first rule that it breaks."""
    make, text = WRONG_ANSWERS[name]
    made = make()
    agent.fetched = lambda request: made
    with pytest.raises(WorkloadApiError, match=text) as caught:
        fetch_jwt_svid(agent.endpoint, AUDIENCE, spiffe_id=WEB)
    assert agent.endpoint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    for each in made.svids:
        assert_hidden(each.svid, caught.value)
        assert not each.svid or each.svid not in caplog.text


def test_an_answer_above_grpcs_limit(agent: Agent) -> None:
    """A message beyond what gRPC takes is a failed exchange."""
    agent.give("x" * 5_000_000)
    with pytest.raises(WorkloadApiError, match="RESOURCE_EXHAUSTED") as caught:
        fetch_jwt_svid(agent.endpoint, AUDIENCE)
    assert caught.value.code == "RESOURCE_EXHAUSTED"


@both
def test_the_clock_decides(call: str, agent: Agent) -> None:
    """Expiry is by the clock that is given."""
    with pytest.raises((WorkloadApiError, PeerVerificationError), match="expired"):
        CALLS[call](agent.endpoint, now=lambda: datetime.now(UTC) + timedelta(seconds=61))


# ---- validating --------------------------------------------------------------------------------


def test_validate(agent: Agent) -> None:
    """A token that passes our rules and the Workload API's proves its subject."""
    token = token_of(good_claims(role="x"))
    svid = validate_jwt_svid(agent.endpoint, token, AUDIENCE, timeout=3)

    assert svid.spiffe_id == WEB
    assert svid.claims["role"] == "x"
    assert svid.token == token
    ((name, metadata, request, left),) = agent.calls
    assert name == "validated"
    assert metadata["workload.spiffe.io"] == "true"
    assert (request.svid, request.audience) == (token, AUDIENCE)
    assert left < 4


def lasting(**changes: Any) -> dict[str, Any]:
    """Give the claims of a token that is made when tests are collected, long before its use."""
    return good_claims(**{"exp": int(time.time()) + 24 * 3600, **changes})


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(token_of(lasting(aud=["x"])), "audience", id="audience"),
        pytest.param(token_of(lasting(exp=1)), "expired", id="expired"),
        pytest.param(token_of(lasting(sub="x")), "no_spiffe_id", id="subject"),
        pytest.param(token_of(lasting(), {"alg": "none"}), "malformed", id="none"),
        pytest.param("x" * (MAX_TOKEN_BYTES + 1), "limit", id="size"),
        pytest.param(b"a.b.c", "malformed", id="bytes"),
        pytest.param(None, "malformed", id="nothing"),
    ],
)
def test_a_bad_token_is_not_even_sent(token: Any, reason: str, agent: Agent) -> None:
    """What breaks a rule is refused with its reason, and the Workload API is not asked."""
    with pytest.raises(PeerVerificationError) as caught:
        validate_jwt_svid(agent.endpoint, token, AUDIENCE)
    assert caught.value.reason == reason
    assert agent.calls == []
    if isinstance(token, str):
        assert_hidden(token, caught.value)
        claimed = WEB if reason in ("audience", "expired") else None
        assert caught.value.spiffe_id == claimed


def test_a_signature_that_is_none(agent: Agent) -> None:
    """What the Workload API refuses is a peer's failure, told with its reason and without a token."""
    token = token_of(good_claims())
    agent.failure = (Code.INVALID_ARGUMENT, f"token {token} is no good")
    with pytest.raises(PeerVerificationError, match=r"\(token … is no good\)") as caught:
        validate_jwt_svid(agent.endpoint, token, AUDIENCE)
    assert caught.value.reason == "signature"
    assert caught.value.spiffe_id == WEB
    assert_hidden(token, caught.value)


@pytest.mark.parametrize("part", [1, 2])
def test_a_token_in_details_is_cut_out(agent: Agent, part: int) -> None:
    """No part of a token that the Workload API repeats comes back in an error."""
    token = token_of(good_claims())
    agent.failure = (Code.UNKNOWN, f"saw {token.split('.')[part]}\r\nhere")
    with pytest.raises(WorkloadApiError, match=r"answered UNKNOWN \(saw .*\\r\\nhere\)") as caught:
        validate_jwt_svid(agent.endpoint, token, AUDIENCE)
    assert caught.value.__cause__ is None
    assert_hidden(token, caught.value)


@pytest.mark.parametrize("told", ["", OTHER_ID, f"{ID}\n", ID.upper(), "spiffe://a.test"])
def test_another_id_than_the_tokens(told: str, agent: Agent) -> None:
    """A Workload API that vouches for another ID than the token's subject vouches for nobody."""
    agent.validated = lambda request: ValidateJWTSVIDResponse(spiffe_id=told)
    with pytest.raises(WorkloadApiError, match=f"said that the token of {ID} is that of"):
        CALLS["validate"](agent.endpoint)


def test_a_token_that_ends_meanwhile(agent: Agent) -> None:
    """A token that expires while the Workload API thinks is refused."""
    times = iter([datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=61)])
    with pytest.raises(PeerVerificationError, match="expired") as caught:
        CALLS["validate"](agent.endpoint, now=lambda: next(times))
    assert caught.value.reason == "expired"


# ---- failed exchanges --------------------------------------------------------------------------


@both
@pytest.mark.parametrize("code", [each for each in Code if each is not Code.OK])
def test_every_status_code(call: str, code: grpc.StatusCode, agent: Agent) -> None:
    """Each code is an error of ours that names it, and knows whether to try again."""
    agent.failure = (code, "told so")
    if call == "validate" and code is Code.INVALID_ARGUMENT:
        with pytest.raises(PeerVerificationError):
            CALLS[call](agent.endpoint)
        return
    with pytest.raises(WorkloadApiError) as caught:
        CALLS[call](agent.endpoint)
    error = caught.value
    assert error.code == code.name
    assert error.retryable is (code not in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED))
    assert isinstance(error, NoIdentityIssuedError) is (code is Code.PERMISSION_DENIED)
    assert agent.endpoint in str(error)
    assert ("told so" in str(error)) is (code is not Code.DEADLINE_EXCEEDED)
    assert error.__cause__ is not None


@both
def test_the_library_s_own_fake(call: str) -> None:
    """A Workload API without JWT-SVIDs says so, and is not asked again."""
    with FakeWorkloadApi([ID]) as api:
        with pytest.raises(WorkloadApiError, match="UNIMPLEMENTED") as caught:
            CALLS[call](api.endpoint)
        assert not caught.value.retryable
        until(lambda: api.connections == 0, "the channel is closed")


@both
def test_an_agent_that_does_not_answer(call: str, agent: Agent) -> None:
    """A call ends at its deadline, with an error that says so."""
    agent.silence.clear()
    with pytest.raises(WorkloadApiError, match=r"did not answer within 0\.3 s") as caught:
        CALLS[call](agent.endpoint, timeout=0.3)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert caught.value.retryable


def swallow(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def speak_http1(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    swallow(connection)


def hang_up(connection: socket.socket) -> None:
    connection.recv(1)


STRANGERS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "accepts and says nothing": (swallow, "DEADLINE_EXCEEDED"),
    "speaks HTTP/1": (speak_http1, "UNAVAILABLE"),
    "hangs up": (hang_up, "UNAVAILABLE"),
}


@both
@pytest.mark.parametrize("name", STRANGERS)
def test_sockets_that_are_no_workload_api(call: str, name: str, socket_path: Path) -> None:
    """Whoever listens there, the call ends in time, its connection too, and no thread is left."""
    speak, code = STRANGERS[name]
    ended = threading.Event()
    before = set(threading.enumerate())

    def serve(connection: socket.socket) -> None:
        try:
            speak(connection)
        finally:
            ended.set()

    with Peer(serve, path=socket_path) as peer:
        start = time.monotonic()
        with pytest.raises(WorkloadApiError) as caught:
            CALLS[call](f"unix://{socket_path}", timeout=0.5)
        assert time.monotonic() - start < 10
        assert caught.value.code == code
        assert caught.value.retryable
        assert peer.served >= 1
        assert ended.wait(10)
    until(lambda: set(threading.enumerate()) <= before, "only the threads from before are left")


def make_nothing(path: Path, stack: ExitStack) -> None:
    pass


def make_file(path: Path, stack: ExitStack) -> None:
    path.write_text("")


def make_folder(path: Path, stack: ExitStack) -> None:
    path.mkdir()


def make_deaf(path: Path, stack: ExitStack) -> None:
    stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))


def make_link(path: Path, stack: ExitStack) -> None:
    path.symlink_to(path.with_name("nowhere"))


@both
@pytest.mark.parametrize("make", [make_nothing, make_file, make_folder, make_deaf, make_link])
def test_nobody_listens(
    call: str, make: Callable[[Path, ExitStack], None], socket_path: Path
) -> None:
    """Where nobody listens the error says so, names the address, and may be tried again."""
    with ExitStack() as stack:
        make(socket_path, stack)
        with pytest.raises(WorkloadApiError, match="start the SPIRE agent") as caught:
            CALLS[call](f"unix://{socket_path}", timeout=5)
    assert caught.value.retryable
    assert caught.value.code in ("", "UNAVAILABLE")
    assert str(socket_path) in str(caught.value)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@both
def test_nothing_is_left_behind(call: str, agent: Agent) -> None:
    """After calls, good and bad, there are no more threads and open files than before."""
    CALLS[call](agent.endpoint)  # what is made once per process
    threads, files = set(threading.enumerate()), open_files()
    for failure in (None, (Code.UNAVAILABLE, ""), None):
        agent.failure = failure
        try:
            CALLS[call](agent.endpoint)
        except WorkloadApiError:
            assert failure is not None
    until(lambda: open_files() <= files, "files are closed")
    names = {each.name for each in set(threading.enumerate()) - threads}
    assert not {each for each in names if not each.startswith("ThreadPoolExecutor")}  # the agent's


@both
def test_never_through_a_proxy(call: str, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are not used: a token must not leave the host."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)  # noqa: FBT003 - its signature
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert CALLS[call](agent.endpoint).spiffe_id == WEB
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_many_at_once(agent: Agent) -> None:
    """Calls of several threads do not mix their answers."""
    found: list[bool] = []

    def fetch(name: str) -> None:
        wanted = SpiffeId.parse(f"spiffe://a.test/{name}")
        found.append(fetch_jwt_svid(agent.endpoint, name, spiffe_id=wanted).audience == (name,))

    workers = [threading.Thread(target=fetch, args=[f"n{number}"]) for number in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(30)
    assert found == [True] * 8


def test_fork() -> None:
    """In the child of a fork a call works, unless gRPC was in use: then it is refused at once."""
    run(
        """
        os.environ["GRPC_VERBOSITY"] = "NONE"  # core writes a line about forks
        import spiffe
        from serviceradar_security import WorkloadApiError
        from serviceradar_security.spiffe import fetch_jwt_svid

        def fetch(kind, text):
            try:
                fetch_jwt_svid(api.endpoint, "a", timeout=20)
            except SecurityError as error:
                assert type(error) is kind and text in str(error), error
            else:
                raise AssertionError("there are no JWT-SVIDs here")

        def works():
            fetch(WorkloadApiError, "UNIMPLEMENTED")

        def is_refused():
            fetch(SecurityError, "forked from one that used it")

        def is_refused_twice():
            is_refused()
            assert in_child(is_refused) == 0

        with FakeWorkloadApi([ID]) as api:
            assert in_child(works) == 0
            works()
            with spiffe.WorkloadApiClient(api.endpoint) as connected:
                connected.fetch_x509_context(timeout=10)
                until(lambda: "spin" not in "".join(each.name for each in threading.enumerate()))
                assert in_child(is_refused_twice) == 0
                works()
        """,
    )


# ---- arguments ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), None, "5", True])
def test_timeouts_that_are_none(call: str, timeout: Any, agent: Agent) -> None:
    """A call without a finite deadline ahead is not made."""
    with pytest.raises(ConfigError, match="finite number of seconds"):
        CALLS[call](agent.endpoint, timeout=timeout)
    assert agent.calls == []


@both
@pytest.mark.parametrize("timeout", [1e18, 10**400], ids=["float", "integer"])
def test_very_long_timeouts(call: str, timeout: float, agent: Agent) -> None:
    """However long a timeout is, there is a deadline of a day."""
    assert CALLS[call](agent.endpoint, timeout=timeout).spiffe_id == WEB
    assert agent.calls[0][3] < 90_000  # gRPC rounds long ones up


@both
@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("", "not an address"),
        ("/run/agent.sock", "scheme"),
        ("http://127.0.0.1", "scheme"),
        (7, "not an address"),
        ("tcp://127.0.0.1:8081", "Unix sockets only"),
        ("unix:///run/a%3Fb.sock", "would split"),
        ("unix:///run/a%23b.sock", "would split"),
        ("unix:///run/a%2Cb.sock", "would split"),
        ("unix:///run/a,b.sock", "would split"),
        ("unix:///run/a%0Ab.sock", "would split"),
    ],
)
def test_addresses_that_are_none(call: str, endpoint: Any, text: str) -> None:
    """An address that cannot be served is refused, with what to write."""
    with pytest.raises(ConfigError, match=text):
        CALLS[call](endpoint)


@pytest.mark.parametrize(
    "audience",
    ["", 7, None, "\ud800", "x" * (MAX_AUDIENCE_BYTES + 1), "é" * MAX_AUDIENCE_BYTES],
    ids=["empty", "number", "None", "surrogate", "long", "long in UTF-8"],
)
def test_audiences_that_are_none(audience: Any, agent: Agent) -> None:
    """An audience is a text of bounded size that can be sent."""
    with pytest.raises(ConfigError, match="audience"):
        fetch_jwt_svid(agent.endpoint, [AUDIENCE, audience])
    with pytest.raises(ConfigError, match="audience"):
        validate_jwt_svid(agent.endpoint, token_of(good_claims()), audience)
    assert agent.calls == []


@pytest.mark.parametrize("count", [0, MAX_AUDIENCES + 1])
def test_number_of_audiences(count: int, agent: Agent) -> None:
    """At least one audience is named, and not too many."""
    with pytest.raises(ConfigError, match="name 1 to 64"):
        fetch_jwt_svid(agent.endpoint, [f"a{number}" for number in range(count)])


def test_an_identity_as_text(agent: Agent) -> None:
    """Which identity is said by a SpiffeId, never by a text."""
    with pytest.raises(ConfigError, match=r"SpiffeId\.parse"):
        fetch_jwt_svid(agent.endpoint, AUDIENCE, spiffe_id=ID)  # type: ignore[arg-type] # what is tested


@both
def test_a_client_that_hides_its_answers(
    call: str, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a version of `spiffe` does not show its answers, nothing is taken on trust."""
    monkeypatch.delattr(_Client, "_get_spiffe_grpc_channel")
    with pytest.raises(SecurityError, match="install a version"):
        CALLS[call](agent.endpoint)


@both
def test_what_only_the_package_refuses(
    call: str, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that we take and the package `spiffe` does not is refused as well."""
    # To be taken by the one and not by the other, its clock must be another than ours.
    claims = good_claims(exp=int(time.time()) - 30)
    agent.give(token_of(claims))
    early = datetime.now(UTC) - timedelta(seconds=60)
    token = token_of(claims)
    refusal = pytest.raises(
        (WorkloadApiError, PeerVerificationError), match="the package spiffe refuses"
    )
    if call == "fetch":
        with refusal as caught:
            fetch_jwt_svid(agent.endpoint, AUDIENCE, now=lambda: early)
    else:
        with refusal as caught:
            validate_jwt_svid(agent.endpoint, token, AUDIENCE, now=lambda: early)
    assert caught.value.__cause__ is not None
