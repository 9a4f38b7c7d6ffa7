"""The source of files on a real disk: opening, waiting, closing."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Final

import pytest

from serviceradar_security import (
    ConfigError,
    SourceClosedError,
    SourceError,
    SourceTimeoutError,
    X509Context,
    X509Source,
)
from serviceradar_security.identity.context import X509ContextSource
from serviceradar_security.workload.file_source import FileSource
from serviceradar_security.workload.watch import State
from tests.workload.identity_files import (
    CERT,
    NEVER,
    Folder,
    current,
    source_of,
)
from tests.workload.peers import source_threads, until
from tests.workload.users import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


FIRST: Final = current  # what the fixture `folder` begins with


# ---- opening and reading -------------------------------------------------------------------------


def test_is_a_source_as_any_other() -> None:
    """It has the public methods of the source of the Workload API, and the one transports use."""
    source = FileSource(cert_file="/c", key_file="/k", bundle_file="/b")
    assert isinstance(source, X509ContextSource)
    public = {each for each in dir(X509Source) if not each.startswith("_")} - {"endpoint"}
    assert public <= set(dir(FileSource))


def test_nothing_before_open(folder: Folder) -> None:
    """A source that is not opened has no thread, and every use says how to open it."""
    source = source_of(folder)
    assert source_threads() == []
    for use in uses(source):
        with pytest.raises(SourceError, match="is not open: use it in a `with` block"):
            use()
    source.close()
    with pytest.raises(SourceClosedError):
        source.open()


def uses(source: FileSource) -> list[Callable[[], object]]:
    """Every use of a source that needs it open."""

    async def iterate() -> None:
        async for _ in source.updates():
            pass

    return [
        source.current,
        source.status,
        source.reload,
        lambda: source.wait_ready(timeout=0.1),
        lambda: asyncio.run(source.wait_ready_async(timeout=0.1)),
        lambda: source.subscribe(print),
        lambda: asyncio.run(iterate()),
    ]


def test_with(folder: Folder) -> None:
    """The context manager opens and closes; in between the identity of the files is there."""
    with source_of(folder) as source:
        assert source.open() is source
        assert source.wait_ready(timeout=10) == current(1).context
        status = source.status()
        assert (status.state, status.updates, status.rejected) == (State.READY, 1, 0)
        assert status.spiffe_id == current(1).context.default.spiffe_id
        assert status.next_attempt is None
        (thread,) = source_threads()
    assert not thread.is_alive()
    assert source.status().state is State.CLOSED
    for use in [each for each in uses(source) if each != source.status]:
        with pytest.raises(SourceClosedError, match="open a new one"):
            use()
    source.close()


def test_asyncio(folder: Folder) -> None:
    """The asyncio twin waits, iterates over the newest and each new identity, and ends."""

    async def main() -> None:
        seen: list[X509Context] = []
        async with source_of(folder) as source:
            assert await source.wait_ready_async(timeout=10) == current(1).context
            async for context in source.updates():
                seen.append(context)
                if len(seen) == 2:
                    break
                folder.replace(current(2))
        assert seen == [current(1).context, current(2).context]
        with pytest.raises(SourceClosedError):
            await source.wait_ready_async(timeout=10)

    asyncio.run(main())


def test_updates_end_with_the_source(folder: Folder) -> None:
    """Iterating ends when the source is closed."""

    async def main() -> list[X509Context]:
        source = source_of(folder).open()
        seen = []
        async for context in source.updates():
            seen.append(context)
            await asyncio.to_thread(source.close)
        return seen

    assert asyncio.run(main()) == [current(1).context]


def test_cancelled_wait_leaves_nothing(tmp_path: Path) -> None:
    """A wait that is cancelled is forgotten."""

    async def main(source: FileSource) -> None:
        waiting = asyncio.ensure_future(source.wait_ready_async(timeout=60))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with source_of(Folder(tmp_path)) as source:
        asyncio.run(main(source))
        assert source._running().listeners == []


def test_files_that_come_later(tmp_path: Path) -> None:
    """The files may come after the source; who waits is woken, in threads and in asyncio."""
    folder = Folder(tmp_path / "identity")
    with source_of(folder) as source:
        until(lambda: source.status().state is State.NO_AGENT)
        assert str(folder.path / CERT) in source.status().cause
        found: list[X509Context] = []
        waiting = [
            threading.Thread(target=lambda: found.append(source.wait_ready(timeout=20))),
            threading.Thread(
                target=lambda: found.append(asyncio.run(source.wait_ready_async(timeout=20))),
            ),
        ]
        for each in waiting:
            each.start()
        folder.write(current(1))
        for each in waiting:
            each.join(20)
        assert found == [current(1).context] * 2


@pytest.mark.parametrize("wait", ["sync", "async"])
def test_timeout(tmp_path: Path, wait: str) -> None:
    """A wait that passes its deadline tells which file is the cause, and what to do."""
    with source_of(Folder(tmp_path)) as source:
        until(lambda: source.status().state is State.NO_AGENT)
        waits: dict[str, Callable[[], object]] = {
            "sync": lambda: source.wait_ready(timeout=0.05),
            "async": lambda: asyncio.run(source.wait_ready_async(timeout=0.05)),
        }
        with pytest.raises(SourceTimeoutError, match=r"no identity within 0\.05 s: the files give"):
            waits[wait]()
        with pytest.raises(ConfigError):
            source.wait_ready(timeout=float("inf"))


# ---- closing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["sync", "async"])
def test_closing_wakes(tmp_path: Path, wait: str) -> None:
    """Who waits as the source is closed is woken with the error that says so."""
    source = source_of(Folder(tmp_path), poll_interval=NEVER).open()
    errors: list[BaseException] = []

    def waiting() -> None:
        try:
            if wait == "sync":
                source.wait_ready(timeout=60)
            else:
                asyncio.run(source.wait_ready_async(timeout=60))
        except SourceClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=waiting)
    thread.start()
    if wait == "async":
        until(lambda: source._running().listeners)
    source.close()
    thread.join(20)
    assert len(errors) == 1


def test_closing_in_a_callback(folder: Folder) -> None:
    """A subscriber may close the source."""
    source = source_of(folder).open()
    source.wait_ready(timeout=10)
    source.subscribe(lambda _: source.close())
    folder.replace(current(2))
    until(lambda: not source_threads())
    with pytest.raises(SourceClosedError):
        source.current()


def test_nothing_is_left(folder: Folder) -> None:
    """Two hundred sources that were opened, used and closed leave no thread and no descriptor."""
    with source_of(folder) as source:
        source.wait_ready(timeout=10)
    before = descriptors()
    for number in range(200):
        with source_of(folder) as source, source.subscribe(print):
            if number % 2:
                source.wait_ready(timeout=10)
    assert source_threads() == []
    assert descriptors() == before
    kept = weakref.ref(source)
    del source
    gc.collect()
    assert kept() is None


def test_closing_lets_go_of_the_identity(folder: Folder) -> None:
    """A closed source holds no key any more."""
    source = source_of(folder).open()
    engine = source._running()
    source.wait_ready(timeout=10)
    source.close()
    assert engine._reader._outcome is None
    assert engine._reader._good is None
    assert engine.watch._context is None
    assert engine._shown._context is None


def test_no_thread_left(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a thread left for it gets an error of ours, and may try again."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = source_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SourceError, match="cannot start its thread"):
            source.open()
    with source:
        assert source.wait_ready(timeout=10) == current(1).context
