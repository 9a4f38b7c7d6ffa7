"""Authorizers: which proven SPIFFE IDs are let in.

An authorizer sees a verified `SpiffeId` and nothing of TLS. It refuses by raising, with the
reason. An empty allow list admits nobody (R-TLS-11).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, Protocol, final, runtime_checkable

from serviceradar_security.errors import PeerNotAuthorizedError, SpiffeIdError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "AnyId",
    "Authorizer",
    "MemberOf",
    "OneOf",
    "PathPrefix",
    "ask",
    "authorize_any",
    "authorize_id",
    "authorize_member_of",
    "authorize_one_of",
    "authorize_path_prefix",
]

_SHOWN_IDS: Final = 3
_SHOWN_IN_REPR: Final = 20


@runtime_checkable
class Authorizer(Protocol):
    """Decide on one verified SPIFFE ID."""

    @property
    def trust_domains(self) -> frozenset[TrustDomain] | None:
        """The trust domains it could ever accept, or None if there is no bound.

        Transports load only the roots of these.
        """
        ...

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if the ID is let in.

        Raises:
            PeerNotAuthorizedError: It is not, with the reason.
        """
        ...


def ask(authorizer: Authorizer, spiffe_id: SpiffeId) -> None:
    """Ask an authorizer, and take nothing but a plain return for a yes.

    Raises:
        PeerNotAuthorizedError: It refuses.
        TypeError: It answers with a value, as False or a coroutine, which is neither.
    """
    decide: Callable[[SpiffeId], object] = authorizer.authorize  # whatever its type says
    answer = decide(spiffe_id)
    if answer is not None:
        close = getattr(answer, "close", None)
        if callable(close):  # a coroutine that nobody will await
            close()
        raise TypeError(
            f"{type(authorizer).__name__}.authorize returned {type(answer).__name__}: an "
            "authorizer returns None or raises PeerNotAuthorizedError",
        )


@final
@dataclass(frozen=True, slots=True)
class OneOf:
    """Let in the SPIFFE IDs of a fixed set; made by `authorize_id` and `authorize_one_of`."""

    ids: frozenset[SpiffeId]

    @property
    def trust_domains(self) -> frozenset[TrustDomain]:
        """The trust domains of the IDs."""
        return frozenset(each.trust_domain for each in self.ids)

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if the ID is in the set.

        Raises:
            PeerNotAuthorizedError: It is not.
        """
        if spiffe_id not in self.ids:
            raise PeerNotAuthorizedError(
                f"{spiffe_id} is not let in: expected {self._expected()}",
                spiffe_id=spiffe_id,
            )

    def _expected(self) -> str:
        shown = [str(each) for each in nsmallest(_SHOWN_IDS, self.ids)]
        more = len(self.ids) - len(shown)
        return " or ".join(shown) + (f" or {more} more" if more else "") if shown else "nobody"

    def __repr__(self) -> str:
        ids = [str(each) for each in nsmallest(_SHOWN_IN_REPR, self.ids)]
        if len(self.ids) == 1:
            return f"authorize_id({ids[0]!r})"
        more = len(self.ids) - len(ids)
        listed = ", ".join(repr(each) for each in ids) + (f", … {more} more" if more else "")
        return f"authorize_one_of([{listed}])"


@final
@dataclass(frozen=True, slots=True)
class MemberOf:
    """Let in every workload of one trust domain; made by `authorize_member_of`."""

    trust_domain: TrustDomain

    @property
    def trust_domains(self) -> frozenset[TrustDomain]:
        """The one trust domain."""
        return frozenset((self.trust_domain,))

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if the ID is of the trust domain.

        Raises:
            PeerNotAuthorizedError: It is not.
        """
        if not spiffe_id.member_of(self.trust_domain):
            raise PeerNotAuthorizedError(
                f"{spiffe_id} is not let in: expected a member of {self.trust_domain}",
                spiffe_id=spiffe_id,
            )

    def __repr__(self) -> str:
        return f"authorize_member_of({self.trust_domain.name!r})"


@final
@dataclass(frozen=True, slots=True)
class PathPrefix:
    """Let in the IDs of a trust domain under a path; made by `authorize_path_prefix`."""

    prefix: SpiffeId

    @property
    def trust_domains(self) -> frozenset[TrustDomain]:
        """The one trust domain."""
        return frozenset((self.prefix.trust_domain,))

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if the path is the prefix, or goes on from it with a whole segment.

        Raises:
            PeerNotAuthorizedError: It does not; or another trust domain has the path (R-TLS-12).
        """
        path = self.prefix.path
        inside = spiffe_id.path == path or spiffe_id.path.startswith(f"{path}/")
        if not (inside and spiffe_id.member_of(self.prefix.trust_domain)):
            raise PeerNotAuthorizedError(
                f"{spiffe_id} is not let in: expected {self.prefix} or an ID below it",
                spiffe_id=spiffe_id,
            )

    def __repr__(self) -> str:
        return f"authorize_path_prefix({self.prefix.trust_domain.name!r}, {self.prefix.path!r})"


@final
@dataclass(frozen=True, slots=True)
class AnyId:
    """Let in every verified SPIFFE ID of every known trust domain; made by `authorize_any`."""

    @property
    def trust_domains(self) -> None:
        """None: there is no bound."""
        return

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return, whatever the ID."""

    def __repr__(self) -> str:
        return "authorize_any()"


def authorize_id(spiffe_id: SpiffeId) -> OneOf:
    """Let in one SPIFFE ID."""
    return authorize_one_of((spiffe_id,))


def authorize_one_of(ids: Iterable[SpiffeId]) -> OneOf:
    """Let in the given SPIFFE IDs; none given admits nobody."""
    given = tuple(ids)
    for each in given:
        if not isinstance(each, SpiffeId):
            raise SpiffeIdError(
                f"an authorizer takes SpiffeId objects, not {type(each).__name__}: "
                "use SpiffeId.parse(text)",
            )
    return OneOf(frozenset(given))


def authorize_member_of(trust_domain: TrustDomain) -> MemberOf:
    """Let in every workload of a trust domain: equality of names, no parents (R-ID-18)."""
    if not isinstance(trust_domain, TrustDomain):
        raise SpiffeIdError(
            f"an authorizer takes a TrustDomain, not {type(trust_domain).__name__}: "
            "use TrustDomain.parse(text)",
        )
    return MemberOf(trust_domain)


def authorize_path_prefix(trust_domain: TrustDomain, prefix: str) -> PathPrefix:
    """Let in the IDs of a trust domain whose path begins with whole segments.

    Args:
        trust_domain: Whose IDs; no prefix is ever matched without its trust domain (R-TLS-12).
        prefix: A path as ``/ns/demo``: lets in ``/ns/demo`` and ``/ns/demo/sa/core``, and not
            ``/ns/demography``.

    Raises:
        SpiffeIdError: The prefix is no path of a SPIFFE ID: it begins with a slash, does not end
            with one, and is not empty, for which there is `authorize_member_of`.
    """
    member = authorize_member_of(trust_domain).trust_domain
    if not isinstance(prefix, str) or not prefix.startswith("/"):
        raise SpiffeIdError(
            f"a path prefix begins with a slash, as '/ns/demo', and is not {shown(prefix)}: "
            "use authorize_member_of(trust_domain) for all of a trust domain",
        )
    return PathPrefix(SpiffeId.of(member, *prefix[1:].split("/")))


def authorize_any() -> AnyId:
    """Let in every verified SPIFFE ID; whoever reads the name knows what it does (R-TLS-11)."""
    return AnyId()
