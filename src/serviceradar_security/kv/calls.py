"""The calls: one question and one stream at most, over the channel of the caller.

gRPC's own threads and the thread that reads the stream only leave notes here; whoever owns the
calls takes them, and so everything else happens in one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError

from serviceradar_security._proto.kv_pb2 import (
    GetRequest,
    GetResponse,
    WatchRequest,
    WatchResponse,
)
from serviceradar_security.errors import SecurityError
from serviceradar_security.kv.events import Answered, Closed, Ended, Event, Failed, Told, Unreadable
from serviceradar_security.kv.failure import Failure, Kind, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Calls"]

_GET: Final = "/proto.KVService/Get"
_WATCH: Final = "/proto.KVService/Watch"
# Seconds of pause for what a reader takes in and nobody saw: 1280 messages, or 5 MiB, a second.
_PER_MESSAGE: Final = 1 / 1280
_PER_BYTE: Final = 1 / (5 * 1024 * 1024)
_SHORTEST_PAUSE: Final = 0.05


class Calls:
    """Make the calls, and collect what comes of them.

    Args:
        channel: Where to call. It stays its owner's.
        key: The key.
        timeout: Seconds until a question must be answered.
        server: Who is expected to answer, for messages.
        notify: Called after each note, in whatever thread; it only wakes somebody.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        key: str,
        *,
        timeout: float,
        server: str,
        notify: Callable[[], None],
    ) -> None:
        # Bytes are read here and not by gRPC, which would end a stream for one bad message.
        self._get: Any = channel.unary_unary(_GET)
        self._watch: Any = channel.unary_stream(_WATCH)
        self._get_request = GetRequest(key=key).SerializeToString()
        self._watch_request = WatchRequest(key=key).SerializeToString()
        self._timeout = timeout
        self._server = server
        self._notify = notify
        self._lock = threading.RLock()  # reentrant for signal handlers
        self._closed = False
        self._question: Any = None
        self._stream: _Stream | None = None
        self._dropped: _Stream | None = None
        self._notes: list[Event] = []

    def ask(self) -> None:
        """Ask for the value."""
        with self._lock:
            if self._closed:
                return
            try:
                question = self._get.future(self._get_request, timeout=self._timeout)
            except (ValueError, SecurityError) as error:
                self._note_closed(error)
                return
            except Exception as error:  # noqa: BLE001 - an interceptor of the channel raises anything
                self._note(Failed(_failure("Get", error, self._server)))
                return
            self._question = question
        question.add_done_callback(self._answered)

    def follow(self) -> None:
        """Open the stream."""
        with self._lock:
            if self._closed:
                return
            try:
                stream = _Stream(self._watch(self._watch_request), self._server, self._notify)
            except (ValueError, SecurityError) as error:
                self._note_closed(error)
                return
            except Exception as error:  # noqa: BLE001 - as above
                self._note(Ended(_failure("Watch", error, self._server)))
                return
            self._stream = stream
            try:
                stream.start()
            except RuntimeError as error:  # no thread is left
                stream.cancel()
                self._stream = None
                self._note(Ended(Failure(Kind.BROKEN, f"Watch: {error}")))

    def drop(self) -> None:
        """Cancel what is open; nothing of it is heard any more."""
        with self._lock:
            question, self._question = self._question, None
            stream, self._stream = self._stream, None
            self._notes = [note for note in self._notes if isinstance(note, Closed)]
        _cancel(question)
        if stream is not None:
            self._dropped = stream
            stream.cancel()

    def take(self) -> list[Event]:
        """Take what came since the last time, what the stream told first."""
        with self._lock:
            notes, self._notes = self._notes, []
            stream = self._stream
        return [*(stream.take() if stream is not None else ()), *notes]

    def close(self) -> None:
        """Cancel everything for good; may be called twice, and from any thread."""
        with self._lock:
            self._closed = True
        self.drop()

    def join(self, timeout: float) -> None:
        """Wait for the thread that read the last stream."""
        if self._dropped is not None:
            self._dropped.join(timeout)

    def leave_to_parent(self) -> None:
        """Keep gRPC's objects for ever, in the child of a fork: their end would call into core."""
        stream = self._stream
        for each in (self._get, self._watch, self._question, stream and stream.call):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))

    def _answered(self, question: Any) -> None:
        note = _answer_of(question, self._server)
        with self._lock:
            if question is not self._question:
                return
            self._question = None
            self._note(note)

    def _note(self, event: Event) -> None:
        self._notes.append(event)
        self._notify()

    def _note_closed(self, error: Exception) -> None:
        # grpcio says so with a ValueError; our channels also do after a fork.
        self._note(Closed(f"no call can be made on its channel: {error}"))


