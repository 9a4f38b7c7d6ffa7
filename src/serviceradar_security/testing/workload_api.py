"""A Workload API for tests, on a real socket, that can be told to misbehave."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, Unpack

from serviceradar_security.errors import ConfigError, WorkloadApiError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.addresses import TcpAddress, UnixAddress
from serviceradar_security.testing.arguments import check
from serviceradar_security.testing.listener import Listener
from serviceradar_security.testing.served import (
    NOBODY,
    Change,
    Given,
    Offer,
    all_wanted,
    grown,
    issuer,
    made,
)
from serviceradar_security.testing.server import Answer, Pace, ServerConnection
from serviceradar_security.workload.live import check_seconds
from serviceradar_security.workload.stream import CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.testing.authority import FakeAuthority

__all__ = ["FakeWorkloadApi"]

_OVERSIZE: Final = 64 * 1024 * 1024 + 1  # more than an X509Source takes by default


class FakeWorkloadApi:
    """Serve X.509-SVIDs as a SPIRE agent does, and fail on command.

    Every caller gets the same identities. Each command has taken effect on the open streams when
    it returns: what it sends was handed to the system. After a fault, `allow` serves again, and so
    does whatever changes what is served.
    """

    def __init__(
        self,
        identities: Sequence[Given],
        *,
        authority: FakeAuthority | None = None,
        socket_path: str | Path | None = None,
        tcp: bool = False,
        ttl: float = 3600.0,
        timeout: float = 10.0,
    ) -> None:
        """Prepare; `start` or the context manager opens the socket.

        Args:
            identities: What to issue: IDs, pairs of ID and hint, or SVIDs and certificates that
                are served as they are.
            authority: Issues the SVIDs; None makes one for the trust domain of the first ID.
            socket_path: The socket; None takes a new one in a private folder.
            tcp: Listen on a port of 127.0.0.1 instead.
            ttl: Life of the SVIDs in seconds.
            timeout: Seconds that each command may take.

        Raises:
            ConfigError: Neither an identity nor an authority is given, or two addresses are, or
                an argument is of the wrong kind; or a `SpiffeIdError`.
        """
        check(tcp=tcp, socket_path=socket_path)
        if tcp and socket_path is not None:
            raise ConfigError("a FakeWorkloadApi has one address: give tcp or socket_path")
        check_seconds("ttl", ttl, least=0.0, finite=True)
        check_seconds("timeout", timeout, least=0.001, finite=True)
        self._ttl = ttl
        self._timeout = timeout
        wanted = all_wanted(identities)
        self.authority: FakeAuthority = issuer(wanted, authority)
        self._pace: Pace | None = None
        self._open: set[ServerConnection] = set()
        self._requests = 0
        self._called = threading.Condition()
        self._address = TcpAddress() if tcp else UnixAddress(socket_path, timeout=timeout)
        self._listener = Listener(
            self._address,
            self._connect,
            abort=self._abort,
            timeout=timeout,
        )
        self._offer = Offer(tuple(wanted), tuple(made(wanted, self.authority, ttl=ttl)))
        self._answer = self._offer.answer(self.authority.bundle)

    # ---- life ----------------------------------------------------------------------------------

    @property
    def socket_path(self) -> Path:
        """Path of the socket.

        Raises:
            ConfigError: It listens on TCP.
        """
        if isinstance(self._address, TcpAddress):
            raise ConfigError("this FakeWorkloadApi listens on TCP: use its endpoint")
        return self._address.path

    @property
    def endpoint(self) -> str:
        """Address of the Workload API, as ``unix:///…``."""
        return self._address.endpoint

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @property
    def requests(self) -> int:
        """How many calls came so far."""
        return self._requests

    @property
    def svids(self) -> tuple[X509Svid, ...]:
        """The SVIDs that are served now; other certificates that were given are not among them."""
        return tuple(each for each in self._offer.served if isinstance(each, X509Svid))

    def wait_requests(self, number: int, *, timeout: float | None = None) -> None:
        """Wait until so many calls came since the beginning.

        Args:
            number: How many.
            timeout: Seconds to wait; None takes those of the fake.

        Raises:
            WorkloadApiError: They did not come in time.
            ConfigError: An argument is no number.
        """
        check(number=number)
        seconds = self._timeout if timeout is None else timeout
        check_seconds("timeout", seconds)
        with self._called:
            if not self._called.wait_for(lambda: self._requests >= number, seconds):
                raise WorkloadApiError(
                    f"{self._requests} calls came within {seconds:g} s, and not {number}: does the "
                    "client use this endpoint, and does it call again after a failure?",
                    code="DEADLINE_EXCEEDED",
                )

    def start(self) -> Self:
        """Listen on the socket; one that nobody listens on is replaced, any other file is not.

        Raises:
            ConfigError: The address cannot be listened on, or somebody does; or the process has no
                thread or descriptor left for it.
        """
        self._listener.start()
        return self

    def stop(self, *, leave_socket: bool = False) -> None:
        """Close the socket and every connection at once, as a killed agent does.

        Args:
            leave_socket: Leave the socket's file behind, as a killed process does.
        """
        check(leave_socket=leave_socket)
        self._listener.stop(leave_socket=leave_socket)

    def restart(self) -> None:
        """Stop, and start again with a new socket in the place of the old one."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        ids = ", ".join(str(each.spiffe_id) for each in self._offer.wanted)
        return f"FakeWorkloadApi([{ids}], {self._address})"

    # ---- what it serves ------------------------------------------------------------------------

    def rotate(self, **mutations: Unpack[Change]) -> tuple[X509Svid, ...]:
        """Issue every identity anew and send it; those given as they are stay so.

        Args:
            **mutations: As for `FakeAuthority.issue_certificate`, for this time.

        Returns:
            The SVIDs that are served now.

        Raises:
            X509SvidError: A mutation makes them unusable: nothing was sent. What agents never
                send can be given as a certificate.
            ConfigError: There is no such mutation, or no such certificate can be made.
        """
        issued = made(self._offer.wanted, self.authority, ttl=self._ttl, mutations=mutations)
        self._serve(replace(self._offer, issued=tuple(issued)))
        return self.svids

    def rotate_authority(self) -> None:
        """Publish a new root beside the old ones, and issue from it.

        The old roots go with ``authority.retire()`` and `publish`.
        """
        self.authority.rotate()
        self.rotate()

    def publish(self) -> None:
        """Send the identities as they are, with the authority's bundle of now."""
        self._serve(self._offer)

    def set_identities(self, identities: Sequence[Given]) -> None:
        """Serve these identities from now on; with none, calls are answered as `deny` does.

        Raises:
            SecurityError: One of them cannot be served: those of before are.
        """
        wanted = all_wanted(identities)
        issued = made(wanted, self.authority, ttl=self._ttl)
        self._serve(Offer(tuple(wanted), tuple(issued), federated=self._offer.federated))

    def federate(self, bundle: TrustBundle) -> None:
        """Send the bundle of another trust domain along.

        Raises:
            ConfigError: It is no `TrustBundle`.
        """
        check(bundle=bundle)
        federated = {**self._offer.federated, bundle.trust_domain: bundle}
        self._serve(replace(self._offer, federated=federated))

    def defederate(self, trust_domain: TrustDomain | str) -> None:
        """Send the bundle of another trust domain no more.

        Raises:
            ConfigError: That is no trust domain; or a `SpiffeIdError`.
        """
        check(trust_domain=trust_domain)
        name = TrustDomain.parse(trust_domain) if isinstance(trust_domain, str) else trust_domain
        federated = {k: v for k, v in self._offer.federated.items() if k != name}
        self._serve(replace(self._offer, federated=federated))

    def redact(self, identity: SpiffeId | str) -> None:
        """Take one identity back, until `allow` or `set_identities`; the others stay as they are.

        When none is left, calls are answered as `deny` does.

        Raises:
            ConfigError: It is not served.
        """
        check(spiffe_id=identity)
        if str(identity) not in {str(each.spiffe_id) for each in self._offer.served}:
            raise ConfigError(f"{identity} cannot be taken back: it is not served")
        self._serve(replace(self._offer, redacted=self._offer.redacted | {str(identity)}))

    def expire(self) -> tuple[X509Svid, ...]:
        """Issue every identity anew with an end that is over, and send it."""
        return self.rotate(ttl=-1.0)

    def skew(self, seconds: float) -> tuple[X509Svid, ...]:
        """Issue every identity anew by a clock so far ahead, or behind if negative; send it."""
        return self.rotate(skew=seconds)

    # ---- faults --------------------------------------------------------------------------------

    def allow(self) -> None:
        """End every fault: serve all identities again, at full speed."""
        self._set_pace(None)
        self._serve(replace(self._offer, redacted=frozenset()))

    def deny(self) -> None:
        """Answer as SPIRE does to a workload without a registration entry."""
        self._change(NOBODY)

    def fail(self, code: str, text: str = "") -> None:
        """End the open streams, and answer every call, with this status code.

        Raises:
            ConfigError: The code is no name of a gRPC status code, as ``UNAVAILABLE``.
        """
        check(text=text)
        if code not in CODES:
            raise ConfigError(f"{code!r} is not the name of a gRPC status code: {', '.join(CODES)}")
        self._change(Answer(code=code, text=text or f"told to fail with {code}"))

    def hang(self) -> None:
        """Accept calls and say nothing; open streams stay open."""
        self._change(Answer(hang=True))

    def drip(self, *, size: int = 64, pause: float = 0.001) -> None:
        """Write so slowly from now on, until `allow`, and send what is served.

        This and the commands after it return when they have begun to write.

        Args:
            size: Bytes of each write.
            pause: Seconds between two writes.

        Raises:
            ConfigError: The numbers are no such pace.
        """
        check_seconds("pause", pause, least=0.0, finite=True)
        check(size=size)
        self._set_pace(Pace(size, pause))
        self._serve(self._offer)

    def end_stream(self) -> None:
        """End the open streams with OK; new calls are served as before."""
        self._each(lambda connection: connection.finish("OK", ""))

    def send(self, data: bytes) -> None:
        """Send these bytes as a message on the open streams.

        Raises:
            ConfigError: They are none.
        """
        if not isinstance(data, bytes):
            raise ConfigError(f"a message is given as bytes, not {type(data).__name__}")
        self._each(lambda connection: connection.send(data))

    def oversize(self, size: int = _OVERSIZE) -> None:
        """Send what is served on the open streams, grown to so many bytes by an unknown field."""
        check(message_size=size)
        self.send(grown(self._offer.message(self.authority.bundle), size))

    # ---- inside --------------------------------------------------------------------------------

    def _serve(self, offer: Offer) -> None:
        answer = offer.answer(
            self.authority.bundle
        )  # first: what cannot be written changes nothing
        self._offer = offer
        self._change(answer)

    def _change(self, answer: Answer) -> None:
        self._answer = answer
        self._each(lambda connection: connection.answer(answer))

    def _set_pace(self, pace: Pace | None) -> None:
        self._pace = pace
        self._each(lambda connection: connection.set_pace(pace))

    def _each(self, action: Callable[[ServerConnection], None]) -> None:
        async def act() -> None:
            for connection in tuple(self._open):
                action(connection)
            # A transport tells nobody when its buffer is empty.
            while not all(connection.settled for connection in self._open):  # noqa: ASYNC110 - thus
                await asyncio.sleep(0.001)

        if self._listener.running:
            self._listener.run(act())

    def _abort(self) -> bool:
        dropped = tuple(self._open)
        for connection in dropped:
            connection.abort()
        return bool(dropped)

    def _connect(self) -> ServerConnection:
        def called() -> Answer:
            with self._called:
                self._requests += 1
                self._called.notify_all()
            return self._answer

        return ServerConnection(
            called,
            opened=self._open.add,
            lost=self._open.discard,
            pace=self._pace,
        )
