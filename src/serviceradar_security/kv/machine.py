"""The state machine: messages, failures and times in, actions out. No I/O, no threads, no clocks.

The life of an overlay: ask for the value (Get), open the stream (Watch) and follow it, wait and
ask again when something fails. The value is asked for first, since the stream says nothing about
a key that does not exist; and it is asked for again from time to time, since a silent stream may
also be that of a peer that has died.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from serviceradar_security.kv.events import (
    Action,
    Answered,
    Apply,
    Ask,
    Closed,
    Drop,
    Ended,
    Event,
    Failed,
    Follow,
    Refusal,
    Settled,
    Started,
    Tick,
    Told,
    Unreadable,
)
from serviceradar_security.kv.failure import (
    ADVICE,
    Failure,
    Kind,
    apply_delay,
    check_delay,
    refusal_delay,
    renewal_delay,
    retry_delay,
)
from serviceradar_security.kv.status import KvDocument, KvState, KvStatus, Moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["CALM", "LASTING", "SETTLING", "Machine"]

LASTING: Final = 5.0
"""Seconds after which a stream has proved itself, and its end is no reason to be careful."""
SETTLING: Final = 2.0
"""Seconds after which a new stream is checked: what changed while it was opened must be seen."""
CALM: Final = 60.0
"""Seconds without a refusal after which the next one is the first of its kind."""

_CLEAN: Final = (
    "correct the document in the store; the members at these paths belong into the local file or "
    "the pinned file, and `strip_protected` takes them out"
)
_TRIED_AGAIN: Final = (
    "look at the log of this service, which could not take the document over; the same document is "
    "tried again"
)
_REOPEN: Final = "open a new overlay on an open channel, or restart the service"
_RESTART: Final = (
    "restart the service, or open a new overlay; what the service does with a configuration must "
    "raise an Exception to refuse it"
)
_PUT: Final = "put a document under this key, or leave it: the local configuration is in force"


class _Phase(Enum):
    NEW = "new"
    ASKING = "asking"
    FOLLOWING = "following"
    WAITING = "waiting"
    CLOSED = "closed"


_STATES: Final = {
    KvDocument.UNKNOWN: KvState.STARTING,
    KvDocument.APPLIED: KvState.FOLLOWING,
    KvDocument.ABSENT: KvState.ABSENT,
    KvDocument.REFUSED: KvState.REFUSED,
}
_SAYS_NO: Final = frozenset((Kind.DENIED, Kind.UNSUPPORTED))


class Machine:
    """Decide what follows from what happens.

    Args:
        key: The key, for the record.
        now: When it was made.
        max_document_bytes: Larger documents are refused before anybody parses them.
        check_interval: Seconds between two signs of life that are asked of the peer.
        random: Gives numbers from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        key: str,
        now: Moment,
        *,
        max_document_bytes: int,
        check_interval: float,
        random: Callable[[], float],
    ) -> None:
        self._key = key
        self._max_bytes = max_document_bytes
        self._check_interval = check_interval
        self._random = random
        self._phase = _Phase.NEW
        self._failure: Failure | None = None
        self._end = Closed()
        self._misses = 0  # questions in a row that failed
        self._hangups = 0  # streams in a row that did not last
        self._next_at = 0.0
        self._next_wall: datetime | None = None
        self._opened_at = 0.0
        self._proven = False
        self._check_at = 0.0
        self._checking = False
        self._overtaken = False  # the stream told something after the open question was asked
        self._document = KvDocument.UNKNOWN
        self._offered: bytes | None = None  # digest of the newest document; empty for none
        self._applying = Apply(None)  # the last one; it deletes if it holds no document
        self._tries = 0  # how often in a row it could not be applied
        self._retry_at: float | None = None
        self._retry_wall: datetime | None = None
        self._hold_until = now.monotonic
        self._recent = 0  # refusals without a calm between them
        self._refused_at = now.monotonic
        self._updates = 0
        self._refused = 0
        self._refusal = Refusal("")
        self._last_refusal: datetime | None = None
        self._last_update: datetime | None = None
        self._last_contact: datetime | None = None
        self._state = KvState.STARTING
        self._since = now.wall

    @property
    def wake_at(self) -> float | None:
        """When a `Tick` is due, on the monotonic clock; None while only an event can help."""
        due = [] if self._retry_at is None else [self._retry_at]
        if self._phase is _Phase.WAITING:
            due.append(self._next_at)
        if self._phase is _Phase.FOLLOWING and not self._checking:
            due.append(self._check_at)
        if self._phase is _Phase.FOLLOWING and not self._proven:
            due.append(self._opened_at + LASTING)
        return min(due, default=None)

    @property
    def hold_until(self) -> float:
        """Until when events had better wait, on the monotonic clock: refusals cost something."""
        return self._hold_until

    @property
    def is_closed(self) -> bool:
        """Whether nothing will follow any more."""
        return self._phase is _Phase.CLOSED

    def step(self, event: Event, now: Moment) -> tuple[Action, ...]:
        """Take in what happened, and say what to do."""
        if self._phase is _Phase.CLOSED:
            return ()
        actions = self._react(event, now)
        state = self._settle_state()
        if state is not self._state:
            self._state, self._since = state, now.wall
        return actions

    def status(self) -> KvStatus:
        """Give the record."""
        cause, advice = self._explanation()
        return KvStatus(
            key=self._key,
            state=self._state,
            since=self._since,
            cause=cause,
            advice=advice,
            next_attempt=self._next_wall if self._phase is _Phase.WAITING else None,
            document=self._document,
            updates=self._updates,
            refused=self._refused,
            refusal=self._refusal.text,
            refused_paths=self._refusal.paths,
            last_refusal=self._last_refusal,
            last_update=self._last_update,
            last_contact=self._last_contact,
            next_apply=self._retry_wall,
        )

    # ---- events --------------------------------------------------------------------------------

    def _react(self, event: Event, now: Moment) -> tuple[Action, ...]:  # noqa: PLR0911 - one for each event
        match event:
            case Started():
                return self._ask() if self._phase is _Phase.NEW else ()
            case Answered(value):
                return self._answered(value, now)
            case Told(value):
                return self._told(value, now)
            case Unreadable(text):
                return self._unreadable(text, now)
            case Failed(failure):
                return self._failed(failure, now)
            case Ended(failure):
                return self._ended(failure, now)
            case Settled(refusal):
                return self._settled(refusal, now)
            case Tick():
                return self._ticked(now)
            case Closed():
                self._phase, self._end = _Phase.CLOSED, event
                self._forget_retry()
                return (Drop(),)

    def _answered(self, value: bytes | None, now: Moment) -> tuple[Action, ...]:
        if self._phase is _Phase.ASKING:
            self._heard(now)
            self._phase = _Phase.FOLLOWING
            self._opened_at = now.monotonic
            self._proven = False
            self._checking = False
            self._check_at = now.monotonic + SETTLING
            # A stream that is ended politely each time must not look well in between.
            if self._hangups <= 1:
                self._failure = None
            return (Follow(), *self._offer(value or b"", now))
        if self._phase is _Phase.FOLLOWING and self._checking:
            self._heard(now)
            self._checking = False
            self._check_at = now.monotonic + check_delay(self._check_interval, self._random())
            # What the stream told meanwhile may be newer than this answer.
            return () if self._overtaken else self._offer(value or b"", now)
        return ()

    def _told(self, value: bytes, now: Moment) -> tuple[Action, ...]:
        if self._phase is not _Phase.FOLLOWING:
            return ()
        self._overtaken = True
        self._last_contact = now.wall
        return self._offer(value, now)

    def _unreadable(self, text: str, now: Moment) -> tuple[Action, ...]:
        if self._phase is _Phase.FOLLOWING:
            self._last_contact = now.wall
            self._offered = None
            self._forget_retry()
            self._refuse(Refusal(text), now)
        return ()

    def _failed(self, failure: Failure, now: Moment) -> tuple[Action, ...]:
        if self._phase is _Phase.ASKING:
            dropped: tuple[Action, ...] = ()
        elif self._phase is _Phase.FOLLOWING and self._checking:
            dropped = (Drop(),)
        else:
            return ()
        self._misses += 1
        self._failure = failure
        self._wait(now, retry_delay(failure.kind, self._misses, self._random()))
        return dropped

    def _ended(self, failure: Failure, now: Moment) -> tuple[Action, ...]:
        if self._phase is not _Phase.FOLLOWING:
            return ()
        lasted = now.monotonic - self._opened_at >= LASTING
        self._hangups = 1 if lasted else self._hangups + 1
        if lasted and failure.kind not in _SAYS_NO:
            # A server may bound the age of its connections: it is an outage only if it stays away.
            self._failure = None
            self._wait(now, renewal_delay(self._random()))
        else:
            self._failure = failure
            self._wait(now, retry_delay(failure.kind, self._hangups, self._random()))
        return (Drop(),)

    def _settled(self, refusal: Refusal | None, now: Moment) -> tuple[Action, ...]:
        if refusal is not None:
            self._refuse(refusal, now)
            if refusal.passing:
                self._retry_later(now)
            return ()
        self._tries = 0
        deleted = self._applying.document is None
        # That there is no document is no news to whoever never had one.
        if not (deleted and self._document in (KvDocument.UNKNOWN, KvDocument.ABSENT)):
            self._updates += 1
            self._last_update = now.wall
        self._document = KvDocument.ABSENT if deleted else KvDocument.APPLIED
        return ()

    def _ticked(self, now: Moment) -> tuple[Action, ...]:
        return (*self._go_on(now), *self._retry(now))

    def _go_on(self, now: Moment) -> tuple[Action, ...]:
        if self._phase is _Phase.WAITING and now.monotonic >= self._next_at:
            return self._ask()
        if self._phase is not _Phase.FOLLOWING:
            return ()
        if not self._proven and now.monotonic >= self._opened_at + LASTING:
            self._proven = True
            self._hangups = 0
            self._failure = None
        if not self._checking and now.monotonic >= self._check_at:
            self._checking = True
            self._overtaken = False
            return (Ask(),)
        return ()

    # ---- parts ---------------------------------------------------------------------------------

    def _ask(self) -> tuple[Action, ...]:
        self._phase = _Phase.ASKING
        return (Ask(),)

    def _heard(self, now: Moment) -> None:
        self._misses = 0
        self._last_contact = now.wall

    def _wait(self, now: Moment, delay: float) -> None:
        self._phase = _Phase.WAITING
        self._checking = False
        self._next_at = now.monotonic + delay
        self._next_wall = now.wall + timedelta(seconds=delay)

    def _offer(self, value: bytes, now: Moment) -> tuple[Action, ...]:
        """Have a document applied, unless it is the one that was dealt with last."""
        digest = sha256(value).digest() if value else b""
        if digest == self._offered:
            return ()  # repeats are normal: at start, and when the store comes back
        self._offered = digest
        self._forget_retry()
        if len(value) > self._max_bytes:
            text = f"it has {len(value)} bytes, and the limit is {self._max_bytes}"
            self._refuse(Refusal(f"{text}: make it smaller, or raise max_document_bytes"), now)
            return ()
        self._applying = Apply(value or None)
        return (self._applying,)

    def _retry_later(self, now: Moment) -> None:
        self._tries += 1
        delay = apply_delay(self._tries, self._random())
        self._retry_at = now.monotonic + delay
        self._retry_wall = now.wall + timedelta(seconds=delay)

    def _retry(self, now: Moment) -> tuple[Action, ...]:
        """Have the newest document applied again, if it could not be for a passing reason."""
        if self._retry_at is None or now.monotonic < self._retry_at:
            return ()
        self._retry_at = self._retry_wall = None
        return (self._applying,)

    def _forget_retry(self) -> None:
        """Let what could not be applied be: there is something newer."""
        self._tries = 0
        self._retry_at = self._retry_wall = None

    def _refuse(self, refusal: Refusal, now: Moment) -> None:
        self._document = KvDocument.REFUSED
        self._refusal = refusal
        self._last_refusal = now.wall
        if self._tries:
            return  # the same document again: counted already
        self._refused += 1
        calm = now.monotonic - self._refused_at >= CALM
        self._recent = 1 if calm else self._recent + 1
        self._refused_at = now.monotonic
        self._hold_until = now.monotonic + refusal_delay(self._recent)

    def _settle_state(self) -> KvState:
        if self._phase is _Phase.CLOSED:
            return KvState.CLOSED
        if self._failure is not None:
            return KvState.DENIED if self._failure.kind in _SAYS_NO else KvState.OUTAGE
        return _STATES[self._document]

    def _explanation(self) -> tuple[str, str]:
        """Give cause and advice."""
        if self._state is KvState.CLOSED:
            advice = _RESTART if self._end.died else _REOPEN
            return (self._end.cause, advice) if self._end.cause else ("", "")
        if self._state is KvState.ABSENT:
            return "there is no document under this key", _PUT
        if self._state is KvState.REFUSED:
            return self._refusal.text, _TRIED_AGAIN if self._refusal.passing else _CLEAN
        if self._failure is not None:
            return self._failure.text, ADVICE[self._failure.kind]
        return "", ""
