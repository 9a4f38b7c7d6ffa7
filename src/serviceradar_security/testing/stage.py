"""The stage of a rehearsal: a service, an agent, and what must hold between them."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing.worker import StuckError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serviceradar_security.testing.rehearsal import Service
    from serviceradar_security.testing.worker import Worker
    from serviceradar_security.testing.workload_api import FakeWorkloadApi

__all__ = ["Stage", "StepError"]

_INTERVAL: Final = 0.02  # seconds between two looks at the service


class StepError(AssertionError):
    """A service that is not as it must be."""


class Stage:
    """A service and the agent that plays with it."""

    def __init__(
        self,
        api: FakeWorkloadApi,
        service: Service[Any],
        worker: Worker,
        *,
        timeout: float,
        hold: float,
    ) -> None:
        """Set the stage; the service is not started yet."""
        self.api: FakeWorkloadApi = api
        self._service = service
        self._worker = worker
        self._timeout = timeout
        self.seconds: float = hold
        self._running: list[Any] = []  # what `start` gave, if it runs
        self._well = False
        self._lost: BaseException | None = None  # why it could not be started
        self._wrong: set[bytes] = set()  # leaves that must not be used

    # ---- the service ---------------------------------------------------------------------------

    def ready(self) -> None:
        """Have the agent serve as it should, and the service run and well."""
        if self._lost is not None:
            raise StepError("the service did not start again") from self._lost
        self.api.start()
        if not self._well:
            self.api.allow()
            self.api.rotate()  # not what made it fail
            with contextlib.suppress(Exception):  # of a service that has failed already
                self.stop()
            self._start()
        self._well = False

    def stop(self) -> None:
        """Stop the service, if it runs."""
        running, self._running = self._running, []
        for each in running:
            self._worker.call("stop", partial(self._service.stop, each))

    def start_late(self) -> None:
        """Start the service while there is no agent, which comes later."""
        self.stop()
        self.api.stop()
        self._start(late=True)

    def _start(self, *, late: bool = False) -> None:
        try:
            future = self._worker.begin(partial(self._service.start, self.api.endpoint))
            if late:
                time.sleep(self.seconds)
                self.api.start()
            self._running.append(self._worker.result("start", future))
        except BaseException as error:
            self._lost = None if late else error
            raise

    # ---- what must hold ------------------------------------------------------------------------

    def hold(self, *, wrong: Iterable[X509Svid | x509.Certificate] = ()) -> None:
        """Watch the service for a while: it must go on, and use none of these certificates."""
        self._wrong.update(_der(each) for each in wrong)
        end = time.monotonic() + self.seconds
        while True:
            self._check()
            presented = self._presented()
            if presented in self._wrong:
                raise StepError("it uses a certificate that it should have refused")
            if time.monotonic() >= end:
                return
            time.sleep(_INTERVAL)

    def recover(self) -> None:
        """Wait until the service is well, with what the agent serves now."""
        self._well = False
        end = time.monotonic() + self._timeout
        while True:
            try:
                self._check()
                self._check_newest()
            except (KeyboardInterrupt, SystemExit, StuckError):
                raise
            except BaseException:  # what pytest.fail raises is no Exception
                if time.monotonic() >= end:
                    raise
                time.sleep(_INTERVAL)
            else:
                self._well = True
                return

    def _check(self) -> None:
        (running,) = self._running
        if self._worker.call("check", lambda: self._service.check(running)) is False:
            raise StepError("`check` gave False")

    def _check_newest(self) -> None:
        presented = self._presented()
        if presented is not None and presented not in map(_der, self.api.svids):
            raise StepError("it still uses a certificate of before")

    def _presented(self) -> bytes | None:
        presented = self._service.presented
        if presented is None:
            return None
        (running,) = self._running
        return _der(self._worker.call("presented", lambda: presented(running)))


def _der(certificate: object) -> bytes:
    match certificate:
        case X509Svid():
            return certificate.chain_der[0]
        case x509.Certificate():
            return certificate.public_bytes(Encoding.DER)
        case bytes():
            return certificate
        case _:
            raise StepError(
                f"`presented` gave a {type(certificate).__name__}: give an X509Svid, a "
                "certificate or DER bytes",
            )
