"""What the refusals of peers say, word for word: one case per sentence, with reason and ID."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serviceradar_security.identity.spiffe_id import TrustDomain
from serviceradar_security.identity.verify import verify_x509_svid
from tests.identity.chains import (
    BUNDLES,
    DIRECT,
    LEAF,
    ROOT,
    ROOT_CERTIFICATE,
    UNKNOWN,
    refusal,
)
from tests.identity.own import RSA_2048
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    PARTNER,
    WORKLOAD,
    Party,
    bundle,
    certificate,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FROM = f"the certificate of {WORKLOAD} "
NAMELESS = Party(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "XX")]), LEAF.key)
UNREADABLE = raw_extension("2.5.29.37", b"\x30\0")
SERVER = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
CLIENT = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
BIG = certificate(LEAF, ROOT, extensions=[(raw_extension(UNKNOWN, bytes(65536)), False)])


def leaf(key: Any = LEAF.key, **changes: Any) -> x509.Certificate:
    """Make a leaf with changes, or of another key."""
    return certificate(Party("leaf", key), ROOT, **changes)


@pytest.mark.parametrize(
    ("chain", "reason", "sentence"),
    [
        ([], "no_certificate", "the peer showed no certificate: it needs an X.509-SVID"),
        ([b""] * 17, "limit", "the peer showed 17 certificates: at most 16"),
        (
            [DIRECT, BIG],
            "limit",
            f"certificate 2 of the peer has {len(der(BIG)[0])} bytes: at most 65536",
        ),
        ([DIRECT, b"x"], "malformed", "certificate 2 of the peer cannot be read"),
        ([b"x", DIRECT], "malformed", "certificate 1 of the peer cannot be read"),
        (
            [leaf(extensions=[(UNREADABLE, False)])],
            "malformed",
            "the certificate has extensions that cannot be read, or one of them twice",
        ),
        (
            [leaf(uris=())],
            "no_spiffe_id",
            (
                "the certificate has no SPIFFE ID: it needs one as its URI subject alternative name, "
                "and its CN is never an identity (X509-SVID section 2)"
            ),
        ),
        (
            [certificate(NAMELESS, ROOT, uris=())],
            "no_spiffe_id",
            (
                "the certificate has no SPIFFE ID: it needs one as its URI subject alternative name "
                "(X509-SVID section 2)"
            ),
        ),
        (
            [leaf(uris=["x:y", "x:z", "x:y"])],
            "several_uri_sans",
            "the certificate has 3 URI names: an X.509-SVID has exactly one (X509-SVID section 2)",
        ),
        (
            [leaf(uris=["spiffe://td/" + "a" * 2037])],
            "limit",
            "the certificate's URI name has 2049 bytes: a SPIFFE ID has at most 2048",
        ),
        (
            [leaf(uris=["http://td/a"])],
            "no_spiffe_id",
            (
                "the certificate's URI name is no SPIFFE ID, and its CN is never an identity: "
                "'http://td/a' does not begin with 'spiffe://': a SPIFFE ID is a whole URI "
                "(SPIFFE-ID section 2)"
            ),
        ),
    ],
)
def test_of_a_peer_without_an_id(
    chain: Sequence[x509.Certificate | bytes],
    reason: str,
    sentence: str,
) -> None:
    """Where no ID could be read, the sentence says why, and the error holds none."""
    error = refusal(chain)

    assert (str(error), error.reason, error.spiffe_id) == (sentence, reason, None)


@pytest.mark.parametrize(
    ("made", "reason", "rest"),
    [
        (leaf(ca=True), "is_ca", "is on a CA certificate: that never authenticates"),
        (leaf(usage=None), "key_usage", "has no key usage: digitalSignature is required"),
        *(
            (
                leaf(usage=("digital_signature", usage)),
                "key_usage",
                "may sign certificates or CRLs: a workload must not",
            )
            for usage in ("key_cert_sign", "crl_sign")
        ),
        (
            leaf(usage=("key_agreement",)),
            "key_usage",
            "lacks the key usage digitalSignature",
        ),
    ],
)
def test_of_a_leaf_rule(made: x509.Certificate, reason: str, rest: str) -> None:
    """The sentence names the peer, what it is, and the section."""
    error = refusal([made])

    assert str(error) == f"{FROM}{rest} (X509-SVID section 4)"
    assert (error.reason, error.spiffe_id) == (reason, WORKLOAD)


def test_of_an_id_without_a_path() -> None:
    """A trust domain's own ID is said to name no workload."""
    error = refusal([leaf(uris=["spiffe://example.org"])])

    assert str(error) == (
        "the certificate of spiffe://example.org names a trust domain and not a workload "
        "(X509-SVID section 4)"
    )
    assert (error.reason, error.spiffe_id) == ("not_a_workload_id", LOCAL.id)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        pytest.param(
            rsa.generate_private_key(65537, 1024),  # noqa: S505 - that is the case
            "has an RSA key of 1024 bits, where 2048 to 8192 are allowed",
            id="RSA",
        ),
        pytest.param(
            ed448.Ed448PrivateKey.generate(),
            "has a key that is neither ECDSA, RSA nor Ed25519",
            id="Ed448",
        ),
    ],
)
def test_of_a_key(key: Any, what: str) -> None:
    """The sentence says what the key is, that the rule is ours, and what to do."""
    error = refusal([leaf(key)])

    assert str(error) == f"{FROM}{what} (a rule of this library: let the peer have a new key)"
    assert (error.reason, error.spiffe_id) == ("weak_key", WORKLOAD)


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [("client", SERVER), ("server", CLIENT)],
)
def test_of_a_purpose(purpose: Any, usage: tuple[x509.ExtensionType, bool]) -> None:
    """The sentence names the role and the extended key usage that it lacks."""
    error = refusal([leaf(extensions=[usage])], purpose=purpose)

    assert str(error) == (
        f"{FROM}may not act as a {purpose}: its extended key usage lacks {purpose}Auth "
        "(X509-SVID section 4)"
    )
    assert (error.reason, error.spiffe_id) == ("purpose", WORKLOAD)


