"""Trust bundles from DER and PEM, their limits."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.errors import TrustBundleError
from serviceradar_security.identity import bundle as bundle_module
from serviceradar_security.identity.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATE_BYTES,
    TrustBundle,
)
from tests.identity.documents import (
    FIRST,
    FIRST_DER,
    ROOT,
    SECOND,
    SECOND_DER,
    document,
    jwk,
    x5c,
)
from tests.identity.pki import (
    LOCAL,
    PARTNER,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from cryptography import x509

patient = settings(deadline=None, max_examples=150)

FIRST_PEM, SECOND_PEM = (each.public_bytes(Encoding.PEM) for each in (FIRST, SECOND))
KEY_PEM = ROOT.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


# ---- DER ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(FIRST_DER, [FIRST], id="one"),
        pytest.param(SECOND_DER + FIRST_DER, [SECOND, FIRST], id="two, in their order"),
        pytest.param(FIRST_DER + SECOND_DER + FIRST_DER, [FIRST, SECOND], id="one twice"),
    ],
)
def test_der(data: bytes, expected: list[x509.Certificate]) -> None:
    """Concatenated DER gives each authority once, in order; nothing gives an empty bundle."""
    bundle = TrustBundle.from_der(LOCAL, data)

    assert list(bundle.authorities) == expected
    assert list(bundle.der) == der(*expected)
    assert bundle.trust_domain == LOCAL


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"garbage", id="garbage"),
        pytest.param(FIRST_PEM, id="PEM"),
        pytest.param(b"\n" + FIRST_DER, id="newline before"),
        pytest.param(FIRST_DER + b"\n", id="newline after"),
        pytest.param(FIRST_DER + b"\0", id="padding"),
        pytest.param(FIRST_DER[:-1], id="cut"),
        pytest.param(FIRST_DER + SECOND_DER[:-1], id="second cut"),
        pytest.param(b"\x30\x00", id="an empty sequence"),
        pytest.param(FIRST_DER + b"\x30\x03\x02\x01\x00", id="a sequence that is no certificate"),
        pytest.param(
            ROOT.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            id="a private key",
        ),
        pytest.param(
            patched(FIRST, ROOT, bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
            id="a version that there is not",
        ),
    ],
)
def test_der_that_is_none(data: bytes) -> None:
    """Anything but certificates refuses the whole, in one line that names the domain (R-BUNDLE-15)."""
    with pytest.raises(TrustBundleError, match=r"example\.org") as caught:
        TrustBundle.from_der(LOCAL, data)

    assert "\n" not in str(caught.value)


@patient
@given(st.binary(max_size=300), st.integers(min_value=0, max_value=len(FIRST_DER)))
def test_arbitrary_bytes(noise: bytes, cut: int) -> None:
    """Whatever the bytes, there is a bundle or our error."""
    for data in (noise, FIRST_DER[:cut] + noise, FIRST_DER + noise):
        for read in (TrustBundle.from_der, TrustBundle.from_pem, TrustBundle.from_jwks):
            try:
                read(LOCAL, data)
            except TrustBundleError as error:
                assert "\n" not in str(error)  # noqa: PT017 - both ways are fine


# ---- PEM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b" \r\n\t", [], id="white space"),
        pytest.param(FIRST_PEM, [FIRST], id="one"),
        pytest.param(FIRST_PEM + SECOND_PEM, [FIRST, SECOND], id="two"),
        pytest.param(FIRST_PEM + FIRST_PEM, [FIRST], id="one twice"),
        pytest.param(b"# the root\n" + FIRST_PEM + b"# its heir\n" + SECOND_PEM, [FIRST, SECOND]),
        pytest.param(FIRST_PEM.replace(b"\n", b"\r\n"), [FIRST], id="other line ends"),
        pytest.param(FIRST_PEM.decode(), [FIRST], id="text"),
    ],
)
def test_pem(data: bytes | str, expected: list[x509.Certificate]) -> None:
    """PEM gives each authority once, in order; empty input gives an empty bundle."""
    assert list(TrustBundle.from_pem(LOCAL, data).authorities) == expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"garbage", id="garbage"),
        pytest.param(FIRST_DER, id="DER"),
        pytest.param("käse\ud800", id="text that no encoding takes"),
        pytest.param(FIRST_PEM + KEY_PEM, id="a key too"),
        pytest.param(KEY_PEM, id="a key alone"),
        pytest.param(FIRST_PEM.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), id="trusted"),
        pytest.param(FIRST_PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), id="X509"),
        pytest.param(FIRST_PEM + SECOND_PEM[:-30], id="second cut in its end"),
        pytest.param(FIRST_PEM + SECOND_PEM[:200], id="second cut"),
        pytest.param(FIRST_PEM + SECOND_PEM.replace(END, b""), id="second without end"),
        pytest.param(FIRST_PEM.replace(END, b"") + SECOND_PEM, id="first without end"),
        pytest.param(FIRST_PEM.replace(BEGIN, b"----BEGIN CERTIFICATE----") + SECOND_PEM),
        pytest.param(FIRST_PEM.replace(END, b"-----END X-----"), id="another end"),
        pytest.param(FIRST_PEM.replace(b"MII", b"M!I"), id="not base64"),
        pytest.param(BEGIN + b"\nMAA=\n" + END, id="not a certificate"),
    ],
)
def test_pem_that_is_none(data: bytes | str) -> None:
    """A key, a cut block or garbage refuses the whole: a bundle is never half of a file (R-BUNDLE-15)."""
    with pytest.raises(TrustBundleError, match=r"example\.org") as caught:
        TrustBundle.from_pem(LOCAL, data)

    assert "\n" not in str(caught.value)


def test_pem_round_trip() -> None:
    """What is written as PEM reads as an equal bundle."""
    bundle = TrustBundle.from_der(LOCAL, FIRST_DER + SECOND_DER)

    assert TrustBundle.from_pem(LOCAL, bundle.to_pem()) == bundle


# ---- limits and arguments ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["from_der", "from_pem", "from_jwks"])
@pytest.mark.parametrize("data", [None, 7, bytearray(b""), memoryview(b""), ["x"]])
def test_other_types_are_refused(name: str, data: object) -> None:
    """What is not bytes gets our error."""
    with pytest.raises(TrustBundleError, match="bytes"):
        getattr(TrustBundle, name)(LOCAL, data)


@pytest.mark.parametrize("name", ["from_der", "from_pem", "from_jwks"])
@pytest.mark.parametrize("trust_domain", [None, "example.org", LOCAL.id])
def test_the_trust_domain_is_given(name: str, trust_domain: object) -> None:
    """A bundle is of a `TrustDomain` that the caller names (R-BUNDLE-12)."""
    with pytest.raises(TrustBundleError, match="TrustDomain"):
        getattr(TrustBundle, name)(trust_domain, b"")


@pytest.mark.parametrize("name", ["from_der", "from_pem", "from_jwks"])
def test_a_bundle_that_is_too_large(name: str) -> None:
    """Sixteen megabytes and a byte are refused before they are looked at."""
    with pytest.raises(TrustBundleError, match=f"at most {MAX_BUNDLE_BYTES}"):
        getattr(TrustBundle, name)(LOCAL, bytes(MAX_BUNDLE_BYTES + 1))


def test_a_certificate_that_is_too_large() -> None:
    """A certificate of more than 64 KiB refuses a DER or PEM bundle, and in a document itself only."""
    big = signer(
        ROOT,
        ROOT,
        extensions=[(raw_extension("1.2.3.4", bytes(MAX_CERTIFICATE_BYTES)), False)],
    )

    with pytest.raises(TrustBundleError, match=f"at most {MAX_CERTIFICATE_BYTES}"):
        TrustBundle.from_der(LOCAL, FIRST_DER + der(big)[0])
    with pytest.raises(TrustBundleError, match=f"at most {MAX_CERTIFICATE_BYTES}"):
        TrustBundle.from_pem(LOCAL, FIRST_PEM + big.public_bytes(Encoding.PEM))
    found = TrustBundle.from_jwks(LOCAL, document(jwk(x5c=x5c(big)), jwk()))
    assert found.authorities == (FIRST,)


def test_too_many_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of authorities has a limit, in each format."""
    monkeypatch.setattr(bundle_module, "MAX_AUTHORITIES", 1)

    for read, data in (
        (TrustBundle.from_der, FIRST_DER + SECOND_DER),
        (TrustBundle.from_pem, FIRST_PEM + SECOND_PEM),
        (TrustBundle.from_jwks, document(jwk(), jwk(x5c=x5c(SECOND)))),
    ):
        with pytest.raises(TrustBundleError, match=r"more than 1|at most 1"):
            read(LOCAL, data)
    assert TrustBundle.from_der(LOCAL, FIRST_DER).authorities == (FIRST,)
    assert TrustBundle.from_pem(LOCAL, FIRST_PEM).authorities == (FIRST,)
    assert TrustBundle.from_jwks(LOCAL, document(jwk())).authorities == (FIRST,)


