"""A Workload API for tests, on a real Unix socket, that can be told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.testing.authority import FakeAuthority
from serviceradar_security.testing.server import Answer, ServerConnection
from serviceradar_security.workload.stream import CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.svid import X509Svid

__all__ = ["FakeWorkloadApi"]

_DEADLINE: Final = 10.0
_T = TypeVar("_T")


class FakeWorkloadApi:
    """Serve X.509-SVIDs as a SPIRE agent does, and fail on command.

    Every caller of the socket gets the same identities. Each command has taken effect on the
    open streams when it returns. After a fault, `allow` serves again, and so does whatever
    changes what is served.
    """

    def __init__(
        self,
        identities: Sequence[SpiffeId | str | X509Svid],
        *,
        authority: FakeAuthority | None = None,
        socket_path: str | Path | None = None,
        ttl: float = 3600.0,
    ) -> None:
        """Prepare; `start` or the context manager opens the socket.

        Args:
            identities: What to issue: IDs, or SVIDs that are served as they are.
            authority: Issues the SVIDs; None makes one for the trust domain of the first ID.
            socket_path: The socket; None takes a new one in a private folder.
            ttl: Life of the SVIDs in seconds.

        Raises:
            ConfigError: Neither an identity nor an authority is given.
        """
        self._ttl = ttl
        self._folder: Path | None = None
        self._socket_path = None if socket_path is None else Path(socket_path)
        self._wanted = [_identity(each) for each in identities]
        if authority is None:
            if not self._wanted:
                raise ConfigError("a FakeWorkloadApi needs an identity or an authority")
            first = self._wanted[0]
            authority = FakeAuthority(
                (first if isinstance(first, SpiffeId) else first.spiffe_id).trust_domain,
            )
        self.authority = authority
        self._federated: dict[TrustDomain, TrustBundle] = {}
        self._answer = Answer()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._open: set[ServerConnection] = set()
        self._requests = 0
        self._issue()

    # ---- life ----------------------------------------------------------------------------------

    @property
    def socket_path(self) -> Path:
        """Path of the socket."""
        if self._socket_path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="spiffe-"))
            self._socket_path = self._folder / "agent.sock"
        return self._socket_path

    @property
    def endpoint(self) -> str:
        """Address of the Workload API, as ``unix:///…``."""
        return f"unix://{self.socket_path}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @property
    def requests(self) -> int:
        """How many calls came so far."""
        return self._requests

    def start(self) -> Self:
        """Listen on the socket; an old socket there is replaced, any other file is not.

        Raises:
            ConfigError: The path cannot be listened on.
        """
        if self._thread is not None:
            return self
        started = threading.Event()
        failure: list[BaseException] = []

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            try:
                path = self.socket_path
                self._server = await self._loop.create_unix_server(self._connect, str(path))
                path.chmod(0o777)
            except OSError as error:
                failure.append(error)
                started.set()
                return
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._server.serve_forever()

        self._thread = threading.Thread(
            target=lambda: asyncio.run(serve()),
            name="fake-workload-api",
            daemon=True,
        )
        self._thread.start()
        if not started.wait(_DEADLINE) or failure:
            self._thread = None
            raise ConfigError(f"the fake Workload API cannot listen on {self.socket_path}") from (
                failure[0] if failure else None
            )
        return self

    def stop(self) -> None:
        """Close the socket and every connection at once, as a killed agent does."""
        thread, self._thread = self._thread, None
        if thread is None:
            return

        async def shut() -> None:
            for connection in tuple(self._open):
                connection.abort()
            if self._server is not None:
                self._server.close()

        self._run(shut())
        thread.join(_DEADLINE)
        self.socket_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._socket_path = None

    # ---- what it serves ------------------------------------------------------------------------

    def rotate(self) -> tuple[X509Svid, ...]:
        """Issue every identity anew and send it.

        Returns:
            The new SVIDs.
        """
        self._issue()
        self._change(Answer(message=self._message))
        return tuple(self._svids)

    def rotate_authority(self) -> None:
        """Publish a new root beside the old ones, and issue from it."""
        self.authority.rotate()
        self.rotate()

    def publish(self) -> None:
        """Send the identities as they are, with the authority's bundle of now."""
        self._compose()
        self._change(Answer(message=self._message))

    def set_identities(self, identities: Sequence[SpiffeId | str | X509Svid]) -> None:
        """Serve these identities from now on."""
        self._wanted = [_identity(each) for each in identities]
        self.rotate()

    def federate(self, bundle: TrustBundle) -> None:
        """Send the bundle of another trust domain along."""
        self._federated[bundle.trust_domain] = bundle
        self.publish()

    def defederate(self, trust_domain: TrustDomain) -> None:
        """Send the bundle of another trust domain no more."""
        self._federated.pop(trust_domain, None)
        self.publish()

    # ---- faults --------------------------------------------------------------------------------

    def allow(self) -> None:
        """Serve again, after a fault."""
        self.publish()

    def deny(self) -> None:
        """Answer as SPIRE does to a workload without a registration entry."""
        self.fail("PERMISSION_DENIED", "no identity issued")

    def fail(self, code: str, text: str = "") -> None:
        """End the open streams, and answer every call, with this status code.

        Raises:
            ConfigError: The code is no name of a gRPC status code, as ``UNAVAILABLE``.
        """
        if code not in CODES:
            raise ConfigError(f"{code!r} is not the name of a gRPC status code: {', '.join(CODES)}")
        self._change(Answer(code=code, text=text or f"told to fail with {code}"))

    def hang(self) -> None:
        """Accept calls and say nothing; open streams stay open."""
        self._change(Answer(hang=True))

    def end_stream(self) -> None:
        """End the open streams with OK; new calls are served as before."""
        self._each(lambda connection: connection.finish("OK", ""))

    def send(self, data: bytes) -> None:
        """Send these bytes as a message on the open streams."""
        self._each(lambda connection: connection.send(data))

    # ---- inside --------------------------------------------------------------------------------

    def _issue(self) -> None:
        self._svids = [
            self.authority.issue(each, ttl=self._ttl) if isinstance(each, SpiffeId) else each
            for each in self._wanted
        ]
        self._compose()
        self._answer = Answer(message=self._message)

    def _compose(self) -> None:
        bundle = b"".join(self.authority.bundle.der)
        response = X509SVIDResponse(
            svids=[
                X509SVID(
                    spiffe_id=str(svid.spiffe_id),
                    x509_svid=b"".join(svid.chain_der),
                    x509_svid_key=_key_der(svid),
                    bundle=bundle,
                    hint=svid.hint,
                )
                for svid in self._svids
            ],
            federated_bundles={
                str(trust_domain.id): b"".join(each.der)
                for trust_domain, each in self._federated.items()
            },
        )
        self._message = response.SerializeToString()

    def _change(self, answer: Answer) -> None:
        self._answer = answer
        self._each(lambda connection: connection.answer(answer))

    def _each(self, action: Callable[[ServerConnection], None]) -> None:
        async def act() -> None:
            for connection in tuple(self._open):
                action(connection)

        if self._thread is not None:
            self._run(act())

    def _run(self, coroutine: Coroutine[object, object, _T]) -> _T:
        loop = self._loop
        if loop is None:
            raise ConfigError("the fake Workload API was not started")
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_DEADLINE)

    def _connect(self) -> ServerConnection:
        def called() -> Answer:
            self._requests += 1
            return self._answer

        return ServerConnection(called, opened=self._open.add, lost=self._open.discard)


def _identity(given: SpiffeId | str | X509Svid) -> SpiffeId | X509Svid:
    return SpiffeId.parse(given) if isinstance(given, str) else given


def _key_der(svid: X509Svid) -> bytes:
    return svid.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
