"""The steps of a rehearsal: what the agent does, and what a service must make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from serviceradar_security.testing.authority import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.testing.stage import Stage

__all__ = ["STEPS"]

_GARBAGE: Final = b"\xff" * 64  # no protobuf message
_FAR: Final = 3600.0  # seconds by which the clock of the skewed issuer is ahead


def _start(stage: Stage) -> None:
    stage.recover()


def _rotation(stage: Stage) -> None:
    stage.api.rotate()
    stage.recover()


def _authority(stage: Stage) -> None:
    stage.api.rotate_authority()
    stage.recover()


def _retirement(stage: Stage) -> None:
    stage.api.rotate_authority()
    stage.recover()
    stage.api.authority.retire()
    stage.api.publish()
    stage.recover()


def _federation(stage: Stage) -> None:
    other = FakeAuthority("federated.example")
    stage.api.federate(other.bundle)
    stage.hold()
    stage.api.defederate(other.trust_domain)
    stage.hold()
    stage.api.rotate()
    stage.recover()


def _end_of_stream(stage: Stage) -> None:
    before = stage.api.requests
    stage.api.end_stream()
    stage.hold()
    stage.api.wait_requests(before + 1)
    stage.api.rotate()
    stage.recover()


def _error(stage: Stage) -> None:
    before = stage.api.requests
    stage.api.fail("UNAVAILABLE")
    stage.hold()
    stage.api.wait_requests(before + 1)
    stage.api.rotate()
    stage.recover()


def _redaction(stage: Stage) -> None:
    before = stage.api.requests
    stage.api.deny()  # whether to go on without an identity is for the service to decide
    stage.api.wait_requests(before + 1)
    stage.api.rotate()
    stage.recover()


def _garbage(stage: Stage) -> None:
    stage.api.send(_GARBAGE)
    stage.hold()
    stage.api.rotate()
    stage.recover()


def _oversized(stage: Stage) -> None:
    stage.api.oversize()
    stage.hold()
    stage.api.rotate()
    stage.recover()


def _expired(stage: Stage) -> None:
    stage.hold(wrong=stage.api.expire())
    stage.api.rotate()
    stage.recover()


def _skewed(stage: Stage) -> None:
    stage.hold(wrong=stage.api.skew(_FAR))
    stage.api.rotate()
    stage.recover()


def _slow(stage: Stage) -> None:
    stage.api.drip()
    stage.api.rotate()
    stage.recover()
    stage.api.allow()


def _silence(stage: Stage) -> None:
    stage.api.hang()
    stage.api.restart()
    stage.hold()
    stage.api.rotate()
    stage.recover()


def _outage(stage: Stage) -> None:
    stage.api.stop(leave_socket=True)
    stage.hold()
    stage.api.start()
    stage.api.rotate()
    stage.recover()


def _replacement(stage: Stage) -> None:
    before = stage.api.requests
    stage.api.restart()
    stage.hold()
    stage.api.wait_requests(before + 1)
    stage.api.rotate()
    stage.recover()


def _late_agent(stage: Stage) -> None:
    stage.start_late()
    stage.recover()


STEPS: Final[dict[str, tuple[str, Callable[[Stage], None]]]] = {
    "start": ("the service starts", _start),
    "rotation": ("a new certificate and key", _rotation),
    "authority rotation": ("a new authority signs, the old one stays in the bundle", _authority),
    "authority retirement": ("the old authority leaves the bundle", _retirement),
    "federation": ("the bundle of another trust domain comes and goes", _federation),
    "end of stream": ("the stream ends with OK", _end_of_stream),
    "error": ("calls end with UNAVAILABLE for a while", _error),
    "redaction": ("the identity is taken back, and returns", _redaction),
    "garbage": ("a message that is none", _garbage),
    "oversized message": ("a message of more than 64 MiB", _oversized),
    "expired identity": ("a certificate that has expired", _expired),
    "clock skew": ("a certificate that is not valid yet", _skewed),
    "slow drip": ("a rotation at 64 bytes per write", _slow),
    "silence": ("the agent takes calls and says nothing for a while", _silence),
    "outage": ("the agent goes and comes back", _outage),
    "replaced socket": ("the agent restarts with a new socket", _replacement),
    "late agent": ("the service starts before the agent", _late_agent),
}
"""Each step's name, what happens in it, and how."""
