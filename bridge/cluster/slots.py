"""Slots, blocks and blockhashes: a block in every slot but those that a fork undid, and a hash for each.

A blockhash is a function of the genesis hash and the slot. An undone slot is never used again, so that its
blockhash is known to nobody any more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from solders.hash import Hash

from bridge.solana.rpc import Blockhash

BLOCKHASH_AGE: Final = 150
"""A transaction may land up to so many blocks above the one whose hash it names."""


class Slots:
    """The chain's shape. `tip` is the slot whose block is open."""

    def __init__(self, genesis: Hash, tip: int, skipped: Iterable[tuple[int, int]] = ()) -> None:
        self.genesis = genesis
        self.tip = tip
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._totals: list[int] = []
        self._hashes: dict[Hash, int] = {}
        for first, last in skipped:
            self.skip(first, last)
        for slot in self.back_from(tip, BLOCKHASH_AGE + 1):
            self._hashes[self.blockhash(slot)] = slot

    def open_next(self) -> int:
        """The next slot becomes the tip; its parent."""
        parent = self.at_or_before(self.tip)
        self.tip += 1
        self._hashes[self.blockhash(self.tip)] = self.tip
        if len(self._hashes) > 2 * BLOCKHASH_AGE:
            oldest = self.back_from(self.tip, BLOCKHASH_AGE + 1)[-1]
            self._hashes = {value: slot for value, slot in self._hashes.items() if slot >= oldest}
        return parent

    def skip(self, first: int, last: int) -> list[int]:
        """There is no block from `first` to `last`, beyond which none was skipped yet. The first slots of
        the ranges that lie within, which are ranges no more."""
        for slot in range(first, last + 1):
            self._hashes.pop(self.blockhash(slot), None)
        keep = bisect_left(self._firsts, first)
        within = self._firsts[keep:]
        for ranges in (self._firsts, self._lasts, self._totals):
            del ranges[keep:]
        total = self._totals[-1] if self._totals else 0
        self._firsts.append(first)
        self._lasts.append(last)
        self._totals.append(total + last - first + 1)
        return within

    def is_skipped(self, slot: int) -> bool:
        at = bisect_right(self._firsts, slot) - 1
        return at >= 0 and slot <= self._lasts[at]

    def has_block(self, slot: int) -> bool:
        return 0 <= slot <= self.tip and not self.is_skipped(slot)

    def at_or_before(self, slot: int) -> int:
        """The newest slot with a block, up to `slot`; 0 is the genesis block."""
        while slot > 0:
            at = bisect_right(self._firsts, slot) - 1
            if at < 0 or slot > self._lasts[at]:
                return slot
            slot = self._firsts[at] - 1
        return 0

    def parent(self, slot: int) -> int:
        return self.at_or_before(slot - 1)

    def back_from(self, slot: int, count: int) -> list[int]:
        """Up to `count` slots with a block, the newest first, from `slot` down to genesis."""
        slots = list[int]()
        slot = self.at_or_before(slot)
        while len(slots) < count:
            slots.append(slot)
            if slot == 0:
                break
            slot = self.parent(slot)
        return slots

    def height(self, slot: int) -> int:
        """How many blocks are below the one of `slot`."""
        at = bisect_right(self._firsts, slot) - 1
        return slot - (self._totals[at] if at >= 0 else 0)

    def blockhash(self, slot: int) -> Hash:
        return Hash(sha256(bytes(self.genesis) + slot.to_bytes(8, "big")).digest())

    def named(self, slot: int) -> Blockhash:
        """The blockhash of a slot with the last height at which it can be used."""
        return Blockhash(self.blockhash(slot), self.height(slot) + BLOCKHASH_AGE)

    def is_valid(self, blockhash: Hash, slot: int) -> bool:
        """Whether a transaction that names it can land in the block of `slot`."""
        named = self._hashes.get(blockhash)
        return named is not None and named <= slot and self.height(slot) - self.height(named) <= BLOCKHASH_AGE
