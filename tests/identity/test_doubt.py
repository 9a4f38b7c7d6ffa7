"""The sentence with which an untrusted chain is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.identity.chains import (
    LEAF,
    MIDDLE,
    MIDDLE_CERTIFICATE,
    NAMESAKE,
    ROOT,
    ROOT_CERTIFICATE,
    STRANGER,
    THROUGH,
    UNKNOWN,
    refusal,
)
from tests.identity.own import RSA_2048
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    Party,
    bundle,
    certificate,
    patched,
    raw_extension,
    signer,
)

EDWARDS = Party("edwards", ed25519.Ed25519PrivateKey.generate())
WEAK = Party("weak", rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the case
_EC_KEY, _NO_KEY = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209")
KEYLESS = x509.load_der_x509_certificate(patched(ROOT_CERTIFICATE, ROOT, _EC_KEY, _NO_KEY))
FROM = "the certificate of spiffe://example.org/ns/demo/sa/core is not trusted: "
URI_CONSTRAINT = (
    x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None),
    True,
)
LOST = ": it was signed by another, or an intermediate is missing or not allowed to sign it"


@pytest.mark.parametrize(
    ("chain", "roots", "cause"),
    [
        pytest.param(
            [certificate(LEAF, STRANGER)],
            [ROOT_CERTIFICATE],
            f"it does not lead to the one authority of example.org{LOST}",
            id="of a stranger",
        ),
        pytest.param(
            [certificate(LEAF, STRANGER)],
            [ROOT_CERTIFICATE, signer(MIDDLE, MIDDLE)],
            f"it does not lead to any of the 2 authorities of example.org{LOST}",
            id="of a stranger, to two",
        ),
        pytest.param(
            [THROUGH],
            [ROOT_CERTIFICATE],
            f"it does not lead to the one authority of example.org{LOST}",
            id="an intermediate that is missing",
        ),
        pytest.param(
            [certificate(LEAF, Party("root", STRANGER.key))],
            [ROOT_CERTIFICATE],
            f"it does not lead to the one authority of example.org{LOST}",
            id="a namesake",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, end=NOW - HOUR / 2)],
            [ROOT_CERTIFICATE],
            "an intermediate that it names expired 1800 s ago, at 2031-05-06T12:00:00Z by our "
            "clock",
            id="an expired intermediate",
        ),
        pytest.param(
            [certificate(LEAF, ROOT)],
            [signer(ROOT, ROOT, begin=NOW + HOUR / 2, end=NOW + HOUR)],
            "the authority that it names begins in 1800 s, at 2031-05-06T13:00:00Z by our clock",
            id="an authority to come",
        ),
        pytest.param(
            [certificate(LEAF, ROOT)],
            [signer(ROOT, ROOT, end=NOW - HOUR / 2)],
            "the authority that it names expired 1800 s ago, at 2031-05-06T12:00:00Z by our clock",
            id="an expired authority",
        ),
        pytest.param(
            [certificate(LEAF, STRANGER), signer(MIDDLE, ROOT, end=NOW - HOUR / 2)],
            [ROOT_CERTIFICATE],
            f"it does not lead to the one authority of example.org{LOST}",
            id="a surplus intermediate that expired",
        ),
        pytest.param(
            [certificate(LEAF, EDWARDS)],
            [signer(EDWARDS, EDWARDS)],
            "the authority that it names signs with a key that is neither ECDSA nor RSA",
            id="an authority with Ed25519",
        ),
        pytest.param(
            [certificate(LEAF, WEAK)],
            [signer(WEAK, WEAK)],
            "the authority that it names has an RSA key of 1024 bits: at least 2048",
            id="an authority with RSA 1024",
        ),
        pytest.param(
            [certificate(LEAF, ROOT)],
            [signer(ROOT, ROOT, usage=("crl_sign",))],
            "the authority that it names lacks the key usage keyCertSign (X509-SVID section 4.3)",
            id="an authority that may not sign",
        ),
        pytest.param(
            [certificate(LEAF, ROOT)],
            [signer(ROOT, ROOT, usage=None)],
            "the authority that it names lacks the key usage keyCertSign (X509-SVID section 4.3)",
            id="an authority without key usage",
        ),
        pytest.param(
            [THROUGH, signer(MIDDLE, ROOT, extensions=[URI_CONSTRAINT])],
            [ROOT_CERTIFICATE],
            "an intermediate that it names has name constraints on URIs, which cannot be "
            "evaluated here and so are never taken as met (RFC 5280 section 4.2.1.10)",
            id="a constraint on URIs",
        ),
        pytest.param(
            [certificate(LEAF, ROOT, extensions=[(raw_extension(UNKNOWN, b"\5\0"), True)])],
            [ROOT_CERTIFICATE],
            f"it needs the critical extension {UNKNOWN}, which is not known here (RFC 5280 "
            "section 4.2)",
            id="an unknown critical extension",
        ),
        pytest.param(
            [THROUGH, MIDDLE_CERTIFICATE],
            [NAMESAKE],
            f"it does not lead to the one authority of example.org{LOST}",
            id="a root of the same name",
        ),
        *(
            pytest.param(
                [certificate(LEAF, Party("root", STRANGER.key))],
                [signer(ROOT, ROOT, **{side: NOW})],
                f"it does not lead to the one authority of example.org{LOST}",
                id=f"a namesake of an authority whose {side} is now",
            )
            for side in ("begin", "end")
        ),
        pytest.param(
            [certificate(LEAF, Party("strong", STRANGER.key))],
            [signer(Party("strong", RSA_2048), Party("strong", RSA_2048))],
            f"it does not lead to the one authority of example.org{LOST}",
            id="a namesake of an authority with RSA 2048",
        ),
        pytest.param(
            [certificate(LEAF, Party("root", STRANGER.key))],
            [KEYLESS],
            f"it does not lead to the one authority of example.org{LOST}",
            id="a namesake of an authority whose key cannot be read",
        ),
    ],
)
def test_the_cause_is_named(
    chain: list[x509.Certificate],
    roots: list[x509.Certificate],
    cause: str,
) -> None:
    """A refused path says which fact was in the way, and only facts of certificates it names."""
    error = refusal(chain, {LOCAL: bundle(*roots)})

    assert error.reason == "untrusted_chain"
    assert str(error) == FROM + cause