@pytest.mark.parametrize(
    ("at", "reason", "rest"),
    [
        (
            NOW + HOUR + timedelta(seconds=90),
            "expired",
            "expired 90 s ago, at 2031-05-06T13:30:00Z by our clock: the peer must renew it",
        ),
        (
            NOW - HOUR - timedelta(seconds=90),
            "not_yet_valid",
            (
                "begins in 90 s, at 2031-05-06T11:30:00Z by our clock: compare the clocks of both "
                "sides"
            ),
        ),
    ],
)
def test_of_a_time(at: datetime, reason: str, rest: str) -> None:
    """The sentence says by how much, and which clock."""
    error = refusal([DIRECT], at=at)

    assert str(error) == FROM + rest
    assert (error.reason, error.spiffe_id) == (reason, WORKLOAD)


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ([], "none"),
        (["b.example", "a.example"], "a.example, b.example"),
        ([f"{each}.example" for each in "edcba"], ", ".join(f"{each}.example" for each in "abcde")),
        (
            [f"{each}.example" for each in "gfedcba"],
            ", ".join(f"{each}.example" for each in "cdefg") + " and 2 more",
        ),
    ],
    ids=len,
)
def test_of_a_trust_domain_without_a_bundle(names: list[str], known: str) -> None:
    """The sentence names up to five trust domains that are known, and counts the others."""
    domains = [TrustDomain.parse(each) for each in names]

    error = refusal([DIRECT], {each: bundle(of=each) for each in domains})

    assert str(error) == (
        f"{WORKLOAD} is of a trust domain without a bundle here (known: {known}): federate with "
        "it, or do not expect its peers"
    )
    assert (error.reason, error.spiffe_id) == ("unknown_trust_domain", WORKLOAD)


