"""Headers that an auditor trusts: what a Merkle path must end in, for nothing else proves which chain it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from config.errors import BadRequest, ErrorCode
from overlay.sdk import hash256

_HEADER_BYTES: Final = 80
_HASH_BYTES: Final = 32
_PREVIOUS: Final = slice(4, 36)


class Trust(Enum):
    """What trusted headers say of another one."""

    CONFIRMED = "it is among the trusted headers"
    CONTRADICTED = "the trusted headers have another block there"
    UNKNOWN = "the trusted headers do not reach there"


class HeadersMalformed(BadRequest):
    """This is no file of headers."""

    default_code = ErrorCode.PROOF_INVALID


@dataclass(frozen=True, slots=True)
class TrustedHeaders:
    """Hashes of blocks, 32 B as on the wire: by height where heights are known, else in the order of the chain."""

    by_height: Mapping[int, bytes] = field(default_factory=dict)
    chain: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Hash to the hash of the block after it."""

    def judge(self, header: bytes, height: int) -> Trust:
        """What they say of a block's 80 bytes at that height."""
        digest = hash256(header)
        if height in self.by_height:
            return Trust.CONFIRMED if self.by_height[height] == digest else Trust.CONTRADICTED
        if digest in self.chain:
            return Trust.CONFIRMED
        follows = self.chain.get(header[_PREVIOUS])
        return Trust.UNKNOWN if follows is None else Trust.CONTRADICTED


def read_headers(data: bytes) -> TrustedHeaders:
    """From JSON, `{height: header or hash}` with 160 or 64 hex digits (a hash in display order), or from headers of
    80 bytes one after the other, each of which follows the one before. Raises `HeadersMalformed`."""
    if data.lstrip()[:1] == b"{":
        return TrustedHeaders(by_height=_by_height(data))
    if not data or len(data) % _HEADER_BYTES:
        raise HeadersMalformed("trusted headers are JSON, or headers of 80 bytes one after the other")
    return TrustedHeaders(chain=_chain(data))


def _by_height(data: bytes) -> dict[int, bytes]:
    try:
        return {int(height): _hash(text) for height, text in orjson.loads(data).items()}
    except (TypeError, ValueError) as error:
        raise HeadersMalformed(f"trusted headers as JSON are hashes or headers by height: {error}") from error


def _hash(text: Any) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) == _HEADER_BYTES:
        return hash256(raw)
    if len(raw) != _HASH_BYTES:
        raise ValueError(f"{text!r} is neither a header nor a hash")
    return raw[::-1]


def _chain(data: bytes) -> dict[bytes, bytes | None]:
    chain: dict[bytes, bytes | None] = {}
    last: bytes | None = None
    for at in range(0, len(data), _HEADER_BYTES):
        header = data[at : at + _HEADER_BYTES]
        if last is not None:
            if header[_PREVIOUS] != last:
                raise HeadersMalformed(f"header {at // _HEADER_BYTES} does not follow the one before it")
            chain[last] = hash256(header)
        last = hash256(header)
        chain[last] = None
    return chain
