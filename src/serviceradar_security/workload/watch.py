"""The state of a watch on the Workload API: messages, failures and times in, a record out.

No socket, thread or clock is touched here, so that a test drives years in a millisecond. What a
person sees (errors, logs, `status()`) is rendered from the one record that this machine keeps.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import (
    NoIdentityIssuedError,
    SourceClosedError,
    SourceError,
    WorkloadApiError,
)
from serviceradar_security.identity.context import X509Context
from serviceradar_security.workload.failure import (
    ADVICE,
    Failure,
    Kind,
    ask_again_delay,
    retry_delay,
)
from serviceradar_security.workload.status import Instant, SourceStatus, State, utc_instant

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.identity.svid import X509Svid

__all__ = ["Instant", "SourceStatus", "State", "Watch", "utc_instant"]


_LASTING: Final = 1.0  # a stream that lived this long and delivered was a good one
_SOON: Final = 0.5  # the least wait before a stream that is open is opened anew
_WITH_NEWS: Final = 1  # failures that a changed snapshot leaves on the count
_EARLY: Final = 5.0  # the first wait for an identity that has not begun, at most


class Watch:
    """Keep the state of one watch.

    The shell around it reports what happens: `opened`, `delivered`, `rejected`, `failed`,
    `ticked`, `closed`. It asks for `next_attempt` and `next_tick` when it waits, and for `status`
    and `context` on behalf of users.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        redaction_grace: float,
        random: Callable[[], float],
        now: Instant,
    ) -> None:
        """Begin in STARTING, with an attempt due at once.

        Args:
            endpoint: The address, for messages.
            redaction_grace: Seconds for which an identity that was taken back is still used.
            random: Gives numbers from 0 to 1.
            now: The moment.
        """
        self._endpoint = endpoint
        self._grace = redaction_grace
        self._random = random
        self._state = State.STARTING
        self._since = now.wall
        self._delivered_context: X509Context | None = None
        self._context: X509Context | None = None  # what of it has not expired
        self._asked_again = 0
        self._failure: Failure | None = None
        self._rejection = ""
        self._updates = 0
        self._rejected = 0
        self._failures: dict[str, int] = {}
        self._last_update: datetime | None = None
        self._next_attempt: float | None = now.monotonic
        self._next_attempt_wall: datetime | None = now.wall
        self._opened_at = now.monotonic
        self._delivered = False
        self._attempts: dict[Kind, int] = {}
        self._taken_back_at: float | None = None

    @property
    def state(self) -> State:
        """The state that was last settled."""
        return self._state

    @property
    def next_attempt(self) -> float | None:
        """When to open the stream anew, on the monotonic clock; None: not now."""
        return self._next_attempt

    @property
    def held(self) -> X509Context | None:
        """The snapshot in force, without what of it has expired; None while there is none."""
        return None if self._state is State.EXPIRED else self._context

    @property
    def updates(self) -> int:
        """How many different snapshots were taken over."""
        return self._updates

    @property
    def fatal(self) -> WorkloadApiError | None:
        """The error after which nothing is tried any more."""
        failure = self._failure
        if failure is None or failure.kind is not Kind.FATAL:
            return None
        return WorkloadApiError(self._sentence(), code=failure.code, retryable=False)

    def opened(self, now: Instant) -> None:
        """Note that a stream was opened; nothing was delivered yet."""
        if self._state is State.CLOSED:
            return
        self._opened_at = now.monotonic
        self._delivered = False
        self._next_attempt = self._next_attempt_wall = None
        if self._failure is not None and self._failure.kind is Kind.UNREACHABLE:
            # No more true, and its advice would mislead; all is not well before a message, though.
            self._failure = Failure(Kind.ENDED, "connected again, and no answer yet")

    def delivered(self, context: X509Context, now: Instant) -> bool:
        """Take over a snapshot.

        Returns:
            Whether it differs from the one before (R-WLAPI-32).
        """
        if self._state is State.CLOSED:
            return False
        self._settle(now)  # what was dropped by now is new again
        not_after = context.default.not_after
        if not_after <= now.wall:  # R-WLAPI-26
            late = (now.wall - not_after).total_seconds()
            self.rejected(
                f"the identity {context.default.spiffe_id} expired {late:.0f} s before it came: "
                "its agent may not reach the SPIRE server, or compare the clocks of both hosts",
                now,
            )
            self._ask_again(now)
            return False
        not_before = context.default.not_before
        if not_before > now.wall:
            early = (not_before - now.wall).total_seconds()
            self.rejected(
                f"the identity {context.default.spiffe_id} begins only in {early:.0f} s: compare "
                "the clocks of this host and of the SPIRE server",
                now,
            )
            self._ask_again(now, begins_in=early)  # nobody sends it again by then unasked
            return False
        self._delivered = True
        self._next_attempt = self._next_attempt_wall = None
        self._failure = None
        self._rejection = ""
        self._taken_back_at = None
        self._asked_again = 0
        changed = self._context is None or context != self._delivered_context
        if changed:
            self._delivered_context = self._context = context
            self._updates += 1
            # Whoever brings news is asked again within half a second, should it die at once; that
            # is no hot loop, though it hangs up after each of them.
            ended = self._attempts.get(Kind.ENDED, 0)
            self._attempts[Kind.ENDED] = min(ended, _WITH_NEWS)
            self._last_update = now.wall
        self._enter(State.READY, now)
        self._settle(now)
        return changed

    def rejected(self, text: str, now: Instant) -> None:
        """Count a message that could not be used; what is held stays (R-WLAPI-09)."""
        if self._state is State.CLOSED:
            return
        self._rejected += 1
        self._rejection = text
        self._failure = None  # it was heard again: why it was not before is past
        self._settle(now)

    def failed(self, failure: Failure, now: Instant) -> None:
        """Take the end of a stream, or of the attempt to open one, and plan the next attempt.

        What is held stays until its end, and attempts never cease unless it is fatal (R-WLAPI-25).
        """
        if self._state is State.CLOSED:
            return
        # Each kind has a count of its own, so that a peer that fails in turns is asked less and
        # less often as well. They start over after a stream that held and delivered, and after
        # nothing else: not for one that delivers and hangs up at once (R-WLAPI-04, R-WLAPI-28);
        # a changed snapshot takes the count back to where the wait is short, and no further.
        if self._delivered and now.monotonic - self._opened_at >= _LASTING:
            self._attempts.clear()
        attempt = self._attempts[failure.kind] = self._attempts.get(failure.kind, 0) + 1
        kind = failure.kind.value
        # Made anew: a copy of this machine may be read at the same time.
        self._failures = {**self._failures, kind: self._failures.get(kind, 0) + 1}
        self._delivered = False
        self._failure = failure
        if failure.kind is Kind.FATAL:
            self._next_attempt = self._next_attempt_wall = None
        else:
            self._plan(retry_delay(failure.kind, attempt, self._random()), now)
        taken_back = failure.kind is Kind.DENIED and self._context is not None
        if taken_back and self._taken_back_at is None:  # R-WLAPI-24
            self._taken_back_at = now.monotonic
        self._settle(now)

    def ticked(self, now: Instant) -> None:
        """Let time pass: an identity may have expired, or its grace may be over."""
        if self._state is not State.CLOSED:
            self._settle(now)

    def closed(self, now: Instant) -> None:
        """End the watch; what was held is dropped."""
        self._drop()
        self._failure = None
        self._rejection = ""
        self._next_attempt = self._next_attempt_wall = None
        self._enter(State.CLOSED, now)

    def next_tick(self, now: Instant) -> float | None:
        """Seconds until time alone changes the state; None if it does not."""
        if self._context is None:
            return None
        ends = []
        if self._state is not State.EXPIRED:
            times = [each.not_after for each in self._context.svids]
            if self._delivered_context is not None:  # secondary identities may begin
                whole = self._delivered_context
                others = [each for each in whole.svids if each is not whole.default]
                times += [each.not_before for each in others if each.not_before > now.wall]
            ends.append((min(times) - now.wall).total_seconds())
        if self._taken_back_at is not None:
            ends.append(self._taken_back_at + self._grace - now.monotonic)
        return max(0.0, min(ends)) if ends else None

    def context(self, now: Instant) -> X509Context:
        """Give the snapshot in force.

        Raises:
            SourceError: There is none; or a `WorkloadApiError` that says why. One that expired or
                was taken back is never given (R-WLAPI-24, R-WLAPI-26).
        """
        self.ticked(now)
        if self._context is not None and self._state is not State.EXPIRED:
            return self._context
        if self._state is State.CLOSED:
            raise SourceClosedError("the source is closed: open a new one")
        code = self._failure.code if self._failure else ""
        if self._state is State.NO_IDENTITY:
            raise NoIdentityIssuedError(self._sentence(), code=code)
        if self._state is State.NO_AGENT:
            raise self.fatal or WorkloadApiError(self._sentence(), code=code)
        raise SourceError(self._sentence())

    def status(self, now: Instant) -> SourceStatus:
        """Give the record."""
        self.ticked(now)
        svid = self._context.default if self._context is not None else None
        return SourceStatus(
            state=self._state,
            since=self._since,
            cause=self._cause(),
            advice=self._advice(),
            next_attempt=self._next_attempt_wall,
            spiffe_id=svid.spiffe_id if svid else None,
            not_after=svid.not_after if svid else None,
            updates=self._updates,
            rejected=self._rejected,
            failures=MappingProxyType(self._failures),
            last_update=self._last_update,
        )

    def _settle(self, now: Instant) -> None:
        """Find the state that the facts stand for."""
        denied = self._failure is not None and self._failure.kind is Kind.DENIED
        taken = self._taken_back_at
        if taken is not None and now.monotonic - taken >= self._grace:
            self._drop()  # the end of what was taken back
        if self._context is not None:
            self._leave_out_invalid(now)
            expired = self._context.default.not_after <= now.wall
            troubled = self._failure is not None or bool(self._rejection)
            state = State.EXPIRED if expired else State.DEGRADED if troubled else State.READY
        elif denied:
            state = State.NO_IDENTITY
        elif self._failure is not None or self._rejection:
            state = State.NO_AGENT
        else:
            state = State.STARTING
        begins = state is not self._state
        self._enter(state, now)
        if state is State.EXPIRED and begins and self._next_attempt is None and not self.fatal:
            self._ask_again(now)  # the stream is open, and silent

    def _drop(self) -> None:
        self._context = self._delivered_context = None

    def _leave_out_invalid(self, now: Instant) -> None:
        """Leave out secondary identities that are not valid now; the default's validity is a state.

        Expired means gone, and what has not begun is not there yet. Found anew from what was
        delivered, so that a clock that was set back takes nothing away.
        """
        whole, held = self._delivered_context, self._context
        if whole is None or held is None or len(whole.svids) == 1:
            return
        kept = [each for each in whole.svids if each is whole.default or _valid(each, now.wall)]
        if len(kept) == len(whole.svids):
            self._context = whole
        elif [*map(id, kept)] != [*map(id, held.svids)]:  # the same object while nothing changes
            self._context = X509Context(svids=kept, bundles=whole.bundles, default=whole.default)

    def _ask_again(self, now: Instant, *, begins_in: float | None = None) -> None:
        """Plan to open the stream anew, though it is open: it brings nothing valid."""
        self._asked_again += 1
        delay = ask_again_delay(self._asked_again, self._random())
        if begins_in is not None:
            delay = max(_SOON, min(begins_in, max(_EARLY, delay)))
        self._plan(delay, now)

    def _plan(self, delay: float, now: Instant) -> None:
        self._next_attempt = now.monotonic + delay
        self._next_attempt_wall = now.wall + timedelta(seconds=delay)

    def _enter(self, state: State, now: Instant) -> None:
        if state is not self._state:
            self._state = state
            self._since = now.wall
            if state is State.EXPIRED and self._context is not None:
                self._since = self._context.default.not_after  # whoever looks first

    def _cause(self) -> str:
        parts = []
        if self._state is State.EXPIRED and self._context is not None:
            svid = self._context.default
            parts.append(f"the identity {svid.spiffe_id} expired at {svid.not_after:%FT%TZ}")
        if self._taken_back_at is not None and self._context is not None:
            parts.append(f"taken back by the agent, dropped {self._grace:g} s after that")
        if self._failure is not None and self._state is not State.READY:
            parts.append(f"{self._endpoint}: {self._failure.text}")
        if self._rejection and self._state is not State.READY:
            parts.append(self._rejection)
        return "; ".join(parts)

    def _advice(self) -> str:
        if self._state in (State.READY, State.CLOSED, State.STARTING):
            return ""
        if self._failure is not None:
            return ADVICE[self._failure.kind]
        return "look at the log of the SPIRE agent, and at this host's clock"

    def _sentence(self) -> str:
        """Render the record as one line."""
        silent = "connected, and no answer yet: look at the log of the SPIRE agent"
        asked = silent if self._next_attempt is None else "not connected yet"
        what = {
            State.STARTING: f"no identity yet: {self._endpoint}: {asked}",
            State.NO_AGENT: "no identity yet: the Workload API does not answer",
            State.NO_IDENTITY: "no identity is issued to this workload",
            State.EXPIRED: "the identity has expired and no new one came",
        }.get(self._state, f"the source is {self._state.value}")
        cause, advice = self._cause(), self._advice()
        return what + (f" ({cause})" if cause else "") + (f": {advice}" if advice else "")


def _valid(svid: X509Svid, at: datetime) -> bool:
    return svid.not_before <= at < svid.not_after
