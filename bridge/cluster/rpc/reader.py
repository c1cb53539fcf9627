"""Little-endian values in program data."""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey

_KEY_BYTES: Final = 32


class Short(ValueError):
    """The data ends before the value does, or holds what no program writes."""


class Reader:
    """Walks over bytes; every getter raises `Short` where they end too early."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Short(f"{count} bytes are wanted at {self._at}")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def key(self) -> str:
        """An address, base58."""
        return str(Pubkey(self.take(_KEY_BYTES)))

    def key_option(self, tag_bytes: int) -> str | None:
        """An address behind a tag that says whether there is one, and that some layouts pad to four bytes."""
        tag = int.from_bytes(self.take(tag_bytes), "little")
        if tag > 1:
            raise Short(f"{tag} is no tag")
        return self.key() if tag else None

    def padded_key_option(self) -> str | None:
        """As `key_option`, where the place of an absent address is there all the same."""
        tag = self.u32()
        key = self.key()
        return key if tag else None

    def zeroable_key(self) -> str | None:
        """An address of which all zeros mean that there is none."""
        taken = self.take(_KEY_BYTES)
        return str(Pubkey(taken)) if any(taken) else None

    def text(self) -> str:
        """UTF-8 behind a length of eight bytes."""
        return self.take(self.u64()).decode()
