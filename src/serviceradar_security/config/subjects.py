"""Certificate names in old role lists, and the SPIFFE ID that the platform gives that workload.

What is found here is advice for a person and is never applied: a name in a certificate is not an
identity, whoever signed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HOW_TO_WRITE", "Deployment", "common_name", "is_subject"]

HOW_TO_WRITE: Final = (
    'write the SPIFFE ID of that workload, as "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT" in '
    'Kubernetes or "spiffe://TRUST-DOMAIN/services/NAME" in Compose'
)

# Kubernetes: the CN is the service account, and so is the last segment of the SPIFFE ID.
_ACCOUNT_PREFIX: Final = "serviceradar-"
_ACCOUNTS: Final = frozenset(
    (
        "agent",
        "bmp-collector",
        "core",
        "datasvc",
        "db-event-writer",
        "flow-collector",
        "flowgger",
        "log-collector",
        "mapper",
        "poller",
        "rperf-checker",
        "snmp-checker",
        "sync",
        "sysmon-vm",
        "trapd",
        "web-ng",
        "zen",
    ),
)
# Compose: the CN is NAME.serviceradar, the SPIFFE ID ends in /services/NAME.
_SERVICE_SUFFIX: Final = ".serviceradar"
_SERVICES: Final = frozenset(
    (
        "agent",
        "core",
        "datasvc",
        "db-event-writer",
        "flowgger",
        "mapper",
        "otel",
        "poller",
        "rperf-client",
        "snmp-checker",
        "sync",
        "trapd",
        "zen",
    ),
)
_PLATFORM_TRUST_DOMAIN: Final = TrustDomain.parse("carverauto.dev")  # what Compose files come with
_UNSAFE: Final = frozenset('\\"+;#<>')  # escapes and multi-valued parts: not worth guessing at


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the SPIFFE IDs of a role list show of the deployment that it was written for.

    Attributes:
        namespaces: Trust domains and Kubernetes namespaces.
        composed: Trust domains with IDs of the Compose form.
        trust_domain: The trust domain, where it is known from elsewhere.
    """

    namespaces: frozenset[tuple[TrustDomain, str]]
    composed: frozenset[TrustDomain]
    trust_domain: TrustDomain | None

    @classmethod
    def seen_in(cls, ids: Iterable[SpiffeId], trust_domain: TrustDomain | None) -> Self:
        """Look at the IDs of a role list."""
        namespaces: set[tuple[TrustDomain, str]] = set()
        composed: set[TrustDomain] = set()
        for spiffe_id in ids:
            match spiffe_id.segments:
                case ("ns", namespace, "sa", _):
                    namespaces.add((spiffe_id.trust_domain, namespace))
                case ("services", _):
                    composed.add(spiffe_id.trust_domain)
                case _:
                    pass
        return cls(frozenset(namespaces), frozenset(composed), trust_domain)

    def spiffe_id_of(self, identity: str) -> SpiffeId | None:
        """Give the SPIFFE ID of the workload that a CN or subject names, or None if unsure."""
        name = common_name(identity) if is_subject(identity) else identity
        if name.startswith(_ACCOUNT_PREFIX) and name.removeprefix(_ACCOUNT_PREFIX) in _ACCOUNTS:
            return self._in_kubernetes(name)
        if name.endswith(_SERVICE_SUFFIX) and name.removesuffix(_SERVICE_SUFFIX) in _SERVICES:
            return self._in_compose(name.removesuffix(_SERVICE_SUFFIX))
        return None

    def _in_kubernetes(self, account: str) -> SpiffeId | None:
        if len(self.namespaces) != 1:  # the name says nothing of its namespace
            return None
        ((trust_domain, namespace),) = self.namespaces
        return SpiffeId.of(trust_domain, "ns", namespace, "sa", account)

    def _in_compose(self, service: str) -> SpiffeId | None:
        if len(self.composed) > 1 or (self.namespaces and not self.composed):
            return None
        (trust_domain,) = self.composed or {self.trust_domain or _PLATFORM_TRUST_DOMAIN}
        return SpiffeId.of(trust_domain, "services", service)


def is_subject(identity: str) -> bool:
    """Tell whether a text is written like a certificate's subject, as ``CN=core,O=Example``."""
    return "=" in identity


def common_name(subject: str) -> str:
    """Give the one CN of a subject; empty if there is none, or more than one could be meant."""
    if not _UNSAFE.isdisjoint(subject):
        return ""
    parts = [part.partition("=") for part in subject.split(",")]
    names = [value.strip() for key, _, value in parts if key.strip().upper() == "CN"]
    return names[0] if len(names) == 1 else ""
