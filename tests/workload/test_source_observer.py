"""What an observer of a live source hears."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security import FileSource, SourceError, X509Source
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from serviceradar_security.workload.status import State

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.workload.failure import Failure
    from serviceradar_security.workload.status import SourceStatus

ID = "spiffe://example.org/web"


class Ear:
    """Keep what is heard, with the thread that says it."""

    def __init__(self) -> None:
        self.heard: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self.threads: set[int] = set()

    def _hear(self, *event: object) -> None:
        self.threads.add(threading.get_ident())
        self.heard.put(event)

    def transition(self, before: State, status: SourceStatus) -> None:
        self._hear("transition", before, status.state)

    def update(self, status: SourceStatus) -> None:
        self._hear("update", status.updates)

    def rejection(self, status: SourceStatus) -> None:
        self._hear("rejection", status.rejected)

    def failure(self, failure: Failure, status: SourceStatus) -> None:
        self._hear("failure", failure.kind.value)

    def until(self, *last: object) -> list[tuple[Any, ...]]:
        """Give what is heard, up to an event."""
        events: list[tuple[Any, ...]] = []
        while not events or events[-1] != last:
            events.append(self.heard.get(timeout=10))
        return events


def test_events_come_in_their_order() -> None:
    """Updates, refusals, failures and transitions are heard, from one thread that is no caller's."""
    ear = Ear()
    with FakeWorkloadApi([ID]) as api:
        source = X509Source(api.endpoint, observer=ear).open()
        started = ear.until("transition", State.STARTING, State.READY)
        api.rotate()
        ear.until("update", 2)
        api.send(b"junk")
        ear.until("rejection", 1)
        ear.until("transition", State.READY, State.DEGRADED)
        api.rotate()
        ear.until("transition", State.DEGRADED, State.READY)
        api.stop()
        ear.until("failure", "ended")
        ear.until("failure", "unreachable")
        source.close()
        ear.until("transition", State.DEGRADED, State.CLOSED)

    assert ("update", 1) in started
    assert source.status().failures["ended"] == 1
    assert len(ear.threads) == 1
    assert threading.get_ident() not in ear.threads


def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """What an observer raises is logged, and the source goes on."""

    class Broken(Ear):
        def update(self, status: SourceStatus) -> None:
            super().update(status)
            raise LookupError("no metric")

    ear = Broken()
    with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint, observer=ear) as source:
        ear.until("update", 1)
        api.rotate()
        ear.until("update", 2)
        assert source.status().state is State.READY
        assert source.wait_ready(timeout=5).default.spiffe_id.path == "/web"

    assert any("observer" in each for each in caplog.messages)


def test_an_observer_without_a_thread(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where no thread can be started for it, the identity comes all the same, and it hears later."""
    allowed = threading.Event()
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if "observer" in thread.name and not allowed.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    ear = Ear()
    with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint, observer=ear) as source:
        source.wait_ready(timeout=10)
        assert ear.heard.empty()
        allowed.set()
        api.rotate()
        ear.until("update", 2)
    said = [each for each in caplog.messages if "no thread can be started" in each]
    assert len(said) == 1


def test_a_subscriber_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started for a subscriber, that is an error of ours, and no more."""
    with FakeWorkloadApi([ID]) as api, X509Source(api.endpoint) as source:
        source.wait_ready(timeout=10)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _none_left)
            with pytest.raises(SourceError, match="subscriber's thread cannot be started"):
                source.subscribe(print)
        assert source.current().default.spiffe_id.path == "/web"


def _none_left(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_an_observer_of_files_hears_the_same(tmp_path: Path) -> None:
    """A source of files tells of updates, refusals of what cannot be used, and its end."""
    authority = FakeAuthority("example.org")
    names = ("cert.pem", "key.pem", "bundle.pem")
    cert, key, bundle = (tmp_path / name for name in names)

    def write() -> None:
        chain, secret = authority.issue(ID).to_pem()
        cert.write_bytes(chain)
        key.write_bytes(secret)
        bundle.write_bytes(authority.bundle.to_pem())

    write()
    ear = Ear()
    source = FileSource(
        cert_file=cert, key_file=key, bundle_file=bundle, poll_interval=0.02, observer=ear
    ).open()
    ear.until("transition", State.STARTING, State.READY)
    write()
    ear.until("update", 2)
    key.unlink()
    ear.until("transition", State.READY, State.DEGRADED)
    source.close()
    ear.until("transition", State.DEGRADED, State.CLOSED)
    assert len(ear.threads) == 1
    assert threading.get_ident() not in ear.threads
