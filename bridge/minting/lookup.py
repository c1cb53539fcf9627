"""A guard is there: which transaction made it, and did it pay what was ordered?

Asked where the own record of who pays falls short: an attempt that was given up and landed after all, another
worker's, or one of before the database was lost. The guard's address is part of the minting transaction, so its
history leads there.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.programs.mode import Item, PayMode
from bridge.records import ATTEMPTS
from bridge.solana.rpc import SeenSignature, SolanaRpc
from store.port import Collection, Reader

_PAGE: Final = 1000
_MOST_PAGES: Final = 5
_MOST_EXAMINED: Final = 50
_MOST_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """The final transaction that paid just what was ordered."""

    signature: Signature
    slot: int


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The guard was made, but not as ordered: for a person to look at."""

    reason: str


Answer: TypeAlias = Found | Otherwise | None
"""None: the cluster does not tell enough yet."""


class Lookup(Generic[Item]):
    """Looks paying transactions up by their guards. `attempts` are the collection of those signed here, by their
    signatures."""

    def __init__(
        self, reader: Reader, rpc: SolanaRpc, mode: PayMode[Item], attempts: Collection = ATTEMPTS
    ) -> None:
        self._reader = reader
        self._rpc = rpc
        self._mode = mode
        self._attempts = attempts
        self._others: OrderedDict[Pubkey, set[Signature]] = OrderedDict()

    async def minting_of(self, order: Item) -> Answer:
        """What paid an order whose guard is there. Where many others name the guard, some are looked at each time,
        so that the one that made it is come to in the end."""
        guard = self._mode.guard(order)
        others = self._others_of(guard)
        candidates, is_whole = await self._candidates(guard, others)
        for candidate in candidates:
            seen = await self._rpc.transaction(candidate.signature)
            if seen is None:
                is_whole = False
                continue
            units = self._mode.minted([order], seen).get(order.key)
            if units == order.units:
                return Found(seen.signature, seen.slot)
            if units is not None:
                return Otherwise(f"{seen.signature} paid {units} base units, not {order.units}")
            others.add(candidate.signature)
        if others and is_whole:
            self._others.pop(guard, None)  # asked again by a person, all of it is looked at again
            return Otherwise("the guard is there, and no transaction in its history paid what it is for")
        return None

    def _others_of(self, guard: Pubkey) -> set[Signature]:
        """Final transactions that name the guard, and minted nothing for it."""
        others = self._others.setdefault(guard, set())
        self._others.move_to_end(guard)
        if len(self._others) > _MOST_REMEMBERED:
            self._others.popitem(last=False)
        return others

    async def _candidates(self, guard: Pubkey, others: set[Signature]) -> tuple[list[SeenSignature], bool]:
        """Transactions that may have made the guard, but for `others`, and whether these are all: attempts of this
        store first, then the oldest. Anybody may name the address in any number of transactions."""
        listed, is_whole = await self._history(guard)
        listed = [each for each in listed if each.signature not in others]
        ours = await self._reader.get_many(self._attempts, [bytes(each.signature) for each in listed])
        listed.sort(key=lambda each: (bytes(each.signature) not in ours, each.slot))
        return listed[:_MOST_EXAMINED], is_whole and len(listed) <= _MOST_EXAMINED

    async def _history(self, guard: Pubkey) -> tuple[list[SeenSignature], bool]:
        listed: list[SeenSignature] = []
        before: Signature | None = None
        for _ in range(_MOST_PAGES):
            page = await self._rpc.signatures_for(guard, before=before, limit=_PAGE)
            listed += [each for each in page if each.error is None]
            if len(page) < _PAGE:
                return listed, True
            before = page[-1].signature
        return listed, False
