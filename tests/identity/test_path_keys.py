"""Keys and signatures along a path: which kinds the verdict takes (R-X509-15, R-X509-30)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from serviceradar_security.identity.svid import X509Svid
from tests.identity.chains import (
    DIRECT,
    LEAF,
    MIDDLE,
    MIDDLE_CERTIFICATE,
    ROOT,
    ROOT_CERTIFICATE,
    THROUGH,
    refusal,
    verdict,
)
from tests.identity.mutations import uri_name
from tests.identity.own import chain_pem, key_pem, pkcs8
from tests.identity.pki import (
    HOUR,
    LOCAL,
    NOW,
    SIGNER,
    WORKLOAD,
    Party,
    bundle,
    certificate,
    der,
    key_usage,
    patched,
    signed,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def known_rsa_key(half: int) -> rsa.RSAPrivateKey:
    """Make a large RSA key at once, from primes that everybody knows (RFC 3526, RFC 7919)."""
    pi_offset, e_offset = {2048: (124476, 560316), 4096: (240904, 5736041)}[half]
    frame, bits = 2**half - 2 ** (half - 64) - 1, half - 130
    p = frame + 2**64 * (_scaled_pi(bits) + pi_offset)
    q = frame + 2**64 * (_scaled_e(bits) + e_offset)
    d = pow(65537, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(65537, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


def _scaled_e(bits: int) -> int:
    term = total = 1 << (bits + 64)
    count = 0
    while term:
        count += 1
        term //= count
        total += term
    return total >> 64


def _scaled_pi(bits: int) -> int:
    one = 1 << (bits + 64)
    return 4 * (4 * _arctan_of_inverse(5, one) - _arctan_of_inverse(239, one)) >> 64


def _arctan_of_inverse(number: int, one: int) -> int:
    power = total = one // number
    count, sign = 1, 1
    while power:
        power //= number * number
        count, sign = count + 2, -sign
        total += sign * (power // count)
    return total


MAKERS: dict[str, Callable[[], Any]] = {
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - it must be refused
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA 4096": lambda: known_rsa_key(2048),
    "RSA 8192": lambda: known_rsa_key(4096),
}


@cache
def key(kind: str) -> Any:
    """Make a key of this kind, once."""
    return MAKERS[kind]()


def test_the_known_keys_are_keys() -> None:
    """The large keys have their sizes and sign."""
    for kind, size in (("RSA 4096", 4096), ("RSA 8192", 8192)):
        assert key(kind).key_size == size
        made = key(kind).sign(b"x", padding.PKCS1v15(), hashes.SHA256())
        key(kind).public_key().verify(made, b"x", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "Ed25519", *list(MAKERS)[-3:]])
def test_the_key_of_a_leaf(kind: str) -> None:
    """Each of these kinds of keys is taken in a peer."""
    assert verdict([certificate(Party("leaf", key(kind)), ROOT)]) == WORKLOAD


def test_the_largest_key_of_our_own() -> None:
    """An RSA key of 8,192 bits is taken in an SVID of our own, too (R-X509-30)."""
    leaf = certificate(Party("leaf", key("RSA 8192")), ROOT)

    svid = X509Svid.from_pem(chain_pem(leaf), key_pem(key("RSA 8192")))

    assert svid.private_key.public_key() == leaf.public_key()
    assert X509Svid.parse(der(leaf)[0], pkcs8(key("RSA 8192"))) == svid


SIGNERS = [
    ("P-224", False),
    ("P-256", True),
    ("P-384", True),
    ("P-521", True),
    ("secp256k1", False),
    ("brainpool", False),
    ("Ed25519", False),
    ("Ed448", False),
    ("RSA 1024", False),
    ("RSA 2048", True),
    ("RSA 4096", True),
    ("RSA 8192", True),
]


@pytest.mark.parametrize(("kind", "accepted"), SIGNERS)
@pytest.mark.parametrize("place", ["intermediate", "authority", "authority above"])
def test_the_key_of_a_signing_certificate(place: str, kind: str, accepted: bool) -> None:
    """Which keys of signing certificates the validator takes; the others are refused, never skipped."""
    if place == "intermediate":
        party = Party("middle", key(kind))
        chain, root = [certificate(LEAF, party), signer(party, ROOT)], ROOT_CERTIFICATE
    else:
        party = Party("root", key(kind))
        root = signer(party, party)
        direct = place == "authority"
        chain = [certificate(LEAF, party)] if direct else [THROUGH, signer(MIDDLE, party)]

    if accepted:
        assert verdict(chain, {LOCAL: bundle(root)}) == WORKLOAD
    else:
        assert refusal(chain, {LOCAL: bundle(root)}).reason == "untrusted_chain"


@pytest.mark.parametrize("kind", [kind for kind, accepted in SIGNERS if not accepted])
def test_a_key_that_is_not_taken_beside_the_path(kind: str) -> None:
    """An authority or intermediate with such a key hides no path beside it (R-X509-20)."""
    root, middle = Party("root", key(kind)), Party("middle", key(kind))
    odd = signer(middle, ROOT)

    for bundles in (
        bundle(signer(root, root), ROOT_CERTIFICATE),
        bundle(ROOT_CERTIFICATE, signer(root, root)),
    ):
        assert verdict([DIRECT], {LOCAL: bundles}) == WORKLOAD
        for order in ((odd, MIDDLE_CERTIFICATE), (MIDDLE_CERTIFICATE, odd)):
            assert verdict([THROUGH, *order], {LOCAL: bundles}) == WORKLOAD


# ---- signatures --------------------------------------------------------------------------------

Hash = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | hashes.SHA3_256
HASHES: list[Hash] = [
    hashes.SHA224(),
    hashes.SHA256(),
    hashes.SHA384(),
    hashes.SHA512(),
    hashes.SHA3_256(),
]
TAKEN = {"sha256", "sha384", "sha512"}


def made_with(
    subject: Party,
    issuer: Party,
    algorithm: Hash,
    *,
    pss: int | None = None,
    ca: bool = False,
) -> x509.Certificate:
    """Sign with this hash, and for RSA with PSS of so many bytes of salt."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.subject)
        .issuer_name(issuer.subject)
        .public_key(subject.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(key_usage(*(SIGNER if ca else ("digital_signature",))), critical=True)
    )
    if not ca:
        builder = builder.add_extension(uri_name(), critical=False)
    salt = None if pss is None else padding.PSS(padding.MGF1(algorithm), pss)
    return builder.sign(issuer.key, algorithm, rsa_padding=salt)


