"""The splitting of concatenated DER: exact on what is DER, one error on everything else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from serviceradar_security.identity.der import DerError, is_pkcs8, split_sequences

patient = settings(deadline=None, max_examples=200)


def sequence(content: bytes) -> bytes:
    """Wrap content into a SEQUENCE with the one length that DER allows."""
    size = len(content)
    if size < 0x80:
        return b"\x30" + bytes((size,)) + content
    count = (size.bit_length() + 7) // 8
    return b"\x30" + bytes((0x80 | count,)) + size.to_bytes(count) + content


# Sizes at which the length takes another form, and small ones.
contents = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([127, 128, 129, 255, 256, 257, 65535, 65536]).map(bytes),
)


@patient
@given(st.lists(contents, max_size=6))
def test_splitting_what_was_joined(parts: list[bytes]) -> None:
    """The split of joined sequences is the sequences, whatever their sizes and content."""
    elements = [sequence(part) for part in parts]

    assert split_sequences(b"".join(elements), limit=6) == tuple(elements)


@patient
@given(st.binary(max_size=400) | st.binary(max_size=40).map(lambda tail: b"\x30\x02ab" + tail))
def test_arbitrary_bytes(data: bytes) -> None:
    """Arbitrary bytes are split without loss or refused by DerError, and nothing else is raised."""
    is_pkcs8(data)
    try:
        parts = split_sequences(data, limit=1000)
    except DerError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ways are fine
    else:
        assert b"".join(parts) == data
        assert all(part[0] == 0x30 for part in parts)


@patient
@given(contents, st.integers(min_value=1, max_value=70000))
def test_every_cut_is_noticed(content: bytes, cut: int) -> None:
    """An element that lacks bytes at its end is refused."""
    whole = sequence(content)
    short = whole[: max(1, len(whole) - cut)]

    with pytest.raises(DerError):
        split_sequences(short, limit=10)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x30", id="no length"),
        pytest.param(b"\x30\x80", id="indefinite length"),
        pytest.param(b"\x30\x80\x00\x00", id="indefinite length, ended"),
        pytest.param(b"\x30\x81", id="long form without its byte"),
        pytest.param(b"\x30\x81\x7f" + bytes(127), id="long form where the short one does"),
        pytest.param(b"\x30\x81\x00", id="long form of nothing"),
        pytest.param(b"\x30\x82\x00\x80" + bytes(128), id="a leading zero in the length"),
        pytest.param(b"\x30\x85\x00\x00\x00\x00\x01a", id="five bytes of length"),
        pytest.param(b"\x30\x84\xff\xff\xff\xff", id="four gigabytes that did not come"),
        pytest.param(b"\x30\xff", id="reserved length"),
        pytest.param(b"\x31\x00", id="a SET"),
        pytest.param(b"\x30\x00\x00", id="a zero byte after it"),
        pytest.param(b"\x30\x00\n", id="a newline after it"),
        pytest.param(b"\n\x30\x00", id="a newline before it"),
        pytest.param(b"-----BEGIN CERTIFICATE-----", id="PEM"),
    ],
)
def test_what_is_not_der(data: bytes) -> None:
    """Each of these is refused, with the place of the fault."""
    with pytest.raises(DerError, match=r"byte|element"):
        split_sequences(data, limit=10)


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        pytest.param("30", "the last element is cut off", id="before the length"),
        pytest.param("3082", "byte 3 does not begin a DER length", id="after its first byte"),
        pytest.param("308201", "byte 3 does not begin a DER length", id="within it"),
        pytest.param("30820100", "element 2 says 260 bytes, 4 came", id="after it"),
        pytest.param("3082010000", "element 2 says 260 bytes, 5 came", id="in the content"),
    ],
)
def test_where_an_element_is_cut(end: str, sentence: str) -> None:
    """The sentence tells an element whose length is cut from one whose content is."""
    with pytest.raises(DerError) as caught:
        split_sequences(b"\x30\0" + bytes.fromhex(end), limit=2)

    assert str(caught.value) == sentence


def test_nothing_is_nothing() -> None:
    """No bytes are no elements."""
    assert split_sequences(b"", limit=1) == ()


@pytest.mark.parametrize("limit", [1, 2, 16])
def test_the_limit_holds_before_the_rest_is_looked_at(limit: int) -> None:
    """One element too many is refused, even where what follows is no DER at all."""
    assert len(split_sequences(b"\x30\x00" * limit, limit=limit)) == limit
    with pytest.raises(DerError, match=f"more than {limit}"):
        split_sequences(b"\x30\x00" * limit + b"garbage", limit=limit)


_KEY = ec.generate_private_key(ec.SECP256R1())
_OTHER = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            _KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            True,
            id="PKCS#8",
        ),
        pytest.param(
            _OTHER.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            True,
            id="PKCS#8 of Ed25519",
        ),
        pytest.param(
            _KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) + b"\0",
            False,
            id="PKCS#8 and a byte",
        ),
        pytest.param(
            _KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) * 2,
            False,
            id="PKCS#8 twice",
        ),
        pytest.param(
            _KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            False,
            id="SEC 1",
        ),
        pytest.param(
            _KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            False,
            id="encrypted PKCS#8",
        ),
        pytest.param(
            _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            False,
            id="PEM",
        ),
        pytest.param(
            _KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            False,
            id="a public key",
        ),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"\x30\x00", False, id="an empty sequence"),
        pytest.param(b"\x30\x03\x02\x01\x00", False, id="a version alone"),
        pytest.param(b"\x30\x04\x02\x02\x00\x00", False, id="a version of two bytes"),
    ],
)
def test_the_form_of_pkcs8(data: bytes, expected: bool) -> None:
    """Only one unencrypted PKCS#8 key in DER has its form (R-X509-27)."""
    assert is_pkcs8(data) is expected
