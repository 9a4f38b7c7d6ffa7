"""The record that a KV overlay keeps of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["KvDocument", "KvState", "KvStatus", "Moment"]


class KvState(Enum):
    """How an overlay stands with the store."""

    STARTING = "STARTING"
    """The store has not answered yet, and nothing has failed either."""
    FOLLOWING = "FOLLOWING"
    """The newest document is in force, and changes arrive."""
    ABSENT = "ABSENT"
    """The store answers that there is no such key; the local configuration is in force."""
    REFUSED = "REFUSED"
    """The newest document was refused; the configuration is what it was before it came."""
    OUTAGE = "OUTAGE"
    """The store does not answer as it should; the configuration stays as it is."""
    DENIED = "DENIED"
    """The store answers, and does not serve us this key; the configuration stays as it is."""
    CLOSED = "CLOSED"
    """Closed by its owner; or, with a cause, its channel was closed or its thread ended."""
    FORKED = "FORKED"
    """This is the child of a fork, in which gRPC does not work: nothing is followed here."""


class KvDocument(Enum):
    """What became of the newest document that the store told of."""

    UNKNOWN = "UNKNOWN"
    """It told of none, and not of its absence either."""
    APPLIED = "APPLIED"
    """It is in force."""
    ABSENT = "ABSENT"
    """There is none, or it is empty: the local configuration is in force."""
    REFUSED = "REFUSED"
    """It was refused whole, and what was in force before still is."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on both clocks: the wall clock to be shown, the other one for waiting."""

    monotonic: float
    wall: datetime


@dataclass(frozen=True, slots=True)
class KvStatus:
    """What an overlay knows of itself, whole and of one moment.

    Attributes:
        key: The key that is followed.
        state: How it stands with the store.
        since: When it came into this state.
        cause: Why; empty while all is well.
        advice: What a person can do about it; empty while all is well.
        next_attempt: When the store is asked again; None while a stream is open or a question is.
        document: What became of the newest document, also during an outage.
        updates: How many documents and deletions were taken over.
        refused: How many documents were refused.
        refusal: Why the last of these was; empty if none ever was.
        refused_paths: Every offending path of that one, as far as it could be read.
        last_refusal: When that was.
        last_update: When a document or a deletion was last taken over.
        last_contact: When the store was last heard.
        next_apply: When the document is tried again that could not be applied; None if none is.
    """

    key: str
    state: KvState
    since: datetime
    cause: str
    advice: str
    next_attempt: datetime | None
    document: KvDocument
    updates: int
    refused: int
    refusal: str
    refused_paths: tuple[str, ...]
    last_refusal: datetime | None
    last_update: datetime | None
    last_contact: datetime | None
    next_apply: datetime | None = None
