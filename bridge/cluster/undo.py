"""What accounts were before each of the last slots changed them: reads of the past, and the way back."""

from __future__ import annotations

from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

UNDO_SLOTS: Final = 64
"""Finality is 31 slots, reads may lag by 32 more."""


class UndoLog:
    """Pre-images by slot, in the order of slots. None is an account that did not exist."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[Pubkey, Account | None]] = {}

    def record(self, slot: int, address: Pubkey, before: Account | None) -> None:
        """`address` was `before` when `slot` first changed it."""
        self._slots.setdefault(slot, {}).setdefault(address, before)

    def changed(self, first: int, last: int) -> set[Pubkey]:
        """What the slots from `first` to `last` changed."""
        found: set[Pubkey] = set()
        for slot, before in self._slots.items():
            if first <= slot <= last:
                found.update(before)
        return found

    def since(self, slot: int) -> dict[Pubkey, Account | None]:
        """All that later slots changed, as it was at the end of `slot`."""
        found: dict[Pubkey, Account | None] = {}
        for later, before in self._slots.items():
            if later > slot:
                for address, account in before.items():
                    found.setdefault(address, account)
        return found

    def lookup(self, address: Pubkey, slot: int) -> tuple[bool, Account | None]:
        """Whether a slot after `slot` changed `address`, and what it was before."""
        for later, before in self._slots.items():
            if later > slot and address in before:
                return True, before[address]
        return False, None

    def take_back(self, slot: int) -> dict[Pubkey, Account | None]:
        """`since(slot)`, and forget these slots: they did not happen."""
        found = self.since(slot)
        self._slots = {each: before for each, before in self._slots.items() if each <= slot}
        return found

    def forget(self, up_to: int) -> None:
        """Slots up to `up_to` can be neither read nor undone any more."""
        for slot in [each for each in self._slots if each <= up_to]:
            del self._slots[slot]