class _Stream:
    """Read one stream in a thread of its own, and keep the newest message.

    Whoever is slow sees the newest value, not a queue. Messages that replace one which nobody
    took are read at a bounded rate: HTTP/2 then holds a server back that floods us.

    Args:
        call: The stream.
        server: Who is expected to answer, for messages.
        notify: Called after each message and at the end.
        pause: Waits for some seconds; until the stream is cancelled, if not given.
    """

    def __init__(
        self,
        call: Any,
        server: str,
        notify: Callable[[], None],
        *,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.call = call
        self._server = server
        self._notify = notify
        self._cancelled = threading.Event()
        self._pause = pause or self._cancelled.wait
        self._debt = 0.0  # seconds that the reader still has to wait
        self._lock = threading.Lock()
        self._newest: bytes | None = None
        self._end: Failure | None = None
        self._thread = threading.Thread(target=self._read, name="kv-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        self._cancelled.set()
        _cancel(self.call)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def take(self) -> list[Event]:
        with self._lock:
            newest, self._newest = self._newest, None
            end, self._end = self._end, None
        told = [] if newest is None else [_message_of(newest)]
        return told if end is None else [*told, Ended(end)]

    def _read(self) -> None:
        end = Failure(Kind.BROKEN, "Watch: its reader was ended")
        try:
            for message in self.call:
                self._keep(message)
            end = failure_of("OK", None, call="Watch")
        except Exception as error:  # noqa: BLE001 - an interceptor of the channel raises anything
            end = _failure("Watch", error, self._server)
        finally:
            # Whatever ends this thread is told, or the key would count as followed for ever.
            with self._lock:
                self._end = end
            self._notify()

    def _keep(self, message: bytes) -> None:
        with self._lock:
            replaced = self._newest is not None
            self._newest = message
        self._notify()
        if replaced:
            self._debt += max(_PER_MESSAGE, len(message) * _PER_BYTE)
        if self._debt >= _SHORTEST_PAUSE:
            debt, self._debt = self._debt, 0.0
            self._pause(debt)


def _answer_of(question: Any, server: str) -> Event:
    try:
        data = question.result()
    except (grpc.FutureCancelledError, grpc.FutureTimeoutError):
        return Failed(failure_of("CANCELLED", None, call="Get"))
    except Exception as error:  # noqa: BLE001 - an interceptor of the channel raises anything
        return Failed(_failure("Get", error, server))
    try:
        answer = GetResponse.FromString(data)
    except DecodeError:
        return Failed(Failure(Kind.FAILED, f"Get: {len(data)} bytes that are no GetResponse"))
    return Answered(answer.value if answer.found else None)


def _message_of(data: bytes) -> Event:
    try:
        return Told(WatchResponse.FromString(data).value)
    except DecodeError:
        return Unreadable(f"the stream brought {len(data)} bytes that are no WatchResponse")


def _failure(call: str, error: Any, server: str) -> Failure:
    ended = all(callable(getattr(error, name, None)) for name in ("code", "details"))
    if not isinstance(error, grpc.RpcError) or not ended:
        # No end of a call. Its words are not ours, and may hold what nobody may see.
        return Failure(Kind.BROKEN, f"{call}: {type(error).__name__}")
    name = getattr(error.code(), "name", "UNKNOWN")
    return failure_of(name, error.details(), call=call, server=server)


def _cancel(call: Any) -> None:
    if call is not None:
        with contextlib.suppress(ValueError):  # its channel was closed
            call.cancel()
