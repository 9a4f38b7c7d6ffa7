"""Bounded work on hostile chains, and arbitrary bytes (R-X509-25)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import PeerVerificationError, TrustBundleError, X509SvidError
from serviceradar_security.identity.bundle import MAX_CERTIFICATE_BYTES, TrustBundle
from serviceradar_security.identity.spiffe_id import MAX_SPIFFE_ID_BYTES
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.identity.verify import (
    MAX_CHAIN_LENGTH,
    MAX_PATHS,
)
from serviceradar_security.testing import FakeAuthority
from tests.identity.chains import (
    DIRECT,
    LEAF,
    MIDDLE,
    MIDDLE_CERTIFICATE,
    ROOT,
    ROOT_CERTIFICATE,
    STRANGER,
    THROUGH,
    patient,
    refusal,
    verdict,
)
from tests.identity.documents import document, jwk, x5c
from tests.identity.mutations import uri_name
from tests.identity.own import pkcs8
from tests.identity.pki import (
    LOCAL,
    SIGNER,
    WORKLOAD,
    Party,
    bundle,
    certificate,
    der,
    raw_extension,
    signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_no_certificate() -> None:
    """A peer that shows nothing is told what it needs."""
    assert refusal([]).reason == "no_certificate"


def test_the_length_of_the_chain() -> None:
    """Sixteen certificates are looked at, seventeen are not even parsed (R-X509-25)."""
    surplus = der(*[signer(Party(f"s{number}"), ROOT) for number in range(MAX_CHAIN_LENGTH - 1)])

    assert verdict([DIRECT, *surplus]) == WORKLOAD
    assert refusal([DIRECT, *surplus, b"garbage"]).reason == "limit"
    assert refusal([b"garbage"] * 1_000_000).reason == "limit"


def descent(count: int) -> list[x509.Certificate]:
    """Make a chain of so many certificates, none of which can be left out."""
    parties = [ROOT, *(Party(f"step {number}") for number in range(count - 1))]
    signers = [signer(below, above) for above, below in pairwise(parties)]
    return [certificate(LEAF, parties[-1]), *reversed(signers)]


@pytest.mark.parametrize("with_root", [True, False], ids=["root sent", "root not sent"])
@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 17, 18, 40])
def test_a_path_as_long_as_the_chain(count: int, with_root: bool) -> None:
    """A path of sixteen presented certificates is found, backwards too; a longer one is no use (R-X509-25)."""
    first, *rest = [*descent(count), *([ROOT_CERTIFICATE] if with_root else [])]

    for chain in ([first, *rest], [first, *reversed(rest)]):
        if len(chain) <= MAX_CHAIN_LENGTH:
            assert verdict(chain) == WORKLOAD
        else:
            assert refusal(chain).reason == "limit"


def padded(size: int, subject: Party, **changes: Any) -> x509.Certificate:
    """Make a certificate of exactly so many bytes."""
    room = size - 1000
    for _ in range(100):
        filler = (raw_extension("1.2.3.4", bytes(room)), False)
        made = certificate(subject, ROOT, extensions=[filler], **changes)
        missing = size - len(der(made)[0])
        if not missing:
            return made
        room += missing  # the sizes of serial number and signature vary a little
    raise AssertionError("no certificate of this size")


@pytest.mark.parametrize(("stray", "refused"), [(0, False), (1, True)])
def test_the_number_of_ways(stray: int, refused: bool) -> None:
    """Ways of every length count together: a hundred are tried, one more is not (R-X509-25)."""
    one, two, three = (Party(f"level {number}") for number in (1, 2, 3))
    intermediates = [
        *(signer(one, two) for _ in range(4)),
        *(signer(two, three) for _ in range(4)),
        *(signer(three, ROOT) for _ in range(5)),
        *(signer(one, STRANGER) for _ in range(stray)),
    ]  # 4 + 4 * 4 + 4 * 4 * 5
    chain = [certificate(LEAF, one), *intermediates]

    if refused:
        assert refusal(chain).reason == "limit"
    else:
        assert verdict(chain) == WORKLOAD


@pytest.mark.parametrize("size", [MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_BYTES + 1])
def test_the_size_of_a_certificate(size: int) -> None:
    """A certificate of 64 KiB is read, one of a byte more is not, wherever it stands (R-X509-25)."""
    chains = [
        [padded(size, LEAF)],
        [THROUGH, padded(size, MIDDLE, uris=(), usage=SIGNER, ca=True)],
        [DIRECT, padded(size, STRANGER)],
    ]

    for chain in chains:
        if size > MAX_CERTIFICATE_BYTES:
            assert refusal(chain).reason == "limit"
        else:
            assert verdict(chain) == WORKLOAD
    assert refusal([b"\x30" * (MAX_CERTIFICATE_BYTES + 1)]).reason == "limit"


@pytest.mark.parametrize("size", [MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_BYTES + 1])
def test_the_size_of_a_certificate_of_our_own(size: int) -> None:
    """Our own chain and our bundles take what the verdict takes, and no byte more (R-X509-25)."""
    chain = [THROUGH, padded(size, MIDDLE, uris=(), usage=SIGNER, ca=True)]
    attempts: list[Callable[[], tuple[x509.Certificate, ...]]] = [
        lambda: X509Svid.parse(b"".join(der(*chain)), pkcs8(LEAF.key)).certificates,
        lambda: bundle(*chain).authorities,
    ]

    for attempt in attempts:
        if size > MAX_CERTIFICATE_BYTES:
            with pytest.raises((X509SvidError, TrustBundleError), match="at most 65536"):
                attempt()
        else:
            assert attempt() == tuple(chain)


@pytest.mark.parametrize(("surplus", "count"), [(0, 1), (1, 0)])
def test_the_size_of_a_certificate_in_a_document(surplus: int, count: int) -> None:
    """An authority of 64 KiB in a bundle document is used, a larger one is left out (R-BUNDLE-07)."""
    large = padded(MAX_CERTIFICATE_BYTES + surplus, ROOT, uris=(), usage=SIGNER, ca=True)

    read = TrustBundle.from_jwks(LOCAL, document(jwk(x5c=x5c(large))))

    assert read.authorities == (large,) * count


@pytest.mark.parametrize("size", [2048, 2049, 60_000, 65_000, 1_000_000])
def test_the_size_of_a_uri_name(size: int) -> None:
    """A URI of more than 2048 bytes is not parsed, and of that size it is an ID (R-X509-25, R-ID-10)."""
    uri = "spiffe://example.org/".ljust(size, "a")
    leaf = certificate(LEAF, ROOT, uris=[uri])

    if size > MAX_SPIFFE_ID_BYTES:
        assert refusal([leaf]).reason == "limit"
    else:
        assert str(verdict([leaf])) == uri


def test_thousands_of_names_and_extensions() -> None:
    """A certificate full of other names or extensions is read once, and is one of few bytes (R-X509-25)."""
    names = uri_name(*(x509.DNSName(f"host{number}") for number in range(3000)))
    extensions = [(raw_extension(f"1.2.3.{number}", b"\5\0"), False) for number in range(3000)]
    uris = [f"spiffe://example.org/{number}" for number in range(1500)]

    assert verdict([certificate(LEAF, ROOT, uris=(), extensions=[(names, False)])]) == WORKLOAD
    assert verdict([certificate(LEAF, ROOT, extensions=extensions)]) == WORKLOAD
    assert refusal([certificate(LEAF, ROOT, uris=uris)]).reason == "several_uri_sans"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\x30\x00", der(DIRECT)[0] + b"\0"],
    ids=["nothing", "garbage", "an empty sequence", "a byte too many"],
)
def test_bytes_that_are_no_certificate(data: bytes, number: int) -> None:
    """A certificate that cannot be read refuses the peer, also where it would be surplus."""
    chain = der(DIRECT)
    chain.insert(number, data)

    error = refusal(chain)

    assert error.reason == "malformed"
    assert f"certificate {number + 1}" in str(error)


@pytest.mark.parametrize("count", [2, 3, 14])
def test_look_alikes_that_sign_each_other(count: int) -> None:
    """Intermediates that join in exponentially many ways are refused before they are tried (R-X509-25)."""
    forger = Party("forger")
    chain = [certificate(LEAF, forger), *(signer(forger, forger) for _ in range(count))]

    error = refusal(chain)

    assert error.reason == "limit"
    assert f"more than {MAX_PATHS} ways" in str(error)
    assert error.spiffe_id == WORKLOAD


def test_look_alikes_in_two_rings() -> None:
    """Two names that sign each other in turn are a maze too."""
    one, other = Party("one"), Party("other")
    ring = [each for _ in range(3) for each in (signer(one, other), signer(other, one))]

    assert refusal([certificate(LEAF, one), *ring]).reason == "limit"


def test_look_alikes_beside_a_good_path() -> None:
    """A maze that the leaf's issuer does not lead into costs nothing and changes nothing."""
    forger = Party("forger")
    maze = [signer(forger, forger) for _ in range(8)]

    assert verdict([DIRECT, *maze]) == WORKLOAD
    assert verdict([THROUGH, *maze, MIDDLE_CERTIFICATE]) == WORKLOAD


