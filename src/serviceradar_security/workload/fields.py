"""Count the members of a protobuf message without making objects of them.

A member may be two bytes long, and costs the parser a hundred: a message within its limit of
bytes could take gigabytes. So the members are counted first, and only as far as the limit.
"""

from __future__ import annotations

__all__ = ["count_fields"]

_MORE = 0x80
_MAX_VARINT = 10


def count_fields(data: bytes, *, limit: int) -> int:
    """Count the top-level members, up to one more than the limit.

    Bytes that are no message end the count: the parser will refuse them.
    """
    count = position = 0
    while position < len(data) and count <= limit:
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 2:
                size, position = _varint(data, position)
                position += size
            case 5:
                position += 4
            case _:
                return count
        count += 1
    return count


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & _MORE:
            return value, position + index + 1
    return value, len(data)
