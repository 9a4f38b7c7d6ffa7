"""JWT-SVIDs of a real SPIRE agent: fetched, validated, and refused for every reason it knows."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from serviceradar_security import (
    NoIdentityIssuedError,
    PeerVerificationError,
    SecurityProvider,
    SpiffeId,
    WorkloadApiError,
)
from serviceradar_security.spiffe import fetch_jwt_svid, validate_jwt_svid

if TYPE_CHECKING:
    from tests.realparts.spire import Spire

pytestmark = pytest.mark.spire

WEB = SpiffeId.parse("spiffe://example.org/web")
API = SpiffeId.parse("spiffe://example.org/api")
CORE = "spiffe://example.org/core"


def registered(spire: Spire, spiffe_id: SpiffeId = WEB, *, hint: str = "") -> None:
    """Register this process under an identity."""
    spire.create_entry(str(spiffe_id), hint=hint, wait=10)


def test_fetch_and_validate(spire: Spire) -> None:
    """A token that the agent gives proves our identity to whoever asks it, for the audience."""
    registered(spire, hint="web")
    ours = fetch_jwt_svid(spire.endpoint, CORE)
    assert ours.spiffe_id == WEB
    assert ours.audience == (CORE,)
    assert ours.hint == "web"
    assert ours.issued_at is not None
    assert ours.issued_at <= datetime.now(UTC) < ours.expiry

    theirs = validate_jwt_svid(spire.endpoint, ours.token, CORE)
    assert theirs == ours
    assert theirs.spiffe_id == WEB
    assert theirs.claims == ours.claims


def test_several_audiences(spire: Spire) -> None:
    """A token for several audiences is valid for each of them and for no other."""
    registered(spire)
    token = fetch_jwt_svid(spire.endpoint, [CORE, "other"]).token
    for audience in (CORE, "other"):
        assert validate_jwt_svid(spire.endpoint, token, audience).spiffe_id == WEB
    with pytest.raises(PeerVerificationError) as caught:
        validate_jwt_svid(spire.endpoint, token, "third")
    assert caught.value.reason == "audience"


def test_one_of_several_identities(spire: Spire) -> None:
    """The identity that is asked for is the one that comes; one that we do not have is refused."""
    registered(spire)
    registered(spire, API)
    for wanted in (WEB, API):
        assert fetch_jwt_svid(spire.endpoint, CORE, spiffe_id=wanted).spiffe_id == wanted
    with pytest.raises(NoIdentityIssuedError) as caught:
        fetch_jwt_svid(spire.endpoint, CORE, spiffe_id=SpiffeId.parse(CORE))
    assert caught.value.code == "PERMISSION_DENIED"


def test_no_identity(spire: Spire) -> None:
    """Without a registration entry there is no token, and the advice says what to create."""
    with pytest.raises(NoIdentityIssuedError, match="create a registration entry"):
        fetch_jwt_svid(spire.endpoint, CORE)


@pytest.mark.parametrize("part", [1, 2], ids=["claims", "signature"])
def test_a_token_of_nobody(spire: Spire, part: int) -> None:
    """A token that was changed, or signed by others, is refused, and is in no message."""
    registered(spire)
    parts = fetch_jwt_svid(spire.endpoint, CORE).token.split(".")
    another = fetch_jwt_svid(spire.endpoint, [CORE, "other"]).token.split(".")
    forged = ".".join(another[each] if each == part else parts[each] for each in range(3))
    with pytest.raises(PeerVerificationError) as caught:
        validate_jwt_svid(spire.endpoint, forged, CORE)
    assert caught.value.reason == "signature"
    assert caught.value.spiffe_id == WEB
    assert forged not in f"{caught.value} {caught.value.__cause__}"


def test_an_expired_token(spire: Spire) -> None:
    """After its end a token is refused by our clock, before the agent is asked."""
    registered(spire)
    ours = fetch_jwt_svid(spire.endpoint, CORE)
    late = ours.expiry + timedelta(seconds=1)
    with pytest.raises(PeerVerificationError) as caught:
        validate_jwt_svid(spire.endpoint, ours.token, CORE, now=lambda: late)
    assert caught.value.reason == "expired"


def test_a_paused_agent(spire: Spire) -> None:
    """An agent that stands still costs no more than the deadline."""
    registered(spire)
    token = fetch_jwt_svid(spire.endpoint, CORE).token
    spire.agent.pause()
    start = time.monotonic()
    with pytest.raises(WorkloadApiError, match="did not answer within 1 s"):
        validate_jwt_svid(spire.endpoint, token, CORE, timeout=1)
    assert time.monotonic() - start < 10
    spire.agent.resume()
    assert validate_jwt_svid(spire.endpoint, token, CORE).spiffe_id == WEB


def test_a_provider_fetches_and_validates(spire: Spire) -> None:
    """A provider asks the agent of its security block, in threads and in asyncio alike."""
    registered(spire)
    block = {
        "mode": "spiffe",
        "workload_socket": spire.endpoint,
        "trust_domain": "example.org",
        "server_spiffe_id": CORE,
    }

    async def in_asyncio(security: SecurityProvider) -> None:
        ours = await security.fetch_jwt_svid_async(CORE, spiffe_id=WEB, timeout=10)
        theirs = await security.validate_jwt_svid_async(ours.token, CORE, timeout=10)
        assert theirs.spiffe_id == WEB

    with SecurityProvider.open(block) as security:
        ours = security.fetch_jwt_svid(CORE, timeout=10)
        assert security.validate_jwt_svid(ours.token, CORE, timeout=10).spiffe_id == WEB
        asyncio.run(in_asyncio(security))
        with pytest.raises(PeerVerificationError):
            security.validate_jwt_svid(ours.token, "other", timeout=10)