def test_a_mesh_of_cross_signed_intermediates() -> None:
    """A few cross-signed generations are within the bound (R-X509-20, R-X509-22)."""
    upper = [Party("upper") for _ in range(3)]
    middle = Party("middle")
    chain = [
        certificate(LEAF, middle),
        *(signer(middle, each) for each in upper),
        *(signer(each, ROOT) for each in upper),
        *(signer(each, STRANGER) for each in upper),
    ]

    assert verdict(chain) == WORKLOAD


@pytest.mark.parametrize("place", [0, 50, 100])
def test_a_hundred_look_alike_authorities(place: int) -> None:
    """Among a hundred authorities of one name the right one is found wherever it stands (R-X509-20)."""
    crowd = [signer(Party("root", key), Party("root", key)) for key in _keys(100)]
    crowd.insert(place, ROOT_CERTIFICATE)
    bundles = {LOCAL: bundle(*crowd)}

    assert verdict([DIRECT], bundles) == WORKLOAD
    assert verdict([THROUGH, MIDDLE_CERTIFICATE], bundles) == WORKLOAD
    assert refusal([certificate(LEAF, Party("root"))], bundles).reason == "untrusted_chain"


def test_a_thousand_look_alike_authorities() -> None:
    """Authorities of one name are tried up to a bound, and a stranger is refused by all (R-X509-25)."""
    forged = certificate(LEAF, Party("root"))
    crowd = [signer(Party("root", key), Party("root", key)) for key in _keys(1000)]

    assert refusal([forged], {LOCAL: bundle(*crowd)}).reason == "untrusted_chain"
    assert verdict([DIRECT], {LOCAL: bundle(ROOT_CERTIFICATE, *crowd)}) == WORKLOAD


