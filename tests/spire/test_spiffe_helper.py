"""Files that the real spiffe-helper writes from a real agent: `FileSource` follows them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from serviceradar_security import FileSource, X509Source
from serviceradar_security.workload.watch import State
from tests.realparts.spiffe_helper import SpiffeHelper
from tests.spire.outage import DEADLINE, WEB, Witness, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.realparts.spire import Spire

pytestmark = pytest.mark.spire

LIFE = 10  # seconds; with SPIRE's intervals here, a new SVID comes every few seconds
ROTATIONS = 4
POLL = 0.05
PEM = b"-----BEGIN CERTIFICATE-----"


@pytest.fixture
def helper(spire: Spire) -> Iterator[SpiffeHelper]:
    """Run spiffe-helper with an identity that is renewed all the time."""
    spire.create_entry(str(WEB), x509_svid_ttl=LIFE, wait=DEADLINE)
    with SpiffeHelper(spire.agent) as running:
        yield running


def next_one(source: X509Source) -> None:
    """Wait for the next SVID."""
    before = source.status().updates
    until(lambda: source.status().updates > before, "a new SVID of the agent")


def test_its_rotations_are_followed(spire: Spire, helper: SpiffeHelper) -> None:
    """Through rotation after rotation the files give what the agent gives, READY throughout."""
    with (
        X509Source(spire.endpoint) as agent,
        FileSource.spiffe_helper(helper.certificates, poll_interval=POLL) as files,
    ):
        agent.wait_ready(timeout=DEADLINE)
        files.wait_ready(timeout=DEADLINE)
        with Witness(files) as witness:
            for _ in range(ROTATIONS):
                next_one(agent)
                until(
                    lambda: files.current() == agent.current(),
                    "the files give what the agent gives",
                )
        assert [each.text for each in witness.heard] == []
        assert witness.expired_given == []
        assert witness.errors == set()  # an identity was there at each moment
        status = files.status()
        assert status.state is State.READY
        assert status.spiffe_id == WEB
        assert status.updates > ROTATIONS
        assert status.rejected == 0


def test_what_it_writes(helper: SpiffeHelper) -> None:
    """Names, modes and encodings are those that the layout is made for."""
    files = helper.files
    assert sorted(files) == ["svid.pem", "svid_bundle.pem", "svid_key.pem"]
    umask = os.umask(0o077)
    os.umask(umask)
    modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in files.items()}
    assert modes["svid_key.pem"] == 0o600
    assert {modes["svid.pem"], modes["svid_bundle.pem"]} == {0o644 & ~umask}
    assert all(path.is_file() and not path.is_symlink() for path in files.values())
    with FileSource.spiffe_helper(helper.certificates, poll_interval=POLL) as source:
        held = source.wait_ready(timeout=DEADLINE)
    helper.kill()
    chain = x509.load_pem_x509_certificates(files["svid.pem"].read_bytes())
    bundle = files["svid_bundle.pem"].read_bytes()
    key = files["svid_key.pem"].read_bytes()
    assert chain[0].subject == held.default.leaf.subject
    assert bundle.count(PEM) == len(held.bundles[WEB.trust_domain].authorities)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(key, None).public_key() == chain[0].public_key()


def test_when_it_ends_the_identity_lives_on_until_its_end(helper: SpiffeHelper) -> None:
    """After its end the last identity serves until it expires; when it comes back all is well."""
    with FileSource.spiffe_helper(helper.certificates, poll_interval=POLL) as source:
        source.wait_ready(timeout=DEADLINE)
        with Witness(source) as witness:
            helper.kill()
            held = source.current()
            witness.wait_for(State.EXPIRED, "expired at ")
            assert held.default.not_after is not None
            helper.start()
            until(lambda: source.status().state is State.READY, "READY again")
        assert witness.states() == [State.EXPIRED, State.READY]
        assert witness.expired_given == []
