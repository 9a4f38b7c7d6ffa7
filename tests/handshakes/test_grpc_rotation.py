"""A live channel through an authority rotation, with both ends ours."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from serviceradar_security import SpiffeId, X509Source, authorize_id
from serviceradar_security import grpc as secure
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from tests.handshakes.conftest import CORE, METHOD, POLLER, serve_aio, serve_sync

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 20.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
        time.sleep(0.01)


class Caller:
    """Calls over one channel, again and again, in a thread of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.good = 0
        self.failures: list[grpc.RpcError] = []
        self._method: Any = channel.unary_unary(METHOD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            try:
                self._method(b"", timeout=10)
                self.good += 1
            except grpc.RpcError as error:
                self.failures.append(error)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(DEADLINE)


@pytest.mark.parametrize("serve", [serve_sync, serve_aio], ids=["server-sync", "server-aio"])
def test_authority_rotation_fails_no_call(serve: Any) -> None:
    """A live channel shows the new authority's identity before the old authority is revoked."""
    authority = FakeAuthority("example.org")
    with (
        FakeWorkloadApi([CORE], authority=authority) as core_api,
        FakeWorkloadApi([POLLER], authority=authority) as poller_api,
        X509Source(core_api.endpoint) as core,
        X509Source(poller_api.endpoint) as poller,
    ):
        sources = (core, poller)
        for source in sources:
            source.wait_ready(timeout=10)

        def change(step: Callable[[], None], send: str) -> None:
            before = [source.status().updates for source in sources]
            step()
            for api in (core_api, poller_api):
                getattr(api, send)()
            until(
                lambda: all(
                    source.status().updates > updates
                    for source, updates in zip(sources, before, strict=True)
                ),
                "an update of both sides",
            )

        callers = authorize_id(SpiffeId.parse(POLLER))
        servers = authorize_id(SpiffeId.parse(CORE))
        with serve(core, callers) as echo:
            target = f"127.0.0.1:{echo.port}"
            with secure.channel(target, poller, servers) as channel:
                caller = Caller(channel)
                try:
                    until(lambda: caller.good > 20, "the first calls")
                    change(authority.prepare, "publish")
                    change(authority.activate, "rotate")
                    newest = poller.current().default.leaf
                    until(lambda: shown(echo) == newest, "the new identity on the live channel")
                    change(authority.revoke, "publish")
                    enough = caller.good + 100
                    until(lambda: caller.good > enough or bool(caller.failures), "calls after it")
                finally:
                    caller.stop()
    assert caller.failures == []


def shown(echo: Any) -> x509.Certificate:
    """Give the certificate of the caller that the handler saw last."""
    return x509.load_pem_x509_certificate(echo.certificates[-1])
