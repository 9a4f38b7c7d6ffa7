"""Combine authorizers: all of them, any of them, none of them.

A refusal is a `PeerNotAuthorizedError` and nothing else. Whatever else an authorizer raises is
handed on, so that a broken one never lets anybody in, not even under `none_of`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from serviceradar_security.errors import ConfigError, PeerNotAuthorizedError
from serviceradar_security.identity.authorizer import Authorizer, ask
from serviceradar_security.identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from serviceradar_security.identity.spiffe_id import SpiffeId

__all__ = ["AllOf", "AnyOf", "NoneOf", "all_of", "any_of", "none_of"]

_SHOWN: Final = 3


@final
@dataclass(frozen=True, slots=True)
class AllOf:
    """Let in whom every authorizer lets in; made by `all_of`."""

    authorizers: tuple[Authorizer, ...]

    def __post_init__(self) -> None:
        _check("all_of", self.authorizers, or_everybody=True)

    @property
    def trust_domains(self) -> frozenset[TrustDomain] | None:
        """The trust domains that all of them could accept; None if none has a bound."""
        known = [each for each in _bounds(self.authorizers) if each is not None]
        return frozenset.intersection(*known) if known else None

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if every authorizer does.

        Raises:
            PeerNotAuthorizedError: One refuses: its own error.
        """
        for each in self.authorizers:
            ask(each, spiffe_id)

    def __repr__(self) -> str:
        return f"all_of({_listed(self.authorizers)})"


@final
@dataclass(frozen=True, slots=True)
class AnyOf:
    """Let in whom one of the authorizers lets in; made by `any_of`."""

    authorizers: tuple[Authorizer, ...]

    def __post_init__(self) -> None:
        _check("any_of", self.authorizers, or_everybody=False)

    @property
    def trust_domains(self) -> frozenset[TrustDomain] | None:
        """The trust domains that one of them could accept; None if one has no bound."""
        bounds = _bounds(self.authorizers)
        known = [each for each in bounds if each is not None]
        return frozenset().union(*known) if len(known) == len(bounds) else None

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if one of the authorizers does; none given admits nobody.

        Raises:
            PeerNotAuthorizedError: All of them refuse.
        """
        if not any(_accepts(each, spiffe_id) for each in self.authorizers):
            shown = " or ".join(repr(each) for each in self.authorizers[:_SHOWN]) or "nobody"
            more = len(self.authorizers) - _SHOWN
            raise PeerNotAuthorizedError(
                f"{spiffe_id} is not let in: expected {shown}"
                + (f" or {more} more" if more > 0 else ""),
                spiffe_id=spiffe_id,
            )

    def __repr__(self) -> str:
        return f"any_of({_listed(self.authorizers)})"


@final
@dataclass(frozen=True, slots=True)
class NoneOf:
    """Let in whom all of the authorizers refuse; made by `none_of`."""

    authorizers: tuple[Authorizer, ...]

    def __post_init__(self) -> None:
        _check("none_of", self.authorizers, or_everybody=True)

    @property
    def trust_domains(self) -> None:
        """None: whoever is not excluded is let in. Combine with `all_of` to give a bound."""
        return

    def authorize(self, spiffe_id: SpiffeId, /) -> None:
        """Return if every authorizer refuses.

        Raises:
            PeerNotAuthorizedError: One would let the ID in.
        """
        for each in self.authorizers:
            if _accepts(each, spiffe_id):
                raise PeerNotAuthorizedError(
                    f"{spiffe_id} is not let in: it is excluded by {each!r}",
                    spiffe_id=spiffe_id,
                )

    def __repr__(self) -> str:
        return f"none_of({_listed(self.authorizers)})"


def all_of(*authorizers: Authorizer) -> AllOf:
    """Let in whom every authorizer lets in.

    Raises:
        ConfigError: None is given, which would admit everybody; or one is no authorizer.
    """
    return AllOf(authorizers)


def any_of(*authorizers: Authorizer) -> AnyOf:
    """Let in whom at least one authorizer lets in; none given admits nobody.

    Raises:
        ConfigError: One is no authorizer.
    """
    return AnyOf(authorizers)


def none_of(*authorizers: Authorizer) -> NoneOf:
    """Let in every verified ID that all the authorizers refuse.

    Alone it has no bound: ``all_of(authorize_member_of(td), none_of(authorize_id(old)))``. gRPC
    channels take neither, since gRPC core decides by what can be written as a pattern.

    Raises:
        ConfigError: None is given, which would admit everybody; or one is no authorizer.
    """
    return NoneOf(authorizers)


def _check(name: str, authorizers: tuple[Authorizer, ...], *, or_everybody: bool) -> None:
    if or_everybody and not authorizers:
        raise ConfigError(
            f"{name}() of nothing would let everybody in: give an authorizer, or write "
            "authorize_any() where that is meant",
        )
    for each in authorizers:
        # A class has the protocol's names too, and would fail only when a peer comes.
        if isinstance(each, type) or not callable(getattr(each, "authorize", None)):
            raise ConfigError(
                f"{name} takes authorizers, as authorize_id(...), not {type(each).__name__}",
            )


def _bounds(authorizers: tuple[Authorizer, ...]) -> list[frozenset[TrustDomain] | None]:
    """Ask for the bounds; one that is no set of trust domains would load the wrong roots."""
    bounds: list[frozenset[TrustDomain] | None] = []
    for each in authorizers:
        bound: object = each.trust_domains
        if bound is None:
            bounds.append(None)
        elif isinstance(bound, AbstractSet) and all(isinstance(one, TrustDomain) for one in bound):
            bounds.append(frozenset(bound))
        else:
            raise ConfigError(
                f"{type(each).__name__}.trust_domains is {type(bound).__name__}: give a set of "
                "TrustDomain, or None for no bound",
            )
    return bounds


def _accepts(authorizer: Authorizer, spiffe_id: SpiffeId) -> bool:
    try:
        ask(authorizer, spiffe_id)
    except PeerNotAuthorizedError:
        return False
    return True


def _listed(authorizers: tuple[Authorizer, ...]) -> str:
    return ", ".join(repr(each) for each in authorizers)
