"""Kinds of trust: what core gets for each, and that slots of one kind never serve another."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import SecurityError, TrustBundleError
from serviceradar_security.grpc.client.bundle_map import render_roots
from serviceradar_security.grpc.client.materials import HOST_SLOTS, SLOTS, Materials
from serviceradar_security.grpc.client.trust import HOSTS, SPIFFE, identity_of, trust_of
from serviceradar_security.grpc.nobody import nobody
from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.credentials import TlsCredentials
from serviceradar_security.testing.authority import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTHORITY = FakeAuthority("mesh.test")
ROOTS = AUTHORITY.bundle.to_pem()
_MOST_OF_A_VARIABLE = 128 * 1024


def credentials(roots: bytes = ROOTS) -> TlsCredentials:
    """Make credentials."""
    chain, key = AUTHORITY.issue_certificate(None, uris=[]).to_pem()
    authorities = Authorities.from_pem(roots, name="ca_file")
    return TlsCredentials.from_pem(chain, key, authorities=authorities, at=datetime.now(UTC))


class Source:
    """Gives what a test sets."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def current(self) -> Any:
        return self.found


@pytest.fixture
def materials() -> Iterator[Materials]:
    """All slots of a process."""
    made = Materials()
    yield made
    made.close()


def test_what_a_snapshot_asks_for() -> None:
    """SVIDs come with a bundle map, plain certificates with roots; without an identity, nothing."""
    svid = AUTHORITY.issue("spiffe://mesh.test/x")
    context = X509Context(svids=[svid], bundles={AUTHORITY.trust_domain: AUTHORITY.bundle})
    assert identity_of(context) is svid
    assert identity_of(X509Context(svids=[], bundles={})) is None
    assert list(json.loads(trust_of(context).data)) == ["trust_domains"]
    plain = credentials()
    assert identity_of(plain) is plain
    assert trust_of(plain).data == ROOTS
    assert trust_of(plain).domains == {""}


def test_roots_that_core_cannot_read(caplog: pytest.LogCaptureFixture) -> None:
    """An authority that core could not read is left out with a word; without any, nothing is written."""
    odd = FakeAuthority("odd.test", key_type="ed25519").bundle.to_pem()
    assert render_roots(credentials(odd + ROOTS).authorities).data == ROOTS
    assert "an authority of ca_file is left out" in caplog.text
    with pytest.raises(TrustBundleError, match="can read no authority of ca_file"):
        render_roots(credentials(odd).authorities)


def test_slots_have_a_kind(materials: Materials) -> None:
    """Sources of host names have slots of their own, and cannot take those of SPIFFE IDs."""
    sources = [Source(credentials()) for _ in range(HOST_SLOTS + 1)]
    taken = [materials.acquire(each, lambda _: None, 0.0, HOSTS) for each in sources[:HOST_SLOTS]]
    assert len({slot.number for slot in taken}) == HOST_SLOTS
    assert materials.acquire(sources[0], lambda _: None, 0.0, HOSTS) is taken[0]
    assert not materials.has_room_for(sources[-1], HOSTS)
    assert materials.has_room_for(sources[-1], SPIFFE)
    with pytest.raises(SecurityError, match=f"{HOST_SLOTS} sources have open gRPC channels"):
        materials.acquire(sources[-1], lambda _: None, 0.0, HOSTS)
    other = materials.acquire(Source(None), lambda _: None, 0.0)
    assert other.number < SLOTS <= min(slot.number for slot in taken)


def test_a_slot_of_hosts(materials: Materials) -> None:
    """Chain, key and roots are written; withdrawn they trust nobody, and core can read them."""
    source = Source(credentials())
    slot = materials.acquire(source, lambda _: None, 0.0, HOSTS)
    providers = materials.providers()
    assert slot.identity_name.endswith("nobody")
    assert slot.step(datetime.now(UTC), 0.0)
    identity = Path(providers[slot.identity_name]["config"]["private_key_file"])
    roots = Path(providers[slot.trust_name]["config"]["ca_certificate_file"])
    chain, key = source.found.to_pem()
    assert identity.read_bytes() == key + chain
    assert roots.read_bytes() == ROOTS
    materials.release(slot, 1.0)
    assert identity.read_bytes() == b"withdrawn\n"
    assert roots.read_bytes() == nobody().certificate
    assert slot.identity_name.endswith("nobody")


@pytest.mark.parametrize("kind", [HOSTS, SPIFFE], ids=["hosts", "spiffe"])
def test_a_source_of_the_other_kind(materials: Materials, kind: Any) -> None:
    """What is of another kind than the slot is no identity."""
    other = credentials() if kind is SPIFFE else X509Context(svids=[], bundles={})
    slot = materials.acquire(Source(other), lambda _: None, 0.0, kind)
    assert not slot.step(datetime.now(UTC), 0.0)
    assert slot.identity_name.endswith("nobody")


def test_the_description_fits_into_a_variable(materials: Materials) -> None:
    """The bootstrap leaves room for the application's own in one variable of the environment."""
    assert len(json.dumps(materials.providers())) < _MOST_OF_A_VARIABLE * 0.9
