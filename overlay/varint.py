"""Bitcoin's variable-length integers ("CompactSize"): 1, 3, 5 or 9 bytes, little endian.

A number written in more bytes than it needs is accepted, as both SDKs and the nodes' own parsers for
Merkle paths do: what hangs on the exact bytes (txids) is hashed over the bytes themselves, never over a
re-serialisation. A number that is cut off is refused, where the SDKs read on into nothing.
"""

from __future__ import annotations

from config.errors import BadRequest, ErrorCode

_WIDTHS = {0xFD: 2, 0xFE: 4, 0xFF: 8}


def read_varint(data: bytes, position: int, code: ErrorCode = ErrorCode.ENVELOPE_MALFORMED) -> tuple[int, int]:
    """The number at `position` and the position after it; `BadRequest(code)` when it is cut off."""
    try:
        first = data[position]
    except IndexError:
        raise BadRequest("a length is cut off", code) from None
    if first < 0xFD:
        return first, position + 1
    end = position + 1 + _WIDTHS[first]
    if end > len(data):
        raise BadRequest("a length is cut off", code)
    return int.from_bytes(data[position + 1 : end], "little"), end


def write_varint(number: int) -> bytes:
    """The shortest encoding; OverflowError outside 64 bits."""
    if 0 <= number < 0xFD:
        return bytes((number,))
    if 0 <= number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    if 0 <= number <= 0xFFFF_FFFF:
        return b"\xfe" + number.to_bytes(4, "little")
    return b"\xff" + number.to_bytes(8, "little")
