"""The calls of an overlay, without a server: how a stream is read and how its end is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security._proto.kv_pb2 import WatchResponse
from serviceradar_security.kv.calls import _Stream
from serviceradar_security.kv.events import Ended, Told
from serviceradar_security.kv.failure import Kind
from tests.kv.conftest import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Source:
    """A stream of messages, then of an end."""

    def __init__(self, messages: list[bytes], end: BaseException | None = None) -> None:
        self._messages = messages
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        for value in self._messages:
            yield WatchResponse(value=value).SerializeToString()
        if self._end is not None:
            raise self._end

    def cancel(self) -> None:
        """Do nothing: it ends by itself."""


def read(source: Any, pause: Callable[[float], object] | None = None) -> list[object]:
    """Read a stream to its end, and give what was told."""
    told = threading.Event()
    stream = _Stream(source, "", told.set, pause=pause)
    stream.start()
    stream.join(DEADLINE)
    assert told.is_set()
    return list(stream.take())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [
        (None, Kind.ENDED, "Watch: OK: the stream was ended without an error"),
        (KeyError("secret-value"), Kind.BROKEN, "Watch: KeyError"),
        (MemoryError(), Kind.BROKEN, "Watch: MemoryError"),
        (SystemExit(3), Kind.BROKEN, "Watch: its reader was ended"),
    ],
    ids=["politely", "KeyError", "MemoryError", "SystemExit"],
)
def test_every_end_is_told(end: BaseException | None, kind: Kind, text: str) -> None:
    """However a stream ends, the newest message and the end are told, and no word of others."""
    told, ended = read(Source([b"1", b"2"], end))
    assert told == Told(b"2")
    assert isinstance(ended, Ended)
    assert (ended.failure.kind, ended.failure.text) == (kind, text)


@pytest.mark.parametrize(
    ("count", "size", "least"),
    [(1, 1, 0.0), (30, 1, 0.0), (12_800, 1, 9.9), (51, 1024 * 1024, 9.9)],
    ids=["one", "a few", "many", "large"],
)
def test_what_nobody_takes_is_read_slowly(count: int, size: int, least: float) -> None:
    """1280 messages or 5 MiB a second are read over what nobody took; a few cost nothing."""
    pauses: list[float] = []
    message = b"x" * size
    told, _ = read(Source([message] * count), pauses.append)
    assert told == Told(message)
    assert least <= sum(pauses) <= 1.1 * least
    assert all(0.05 <= pause < 1.0 for pause in pauses)


def test_whoever_takes_each_message_is_not_held_back() -> None:
    """A stream that is followed is read at once, however long it is."""
    pauses: list[float] = []

    def take() -> None:
        stream.take()

    stream = _Stream(Source([b"x"] * 5000), "", take, pause=pauses.append)
    stream.start()
    stream.join(DEADLINE)
    assert pauses == []


def test_a_pause_ends_when_the_stream_is_cancelled() -> None:
    """Nobody waits for a reader that waits."""
    told = threading.Event()
    stream = _Stream(Source([b"x"] * 2), "", told.set)
    stream._debt = 200.0  # seconds to be waited after the first message
    stream.start()
    assert told.wait(DEADLINE)
    stream.cancel()
    stream.join(DEADLINE)
    assert not stream._thread.is_alive()
