"""Split concatenated DER without reading what is inside.

The Workload API joins certificates with nothing between them (Workload API section 5.1). The
split looks at lengths alone, so that ten thousand certificates cost no parsing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DerError", "is_pkcs8", "split_sequences"]

_SEQUENCE: Final = 0x30
_LONG_FORM: Final = 0x80
_INTEGER: Final = 0x02
_MAX_LENGTH_BYTES: Final = 4


class DerError(ValueError):
    """Bytes that are not a row of DER sequences; callers put it into an error of the family."""


def split_sequences(data: bytes, *, limit: int) -> tuple[bytes, ...]:
    """Split a row of DER SEQUENCEs at their lengths.

    Args:
        data: The row.
        limit: How many there may be; a row of two-byte elements must not fill the memory.

    Raises:
        DerError: Something other than a SEQUENCE, a length that is not DER, surplus bytes, or
            more elements than the limit.
    """
    parts: list[bytes] = []
    start, end = 0, len(data)
    while start < end:
        if len(parts) == limit:
            raise DerError(f"more than {limit} elements")
        stop = start + _sequence_size(data, start)
        if stop > end:
            raise DerError(
                f"element {len(parts) + 1} says {stop - start} bytes, {end - start} came"
            )
        parts.append(data[start:stop])
        start = stop
    return tuple(parts)


def is_pkcs8(data: bytes) -> bool:
    """Tell whether bytes have the outer form of one unencrypted PKCS#8 key, and no more.

    The form is SEQUENCE { INTEGER, SEQUENCE, … }; PKCS#1 and SEC 1 keys and encrypted ones differ
    in the first two elements (R-X509-27).
    """
    try:
        if len(split_sequences(data, limit=1)) != 1:
            return False
    except DerError:
        return False
    header = _header_size(data, 0)
    version = data[header : header + 3]
    return (
        len(version) == 3  # noqa: PLR2004 - tag, length and value of a one-byte INTEGER
        and version[:2] == bytes((_INTEGER, 1))
        and data[header + 3 : header + 4] == bytes((_SEQUENCE,))
    )


def _header_size(data: bytes, start: int) -> int:
    first = data[start + 1]
    return 2 if first < _LONG_FORM else 2 + (first & 0x7F)


def _sequence_size(data: bytes, start: int) -> int:
    """Size of the element at `start`, header included."""
    if data[start] != _SEQUENCE:
        raise DerError(f"byte {start} is not 0x30, with which a certificate begins")
    if start + 2 > len(data):
        raise DerError("the last element is cut off")
    first = data[start + 1]
    if first < _LONG_FORM:
        return 2 + first
    count = first & 0x7F
    if not 0 < count <= _MAX_LENGTH_BYTES or start + 2 + count > len(data):
        raise DerError(f"byte {start + 1} does not begin a DER length")
    size = int.from_bytes(data[start + 2 : start + 2 + count])
    # DER has one way to write a length: the shortest.
    if size < _LONG_FORM or size >> (8 * (count - 1)) == 0:
        raise DerError(f"byte {start + 1} begins a length that is not the shortest form")
    return 2 + count + size
