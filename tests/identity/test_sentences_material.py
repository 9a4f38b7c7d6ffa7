"""What the refusals of our own SVID and of bundles say, word for word: one case per sentence."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from serviceradar_security.errors import TrustBundleError, X509SvidError
from serviceradar_security.identity.bundle import TrustBundle, read_bundle_map
from serviceradar_security.identity.bundle_set import BundleSet
from serviceradar_security.identity.svid import X509Svid
from tests.identity.documents import FIRST, FIRST_DER, document, jwk
from tests.identity.own import GOOD, LEAF, MIDDLE, OTHER, ROOT, chain_pem, key_pem, pkcs8, refusal
from tests.identity.pki import (
    LOCAL,
    WORKLOAD,
    bundle,
    certificate,
    der,
    patched,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable


GOOD_DER, GOOD_KEY = der(GOOD)[0], pkcs8(LEAF.key)
GOOD_PEM, GOOD_KEY_PEM = chain_pem(GOOD), key_pem(LEAF.key)
BIG = certificate(LEAF, ROOT, extensions=[(raw_extension("1.2.3.4", bytes(65536)), False)])
BIG_SIZE = len(der(BIG)[0])
UNREADABLE_CA = signer(MIDDLE, ROOT, extensions=[(raw_extension("2.5.29.37", b"\x30\0"), False)])
BY_RULE = "it needs cA and keyCertSign (X509-SVID section 4)"
UNFIT = f"the private key does not belong to the certificate of {WORKLOAD}"
UNREAD = "the private key cannot be read: it must be one unencrypted PKCS#8 key"
KINDS = (
    "the private key is of a kind that is not used for SVIDs: it must be RSA of 2048 to 8192 bits, "
    "ECDSA on P-256 or P-384, or Ed25519"
)
CHAIN = "the certificate chain "
NO_CURVE = patched(GOOD, ROOT, bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030177"))
TEXT: Any = "x"
NUMBER: Any = 1


def shaped(size: int) -> bytes:
    """Make bytes with the outer form of a PKCS#8 key of so many bytes, and nothing in it."""
    return b"\x30\x82" + (size - 4).to_bytes(2) + b"\x02\1\0\x30\0" + bytes(size - 9)


@pytest.mark.parametrize(
    ("chain", "key", "sentence"),
    [
        (TEXT, GOOD_KEY, "the certificate chain is given as bytes, not str"),
        (GOOD_DER, TEXT, "the private key is given as bytes, not str"),
        (b"", GOOD_KEY, f"{CHAIN}is empty (Workload API section 5.1)"),
        (
            b"x",
            GOOD_KEY,
            (
                f"{CHAIN}is not a row of DER certificates: byte 0 is not 0x30, with which a "
                "certificate begins"
            ),
        ),
        (
            GOOD_DER + b"\x30",
            GOOD_KEY,
            f"{CHAIN}is not a row of DER certificates: the last element is cut off",
        ),
        (
            GOOD_DER + b"\x30\5\0",
            GOOD_KEY,
            f"{CHAIN}is not a row of DER certificates: element 2 says 7 bytes, 3 came",
        ),
        (
            b"\x30\x80\0\0",
            GOOD_KEY,
            f"{CHAIN}is not a row of DER certificates: byte 1 does not begin a DER length",
        ),
        (
            b"\x30\x82\1",
            GOOD_KEY,
            f"{CHAIN}is not a row of DER certificates: byte 1 does not begin a DER length",
        ),
        (
            b"\x30\x81\5" + bytes(5),
            GOOD_KEY,
            (
                f"{CHAIN}is not a row of DER certificates: byte 1 begins a length that is not the "
                "shortest form"
            ),
        ),
        (
            b"\x30\0" * 17,
            GOOD_KEY,
            f"{CHAIN}is not a row of DER certificates: more than 16 elements",
        ),
        (
            GOOD_DER + der(BIG)[0],
            GOOD_KEY,
            f"certificate 2 of the chain has {BIG_SIZE} bytes: at most 65536",
        ),
        (b"\x30\0", GOOD_KEY, "the chain has an element that is not a certificate"),
        (
            der(certificate(LEAF, ROOT, ca=True))[0],
            GOOD_KEY,
            (
                f"our own SVID is unusable: the certificate of {WORKLOAD} is on a CA certificate: that "
                "never authenticates (X509-SVID section 4)"
            ),
        ),
        *(
            (
                b"".join(der(GOOD, signer(MIDDLE, ROOT), second)),
                GOOD_KEY,
                f"certificate 3 of the chain is no {what}: {BY_RULE}",
            )
            for second, what in (
                (GOOD, "intermediate"),
                (signer(MIDDLE, ROOT, usage=("crl_sign",)), "intermediate"),
                (signer(MIDDLE, ROOT, usage=None), "usable intermediate"),
                (signer(MIDDLE, ROOT, ca=None), "usable intermediate"),
                (UNREADABLE_CA, "usable intermediate"),
            )
        ),
        (
            GOOD_DER,
            b"x",
            "the private key is not one unencrypted PKCS#8 key in DER (Workload API section 5.1)",
        ),
        (GOOD_DER, shaped(8192), UNREAD),
        (GOOD_DER, shaped(8193), "the private key has 8193 bytes: at most 8192 of DER"),
        (GOOD_DER, pkcs8(ec.generate_private_key(ec.SECP521R1())), KINDS),
        (GOOD_DER, pkcs8(OTHER.key), UNFIT),
        (NO_CURVE, GOOD_KEY, f"{UNFIT}: its public key is unreadable"),
    ],
)
def test_of_our_own(chain: Any, key: Any, sentence: str) -> None:
    """The sentence names the part, its place and the rule."""
    assert refusal(chain, key) == sentence


