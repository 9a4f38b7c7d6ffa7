"""Later overlays and whole documents, through the same gate as the first.

For: holding what a service runs with while documents from outside come and go. A document is
judged over the local layers alone and never over an earlier one, so what is in force is what a
restart would give. Must not touch where documents come from.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Final, TypeGuard, TypeVar, final

from serviceradar_security.config.configuration import Config
from serviceradar_security.config.document import kind_of
from serviceradar_security.config.overlay import refusal_of
from serviceradar_security.config.problems import refusing_deep_callers, shortened
from serviceradar_security.errors import ConfigError, OverlayRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from serviceradar_security.config.formats import Format

__all__ = ["ConfigWatch", "ConfigWatchStatus"]

_log: Final = logging.getLogger("serviceradar_security.config")
_LONGEST_WAIT: Final = threading.TIMEOUT_MAX
_ASYNCHRONOUS: Final = "is asynchronous and nobody would await it: give a function"
_T = TypeVar("_T")


@final
@dataclass(frozen=True, slots=True)
class ConfigWatchStatus:
    """What a `ConfigWatch` knows of itself, whole and of one moment.

    Attributes:
        updates: How many documents and deletions were accepted, with a change or without.
        refused: How many were refused, or could not be applied.
        changes: How often a different document came into force.
        last_refusal: Why the last of the refused was; empty if none was.
        last_update: When the last one was accepted; None if none was.
        behind: Whether the newest document is not in force, since it was refused.
    """

    updates: int = 0
    refused: int = 0
    changes: int = 0
    last_refusal: str = ""
    last_update: datetime | None = None
    behind: bool = False


@final
class ConfigWatch:
    """Let later documents from outside change a running service, and never its security.

    Any number of threads may use it: documents are judged and applied one after the other.
    `current` and `status` never wait.

    Args:
        base: The configuration that the service started with, or its local document. It is not
            changed. An overlay in it counts as the document in force.
        apply: Called with each configuration whose document differs from the one in force. It
            gets whole new configurations only, and returns once the service runs with it. What
            it raises leaves the old one in force.
        observer: Called with the new status after each event, one at a time and in their order.
            What it raises is logged and changes nothing.
        patience: How many seconds a call waits while another one is being applied.
        now: The time, as an aware datetime.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        base: Config | Mapping[str, object],
        apply: Callable[[Config], object],
        *,
        observer: Callable[[ConfigWatchStatus], object] | None = None,
        patience: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        _check_arguments(apply, observer, patience, now)
        self._apply = apply
        self._observer = observer
        self._patience = patience
        self._now = now
        self._current = base if isinstance(base, Config) else Config(base)
        self._status = ConfigWatchStatus()
        self._one_at_a_time = threading.Lock()
        self._busy: int | None = None  # the thread that holds the lock

    @property
    def current(self) -> Config:
        """The configuration in force: the newest one that was accepted and applied."""
        return self._current

    def status(self) -> ConfigWatchStatus:
        """Give what happened so far."""
        return self._status

    def update(
        self,
        data: bytes | str | Mapping[str, object],
        *,
        format: Format | None = None,  # noqa: A002 - the word that callers look for
    ) -> Config:
        """Take over a document from outside: an overlay, or a whole configuration.

        Either one goes through the gate and is merged over the local layers, then the pinned
        file over both. It takes the place of the document before it.

        Args:
            data: The document. An empty one is refused; a deletion is `clear`.
            format: How it is written, if it is a text; as the local file if not given.

        Returns:
            The configuration in force now.

        Raises:
            OverlayRefusedError: The gate refuses it. All stays as it was.
            ConfigError: `apply` failed, was not done in time, or made this call itself. All
                stays as it was.
        """
        if data is None:
            raise ConfigError("update is given null: call clear() if the document was deleted")
        with self._alone():
            return self._take(data, format)

    def clear(self) -> Config:
        """Go back to the local layers alone, since the document was deleted.

        Returns:
            The configuration in force now.

        Raises:
            ConfigError: As for `update`.
        """
        with self._alone():
            return self._take(None, None)

    def _take(
        self,
        data: bytes | str | Mapping[str, object] | None,
        format: Format | None,  # noqa: A002 - as above
    ) -> Config:
        old = self._current
        try:
            with refusing_deep_callers("overlay", refusal_of):
                new = old.with_overlay(data, format=format)
                changed = not old.same_document(new)
        except ConfigError as error:
            self._refuse(str(error))
            if not isinstance(error, OverlayRefusedError):  # the gate has logged those
                paths = tuple(problem.path for problem in error.problems)
                _log.warning(
                    "%s",
                    str(error),
                    extra={
                        "event": "config_update_refused",
                        "paths": shortened(paths),
                        "problem_count": len(paths),
                    },
                )
            raise
        moment = self._now()
        if changed:
            self._run(new)
        # One assignment: readers see the old configuration or the new one.
        self._current = new
        if changed:
            _log.info("a new configuration is in force", extra={"event": "config_changed"})
        status = self._status
        self._tell(
            replace(
                status,
                updates=status.updates + 1,
                changes=status.changes + changed,
                last_update=moment,
                behind=False,
            ),
        )
        return new

    def _run(self, new: Config) -> None:
        try:
            _call(self._apply, new)
        except Exception as error:
            # Its text may hold values of the document: it stays in the cause.
            text = (
                f"the new configuration could not be applied, the old one stays in force: "
                f"{type(error).__name__} in the service's own apply"
            )
            if isinstance(error, _AsynchronousError):
                text = f"the new configuration was not applied, the old one stays in force: {error}"
            # Without a traceback: the frames of a user's function may hold secrets.
            _log.error(
                "%s",
                text,
                extra={"event": "config_apply_failed", "error": type(error).__name__},
            )
            self._refuse(text)
            raise ConfigError(text) from error

    def _refuse(self, text: str) -> None:
        status = self._status
        self._tell(replace(status, refused=status.refused + 1, last_refusal=text, behind=True))

    def _tell(self, status: ConfigWatchStatus) -> None:
        self._status = status
        if self._observer is None:
            return
        try:
            _call(self._observer, status)
        except Exception as error:  # noqa: BLE001 - a user's observer may raise anything
            _log.error(
                "an observer of configurations failed: %s; the next event follows",
                type(error).__name__,
                extra={"event": "config_observer_failed", "error": type(error).__name__},
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold every other document back, in other threads; refuse one from inside of this."""
        me = threading.get_ident()
        if self._busy == me:
            raise ConfigError(
                "a configuration is being applied by this very thread: return from apply and "
                "from observers before the next update",
            )
        if not self._one_at_a_time.acquire(timeout=self._patience):
            raise ConfigError(
                f"another configuration was not applied within {self._patience:g} s, so this one "
                "was not looked at: give it again once apply has returned",
            )
        self._busy = me
        try:
            yield
        finally:
            self._busy = None
            self._one_at_a_time.release()

    def __repr__(self) -> str:
        return f"ConfigWatch({self._current!r}, {self._status!r})"


def _check_arguments(apply: object, observer: object, patience: object, now: object) -> None:
    wrong = []
    for name, function, takes in (("apply", apply, "Config"), ("observer", observer, "status")):
        if function is None and name == "observer":
            continue
        if not callable(function):
            wrong.append(f"{name} is {kind_of(function)}: give a function that takes a {takes}")
        elif iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
            wrong.append(f"{name} {_ASYNCHRONOUS}")
    if not callable(now):
        wrong.append(f"now is {kind_of(now)}: give a function that returns the time")
    if not _is_number(patience) or not 0 < patience <= _LONGEST_WAIT:
        wrong.append("patience is no positive number of seconds")
    if wrong:
        raise ConfigError(f"config watch: {'; '.join(wrong)}")


class _AsynchronousError(Exception):
    """A function gave back something to await."""


def _call(function: Callable[[_T], object], argument: _T) -> None:
    """Call a function of the service, and refuse one that has only promised to do its work."""
    given = function(argument)
    if isawaitable(given):
        # A coroutine has not begun; a task may have, and is told to end.
        end = getattr(given, "close", None) or getattr(given, "cancel", None)
        if callable(end):
            end()
        raise _AsynchronousError(f"what was given for it {_ASYNCHRONOUS}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