# ---- the value ---------------------------------------------------------------------------------


def test_equality_and_hash() -> None:
    """Bundles are equal if trust domain and certificates in their order are, and in no other way."""
    both = TrustBundle.from_der(LOCAL, FIRST_DER + SECOND_DER)

    assert both == TrustBundle.from_pem(LOCAL, FIRST_PEM + SECOND_PEM)
    assert hash(both) == hash(TrustBundle.from_pem(LOCAL, FIRST_PEM + SECOND_PEM))
    assert both != TrustBundle.from_der(PARTNER, FIRST_DER + SECOND_DER)
    assert both != TrustBundle.from_der(LOCAL, FIRST_DER)
    assert both != LOCAL
    assert TrustBundle.from_der(LOCAL, b"") != TrustBundle.from_der(PARTNER, b"")


def test_copies() -> None:
    """Copies and pickles are equal, also after the bundle was used."""
    bundle = TrustBundle.from_der(LOCAL, FIRST_DER + SECOND_DER)
    bundle.verification_store()

    for again in (
        copy.copy(bundle),
        copy.deepcopy(bundle),
        pickle.loads(pickle.dumps(bundle)),  # noqa: S301 - our own
    ):
        assert again == bundle
        assert hash(again) == hash(bundle)
        assert again.verification_store() is not None


