"""Our own certificate of plain mutual TLS: what is read, what is refused, what it shows."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import X509SvidError
from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.credentials import TlsCredentials, TlsCredentialsSource
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from serviceradar_security.testing.authority import FakeAuthority

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2031, 5, 6, 12, 30, tzinfo=UTC)
AUTHORITY = FakeAuthority("mesh.test", now=lambda: NOW)
ROOTS = Authorities.from_pem(AUTHORITY.bundle.to_pem(), name="ca_file")
OTHERS = Authorities.from_pem(
    FakeAuthority("x.test", now=lambda: NOW).bundle.to_pem(), name="client_ca_file"
)
OWN = TrustDomain.parse("mesh.test")
ID = "spiffe://mesh.test/core"


def pem(**facts: Any) -> tuple[bytes, bytes]:
    """Issue a certificate, by default without any name."""
    return AUTHORITY.issue_certificate(None, **{"uris": [], **facts}).to_pem()


def read(*, trust_domain: TrustDomain | None = None, **facts: Any) -> TlsCredentials:
    """Read what was issued."""
    chain, key = pem(**facts)
    return TlsCredentials.from_pem(chain, key, authorities=ROOTS, at=NOW, trust_domain=trust_domain)


@pytest.mark.parametrize(
    "facts",
    [
        {"dns_names": ["core.test"]},
        {"common_name": "core"},
        {"intermediates": 2},
        {"with_root": True},
        {"key_usage": None},
        {"roles": None},
        {"ca": True},
        {"key_type": "rsa2048"},
        {"key_type": "p384"},
        {"ttl": -60},
        {"self_signed": True},
        {"uris": [ID, "https://a.test"]},
    ],
    ids=lambda facts: next(iter(facts)) if isinstance(facts, dict) else "",
)
def test_good(facts: dict[str, Any]) -> None:
    """What peers make of a certificate is for them to say: it is read whatever it is."""
    made = read(**facts)
    assert made.leaf is made.certificates[0]
    assert len(made.chain_der) == len(made.certificates)
    assert made.default is made
    assert (made.authorities, made.client_authorities, dict(made.bundles)) == (ROOTS, ROOTS, {})
    assert made.not_after - made.not_before > timedelta(0)
    chain, key = made.to_pem()
    again = TlsCredentials.from_pem(chain, key, authorities=ROOTS, at=NOW)
    assert again == made
    assert hash(again) == hash(made)


def _halves() -> tuple[bytes, bytes]:
    return pem()[0], pem()[1]


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        (_halves, "does not belong"),
        (lambda: (pem()[0][:-40], pem()[1]), "cut off|cannot be read"),
        (lambda: (b"", pem()[1]), "cannot be read"),
        (lambda: (pem()[0], b""), "cannot be read"),
        (lambda: (pem()[0], b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"), "cannot be read"),
        (lambda: (pem()[0], pem()[1] * 2), "more than one private key"),
        (lambda: pem(key_type="p521"), "of a kind"),
        (lambda: pem(key_type="rsa1024"), "of a kind"),
        (lambda: pem(key_type="ed448"), "of a kind"),
        (lambda: (pem()[0] * 20, pem()[1]), "at most 16"),
    ],
    ids=[
        "key of another",
        "chain cut off",
        "no chain",
        "no key",
        "key cut off",
        "two keys",
        "P-521",
        "RSA 1024",
        "Ed448",
        "a long chain",
    ],
)
def test_bad(material: Callable[[], tuple[bytes, bytes]], reason: str) -> None:
    """A chain and a key that cannot serve are refused, and no message shows a key."""
    chain, key = material()
    with pytest.raises(X509SvidError, match=reason) as caught:
        TlsCredentials.from_pem(chain, key, authorities=ROOTS, at=NOW)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__context__ is None or "c2VjcmV0" not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("uris", "trust_domain", "why"),
    [
        ([ID], OWN, ""),
        ([ID], None, "no trust_domain is set"),
        ([], OWN, "no URI name"),
        ([ID, ID], OWN, "2 URI names"),
        (["https://mesh.test"], OWN, "no SPIFFE ID"),
        (["spiffe://other.test/core"], OWN, "only IDs of mesh.test"),
    ],
    ids=["good", "no domain", "no URI", "two", "no ID", "foreign"],
)
def test_our_id(uris: list[str], trust_domain: TrustDomain | None, why: str) -> None:
    """Our ID is the one URI name, if the trust domain is named; else there is a reason."""
    made = read(uris=uris, trust_domain=trust_domain)
    assert made.spiffe_id == (None if why else SpiffeId.parse(ID))
    assert why in made.why_no_id
    assert bool(made.why_no_id) == bool(why)
    assert made.title == (
        f"the certificate with serial number {made.leaf.serial_number:x}" if why else ID
    )


def test_clients_have_authorities_of_their_own() -> None:
    """The trust domain is that of the authorities of clients, and of no others."""
    chain, key = pem()
    made = TlsCredentials.from_pem(
        chain, key, authorities=ROOTS, client_authorities=OTHERS, at=NOW, trust_domain=OWN
    )
    assert (made.authorities, made.client_authorities) == (ROOTS, OTHERS)
    assert made.bundles[OWN].der == OTHERS.der
    assert made != TlsCredentials.from_pem(chain, key, authorities=ROOTS, at=NOW)
    assert made != TlsCredentials.from_pem(chain, key, authorities=OTHERS, at=NOW)


def test_no_key_is_shown_and_nothing_changes() -> None:
    """A text shows no key, an attribute cannot be set, a copy is the same, a pickle is refused."""
    made = read(not_after=datetime(2040, 1, 1, tzinfo=UTC))
    key = made.to_pem()[1].decode()
    assert repr(made) == f"TlsCredentials({made.title!r}, not_after=2040-01-01T00:00:00Z)"
    assert key.splitlines()[1] not in f"{made!r}{made.__dir__()!r}"
    assert copy.copy(made) is copy.deepcopy(made) is made
    with pytest.raises(AttributeError):
        made._chain_der = ()
    with pytest.raises(AttributeError):
        del made._chain_der
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(made)
    with pytest.raises(TypeError, match="from_pem"):
        TlsCredentials()
    assert isinstance(_Source(), TlsCredentialsSource)


class _Source:
    def current(self) -> TlsCredentials:
        return read()
