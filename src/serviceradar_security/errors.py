"""The family of errors: every failure of this library is one of these.

For: telling callers what failed, which rule refused it and what to do. Imports nothing of ours.
Each message is one line. Foreign exceptions stay in ``__cause__``. No message holds key bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "NoIdentityIssuedError",
    "OverlayRefusedError",
    "PeerError",
    "PeerNotAuthorizedError",
    "PeerVerificationError",
    "SecurityError",
    "SourceClosedError",
    "SourceError",
    "SourceTimeoutError",
    "SpiffeIdError",
    "TrustBundleError",
    "VerificationReason",
    "WorkloadApiError",
    "X509SvidError",
]


class SecurityError(Exception):
    """Root of all errors of this library.

    Attributes:
        retryable: Whether the same call may succeed later without a change by a person.
    """

    retryable: bool = False


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """Describe one thing that is wrong in a configuration.

    Attributes:
        path: Where it is, as ``agents.k8s-agent.security.mode``; empty for the whole document.
        text: What is wrong, by which rule, and what to do.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigError(SecurityError, ValueError):
    """A configuration that cannot be used.

    Attributes:
        problems: Every problem that was found, in the order of the document.
    """

    problems: tuple[ConfigProblem, ...]

    def __init__(self, message: str, *, problems: Iterable[ConfigProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (ConfigProblem("", message),)


class OverlayRefusedError(ConfigError):
    """An overlay from outside that touches what only the local operator may set.

    Attributes:
        paths: Every offending path of the overlay, in the order of the document.
    """

    paths: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        paths: Iterable[str] = (),
        problems: Iterable[ConfigProblem] = (),
    ) -> None:
        super().__init__(message, problems=problems)
        self.paths = tuple(paths)


class SpiffeIdError(SecurityError, ValueError):
    """A text that is no SPIFFE ID or no trust domain name."""


class TrustBundleError(SecurityError, ValueError):
    """A trust bundle that cannot be read."""


class X509SvidError(SecurityError, ValueError):
    """An X.509-SVID of our own that cannot be used: certificate, chain or key."""


class WorkloadApiError(SecurityError):
    """A failed exchange with the Workload API.

    Attributes:
        code: Name of the gRPC status code, as ``UNAVAILABLE``; empty if no status came.
    """

    code: str
    retryable: bool = True

    def __init__(self, message: str, *, code: str = "", retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class NoIdentityIssuedError(WorkloadApiError):
    """The Workload API knows this workload under no registration entry."""


class SourceError(SecurityError):
    """A source that cannot give an identity now."""

    retryable: bool = True


class SourceClosedError(SourceError):
    """A source that was used after ``close()``."""

    retryable: bool = False


class SourceTimeoutError(SourceError, TimeoutError):
    """A wait for an identity that passed its deadline; the message names the last cause."""


class PeerError(SecurityError):
    """A peer that was refused.

    Attributes:
        spiffe_id: The SPIFFE ID that the peer showed, if it could be read. Not proven unless
            the error is a `PeerNotAuthorizedError`.
    """

    spiffe_id: SpiffeId | None

    def __init__(self, message: str, *, spiffe_id: SpiffeId | None = None) -> None:
        super().__init__(message)
        self.spiffe_id = spiffe_id


VerificationReason = Literal[
    "malformed",
    "no_certificate",
    "no_spiffe_id",
    "several_uri_sans",
    "not_a_workload_id",
    "is_ca",
    "key_usage",
    "weak_key",
    "purpose",
    "not_yet_valid",
    "expired",
    "unknown_trust_domain",
    "untrusted_chain",
    "audience",
    "signature",
    "limit",
]
"""The closed set of reasons for which the verification of a peer fails.

``audience`` and ``signature`` are of tokens alone, the others of certificates or of both.
"""


class PeerVerificationError(PeerError):
    """A peer whose certificate proves no SPIFFE ID.

    Attributes:
        reason: Which rule refused it.
    """

    reason: VerificationReason

    def __init__(
        self,
        message: str,
        *,
        reason: VerificationReason = "malformed",
        spiffe_id: SpiffeId | None = None,
    ) -> None:
        super().__init__(message, spiffe_id=spiffe_id)
        self.reason = reason


class PeerNotAuthorizedError(PeerError):
    """A peer whose SPIFFE ID is proven, and not among those that are let in."""