def _keys(count: int) -> list[ec.EllipticCurvePrivateKey]:
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]


# ---- arbitrary bytes ---------------------------------------------------------------------------

_FUZZED = der(THROUGH, MIDDLE_CERTIFICATE)


@patient
@given(
    st.sampled_from([0, 1]),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.integers(1, 255)),
        min_size=1,
        max_size=3,
    ),
)
def test_no_changed_content_is_accepted(which: int, changes: list[tuple[int, int]]) -> None:
    """What was not signed proves nothing, and raises nothing but our error."""
    changed = bytearray(_FUZZED[which])
    for place, flip in changes:
        changed[place % len(changed)] ^= flip
    chain = list(_FUZZED)
    chain[which] = bytes(changed)

    try:
        verdict(chain)
    except PeerVerificationError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ways are fine
    else:
        # Around the signed content a bit may be free, as where the signature counts unused bits.
        before, after = (x509.load_der_x509_certificate(each[which]) for each in (_FUZZED, chain))
        assert after.tbs_certificate_bytes == before.tbs_certificate_bytes


@patient
@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_changed_authority_raises_nothing_strange(changes: list[tuple[int, int]]) -> None:
    """An authority with changed bytes is refused with its bundle, or verifies, or does not."""
    changed = bytearray(der(ROOT_CERTIFICATE)[0])
    for place, flip in changes:
        changed[place % len(changed)] ^= flip
    try:
        bundles = {LOCAL: TrustBundle.from_der(LOCAL, bytes(changed))}
    except ValueError:
        return

    try:
        assert verdict(_FUZZED, bundles) == WORKLOAD  # its own signature is not looked at
    except PeerVerificationError as error:
        assert error.reason in {"untrusted_chain", "malformed"}  # noqa: PT017 - both ways are fine


@patient
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_arbitrary_chains(chain: list[bytes]) -> None:
    """Arbitrary bytes are no certificates."""
    assert refusal(chain).reason in {"malformed", "no_certificate"}


def _rsa_pkcs8(*numbers: int) -> bytes:
    def element(tag: int, body: bytes) -> bytes:
        size = len(body)
        width = (size.bit_length() + 7) // 8
        head = bytes([size]) if size < 128 else bytes([0x80 | width]) + size.to_bytes(width)
        return bytes([tag]) + head + body

    def integer(number: int) -> bytes:
        return element(2, number.to_bytes(number.bit_length() // 8 + 1))

    key = element(0x30, b"".join(integer(each) for each in (0, *numbers)))
    algorithm = element(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return element(0x30, integer(0) + algorithm + element(4, key))


def test_an_rsa_key_of_monstrous_primes_is_refused_by_its_size() -> None:
    """Testing the primes of a key from the wire would hold the process for half a minute."""
    p, q = 2**4423 - 1, 2**4253 - 1
    authority = FakeAuthority("example.org")
    chain = b"".join(authority.issue("spiffe://example.org/web").chain_der)
    with pytest.raises(X509SvidError, match="2048 to 8192 bits"):
        X509Svid.parse(chain, _rsa_pkcs8(p * q, 65537, 3, p, q, 1, 1, 1))
    with pytest.raises(X509SvidError, match="at most 8192 of DER"):
        X509Svid.parse(chain, _rsa_pkcs8(1 << 70_000, 65537, 3, p, q, 1, 1, 1))


def test_an_rsa_key_whose_private_numbers_are_anothers_does_not_fit() -> None:
    """The public numbers alone prove nothing: the key must sign for the leaf (R-X509-28)."""
    ours, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    chain = FakeAuthority("example.org").issue_certificate("spiffe://example.org/web", key=ours)
    public, secret = ours.private_numbers().public_numbers, other.private_numbers()
    mixed = _rsa_pkcs8(
        public.n, public.e, secret.d, secret.p, secret.q, secret.dmp1, secret.dmq1, secret.iqmp
    )
    with pytest.raises(X509SvidError, match="does not belong"):
        X509Svid.parse(b"".join(chain.chain_der), mixed)
