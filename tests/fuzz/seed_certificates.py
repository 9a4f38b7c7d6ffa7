"""Certificates for the seeds: good ones, and one for each way of being wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.identity.pki import HOUR, NOW, Party, certificate, der, patched, raw_extension, signer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Issued", "certificates", "private_key"]

_LIFE: Any = {"begin": NOW - timedelta(days=1), "end": NOW + timedelta(days=1)}
_SAN = "2.5.29.17"
_KEY_USAGE = "2.5.29.15"
_NAME_CONSTRAINTS = "2.5.29.30"
_SHORT_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
_BASIC_CONSTRAINTS = "2.5.29.19"
_ODD_EXTENSIONS = {
    _SAN: (
        b"",
        b"\x30\x02\x86\0",
        b"\x30\x07\x87\x05abcde",
        b"\x30\x04\xa4\x02\x30\0",
        b"\x30\x02\xa3\0",
    ),
    _BASIC_CONSTRAINTS: (b"\x30\0", b"\x30\x06\x01\x01\xff\x02\x01\xff", b"\x30\x03\x02\x01\x05"),
    _KEY_USAGE: (b"\x03\x01\0", b"\x03\0", b"\x03\x02\x07\x80"),
    _NAME_CONSTRAINTS: (b"\x30\0", b"\x30\x07\xa0\x05\x30\x03\x86\x01\xff"),
    "2.5.29.37": (b"\x30\0", b"\x30\x03\x06\x01\x80"),
    "2.5.29.32": (b"\x30\0", b"\x30\x02\x30\0"),
    "2.5.29.31": (b"\x30\x02\x30\0",),
    "1.3.6.1.4.1.11129.2.4.2": (b"\x04\x04\0\x02\0\0",),
}
_PRIVATE = "1.3.6.1.4.1.99999."


@dataclass(frozen=True, slots=True)
class Issued:
    """What the seeds are made of.

    Attributes:
        roots: The authorities of the local trust domain.
        partner_roots: Those of the partner.
        good_leaves: The leaves that may be accepted.
        good: The chains of these, by kind.
        bad: Chains that are to be refused, by kind; those called odd may also be accepted, for
            the leaf that is in them.
        keys: The private keys of the good leaves, as PKCS#8, by kind.
        others: Private keys of kinds that no SVID has, and other forms of keys.
    """

    roots: list[bytes]
    partner_roots: list[bytes]
    good_leaves: list[bytes]
    good: Mapping[str, list[bytes]]
    bad: Mapping[str, list[bytes]]
    keys: Mapping[str, bytes]
    others: Mapping[str, bytes]


def private_key(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """Write a private key as DER."""
    written: bytes = key.private_bytes(Encoding.DER, form, NoEncryption())
    return written


def certificates() -> Issued:
    """Issue everything."""
    root, middle, partner = Party("root"), Party("middle"), Party("partner")
    root_der, partner_der = der(signer(root, root, **_LIFE)), der(signer(partner, partner, **_LIFE))
    middle_der = der(signer(middle, root, **_LIFE))
    parties = {
        "p256": Party("leaf"),
        "p384": Party("leaf", ec.generate_private_key(ec.SECP384R1())),
        "rsa": Party("leaf", rsa.generate_private_key(65537, 2048)),
        "ed25519": Party("leaf", ed25519.Ed25519PrivateKey.generate()),
    }
    good = {kind: der(certificate(party, root)) for kind, party in parties.items()}
    through = der(certificate(parties["p256"], middle))
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    good |= {
        "through": through + middle_der,
        "through-with-root": through + root_der + middle_der + middle_der,
        "client-only": der(certificate(parties["p256"], root, extensions=[(client, False)])),
        "partner": der(certificate(parties["p256"], partner, uris=["spiffe://partner.example/a"])),
    }
    keys = {kind: private_key(parties.get(kind, parties["p256"]).key) for kind in good}
    odd = _odd_values(parties["p256"], root, middle, through)
    return Issued(
        roots=root_der,
        partner_roots=partner_der,
        good_leaves=[chain[0] for chain in (*good.values(), odd["odd-unknown-curve"])],
        good=good,
        bad={
            **_broken_rules(parties["p256"], root, partner),
            **_broken_signers(parties["p256"], root, middle, through),
            **_broken_bytes(parties["p256"], root, good["p256"][0], through[0]),
            **odd,
            **_chains_that_lead_nowhere(parties["p256"], root, through, middle_der),
        },
        keys=keys,
        others=_other_keys(parties["p256"].key, parties["rsa"].key),
    )


def _broken_rules(leaf: Party, root: Party, partner: Party) -> dict[str, list[bytes]]:
    uri = "spiffe://example.org/a"
    changes: dict[str, dict[str, Any]] = {
        "two-uris": {"uris": [uri, uri]},
        "no-uri": {"uris": ()},
        "uri-of-trust-domain": {"uris": ["spiffe://example.org"]},
        "uri-of-web": {"uris": ["https://example.org/a?b#c"]},
        "uri-in-upper-case": {"uris": ["spiffe://EXAMPLE.org/a"]},
        "uri-of-stranger": {"uris": ["spiffe://stranger.example/a"]},
        "uri-of-3000-bytes": {"uris": [f"spiffe://example.org/{'a' * 3000}"]},
        "uri-of-64-kib": {"uris": [f"spiffe://example.org/{'a' * (64 << 10)}"]},
        "ca": {"ca": True},
        "no-key-usage": {"usage": None},
        "signing-usage": {"usage": ("digital_signature", "key_cert_sign")},
        "no-digital-signature": {"usage": ("key_agreement",)},
        "expired": {"end": NOW - HOUR / 2},
        "not-yet-valid": {"begin": NOW + HOUR / 2},
        "unknown-critical": {"extensions": [(raw_extension(f"{_PRIVATE}1", b"\x05\0"), True)]},
        "empty-san": {"uris": (), "extensions": [(raw_extension(_SAN, b"\x30\0"), False)]},
        "broken-san": {"uris": (), "extensions": [(raw_extension(_SAN, b"\x30\x7f\x86"), False)]},
        "san-not-ascii": {
            "uris": (),
            "extensions": [(raw_extension(_SAN, b"\x30\x03\x86\x01\xff"), False)],
        },
        "san-other-name": {
            "uris": (),
            "extensions": [
                (raw_extension(_SAN, b"\x30\x0a\xa0\x08\x06\x02*\x03\xa0\x02\x05\0"), False)
            ],
        },
        "broken-key-usage": {
            "usage": None,
            "extensions": [(raw_extension(_KEY_USAGE, b"\x03\x02\x08\x80"), True)],
        },
    }
    made = {kind: der(certificate(leaf, root, **each)) for kind, each in changes.items()}
    return made | {"foreign-root": der(certificate(leaf, partner))}


def _broken_signers(
    leaf: Party, root: Party, middle: Party, through: list[bytes]
) -> dict[str, list[bytes]]:
    # No new leaf below the good intermediate: with its good certificate it would be accepted.
    constrained = raw_extension(_NAME_CONSTRAINTS, b"\x30\x06\xa0\x04\x30\x02\x86\0")
    low, lower = Party("low"), Party("lower")
    return {
        "name-constraints": through + der(signer(middle, root, extensions=[(constrained, True)])),
        "middle-without-usage": through + der(signer(middle, root, usage=("crl_sign",))),
        "middle-no-ca": through + der(signer(middle, root, ca=False)),
        "middle-expired": through + der(signer(middle, root, end=NOW - HOUR / 2)),
        "path-length": der(
            certificate(leaf, lower),
            signer(lower, low),
            signer(low, root, path_length=0),
        ),
    }


def _broken_bytes(leaf: Party, root: Party, good: bytes, through: bytes) -> dict[str, list[bytes]]:
    twins = certificate(
        leaf,
        root,
        extensions=[(raw_extension(f"{_PRIVATE}{each}", b"\x05\0"), False) for each in (1, 2)],
    )
    oid = bytes.fromhex("06092b06010401868d1f")
    version = bytes.fromhex("a003020102")
    return {
        "extension-twice": [patched(twins, root, oid + b"\x02", oid + b"\x01")],
        "version-4": [patched(twins, root, version, version[:-1] + b"\x03")],
        "cut-off": [good[:-7]],
        "surplus": [good + b"\0"],
        "length-too-long": [good[:2] + (len(good) + 1).to_bytes(2) + good[4:]],
        "length-too-short": [good[:2] + (len(good) - 5).to_bytes(2) + good[4:]],
        "indefinite-length": [b"\x30\x80" + good[4:] + b"\0\0"],
        "long-form-of-length": [b"\x30\x83\0" + good[2:]],
        "flipped-signature": [good[:-1] + bytes((good[-1] ^ 1,))],
        "empty-sequence": [b"\x30\0"],
        "empty-element": [b"", good],
        "nothing": [],
        "other-signature": [good[:-70] + through[-70:]],
    }


def _odd_values(
    leaf: Party, root: Party, middle: Party, through: list[bytes]
) -> dict[str, list[bytes]]:
    """Make certificates that parse, with values in them that few readers expect."""
    late: Any = {"begin": datetime(2051, 1, 1, tzinfo=UTC), "end": datetime(2051, 2, 1, tzinfo=UTC)}
    early: Any = {
        "begin": datetime(2001, 1, 1, tzinfo=UTC),
        "end": datetime(2051, 1, 1, tzinfo=UTC),
    }
    date, plain = b"20510101000000Z", certificate(leaf, root)
    name, curve = b"\x0c\x04root", bytes.fromhex("06082a8648ce3d030107")
    made = {
        "begins-in-year-0": patched(
            certificate(leaf, root, **late), root, date, b"0000" + date[4:]
        ),
        "ends-in-year-0": patched(certificate(leaf, root, **early), root, date, b"0000" + date[4:]),
        "issuer-not-utf-8": patched(plain, root, name, b"\x0c\x04ro\xff\xfe"),
        "issuer-of-surrogates": patched(plain, root, name, b"\x1e\x04\xd8\0\xd8\0"),
        "issuer-of-bits": patched(plain, root, name, b"\x03\x04root"),
        "odd-unknown-curve": patched(plain, root, curve, curve[:-1] + b"\x06"),
    }
    chains = {kind: [der] for kind, der in made.items()}
    signing, exponent = signer(middle, root), bytes.fromhex("0203010001")
    chains["middles-of-odd-names"] = [
        *through,
        *(
            patched(signing, root, b"\x0c\x06middle", new)
            for new in (b"\x0c\x06midd\xff\xfe", b"\x03\x06\0iddle", b"\x16\x06\xffiddle")
        ),
    ]
    rsa_leaf = certificate(Party("leaf", rsa.generate_private_key(65537, 2048)), root)
    chains["rsa-exponent-0"] = [patched(rsa_leaf, root, exponent, bytes.fromhex("0203000000"))]
    for oid, values in _ODD_EXTENSIONS.items():
        for number, value in enumerate(values, 1):
            extension = [(raw_extension(oid, value), False)]
            changes: dict[str, Any] = {"uris": ()} if oid == _SAN else {}
            changes |= {"ca": None} if oid == _BASIC_CONSTRAINTS else {}
            changes |= {"usage": None} if oid == _KEY_USAGE else {}
            below = der(certificate(leaf, middle, extensions=extension, **changes))
            odd = der(signer(middle, root, extensions=extension, **changes))
            # Signed by nobody known, in case that it would be accepted.
            chains[f"leaf-{oid}-{number}"] = [below[0][:-1] + bytes((below[0][-1] ^ 1,))]
            chains[f"odd-middle-{oid}-{number}"] = through + odd
    return chains


def _chains_that_lead_nowhere(
    leaf: Party, root: Party, through: list[bytes], middle: list[bytes]
) -> dict[str, list[bytes]]:
    namesakes = [Party("middle") for _ in range(15)]
    mesh = [der(signer(each, other))[0] for each, other in pairwise(namesakes)]
    return {
        "middle-missing": through,
        "middle-as-leaf": middle,
        "self-signed": der(certificate(leaf, leaf)),
        "mesh-of-namesakes": through + mesh,
        "17-certificates": through + middle * 16,
        "root-by-name-only": der(certificate(leaf, Party("root"))),
        "rsa-1024": der(certificate(Party("leaf", _SHORT_RSA), root)),
        "ed448": der(certificate(Party("leaf", ed448.Ed448PrivateKey.generate()), root)),
        "below-a-leaf": der(certificate(leaf, leaf), certificate(leaf, root)),
    }


def _other_keys(key: ec.EllipticCurvePrivateKey, big: rsa.RSAPrivateKey) -> dict[str, bytes]:
    primes = big.private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        p=primes.p,
        q=primes.q,
        d=primes.d ^ 2,
        dmp1=primes.dmp1 ^ 2,
        dmq1=primes.dmq1,
        iqmp=primes.iqmp,
        public_numbers=primes.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    return {
        "sec1": private_key(key, PrivateFormat.TraditionalOpenSSL),
        "pkcs1": private_key(big, PrivateFormat.TraditionalOpenSSL),
        "of-another": private_key(ec.generate_private_key(ec.SECP256R1())),
        "p521": private_key(ec.generate_private_key(ec.SECP521R1())),
        "ed448": private_key(ed448.Ed448PrivateKey.generate()),
        "dsa": private_key(dsa.generate_private_key(2048)),
        "rsa-1024": private_key(_SHORT_RSA),
        "rsa-wrong-exponent": private_key(wrong),
        "cut-off": private_key(key)[:-3],
        "surplus": private_key(key) + b"\0",
        "empty": b"",
        "junk": b"\x30\x06\x02\x01\0\x30\x01\0",
    }
