"""Two authorities of plain mutual TLS, and parties with files of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.testing.authority import FakeAuthority
from tests.grpc.mtls.party import HOST, Party, issue

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.testing.authority import IssuedCertificate


class Mesh:
    """Parties that trust one authority, and another authority that nobody trusts."""

    def __init__(self, folder: Path) -> None:
        self.ours = FakeAuthority("mesh.test")
        self.other = FakeAuthority("other.test")
        self._folder = folder
        self._count = 0

    @property
    def roots(self) -> bytes:
        """The authorities that parties trust."""
        return self.ours.bundle.to_pem()

    def issue(self, **facts: Any) -> IssuedCertificate:
        """Issue a certificate of ours."""
        return issue(self.ours, **facts)

    def party(self, made: IssuedCertificate | None = None, roots: bytes = b"") -> Party:
        """Make a party; by default one that is fit to be a server or a client."""
        self._count += 1
        own = made or self.issue(dns_names=[HOST])
        return Party(self._folder / f"party{self._count}", own, roots or self.roots)


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)