@pytest.mark.parametrize(
    ("chain", "key", "sentence"),
    [
        (NUMBER, GOOD_KEY_PEM, "the certificate chain is given as bytes, not int"),
        (GOOD_PEM, NUMBER, "the private key is given as bytes, not int"),
        (b"", GOOD_KEY_PEM, f"{CHAIN}cannot be read: not a row of certificates in PEM"),
        (
            GOOD_PEM + GOOD_PEM[:40],
            GOOD_KEY_PEM,
            f"{CHAIN}cannot be read: a certificate in PEM is cut off",
        ),
        (GOOD_PEM * 17, GOOD_KEY_PEM, "the chain has 17 certificates: at most 16"),
        (GOOD_PEM, bytes(16384), UNREAD),
        (GOOD_PEM, bytes(16385), "the private key has 16385 bytes: at most 8192 of DER"),
        (GOOD_PEM, key_pem(OTHER.key), UNFIT),
    ],
)
def test_of_our_own_in_pem(chain: Any, key: Any, sentence: str) -> None:
    """The sentence is that of DER, or says what of the PEM cannot be read."""
    with pytest.raises(X509SvidError) as caught:
        X509Svid.from_pem(chain, key)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (
            lambda: TrustBundle.from_der(TEXT, b""),
            "a bundle needs its TrustDomain: use TrustDomain.parse(text)",
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, TEXT),
            "the bundle of example.org is given as bytes, not str",
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, bytes(16 * 2**20 + 1)),
            "the bundle of example.org has 16777217 bytes: at most 16777216",
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, b"x"),
            (
                "the bundle of example.org is not a row of DER certificates: byte 0 is not 0x30, "
                "with which a certificate begins"
            ),
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, b"\x30\0" * 20_001),
            "the bundle of example.org is not a row of DER certificates: more than 20000 elements",
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, b"\x30\0"),
            "the bundle of example.org has an element that is not a certificate",
        ),
        (
            lambda: TrustBundle.from_der(LOCAL, FIRST_DER + der(BIG)[0]),
            f"the bundle of example.org has a certificate of {BIG_SIZE} bytes: at most 65536",
        ),
        (
            lambda: TrustBundle.from_pem(LOCAL, chain_pem(BIG)),
            f"the bundle of example.org has a certificate of {BIG_SIZE} bytes: at most 65536",
        ),
        (
            lambda: TrustBundle.from_pem(LOCAL, chain_pem(FIRST) + GOOD_KEY_PEM),
            (
                "the PEM bundle of example.org has a block that is not a CERTIFICATE: a bundle holds "
                "authorities only"
            ),
        ),
        (
            lambda: TrustBundle.from_pem(LOCAL, "x"),
            "the PEM bundle of example.org has no certificate in it",
        ),
        (
            lambda: TrustBundle.from_pem(LOCAL, chain_pem(FIRST)[:60]),
            (
                "the PEM bundle of example.org has a certificate that cannot be read: not a row of "
                "certificates in PEM"
            ),
        ),
        (
            lambda: bundle().verification_store(),
            "the bundle of example.org has no authority",
        ),
        *(
            (
                lambda data=data: TrustBundle.from_jwks(LOCAL, data),
                f"the bundle document of example.org cannot be used: {why}",
            )
            for data, why in (
                (b"x", "it is not JSON in UTF-8"),
                (bytes(16 * 2**20), "it is not JSON in UTF-8"),
                (b'{"keys": [NaN]}', "it is not JSON in UTF-8"),
                (b'{"a": 1, "a": 1}', "it names a member twice"),
                (b"[]", "it is not a JSON object"),
                (b"{}", "it has no array 'keys' (Trust Domain and Bundle section 4.1.3)"),
            )
        ),
        *(
            (
                lambda data=data: read_bundle_map(data),
                f"a bundle map is given as at most {16 * 2**20} bytes",
            )
            for data in (TEXT, bytes(16 * 2**20 + 1))
        ),
        *(
            (lambda data=data: read_bundle_map(data), f"the bundle map cannot be used: {why}")
            for data, why in (
                (bytes(16 * 2**20), "it is not JSON in UTF-8"),
                (b"[]", "it is not a JSON object"),
                (
                    b'{"trust_domains": []}',
                    (
                        "it has no object 'trust_domains', or one that names a trust domain twice "
                        "(Trust Domain and Bundle section 5.1.1)"
                    ),
                ),
                (
                    b'{"trust_domains": {"spiffe://td": {"keys": []}}}',
                    "'spiffe://td' is no trust domain name, as 'example.org'",
                ),
                (
                    json.dumps({"trust_domains": {"/" * 201: {}}}).encode(),
                    repr("/" * 200) + " is no trust domain name, as 'example.org'",
                ),
                (
                    b'{"trust_domains": {"td": []}}',
                    "it has no array 'keys' (Trust Domain and Bundle section 4.1.3)",
                ),
            )
        ),
    ],
)
def test_of_a_bundle(attempt: Callable[[], object], sentence: str) -> None:
    """The sentence names the trust domain, the part and the rule."""
    with pytest.raises(TrustBundleError) as caught:
        attempt()

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (
            document(spiffe_sequence="1"),
            (
                "spiffe_sequence in the bundle document of example.org is no integer: it counts as "
                "absent"
            ),
        ),
        (
            document(spiffe_refresh_hint=True),
            (
                "spiffe_refresh_hint in the bundle document of example.org is no integer: it counts as "
                "absent"
            ),
        ),
        (
            b'{"keys": [{"a": 1, "a": 1}]}',
            (
                "1 of the entries of the bundle document of example.org are left out: it names a "
                "member twice"
            ),
        ),
        (
            document(jwk(x5c=["?"])),
            (
                "1 of the entries of the bundle document of example.org are left out: the first x5c "
                "value is not the base64 of a CA certificate"
            ),
        ),
    ],
)
def test_of_what_is_left_out(
    data: bytes,
    warning: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a document has in vain is said once in the log, with the trust domain."""
    with caplog.at_level(logging.WARNING, "serviceradar_security.identity"):
        TrustBundle.from_jwks(LOCAL, data)

    assert [each.getMessage() for each in caplog.records] == [warning]


@pytest.mark.parametrize(
    ("delivered", "problems"),
    [
        (
            {"example.org": b""},
            ["a federated bundle for our own example.org is left out"],
        ),
        (
            {"b.example": b"", "spiffe://b.example": b""},
            [
                f"the federated bundle '{each}' is left out: there are two bundles for b.example"
                for each in ("b.example", "spiffe://b.example")
            ],
        ),
        (
            {"spiffe://b.example/x": b""},
            [
                (
                    "the federated bundle 'spiffe://b.example/x' is left out: spiffe://b.example/x "
                    "names a workload where a trust domain belongs"
                ),
            ],
        ),
        (
            {"b.example": b"\x30"},
            [
                (
                    "the federated bundle 'b.example' is left out: the bundle of b.example is not a "
                    "row of DER certificates: the last element is cut off"
                ),
            ],
        ),
        (
            {"a" * 256: b""},
            [
                (
                    f"the federated bundle '{'a' * 200}' is left out: the trust domain of '{'a' * 119}… "
                    "(258 characters) has 256 characters: at most 255 (SPIFFE-ID section 2.3)"
                ),
            ],
        ),
    ],
)
def test_of_a_federated_bundle(delivered: dict[str, bytes], problems: list[str]) -> None:
    """Each problem names what was delivered and why it is left out."""
    found = BundleSet({LOCAL: bundle()}, delivered)

    assert list(found.problems) == problems


@pytest.mark.parametrize("key", [LOCAL, "example.org"])
def test_of_a_key_that_is_not_there(key: Any) -> None:
    """The error holds the key that was asked for."""
    with pytest.raises(KeyError) as caught:
        BundleSet({}, {})[key]

    assert caught.value.args == (key,)
