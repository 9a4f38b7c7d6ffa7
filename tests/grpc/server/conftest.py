"""Two trust domains and the identities of their workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.identity.context import X509Context
from serviceradar_security.testing.authority import FakeAuthority
from tests.grpc.server.service import Source

if TYPE_CHECKING:
    from serviceradar_security.identity.svid import X509Svid

SERVER = "spiffe://example.org/core"
CLIENT = "spiffe://example.org/poller"


@dataclass
class World:
    """Our trust domain and its partner."""

    local: FakeAuthority = field(default_factory=lambda: FakeAuthority("example.org"))
    partner: FakeAuthority = field(default_factory=lambda: FakeAuthority("partner.example"))

    def server_svid(self, **changes: Any) -> X509Svid:
        """Issue an identity that plain TLS clients can check by name."""
        return self.local.issue(SERVER, dns_names=["localhost"], **changes)

    def context(self, svid: X509Svid | None = None) -> X509Context:
        """Take a snapshot of now."""
        return X509Context(
            svids=[svid or self.server_svid()],
            bundles={each.trust_domain: each.bundle for each in (self.local, self.partner)},
        )

    def source(self) -> Source:
        """Make a source that gives a snapshot of now."""
        return Source(self.context())


@pytest.fixture
def world() -> World:
    return World()
