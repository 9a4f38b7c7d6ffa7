"""What our own certificate of plain mutual TLS proves: its ID, and what peers may object to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.credentials import TlsCredentials
from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.testing.authority import FakeAuthority

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OURS = FakeAuthority("mesh.test", now=lambda: NOW)
OTHER = FakeAuthority("other.test", now=lambda: NOW)
ROOTS, OTHERS = (
    Authorities.from_pem(each.bundle.to_pem(), name=name)
    for each, name in ((OURS, "ca_file"), (OTHER, "client_ca_file"))
)
DOMAIN = TrustDomain.parse("mesh.test")
ID = "spiffe://mesh.test/core"


def read(
    *,
    servers: Authorities = ROOTS,
    clients: Authorities | None = None,
    at: datetime = NOW,
    named: bool = False,
    **facts: Any,
) -> TlsCredentials:
    """Issue a certificate of our authority and read it, with a trust domain if it is named."""
    chain, key = OURS.issue_certificate(None, **{"uris": [], **facts}).to_pem()
    return TlsCredentials.from_pem(
        chain,
        key,
        authorities=servers,
        client_authorities=clients,
        at=at,
        trust_domain=DOMAIN if named else None,
    )


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"dns_names": ["core.test"]},
        {"intermediates": 2},
        {"with_root": True},
        {"key_usage": None},
        {"roles": None},
        {"roles": ["server"]},
        {"roles": ["client"]},
        {"key_type": "rsa2048"},
        {"uris": ["spiffe://other.test/core"]},
        {"clients": OTHERS},
        {"servers": OTHERS, "clients": ROOTS},
        {"servers": OTHERS},
        {"servers": OTHERS, "intermediates": 1},
        {"ttl": -60},
        {"at": NOW + 10 * HOUR, "ttl": 3600},
        {"at": NOW - 10 * HOUR, "ttl": 3600},
    ],
    ids=lambda facts: "-".join(facts) or "nothing",
)
@pytest.mark.parametrize("named", [False, True])
def test_no_doubt(facts: dict[str, Any], named: bool) -> None:
    """An authority that we do not know is for peers to know, and an age for the source to tell."""
    made = read(named=named, **facts)
    assert (made.spiffe_id, made.doubt) == (None, "")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"ca": True}, "is a CA certificate"),
        ({"key_usage": ("key_encipherment",)}, "lacks the key usage digitalSignature"),
        ({"unknown_critical": True}, "critical extension"),
        ({"stranger": True}, "does not lead to"),
        ({"tampered": True}, "does not lead to"),
        ({"intermediates": 1, "intermediate": {"ca": False}}, "not allowed to sign"),
        (
            {"intermediates": 1, "intermediate": {"not_after": NOW - HOUR}},
            "an intermediate that it names expired",
        ),
    ],
    ids=["CA", "usage", "critical", "stranger", "tampered", "no CA", "expired intermediate"],
)
@pytest.mark.parametrize("clients", [None, OTHERS], ids=["same authorities", "others for clients"])
@pytest.mark.parametrize("uris", [[], [ID]], ids=["no ID", "an ID"])
@pytest.mark.parametrize("named", [False, True], ids=["no domain", "a domain"])
def test_doubt(
    facts: dict[str, Any],
    why: str,
    clients: Authorities | None,
    uris: list[str],
    named: bool,
) -> None:
    """A rule that is broken, or an authority of ours that did not sign, is told, and gives no ID."""
    made = read(named=named, clients=clients, uris=uris, **facts)
    assert made.spiffe_id is None
    assert made.doubt
    if not (named and uris and clients):  # there the first cause is the authority
        assert why in made.doubt or "CA certificate" in why


CLAIMS: list[Any] = [
    pytest.param({}, "", id="good"),
    pytest.param({"intermediates": 2}, "", id="behind intermediates"),
    pytest.param({"ttl": -60}, "", id="expired"),
    pytest.param({"servers": OTHERS, "clients": ROOTS}, "", id="by those of clients alone"),
    pytest.param({"clients": OTHERS}, "does not lead to", id="by those of servers alone"),
    pytest.param({"servers": OTHERS}, "does not lead to", id="by none"),
    pytest.param({"stranger": True}, "does not lead to", id="stranger"),
    pytest.param({"self_signed": True}, "does not lead to", id="signed by itself"),
    pytest.param({"ca": True}, "CA certificate", id="CA"),
    pytest.param({"key_usage": None}, "no key usage", id="no key usage"),
    pytest.param({"key_usage": ("key_cert_sign",)}, "may sign", id="may sign"),
    pytest.param({"uris": ["spiffe://mesh.test"]}, "not a workload", id="no path"),
    pytest.param(
        {"intermediates": 1, "intermediate": {"key_usage": None}},
        "X509-SVID section 4.3",
        id="intermediate without key usage",
    ),
]


@pytest.mark.parametrize(("facts", "why"), CLAIMS)
def test_a_claim(facts: dict[str, Any], why: str) -> None:
    """An ID is ours if the authorities of its trust domain prove it; else the reason is a doubt."""
    made = read(named=True, **{"uris": [ID], **facts})
    assert (str(made.spiffe_id), made.why_no_id, made.doubt) == (
        (ID, "", "") if not why else ("None", made.doubt, made.why_no_id)
    )
    assert why in made.doubt
    assert bool(why) == bool(made.doubt)


def test_credentials_with_and_without_an_id_differ() -> None:
    """What proves an ID is no equal of what does not, be the files the same: users must hear of it."""
    soon = {"not_after": NOW + HOUR}
    facts = {"uris": [ID], "intermediates": 1, "intermediate": soon, "ttl": 7200}
    chain, key = OURS.issue_certificate(None, **facts).to_pem()  # type: ignore[arg-type] # any facts
    now, later = (
        TlsCredentials.from_pem(chain, key, authorities=ROOTS, at=at, trust_domain=DOMAIN)
        for at in (NOW, NOW + 1.5 * HOUR)
    )
    assert (str(now.spiffe_id), later.spiffe_id) == (ID, None)
    assert now != later
