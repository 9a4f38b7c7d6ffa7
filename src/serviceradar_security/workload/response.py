"""Read an ``X509SVIDResponse`` of the Workload API from its bytes.

Standard: Workload API section 5.1; the encoding is that of protocol buffers. Two messages with
eight fields need no message library, whose import is a quarter of the time to the first identity.
Elements are counted while they are read: a member may be two bytes long and would cost a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ResponseError", "SvidEntry", "X509SvidResponse", "read_response"]

_MAX_NUMBER: Final = 10  # bytes of a number of 64 bits
_MAX_SIZE: Final = 5  # bytes of a length or a tag, which have 32
_MAX_FIELD: Final = (1 << 29) - 1
_MORE: Final = 0x80
_KEY: Final = 1 << 3 | 2  # the tags of a map entry's two fields
_VALUE: Final = 2 << 3 | 2
_SHORTEST: Final = 4
_TEXTS: Final = {1: "spiffe_id", 5: "hint"}
_BYTES: Final = {2: "x509_svid", 3: "x509_svid_key", 4: "bundle"}


class ResponseError(ValueError):
    """Bytes that are no such message, or more than the limits allow."""


@dataclass(slots=True, repr=False)
class SvidEntry:
    """One ``X509SVID``; no ``repr``, since it holds a private key (R-WLAPI-36)."""

    spiffe_id: str = ""
    x509_svid: bytes = b""
    x509_svid_key: bytes = b""
    bundle: bytes = b""
    hint: str = ""


@dataclass(slots=True, repr=False)
class X509SvidResponse:
    """The parts that this library uses; revocation lists and unknown fields are passed over.

    Attributes:
        svids: The identities, in their order.
        federated_bundles: Concatenated DER by the ID or name of a trust domain.
    """

    svids: list[SvidEntry] = field(default_factory=list)
    federated_bundles: dict[str, bytes] = field(default_factory=dict)


def read_response(data: bytes, *, max_svids: int, max_bundles: int) -> X509SvidResponse:
    """Read one message; fields that are not known are ignored (R-WLAPI-02, R-WLAPI-20).

    But for groups, an encoding that the third version of the language does not have.

    Args:
        data: The message.
        max_svids: How many SVIDs there may be.
        max_bundles: How many federated bundles there may be.

    Raises:
        ResponseError: The bytes are no such message, or a limit is passed.
    """
    read = X509SvidResponse()
    bundles = ignored = 0
    federated, end, position = read.federated_bundles, len(data), 0
    while position < end:
        number, start, position = _field(data, position, end)
        if number == 1 and start >= 0:
            if len(read.svids) == max_svids:
                raise ResponseError(f"it has more than {max_svids} SVIDs")
            read.svids.append(_entry(data, start, position))
        elif number == 3 and start >= 0:  # noqa: PLR2004 - the number of the field
            bundles += 1
            if bundles > max_bundles:
                raise ResponseError(f"it has more than {max_bundles} federated bundles")
            entry = _map_entry(data, start, position)
            if entry is not None:
                federated[entry[0]] = entry[1]
        else:
            ignored += 1
            if ignored > max_svids + max_bundles:
                raise ResponseError("it has too many fields that are not used")
    return read


def _entry(data: bytes, position: int, end: int) -> SvidEntry:
    entry = SvidEntry()
    for number, start, stop in _fields(data, position, end):
        if start < 0:
            continue
        if number in _BYTES:
            setattr(entry, _BYTES[number], data[start:stop])  # of several the last counts
        elif number in _TEXTS:
            setattr(entry, _TEXTS[number], _text(data, start, stop))
    return entry


def _map_entry(data: bytes, position: int, end: int) -> tuple[str, bytes] | None:
    """Read key and value; an entry with anything else in it is none, as for protobuf's own."""
    # As every writer writes it, there are thousands of these: a short key, a value to the end.
    if end - position > _SHORTEST and data[position] == _KEY and data[position + 1] < _MORE:
        cut = position + 2 + data[position + 1]
        if cut < end and data[cut] == _VALUE:
            size, start = _varint(data, cut + 1, end, _MAX_SIZE)
            if start + size == end:
                return _text(data, position + 2, cut), data[start:end]
    key, value, strange = "", b"", False
    for number, start, stop in _fields(data, position, end):
        if number == 1 and start >= 0:
            key = _text(data, start, stop)
        elif number == 2 and start >= 0:  # noqa: PLR2004 - the number of the field
            value = data[start:stop]
        else:
            strange = True
    return None if strange else (key, value)


def _text(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError:
        pass  # neither cause nor context: it would carry the bytes
    raise ResponseError("a text in it is not UTF-8")


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give number, begin and end of each field; a begin of -1 for those that hold a number."""
    while position < end:
        number, start, position = _field(data, position, end)
        yield number, start, position


def _field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    tag = data[position]
    if tag < _MORE:
        position += 1
    else:
        tag, position = _varint(data, position, end, _MAX_SIZE)
    number, kind = tag >> 3, tag & 7
    start = -1
    if kind == 2:  # noqa: PLR2004 - length-delimited
        size, start = _varint(data, position, end, _MAX_SIZE)
        position = start + size
    elif kind == 0:
        _, position = _varint(data, position, end, _MAX_NUMBER)
    elif kind in (1, 5):
        position += 8 if kind == 1 else 4
    else:
        raise ResponseError("a field in it has an encoding that is not used")
    if not 0 < number <= _MAX_FIELD:
        raise ResponseError("a field in it has a number that there is not")
    if position > end:
        raise ResponseError("it is cut off")
    return number, start, position


def _varint(data: bytes, position: int, end: int, most: int) -> tuple[int, int]:
    if position < end and (first := data[position]) < _MORE:
        return first, position + 1
    if position + 1 < end and (second := data[position + 1]) < _MORE:
        return first & 0x7F | second << 7, position + 2  # most certificates are this long
    value = shift = 0
    for index in range(position, min(end, position + most)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value, index + 1
        shift += 7
    raise ResponseError("a number in it is cut off or too long")
