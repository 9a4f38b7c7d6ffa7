"""The source of files on a real disk: following what others write, and telling of it."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from serviceradar_security import (
    SourceClosedError,
    SourceError,
    X509Context,
)
from serviceradar_security.workload.file_disk import DiskReader
from serviceradar_security.workload.file_source import FileSource
from serviceradar_security.workload.watch import State
from tests.workload.clock import ShiftedClock
from tests.workload.identity_files import (
    CERT,
    ID,
    KEY,
    NEVER,
    Folder,
    Volume,
    current,
    source_of,
    until_current,
)
from tests.workload.peers import source_threads, until
from tests.workload.users import Seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serviceradar_security.workload.file_reading import FileContent


FIRST: Final = current  # what the fixture `folder` begins with


# ---- following -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["in place", "by rename", "in place, the bundle first"])
def test_rotation(folder: Folder, how: str) -> None:
    """A new identity is taken over, however it is written."""
    with source_of(folder) as source:
        source.wait_ready(timeout=10)
        for number in (2, 3, 4):
            new = current(number)
            if how == "by rename":
                folder.replace(new)
            elif how == "in place":
                folder.write(new)
            else:
                for name, data in reversed(list(new.items())):
                    folder.put(name, data)
            until_current(source, number)
        until(lambda: source.status().state is State.READY)


def test_volume(tmp_path: Path) -> None:
    """A volume of Kubernetes is followed from swap to swap; each was whole."""
    volume = Volume(tmp_path)
    volume.publish(current(1))
    seen = Seen()
    with source_of(volume) as source, source.subscribe(seen):
        source.wait_ready(timeout=10)
        for number in (2, 3, 4):
            volume.publish(current(number))
            until_current(source, number)
        assert source.status().rejected == 0
    whole = [current(number).context for number in (1, 2, 3, 4)]
    assert all(each in whole for each in seen.contexts)


@pytest.mark.parametrize("layout", ["spiffe-helper", "csi-driver-spiffe"])
def test_layouts(tmp_path: Path, layout: str) -> None:
    """The files of both layouts are found under the names that their writers give them."""
    folder = Folder(tmp_path)
    names = ("svid.pem", "svid_key.pem", "svid_bundle.pem")
    make: Callable[..., FileSource] = FileSource.spiffe_helper
    if layout == "csi-driver-spiffe":
        names, make = ("tls.crt", "tls.key", "ca.crt"), FileSource.csi_driver_spiffe
    for name, (_, data) in zip(names, current(1).items(), strict=True):
        folder.put(name, data)
    with make(folder.path, hint="internal", trust_domain="a.test") as source:
        context = source.wait_ready(timeout=10)
        assert context.by_hint("internal").leaf == current(1).context.default.leaf


def test_reload(folder: Folder) -> None:
    """A source that is told to looks at once, long before its interval is over."""
    with source_of(folder, poll_interval=NEVER) as source:
        source.wait_ready(timeout=10)
        for number in (2, 3):
            folder.replace(current(number))
            source.reload()
            until_current(source, number)


def test_asked_often(folder: Folder) -> None:
    """Asked fifty times while it looks, a source looks once more, and not fifty times."""
    go = threading.Event()

    class Counting(DiskReader):
        reads = 0

        def read(self, path: str, limit: int) -> FileContent:
            assert go.wait(20)
            self.reads += 1
            return super().read(path, limit)

    disk = Counting()
    with source_of(folder, poll_interval=NEVER, reader=disk) as source:
        for _ in range(50):
            source.reload()
        go.set()
        until(lambda: disk.reads >= 9)  # a set that is new is read twice, a known one once
    assert disk.reads == 9


def test_last_good(folder: Folder) -> None:
    """Files that break leave the last good identity in force, with a cause; mended ones heal."""
    with source_of(folder) as source:
        source.wait_ready(timeout=10)
        folder.put(KEY, current(2).key)
        until(lambda: source.status().state is State.DEGRADED)
        status = source.status()
        assert source.current() == current(1).context
        assert f"the key file {folder.path / KEY} with the certificate file" in status.cause
        assert status.advice
        assert status.next_attempt is not None
        (folder.path / CERT).unlink()
        until(lambda: "is not there" in source.status().cause)
        assert source.current() == current(1).context
        folder.replace(current(2))
        until_current(source, 2)
        until(lambda: source.status().state is State.READY)


def test_expiry_while_nobody_looks(folder: Folder) -> None:
    """An identity is given to its end and never after it, though no look is due (R-WLAPI-26)."""
    clock = ShiftedClock()
    with source_of(folder, poll_interval=NEVER, clock=clock) as source:
        source.wait_ready(timeout=10)
        clock.advance(3700)
        with pytest.raises(SourceError, match=rf"{ID}/1 expired at .* what writes the certificate"):
            source.current()
        assert source.status().state is State.EXPIRED
        assert source.status().since == source.status().not_after


def test_expiry_is_told(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """The end of an identity is told when it comes, though no look is due."""
    clock = ShiftedClock()
    with source_of(folder, poll_interval=NEVER, clock=clock) as source:
        end = source.wait_ready(timeout=10).default.not_after
        clock.advance((end - clock().wall).total_seconds() - 0.1)
        source.reload()  # a clock that jumps is noticed within a minute, or now
        until(lambda: "is EXPIRED" in caplog.text)
        assert clock().wall >= end


def test_expiry_while_the_disk_hangs(folder: Folder) -> None:
    """A disk that does not answer holds up neither the end of an identity nor closing."""
    hanging, go = threading.Event(), threading.Event()

    class Hanging(DiskReader):
        def read(self, path: str, limit: int) -> FileContent:
            if hanging.is_set():
                go.wait(30)
            return super().read(path, limit)

    clock = ShiftedClock()
    with source_of(folder, poll_interval=NEVER, clock=clock, reader=Hanging()) as source:
        source.wait_ready(timeout=10)
        hanging.set()
        source.reload()
        assert source.current() == current(1).context
        clock.advance(3700)
        with pytest.raises(SourceError, match="expired"):
            source.current()
        source.close(timeout=0.0)
        with pytest.raises(SourceClosedError):
            source.current()
        go.set()
    until(lambda: not source_threads())


def test_several_changes_between_looks(folder: Folder) -> None:
    """Of several identities between two looks the newest is taken, and one update told."""
    seen = Seen()
    with source_of(folder, poll_interval=NEVER) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(seen):
            for number in (2, 3, 4):
                folder.replace(current(number))
            source.reload()
            until_current(source, 4)
            until(lambda: seen.contexts)
        assert seen.contexts == [current(4).context]
        assert source.status().updates == 2


def test_unexpected_failure(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """A defect as files are read is logged and told, and the source goes on."""
    broken = threading.Event()

    class Broken(DiskReader):
        def read(self, path: str, limit: int) -> FileContent:
            if broken.is_set():
                raise ZeroDivisionError
            return super().read(path, limit)

    with source_of(folder, reader=Broken()) as source:
        source.wait_ready(timeout=10)
        broken.set()
        until(lambda: source.status().state is State.DEGRADED)
        assert "unexpected ZeroDivisionError" in source.status().cause
        broken.clear()
        until(lambda: source.status().state is State.READY)
    assert "could not be read for an unexpected reason" in caplog.text


# ---- subscribers ---------------------------------------------------------------------------------


def test_subscribe(folder: Folder) -> None:
    """A subscriber gets each new identity, in a thread that is neither ours nor the one that reads."""
    seen = Seen()
    with source_of(folder) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(seen):
            for number in (2, 3):
                folder.replace(current(number))
                until(partial(seen.contexts.__contains__, current(number).context))
        folder.replace(current(4))
        until_current(source, 4)
        assert current(4).context not in seen.contexts
    (thread,) = seen.threads
    assert thread is not threading.main_thread()
    assert thread.name == "serviceradar-security-subscriber"
    assert not thread.is_alive()


def test_slow_subscriber(folder: Folder) -> None:
    """A slow subscriber holds up nobody and sees the newest next."""
    entered, go = threading.Event(), threading.Event()
    seen: list[X509Context] = []

    def slow(context: X509Context) -> None:
        seen.append(context)
        entered.set()
        assert go.wait(20)

    with source_of(folder) as source:
        source.wait_ready(timeout=10)
        with source.subscribe(slow):
            folder.replace(current(2))
            assert entered.wait(20)
            for number in (3, 4):
                folder.replace(current(number))
                until_current(source, number)
            go.set()
            until(lambda: seen and seen[-1] == current(4).context)
        assert current(3).context not in seen


def test_raising_subscriber(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber that raises is logged and harms nobody (R-WLAPI-34)."""
    seen = Seen()

    def bad(_: X509Context) -> None:
        raise LookupError("the subscriber's own words")

    with source_of(folder) as source, source.subscribe(bad), source.subscribe(seen):
        source.wait_ready(timeout=10)
        folder.replace(current(2))
        until(lambda: current(2).context in seen.contexts)
        until(lambda: "a subscriber of the identity source failed" in caplog.text)
        assert source.status().state is State.READY


def test_subscribing_as_it_closes(folder: Folder) -> None:
    """Who subscribes as the source is closed by another gets the error, and no thread is left."""
    source = source_of(folder).open()

    class Closing(list[Any]):
        def append(self, item: Any) -> None:
            source.close()
            super().append(item)

    source._running().publish = Closing()
    with pytest.raises(SourceClosedError):
        source.subscribe(print)
    until(lambda: not source_threads())
