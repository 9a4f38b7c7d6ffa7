"""What happens to an overlay, and what its machine decides to do about it: values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serviceradar_security.kv.failure import Failure

__all__ = [
    "Action",
    "Answered",
    "Apply",
    "Ask",
    "Closed",
    "Drop",
    "Ended",
    "Event",
    "Failed",
    "Follow",
    "Refusal",
    "Settled",
    "Started",
    "Tick",
    "Told",
    "Unreadable",
]


# ---- what happens ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The overlay was opened."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The store answered a question; None: there is no such key."""

    value: bytes | None = field(repr=False)  # documents may hold secrets


@dataclass(frozen=True, slots=True)
class Told:
    """A message came on the stream; empty: the key was deleted."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes came on the stream that are no message."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A question was not answered."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a document was refused.

    Attributes:
        text: The reason, without a value of the document.
        paths: The offending paths.
        passing: Whether the same document may be taken another time.
    """

    text: str
    paths: tuple[str, ...] = ()
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The document of the last `Apply` was taken over, or refused."""

    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing is followed any more; without a cause, since the owner wants it so.

    Attributes:
        cause: Why, if the owner did not want it.
        died: Whether the thread is dead that would follow.
    """

    cause: str = ""
    died: bool = False


Event = Started | Answered | Told | Unreadable | Failed | Ended | Settled | Tick | Closed


# ---- what to do --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for the value of the key."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Open the stream."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel the stream and the question, as far as they are open."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Hand this document over, and say `Settled`; None: clear."""

    document: bytes | None = field(repr=False)


Action = Ask | Follow | Drop | Apply