@pytest.mark.parametrize("algorithm", HASHES, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA 2048", "PSS"])
@pytest.mark.parametrize("place", ["leaf", "intermediate"])
def test_hashes_of_signatures(place: str, kind: str, algorithm: Hash) -> None:
    """SHA-256, -384 and -512 are taken with every kind of key, and no other hash."""
    root = Party("root", key("RSA 2048" if kind == "PSS" else kind))
    salt = algorithm.digest_size if kind == "PSS" else None
    bundles = {LOCAL: bundle(signer(root, root))}
    leaf = place == "leaf"
    last = made_with(LEAF if leaf else MIDDLE, root, algorithm, pss=salt, ca=not leaf)
    chain = [last] if leaf else [THROUGH, last]

    if algorithm.name in TAKEN:
        assert verdict(chain, bundles) == WORKLOAD
    else:
        assert refusal(chain, bundles).reason == "untrusted_chain"


@pytest.mark.parametrize("algorithm", HASHES, ids=lambda each: each.name)
def test_the_own_signature_of_an_anchor_plays_no_part(algorithm: Hash) -> None:
    """An anchor is trusted for being in the bundle, whatever it is signed with (R-X509-19)."""
    anchor = made_with(ROOT, ROOT, algorithm, ca=True)

    assert verdict([DIRECT], {LOCAL: bundle(anchor)}) == WORKLOAD


def test_pss_with_another_salt() -> None:
    """PSS has a salt as long as its hash, or is refused."""
    root = Party("root", key("RSA 2048"))
    leaf = made_with(LEAF, root, hashes.SHA256(), pss=20)

    assert refusal([leaf], {LOCAL: bundle(signer(root, root))}).reason == "untrusted_chain"


@pytest.mark.parametrize(
    ("algorithm", "last"),
    [(hashes.SHA1(), 0x05), (hashes.MD5(), 0x04), (hashes.SHA256(), 0x0B)],  # noqa: S303 - refused
    ids=lambda each: getattr(each, "name", None),
)
def test_signatures_that_no_builder_makes(algorithm: hashes.HashAlgorithm, last: int) -> None:
    """SHA-1 and MD5 are refused; SHA-256, made in the same way, is taken."""
    root = Party("root", key("RSA 2048"))
    prefix = bytes.fromhex("300d06092a864886f70d0101")
    name = prefix + bytes((last,)) + b"\x05\0"
    content = certificate(LEAF, root).tbs_certificate_bytes
    assert content.count(prefix + b"\x0b\x05\0") == 1
    content = content.replace(prefix + b"\x0b\x05\0", name)
    leaf = signed(content, name, root.key.sign(content, padding.PKCS1v15(), algorithm))
    bundles = {LOCAL: bundle(signer(root, root))}

    if algorithm.name in TAKEN:
        assert verdict([leaf], bundles) == WORKLOAD
    else:
        assert refusal([leaf], bundles).reason == "untrusted_chain"


def test_two_names_of_one_signature() -> None:
    """The algorithm inside and outside the signed content must be one (RFC 5280 section 4.1.1.2)."""
    odd = patched(
        DIRECT, ROOT, bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303")
    )

    assert refusal([odd]).reason in {"untrusted_chain", "malformed"}


def test_a_signature_of_another_content() -> None:
    """A signature moved from one certificate to another proves nothing."""
    twin = certificate(LEAF, ROOT)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")

    assert verdict([signed(twin.tbs_certificate_bytes, algorithm, twin.signature)]) == WORKLOAD
    assert der(twin)[0] == signed(twin.tbs_certificate_bytes, algorithm, twin.signature)
    moved = signed(twin.tbs_certificate_bytes, algorithm, DIRECT.signature)
    assert refusal([moved]).reason == "untrusted_chain"
