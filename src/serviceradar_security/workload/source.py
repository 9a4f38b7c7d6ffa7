"""The live source: a process's identity, followed over the Workload API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.context import X509Context
from serviceradar_security.workload.endpoint import WorkloadEndpoint
from serviceradar_security.workload.engine import Engine
from serviceradar_security.workload.limits import Limits
from serviceradar_security.workload.live import LiveSource, check_seconds, system_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.metrics.observer import SourceObserver
    from serviceradar_security.workload.snapshot import Picker
    from serviceradar_security.workload.watch import Instant

__all__ = ["X509Source"]


class X509Source(LiveSource[Engine, X509Context]):
    """Follow the identity that a Workload API gives to this process.

    Opening returns at once; the agent may come later, go and come back. One thread with one
    socket serves synchronous code and asyncio alike. In the child of a fork the source starts
    afresh on its first use; subscriptions stay with the parent.
    """

    def __init__(
        self,
        endpoint: str | WorkloadEndpoint | None = None,
        *,
        pick: Picker | None = None,
        limits: Limits | None = None,
        redaction_grace: float = 60.0,
        connect_timeout: float = 5.0,
        answer_timeout: float = 10.0,
        observer: SourceObserver | None = None,
        clock: Callable[[], Instant] = system_clock,
    ) -> None:
        """Prepare a source; nothing is opened yet.

        Args:
            endpoint: Address of the Workload API; None takes ``SPIFFE_ENDPOINT_SOCKET``.
            pick: Chooses the default identity from the tuple of all; None takes the first. It is
                asked while a message is read, and must return at once.
            limits: How much a message may hold.
            redaction_grace: Seconds for which an identity that was taken back is still used, so
                that a restarting agent does not take a healthy service down.
            connect_timeout: Seconds for opening a connection.
            answer_timeout: Seconds within which the first message must come.
            observer: Is told of each event, in a thread of its own.
            clock: Reads the clocks.

        Raises:
            ConfigError: There is no address, or it is none; or a number of seconds is no such.
        """
        check_seconds("redaction_grace", redaction_grace, least=0.0)
        check_seconds("connect_timeout", connect_timeout, least=0.001)
        check_seconds("answer_timeout", answer_timeout, least=0.001)
        if limits is not None and not isinstance(limits, Limits):
            raise ConfigError(f"limits are given as Limits(...), not {type(limits).__name__}")
        if not callable(clock):
            raise ConfigError(f"a clock is a function, not {type(clock).__name__}")
        if isinstance(endpoint, WorkloadEndpoint):
            self._endpoint = endpoint
        elif endpoint is None:
            self._endpoint = WorkloadEndpoint.from_environment()
        else:
            self._endpoint = WorkloadEndpoint.parse(endpoint)
        super().__init__(
            lambda: Engine(
                self._endpoint,
                pick=pick,
                limits=Limits() if limits is None else limits,
                redaction_grace=redaction_grace,
                connect_timeout=connect_timeout,
                answer_timeout=answer_timeout,
                clock=clock,
                observer=observer,
            ),
            origin=str(self._endpoint),
        )

    @property
    def endpoint(self) -> WorkloadEndpoint:
        """The address of the Workload API."""
        return self._endpoint
