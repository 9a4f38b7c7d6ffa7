"""Bundles of many trust domains, kept as the bytes that were delivered and read when asked for.

The Workload API sends every federated bundle with every message, ten thousand of them where there
are so many, and a process asks for a handful. Splitting, naming and reading wait until then. An
entry that cannot be used costs only itself (R-WLAPI-12): its trust domain has no bundle here, so
that nobody of it is trusted. An empty one is a bundle without authorities (R-WLAPI-11).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn, final

from serviceradar_security.errors import SecurityError, SpiffeIdError, TrustBundleError
from serviceradar_security.identity.bundle import TrustBundle, check_row
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BundleSet", "check_filed"]

_LOG: Final = logging.getLogger("serviceradar_security.identity")
_SCHEME: Final = "spiffe://"
_SHOWN: Final = 5
_SHOWN_NAME: Final = 200


@final
class BundleSet(Mapping[TrustDomain, TrustBundle]):
    """Map trust domains to bundles: our own, which were read, and federated ones, as delivered.

    Our own bundle wins over a federated one for the same trust domain (R-WLAPI-18). A trust domain
    that is delivered twice, by its ID and by its name, has no bundle (R-WLAPI-17).
    """

    __slots__ = ("_delivered", "_names", "_own", "_problems", "_read")
    _delivered: Mapping[str, bytes]
    _names: tuple[TrustDomain, ...] | None
    _own: Mapping[TrustDomain, TrustBundle]
    _problems: tuple[str, ...] | None
    _read: dict[str, TrustBundle | None]

    def __init__(
        self,
        own: Mapping[TrustDomain, TrustBundle],
        delivered: Mapping[str, bytes],
        *,
        before: BundleSet | None = None,
    ) -> None:
        """Keep what was delivered.

        Args:
            own: Bundles that were read, each filed under its own trust domain.
            delivered: Concatenated DER by the ID or the name of the trust domain, as in
                ``federated_bundles`` (Workload API section 5.1).
            before: The set that this one follows; what it read of the same bytes is used again.

        Raises:
            TrustBundleError: An own bundle stands under another trust domain than its own, or
                what was delivered is not bytes under text.
        """
        check_filed(own)
        for name, data in delivered.items():
            if not isinstance(name, str) or not isinstance(data, bytes):
                raise TrustBundleError("delivered bundles are bytes under the texts of their names")
        put = object.__setattr__
        put(self, "_own", dict(own))
        put(self, "_delivered", dict(delivered))
        put(self, "_names", None)
        put(self, "_problems", None)
        put(self, "_read", {} if before is None else before.still_good(self._delivered))

    def __getitem__(self, trust_domain: TrustDomain, /) -> TrustBundle:
        own = self._own.get(trust_domain)
        if own is not None:
            return own
        if not isinstance(trust_domain, TrustDomain):
            raise KeyError(trust_domain)
        bundle = self._read.get(trust_domain.name)
        if bundle is None:
            bundle = self._look_up(trust_domain)
        if bundle is None:
            raise KeyError(trust_domain)
        return bundle

    def __iter__(self) -> Iterator[TrustDomain]:
        return iter(self._examined())

    def __len__(self) -> int:
        return len(self._examined())

    @property
    def problems(self) -> tuple[str, ...]:
        """What of the delivered cannot be used by its name or its outer form, each in a sentence.

        No certificate is read for it: one that proves to be none is logged when it is asked for.
        """
        if self._problems is None:
            object.__setattr__(self, "_problems", tuple(self._look_through()))
        return self._problems or ()

    def _look_through(self) -> Iterator[str]:
        for name, data in self._delivered.items():
            try:
                trust_domain = _trust_domain(name)
                if trust_domain in self._own:  # R-WLAPI-18
                    yield f"a federated bundle for our own {trust_domain} is left out"
                else:
                    self._check_once(trust_domain)
                    check_row(trust_domain, data)
            except SecurityError as error:
                yield f"the federated bundle {name[:_SHOWN_NAME]!a} is left out: {error}"

    def _look_up(self, trust_domain: TrustDomain) -> TrustBundle | None:
        name = trust_domain.name
        if name in self._read:
            return self._read[name]  # by another thread meanwhile; None cannot be used
        try:
            bundle = self._load(trust_domain)
        except SecurityError as error:
            _LOG.warning("%s has no bundle: %s", trust_domain, error)
            return self._read.setdefault(name, None)
        # Only what was delivered is remembered: strangers choose the names that are asked for. Of
        # two threads that read at the same time one is the first, and both give its bundle.
        return None if bundle is None else self._read.setdefault(name, bundle)

    def _load(self, trust_domain: TrustDomain) -> TrustBundle | None:
        self._check_once(trust_domain)
        data = self._delivered.get(trust_domain.name)
        if data is None:
            data = self._delivered.get(f"{_SCHEME}{trust_domain.name}")
        return None if data is None else TrustBundle.from_der(trust_domain, data)

    def _check_once(self, trust_domain: TrustDomain) -> None:
        name = trust_domain.name
        if name in self._delivered and f"{_SCHEME}{name}" in self._delivered:  # R-WLAPI-17
            raise SpiffeIdError(f"there are two bundles for {trust_domain}")

    def _examined(self) -> tuple[TrustDomain, ...]:
        names = self._names
        if names is None:
            good = dict.fromkeys(self._own)
            for name in self._delivered:
                try:
                    trust_domain = _trust_domain(name)
                except SpiffeIdError:  # said by `problems`
                    continue
                if trust_domain in self:
                    good[trust_domain] = None
            names = tuple(good)
            object.__setattr__(self, "_names", names)
        return names

    def still_good(self, delivered: Mapping[str, bytes]) -> dict[str, TrustBundle | None]:
        """Give what was read here of bytes that are delivered again, by the domain's name."""
        same: dict[str, TrustBundle | None] = {}
        for name, bundle in tuple(self._read.items()):
            by_id = f"{_SCHEME}{name}"
            if bundle is not None and all(
                self._delivered.get(each) == delivered.get(each) for each in (name, by_id)
            ):
                same[name] = bundle
        return same

    def __eq__(self, other: object) -> bool:
        """Compare two sets by what was delivered, unread, and others by their bundles."""
        if isinstance(other, BundleSet):
            return self._delivered == other._delivered and self._own == other._own
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._examined()))

    def __repr__(self) -> str:
        own = ", ".join(sorted(each.name for each in self._own)[:_SHOWN])
        return f"BundleSet([{own}], {len(self._delivered)} delivered)"

    def __copy__(self) -> BundleSet:
        return self

    def __deepcopy__(self, _memo: object) -> BundleSet:
        return self

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (BundleSet, (self._own, self._delivered))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a BundleSet does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a BundleSet does not change: {name!r} cannot be deleted")


def check_filed(bundles: Mapping[TrustDomain, TrustBundle]) -> None:
    """Check that each bundle stands under its own trust domain (R-BUNDLE-13).

    Raises:
        TrustBundleError: One does not, or is none.
    """
    for trust_domain, bundle in bundles.items():
        if not isinstance(bundle, TrustBundle) or bundle.trust_domain != trust_domain:
            raise TrustBundleError(
                f"each TrustBundle stands under its own trust domain, not under "
                f"{shown(str(trust_domain))}",
            )


def _trust_domain(name: str) -> TrustDomain:
    """Read the key of a federated bundle: a trust domain's ID or its bare name (R-WLAPI-17)."""
    if not name.startswith(_SCHEME):
        return TrustDomain.parse(name)
    spiffe_id = SpiffeId.parse(name)
    if spiffe_id.path:
        raise SpiffeIdError(f"{spiffe_id} names a workload where a trust domain belongs")
    return spiffe_id.trust_domain
