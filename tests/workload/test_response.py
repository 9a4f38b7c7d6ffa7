"""The reader of the message's bytes, held against protobuf's own."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serviceradar_security._proto.workload_pb2 import X509SVID, X509SVIDResponse
from serviceradar_security.workload.response import (
    ResponseError,
    X509SvidResponse,
    read_response,
)

patient = settings(deadline=None, max_examples=300)
FIELDS = ("spiffe_id", "x509_svid", "x509_svid_key", "bundle", "hint")

texts = st.text(max_size=12)
small = st.binary(max_size=12)
svids = st.builds(
    X509SVID,
    spiffe_id=texts,
    x509_svid=small | st.binary(min_size=120, max_size=300),
    x509_svid_key=small,
    bundle=small,
    hint=texts,
)
responses = st.builds(
    X509SVIDResponse,
    svids=st.lists(svids, max_size=3),
    crl=st.lists(small, max_size=2),
    federated_bundles=st.dictionaries(texts, small, max_size=3),
)


def read(data: bytes, *, svids: int = 50, bundles: int = 50) -> X509SvidResponse:
    return read_response(data, max_svids=svids, max_bundles=bundles)


def same(ours: X509SvidResponse, theirs: X509SVIDResponse) -> bool:
    return ours.federated_bundles == dict(theirs.federated_bundles) and [
        tuple(getattr(each, name) for name in FIELDS) for each in ours.svids
    ] == [tuple(getattr(each, name) for name in FIELDS) for each in theirs.svids]


@patient
@given(responses)
def test_what_protobuf_writes_is_read(response: X509SVIDResponse) -> None:
    """Every message that protobuf writes is read with the same content."""
    assert same(read(response.SerializeToString()), response)


@patient
@given(responses, responses)
def test_messages_are_merged_as_protobuf_does(one: X509SVIDResponse, two: X509SVIDResponse) -> None:
    """Bytes of two messages in a row are one message, in which the later value of a key counts."""
    data = one.SerializeToString() + two.SerializeToString()

    assert same(read(data), X509SVIDResponse.FromString(data))


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


wire = st.recursive(
    st.builds(
        lambda number, kind, value, data: (
            varint(number << 3 | kind)
            + (
                varint(value)
                if kind == 0
                else varint(len(data)) + data
                if kind == 2
                else data[:8].ljust(8 if kind == 1 else 4, b"x")[: 8 if kind == 1 else 4]
            )
        ),
        st.integers(0, 7) | st.sampled_from([100, 2**29 - 1, 2**29]),
        st.sampled_from([0, 1, 2, 2, 2, 5]),
        st.integers(0, 2**64 - 1),
        small,
    ),
    lambda inner: st.builds(
        lambda number, parts: (
            varint(number << 3 | 2) + varint(len(b"".join(parts))) + b"".join(parts)
        ),
        st.integers(1, 6),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@patient
@given(
    st.lists(wire, max_size=6).map(b"".join)
    | st.binary(max_size=60)
    | st.builds(
        lambda response, at, noise: (
            (data := response.SerializeToString())[:at] + noise + data[at + len(noise) :]
        ),
        responses,
        st.integers(0, 60),
        small,
    )
)
@example(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00")
@example(b"\x0a\x03\x0a\x01\xff")
@example(b"\x1a\x03\x0a\x01\xff")
@example(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_no_other_reading_than_protobufs(data: bytes) -> None:
    """Whatever the bytes, what is read is what protobuf reads; groups alone are always refused."""
    try:
        theirs = X509SVIDResponse.FromString(data)
    except DecodeError:
        theirs = None
    try:
        ours = read(data)
    except ResponseError as error:
        reason = str(error)
    else:
        assert theirs is not None
        assert same(ours, theirs)
        return
    stricter = ("not used", "number that there is not", "too long")
    assert theirs is None or any(each in reason for each in stricter)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\x0a", "cut off", id="no length"),
        pytest.param(b"\x0a\x01", "cut off", id="no content"),
        pytest.param(b"\x0a\x02\x0a\x01", "cut off", id="inner content over the edge"),
        pytest.param(b"\x0a\x7f" + bytes(100), "cut off", id="a length that lies"),
        pytest.param(b"\x0a" + b"\xff" * 4 + b"\x0f", "cut off", id="a huge length"),
        pytest.param(b"\x0a" + b"\xff" * 9 + b"\x01", "too long", id="a length of 64 bits"),
        pytest.param(b"\x08" + b"\xff" * 10 + b"\x01", "too long", id="a number of 11 bytes"),
        pytest.param(b"\x0a" + b"\x80" * 11, "too long", id="an endless number"),
        pytest.param(b"\x80", "cut off", id="half a number"),
        pytest.param(b"\x09\0\0\0", "cut off", id="half a fixed64"),
        pytest.param(b"\x0d\0\0", "cut off", id="half a fixed32"),
        pytest.param(b"\x00\x00", "number that there is not", id="field 0"),
        pytest.param(b"\x0b\x0c", "not used", id="a group"),
        pytest.param(b"\x0e", "not used", id="kind 6"),
        pytest.param(b"\x0a\x03\x0a\x01\xff", "not UTF-8", id="an ID that is no text"),
        pytest.param(b"\x0a\x03\x2a\x01\xff", "not UTF-8", id="a hint that is no text"),
        pytest.param(b"\x1a\x03\x0a\x01\xff", "not UTF-8", id="a name that is no text"),
    ],
)
def test_what_is_no_message(data: bytes, reason: str) -> None:
    """Bytes that are no message are refused with the reason."""
    with pytest.raises(ResponseError, match=reason) as caught:
        read(data)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\x0a\x00" * 4, "more than 3 SVIDs", id="SVIDs"),
        pytest.param(b"\x1a\x00" * 6, "more than 5 federated bundles", id="bundles of one name"),
        pytest.param(b"\x12\x00" * 9, "not used", id="revocation lists"),
        pytest.param(b"\x20\x00" * 9, "not used", id="unknown numbers"),
    ],
)
def test_elements_are_counted_while_they_are_read(data: bytes, reason: str) -> None:
    """A message of tiny elements is refused at the first that is too many."""
    with pytest.raises(ResponseError, match=reason):
        read(data * 100_000, svids=3, bundles=5)


def test_nothing_shows_a_key() -> None:
    """What was read has no representation of its content."""
    response = read(X509SVIDResponse(svids=[X509SVID(x509_svid_key=b"secret")]).SerializeToString())

    assert "secret" not in repr(response)
    assert "secret" not in repr(response.svids)