@pytest.mark.parametrize(
    ("made", "held", "reason", "sentence"),
    [
        (
            DIRECT,
            bundle(ROOT_CERTIFICATE, of=PARTNER),
            "unknown_trust_domain",
            "the bundle filed under example.org is that of partner.example",
        ),
        (
            DIRECT,
            bundle(),
            "untrusted_chain",
            (
                f"{WORKLOAD} is not trusted: the bundle of example.org has no authority, so nobody of "
                "it is"
            ),
        ),
        (
            DIRECT,
            bundle(ROOT_CERTIFICATE, DIRECT),
            "untrusted_chain",
            (
                f"{FROM}is itself listed among the authorities of example.org: a workload's "
                "certificate is no authority"
            ),
        ),
    ],
    ids=["of another", "empty", "the leaf in it"],
)
def test_of_a_bundle(made: x509.Certificate, held: Any, reason: str, sentence: str) -> None:
    """The sentence says what is wrong with the bundle, or with the certificate in it."""
    error = refusal([made], {LOCAL: held})

    assert (str(error), error.reason, error.spiffe_id) == (sentence, reason, WORKLOAD)


def test_of_too_many_ways() -> None:
    """Look-alikes that sign each other are refused with their number and the limit."""
    twins = [signer(ROOT, ROOT) for _ in range(11)]

    error = refusal([DIRECT, *twins])

    assert str(error) == (
        f"the 11 intermediates of {WORKLOAD} can be joined in more than 100 ways: send only those "
        "that lead to an authority"
    )
    assert (error.reason, error.spiffe_id) == ("limit", WORKLOAD)


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        (
            {"at": datetime(2031, 5, 6)},  # noqa: DTZ001 - that is the case
            TypeError,
            "verify_x509_svid needs a timezone-aware datetime in `at`",
        ),
        (
            {"purpose": "peer"},
            ValueError,
            "purpose is 'client', 'server' or None, not 'peer'",
        ),
        (
            {"purpose": ""},
            ValueError,
            "purpose is 'client', 'server' or None, not ''",
        ),
    ],
)
def test_of_a_call(changes: Any, kind: type[Exception], sentence: str) -> None:
    """A caller's own mistake is said as such."""
    with pytest.raises(kind) as caught:
        verify_x509_svid(
            der(DIRECT),
            BUNDLES,
            **{"at": datetime(2031, 5, 6, tzinfo=UTC), "purpose": None} | changes,
        )

    assert str(caught.value) == sentence


ODD = patched(certificate(Party("leafz"), ROOT), ROOT, b"\x0c\x05leafz", b"\x0c\x05\xffeafz")
ODD_DATE = patched(
    leaf(end=datetime(2060, 1, 2, tzinfo=UTC)), ROOT, b"20600102000000Z", b"00000102000000Z"
)
ODD_KEY = patched(leaf(RSA_2048), ROOT, b"\x02\x03\1\0\1\xa3", b"\x05\x03\1\0\1\xa3")


@pytest.mark.parametrize(
    ("chain", "spiffe_id", "sentence"),
    [
        ([ODD_DATE], None, "the certificate has a validity that cannot be read"),
        ([ODD_KEY], WORKLOAD, f"{FROM}has an RSA key that cannot be read"),
        (
            [DIRECT, ODD, certificate(LEAF, ROOT)],
            WORKLOAD,
            f"{FROM}or one presented with it has parts that cannot be read",
        ),
    ],
)
def test_of_parts_that_cannot_be_read(chain: Any, spiffe_id: Any, sentence: str) -> None:
    """What the parser finds only when it is asked is refused like what it finds at once."""
    error = refusal(chain)

    assert (str(error), error.reason, error.spiffe_id) == (sentence, "malformed", spiffe_id)
