"""Base58 of 16 bytes: readings' keys in memos, and the seeds of markers."""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey

BYTES: Final = 16
_ZEROS: Final = bytes(Pubkey.LENGTH - BYTES)


def short58(data: bytes) -> str:
    """As any base58 writes them, by the native one that addresses have: 16 zero bytes in front are 16 ones there,
    and change nothing of what follows."""
    if len(data) != BYTES:
        raise ValueError(f"{len(data)} bytes, not {BYTES}")
    return str(Pubkey(_ZEROS + data))[len(_ZEROS) :]
