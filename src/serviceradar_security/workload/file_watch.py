"""The state of a watch on files: readings and times in, a record out.

No file, thread or clock is touched here, so that a test drives years in a millisecond.
"""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from serviceradar_security.errors import SourceClosedError, SourceError
from serviceradar_security.workload.file_reading import FileProblem, FileSnapshot
from serviceradar_security.workload.watch import SourceStatus, State

if TYPE_CHECKING:
    from datetime import datetime

    from serviceradar_security.errors import SecurityError
    from serviceradar_security.workload.file_material import Held
    from serviceradar_security.workload.file_reading import FileSet
    from serviceradar_security.workload.watch import Instant

__all__ = ["FileWatch"]

_SOON: Final = 0.2  # before files that could not be used are looked at again, the first time
_GRACE: Final = 0.2  # in which whoever writes one file after the other is not met half way
_CLOCKS: Final = "compare the clocks of this host and of the issuer"


SnapshotT = TypeVar("SnapshotT")


class FileWatch(Generic[SnapshotT]):
    """Keep the state of one set of files.

    STARTING: nothing was read yet. NO_AGENT: no identity, since files are not there or cannot be
    read. NO_IDENTITY: no identity, since what the files hold cannot be used. READY, DEGRADED,
    EXPIRED and CLOSED are what they are for any source.
    """

    fatal: SecurityError | None = None
    """Files can always be written anew."""

    def __init__(
        self,
        files: FileSet[SnapshotT],
        *,
        poll_interval: float,
        now: Instant,
    ) -> None:
        """Begin in STARTING, with a look due at once."""
        self._certificate = files.certificate.name
        self._interval = poll_interval
        self._state = State.STARTING
        self._since = now.wall
        self._context: SnapshotT | None = None
        self._held: Held | None = None  # of the snapshot
        self._problem: FileProblem | None = None
        # From when on a doubt, and a refusal, is worth a word; None while there is none. Each by
        # itself: the bundle may be written as late after its certificate as that after its key.
        self._doubt_from: float | None = None
        self._refusal_from: float | None = None
        self._in_a_row = 0  # looks that failed
        self._failures: dict[str, int] = {}
        self._last_update: datetime | None = None
        self._updates = 0
        self._rejected = 0
        self._next_look: float | None = now.monotonic
        self._next_look_wall: datetime | None = now.wall

    @property
    def state(self) -> State:
        """The state that was last settled."""
        return self._state

    @property
    def updates(self) -> int:
        """How many different snapshots were taken over."""
        return self._updates

    @property
    def next_look(self) -> float | None:
        """When to look at the files, on the monotonic clock; None: never again."""
        return self._next_look

    def looked(self, outcome: FileSnapshot[SnapshotT] | FileProblem, now: Instant) -> bool:
        """Take what a reading gave.

        Returns:
            Whether it is a snapshot that differs from the one before (R-WLAPI-32).
        """
        if self._state is State.CLOSED:
            return False
        if isinstance(outcome, FileProblem):
            self._refuse(outcome, now)
            return False
        context = outcome.context
        if context == self._context:  # whatever its age: it is the one in force
            self._accept(outcome.doubt, now)
            return False
        if (early := self._too_early_or_late(outcome.held, now)) is not None:
            self._refuse(early, now)
            begin = (outcome.held.not_before - now.wall).total_seconds()
            if begin > 0:
                self._plan(min(begin, self._interval), now)
            return False
        self._context, self._held = context, outcome.held
        self._updates += 1
        self._last_update = now.wall
        self._accept(outcome.doubt, now)
        return True

    def ticked(self, now: Instant) -> None:
        """Let time pass: the identity may have expired."""
        if self._state is not State.CLOSED:
            self._settle(now)

    def closed(self, now: Instant) -> None:
        """End the watch; what was held is dropped."""
        self._context = self._held = self._problem = None
        self._next_look = self._next_look_wall = None
        self._enter(State.CLOSED, now)

    def next_tick(self, now: Instant) -> float | None:
        """Seconds until time alone changes the state; None if it does not."""
        if self._held is None or self._state is State.EXPIRED:
            return None
        return max(0.0, (self._held.not_after - now.wall).total_seconds())

    def context(self, now: Instant) -> SnapshotT:
        """Give the snapshot in force.

        Raises:
            SourceError: There is none, or it has expired (R-WLAPI-26); the message says why.
        """
        self.ticked(now)
        if self._context is not None and self._state is not State.EXPIRED:
            return self._context
        if self._state is State.CLOSED:
            raise SourceClosedError("the source is closed: open a new one")
        what = {
            State.STARTING: "no identity yet: the files are not read yet",
            State.EXPIRED: "the identity has expired and the files hold no new one",
        }.get(self._state, "the files give no identity")
        cause, advice = self._cause(), self._advice()
        told = (f" ({cause})" if cause else "") + (f": {advice}" if advice else "")
        raise SourceError(what + told)

    def status(self, now: Instant) -> SourceStatus:
        """Give the record; the next attempt is the next look, while something is wrong."""
        self.ticked(now)
        well = self._state in (State.READY, State.CLOSED)
        return SourceStatus(
            state=self._state,
            since=self._since,
            cause=self._cause(),
            advice=self._advice(),
            next_attempt=None if well else self._next_look_wall,
            spiffe_id=self._held.spiffe_id if self._held else None,
            not_after=self._held.not_after if self._held else None,
            updates=self._updates,
            rejected=self._rejected,
            failures=MappingProxyType(self._failures),
            last_update=self._last_update,
        )

    def _accept(self, doubt: FileProblem | None, now: Instant) -> None:
        """Take a good reading; of a doubt speak when it is still there a moment later.

        A bundle that is written after its certificate is late for that moment only.
        """
        self._in_a_row = 0
        self._refusal_from = None
        if doubt is None:
            self._doubt_from = None
        elif self._doubt_from is None:
            self._doubt_from = now.monotonic + _GRACE
        left = self._grace_left(self._doubt_from, now)
        self._problem = None if left else doubt
        self._plan(left or self._interval, now)
        self._settle(now)

    def _refuse(self, problem: FileProblem, now: Instant) -> None:
        """Keep what is held (R-WLAPI-09), and look again soon: it may be half written."""
        self._settle(now)
        if self._refusal_from is None:
            self._refusal_from = now.monotonic + _GRACE
        # Who writes one file after the other is met between two of them now and then. That is over
        # a moment later, and worth no word while there is a valid identity.
        if left := self._grace_left(self._refusal_from, now):
            self._in_a_row = 1
            self._plan(left, now)  # no sooner: a look that ends after the grace begins after it
            return
        self._in_a_row += 1
        soon = _SOON * 2.0 ** min(self._in_a_row - 1, 30)
        self._plan(min(self._interval, soon), now)
        kind = "unreadable" if problem.unreadable else "unusable"
        self._failures = {**self._failures, kind: self._failures.get(kind, 0) + 1}
        if problem != self._problem:
            self._problem = problem
            self._rejected += 1
        self._settle(now)

    def _too_early_or_late(self, held: Held, now: Instant) -> FileProblem | None:
        if held.not_after <= now.wall:  # R-WLAPI-26
            return FileProblem(
                f"the {self._certificate} is for {held.title} and expired at "
                f"{held.not_after:%FT%TZ}",
                f"see that what writes it is running, and {_CLOCKS}",
            )
        if held.not_before > now.wall:
            return FileProblem(
                f"the {self._certificate} is for {held.title} and begins only at "
                f"{held.not_before:%FT%TZ}",
                _CLOCKS,
            )
        return None

    def _settle(self, now: Instant) -> None:
        """Find the state that the facts stand for."""
        if self._held is not None:
            expired = self._held.not_after <= now.wall
            troubled = self._problem is not None
            state = State.EXPIRED if expired else State.DEGRADED if troubled else State.READY
        elif self._problem is not None:
            state = State.NO_AGENT if self._problem.unreadable else State.NO_IDENTITY
        else:
            state = State.STARTING
        self._enter(state, now)

    def _grace_left(self, end: float | None, now: Instant) -> float:
        """Give the seconds in which trouble is worth no word yet; 0 for none."""
        if end is None or self._state is not State.READY:
            return 0.0
        return max(0.0, end - now.monotonic)

    def _plan(self, delay: float, now: Instant) -> None:
        self._next_look = now.monotonic + delay
        self._next_look_wall = now.wall + timedelta(seconds=delay)

    def _enter(self, state: State, now: Instant) -> None:
        if state is not self._state:
            self._state = state
            self._since = now.wall
            if state is State.EXPIRED and self._held is not None:
                self._since = self._held.not_after  # whoever looks first

    def _cause(self) -> str:
        parts: list[str] = []
        if self._state is State.EXPIRED and self._held is not None:
            held = self._held
            parts.append(f"the identity {held.title} expired at {held.not_after:%FT%TZ}")
        if self._problem is not None:
            parts.append(self._problem.text)
        return "; ".join(parts)

    def _advice(self) -> str:
        if self._problem is not None:
            return self._problem.advice
        if self._state is State.EXPIRED:
            return f"see that what writes the {self._certificate} is running"
        return ""
