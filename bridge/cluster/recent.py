"""The transactions of the last blocks, in memory: by signature, by block and by address."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.executed import Executed


class Recent:
    """Records of the blocks from `floor` on; those below are the store's to tell."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._blocks: dict[int, list[Executed]] = {}
        self._by_signature: dict[Signature, Executed] = {}
        self._by_address: dict[Pubkey, deque[Executed]] = {}

    def add(self, executed: Executed) -> None:
        """The newest transaction."""
        self._blocks.setdefault(executed.slot, []).append(executed)
        self._by_signature[executed.signature] = executed
        for address in set(executed.keys):
            self._by_address.setdefault(address, deque()).append(executed)

    def get(self, signature: Signature) -> Executed | None:
        return self._by_signature.get(signature)

    def block(self, slot: int) -> tuple[Executed, ...]:
        return tuple(self._blocks.get(slot, ()))

    def count(self, slot: int) -> int:
        return len(self._blocks.get(slot, ()))

    def of(self, address: Pubkey) -> Iterator[Executed]:
        """An address's transactions, the newest first."""
        return reversed(self._by_address.get(address, deque()))

    def forget(self, up_to: int) -> None:
        """Blocks up to `up_to` are in the store, and are not kept here any more."""
        for slot in [each for each in self._blocks if each <= up_to]:
            for executed in self._blocks.pop(slot):
                del self._by_signature[executed.signature]
                self._drop(executed, newest=False)
        self.floor = max(self.floor, up_to + 1)

    def take_back(self, slot: int) -> list[Executed]:
        """Take out what landed after `slot`, in the order in which it landed."""
        later = sorted(each for each in self._blocks if each > slot)
        undone = [executed for each in later for executed in self._blocks.pop(each)]
        for executed in reversed(undone):
            del self._by_signature[executed.signature]
            self._drop(executed, newest=True)
        return undone

    def _drop(self, executed: Executed, *, newest: bool) -> None:
        for address in set(executed.keys):
            line = self._by_address[address]
            (line.pop if newest else line.popleft)()
            if not line:
                del self._by_address[address]


class StatusCache:
    """Slot and error of every transaction of the last blocks: what may not land again."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Signature]] = {}
        self._statuses: dict[Signature, tuple[int, Any]] = {}

    def __contains__(self, signature: Signature) -> bool:
        return signature in self._statuses

    def add(self, signature: Signature, slot: int, error: Any) -> None:
        self._slots.setdefault(slot, []).append(signature)
        self._statuses[signature] = (slot, error)

    def get(self, signature: Signature) -> tuple[int, Any] | None:
        return self._statuses.get(signature)

    def remove(self, first: int, last: int) -> None:
        """Forget the slots from `first` to `last`."""
        for slot in [each for each in self._slots if first <= each <= last]:
            for signature in self._slots.pop(slot):
                del self._statuses[signature]
