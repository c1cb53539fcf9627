"""How account and transaction bytes are written into JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

import base58

from bridge.cluster.rpc.faults import RpcCode, RpcFault

# Base58 costs the square of the length: validators refuse it for more than this.
BASE58_MOST_BYTES: Final = 128
_ZSTD_MAGIC: Final = (0xFD2FB528).to_bytes(4, "little")
_ZSTD_SINGLE_SEGMENT_U32_SIZE: Final = 0b1010_0000
_ZSTD_BLOCK_MOST_BYTES: Final = 128 * 1024


def base64_text(data: bytes) -> str:
    return b64encode(data).decode()


def base58_text(data: bytes) -> str:
    """Base58 of a few bytes; more of them are an error that names what to use instead."""
    if len(data) > BASE58_MOST_BYTES:
        raise RpcFault(
            RpcCode.INVALID_REQUEST,
            "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
        )
    return base58.b58encode(data).decode()


def zstd_frame(data: bytes) -> bytes:
    """A Zstandard frame (RFC 8878) of raw blocks: valid for every decoder, and no smaller than the data."""
    frame = bytearray(_ZSTD_MAGIC)
    frame.append(_ZSTD_SINGLE_SEGMENT_U32_SIZE)
    frame += len(data).to_bytes(4, "little")
    starts = range(0, len(data), _ZSTD_BLOCK_MOST_BYTES) or range(1)
    for start in starts:
        block = data[start : start + _ZSTD_BLOCK_MOST_BYTES]
        is_last = start + _ZSTD_BLOCK_MOST_BYTES >= len(data)
        frame += (len(block) << 3 | is_last).to_bytes(3, "little")
        frame += block
    return bytes(frame)


def encoded(data: bytes, encoding: str) -> Any:
    """Bytes with the name of their encoding; bare base58 in the oldest one, `binary`."""
    return ENCODERS[encoding](data)


ENCODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "binary": base58_text,
    "base58": lambda data: [base58_text(data), "base58"],
    "base64": lambda data: [base64_text(data), "base64"],
    "base64+zstd": lambda data: [base64_text(zstd_frame(data)), "base64+zstd"],
}