def test_a_bundle_does_not_change() -> None:
    """No attribute can be set or deleted, and the class cannot be called."""
    bundle = TrustBundle.from_der(LOCAL, FIRST_DER)

    for name in ("_der", "_store", "authorities", "trust_domain", "new"):
        with pytest.raises(AttributeError):
            setattr(bundle, name, ())
        with pytest.raises(AttributeError):
            delattr(bundle, name)
    with pytest.raises(TypeError, match="from_der"):
        TrustBundle(LOCAL, FIRST_DER)


def test_repr_says_whose_and_how_many() -> None:
    """The representation is short."""
    assert (
        repr(TrustBundle.from_der(LOCAL, FIRST_DER)) == "TrustBundle('example.org', 1 authorities)"
    )


def test_an_empty_bundle_has_no_anchors() -> None:
    """There is no store of nothing to validate against (R-BUNDLE-02)."""
    with pytest.raises(TrustBundleError, match="no authority"):
        TrustBundle.from_der(LOCAL, b"").verification_store()


@pytest.mark.parametrize("number", ["x", -1, 1.5, True, b"1"])
def test_a_pickle_with_numbers_that_are_none(number: Any) -> None:
    """Sequence and refresh hint are looked at when a pickle is read, like everything in it."""
    rebuild, (trust_domain, der_, _, _) = TrustBundle.from_der(LOCAL, FIRST_DER).__reduce__()
    assert callable(rebuild)
    for numbers in ((number, None), (None, number)):
        with pytest.raises(TrustBundleError, match="whole numbers"):
            rebuild(trust_domain, der_, *numbers)
    assert rebuild(trust_domain, der_, 1, None).sequence == 1
