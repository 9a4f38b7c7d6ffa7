"""What a ``spiffe.X509Source`` holds, converted once for each change.

Its SVIDs do not change; its bundles can be edited in place, so their authorities are compared.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from serviceradar_security.errors import SecurityError
from serviceradar_security.identity.context import X509Context
from serviceradar_security.spiffe.convert import bundle_of, from_spiffe

if TYPE_CHECKING:
    import spiffe
    from cryptography import x509
    from spiffe.workloadapi.x509_context import X509Context as TheirX509Context

    from serviceradar_security.identity.bundle import TrustBundle
    from serviceradar_security.identity.svid import X509Svid

__all__ = ["Intake"]

_LOG: Final = logging.getLogger("serviceradar_security.spiffe")


class Intake:
    """What was last looked at, and what was made of its bundles: converted once, used often."""

    def __init__(self) -> None:
        self._svid: spiffe.X509Svid | None = None
        self._authorities: dict[str, set[x509.Certificate]] = {}
        self._made: X509Svid | None = None
        self._bundles: dict[str, tuple[set[x509.Certificate], TrustBundle]] = {}

    def is_same(self, theirs: TheirX509Context) -> bool:
        """Tell whether nothing has changed; their bundles can be edited in place."""
        return theirs.default_svid is self._svid and self._authorities == _authorities(theirs)

    def take(self, theirs: TheirX509Context) -> X509Context:
        """Convert what has changed; a federated bundle that cannot be used costs only itself.

        Raises:
            SecurityError: The SVID, or the bundle of its own trust domain, breaks a rule.
        """
        self._authorities = _authorities(theirs)
        if theirs.default_svid is not self._svid:
            self._svid, self._made = theirs.default_svid, None
        if self._made is None:
            self._made = from_spiffe(theirs.default_svid)
        own = self._made.spiffe_id.trust_domain
        bundles: dict[str, tuple[set[x509.Certificate], TrustBundle]] = {}
        for bundle in theirs.x509_bundle_set.bundles:
            name = bundle.trust_domain.name
            authorities = self._authorities[name]
            kept = self._bundles.get(name)
            if kept is not None and kept[0] == authorities:
                bundles[name] = kept
                continue
            try:
                bundles[name] = authorities, bundle_of(bundle.trust_domain, authorities)
            except SecurityError as error:
                if name == own.name:
                    raise
                _LOG.warning("a federated bundle of the spiffe source is left out: %s", error)
        self._bundles = bundles
        return X509Context(
            svids=[self._made],
            bundles={made.trust_domain: made for _, made in bundles.values()},
        )


def _authorities(theirs: TheirX509Context) -> dict[str, set[x509.Certificate]]:
    return {
        each.trust_domain.name: each.x509_authorities for each in theirs.x509_bundle_set.bundles
    }
