"""The snapshot: all identities and all bundles of one moment, and the way to ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn, Protocol, final, runtime_checkable

from serviceradar_security.errors import TrustBundleError, X509SvidError
from serviceradar_security.identity.bundle_set import BundleSet, check_filed
from serviceradar_security.identity.spiffe_id import shown
from serviceradar_security.identity.svid import X509Svid

if TYPE_CHECKING:
    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.spiffe_id import TrustDomain

_SHOWN = 20

__all__ = ["X509Context", "X509ContextSource"]


@final
class X509Context:
    """A frozen snapshot of what the Workload API delivered: replaced whole, never edited."""

    __slots__ = ("_bundles", "_default", "_svids")
    _bundles: Mapping[TrustDomain, TrustBundle]
    _default: X509Svid | None
    _svids: tuple[X509Svid, ...]

    def __init__(
        self,
        *,
        svids: Iterable[X509Svid],
        bundles: Mapping[TrustDomain, TrustBundle],
        default: X509Svid | None = None,
    ) -> None:
        """Make a snapshot.

        Args:
            svids: Our identities; the first is the default unless `default` names another
                (Workload API section 8; R-WLAPI-14).
            bundles: The bundles by trust domain.
            default: One of `svids`.

        Raises:
            X509SvidError: `default` is not one of `svids`, or an element is of another type.
        """
        if not isinstance(svids, Iterable) or not isinstance(bundles, Mapping):
            raise X509SvidError("an X509Context is made of SVIDs and of a mapping of bundles")
        held = tuple(svids)
        if not all(isinstance(each, X509Svid) for each in held):
            raise X509SvidError("an X509Context holds X509Svid objects only")
        if default is not None and not any(each is default for each in held):
            raise X509SvidError("the default identity is not one of the snapshot's SVIDs")
        object.__setattr__(self, "_svids", held)
        object.__setattr__(self, "_bundles", _filed(bundles))
        object.__setattr__(self, "_default", default or (held[0] if held else None))

    @property
    def svids(self) -> tuple[X509Svid, ...]:
        """Our identities, in the order of the Workload API."""
        return self._svids

    @property
    def default(self) -> X509Svid:
        """The identity to present.

        Raises:
            X509SvidError: The snapshot has none.
        """
        if self._default is None:
            raise X509SvidError("this snapshot has bundles only, and no identity to present")
        return self._default

    @property
    def bundles(self) -> Mapping[TrustDomain, TrustBundle]:
        """The bundles by trust domain, read-only."""
        return self._bundles

    def by_hint(self, hint: str) -> X509Svid:
        """Find the identity with this hint; of several, the first (R-WLAPI-15).

        Raises:
            X509SvidError: There is none; never another identity instead (R-WLAPI-16).
        """
        for svid in self._svids:
            if hint and svid.hint == hint:
                return svid
        hints = ", ".join(shown(each.hint) for each in self._svids[:_SHOWN] if each.hint) or "none"
        raise X509SvidError(f"no identity has the hint {shown(hint)} (there are: {hints})")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, X509Context)
            and self._svids == other._svids
            and self._default == other._default
            and self._bundles == other._bundles
        )

    def __hash__(self) -> int:
        # Not of the bundles, which would all have to be read for it.
        return hash((self._svids, self._default))

    def __repr__(self) -> str:
        if isinstance(self._bundles, BundleSet):
            return f"X509Context({list(self._svids)!r}, {self._bundles!r})"
        domains = ", ".join(sorted(each.name for each in self._bundles))
        return f"X509Context({list(self._svids)!r}, bundles of [{domains}])"

    def __copy__(self) -> X509Context:
        return self

    def __deepcopy__(self, _memo: object) -> X509Context:
        return self

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle all of it, with the keys of its SVIDs."""
        # A default that is given twice among the SVIDs is equal wherever it stands.
        position = None if self._default is None else self._svids.index(self._default)
        bundles = self._bundles if isinstance(self._bundles, BundleSet) else dict(self._bundles)
        return (_unpickled, (self._svids, bundles, position))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an X509Context does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an X509Context does not change: {name!r} cannot be deleted")


def _filed(bundles: Mapping[TrustDomain, TrustBundle]) -> Mapping[TrustDomain, TrustBundle]:
    """Check that each bundle stands under its own trust domain (R-BUNDLE-13)."""
    if isinstance(bundles, BundleSet):  # which has checked its own, and names the others itself
        return bundles
    filed = dict(bundles)
    try:
        check_filed(filed)
    except TrustBundleError as error:
        raise X509SvidError(f"an X509Context cannot hold these bundles: {error}") from error
    return MappingProxyType(filed)


def _unpickled(
    svids: tuple[X509Svid, ...],
    bundles: Mapping[TrustDomain, TrustBundle],
    position: int | None,
) -> X509Context:
    default = None if position is None else svids[position]
    return X509Context(svids=svids, bundles=bundles, default=default)


@runtime_checkable
class X509ContextSource(Protocol):
    """What a transport asks for material: any source, or a stand-in with this one method."""

    def current(self) -> X509Context:
        """Give the newest snapshot, or raise the error that says why there is none."""
        ...
