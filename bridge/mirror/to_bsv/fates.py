"""Fates: what became of transactions on BSV that this node had admitted once.

An evicted transaction is not a dead one: what one node refused, or lost sight of, may be mined yet, and with it
what stands on it. It is dead when something that it needs is spent by another transaction, deep in the chain. It
needs the coins that it spends; and where one of them was made by an evicted transaction, that one's coins, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from basket.coins import FUND_COINS
from bridge.mirror.from_bsv.burial import confirmations_of
from bridge.mirror.ground import MirrorGround
from overlay.records import EVICTIONS, SPENDS, TRANSACTIONS, applied
from store.port import Document

_MOST_NEEDED: Final = 1_000
"""Evicted transactions that are looked at; the fate of one that needs more is not known."""


class Fate(Enum):
    """What a transaction has come to."""

    BACK = auto()
    """It is admitted, again or still."""
    DEAD = auto()
    """It can never be mined."""
    CONTESTABLE = auto()
    """A coin for fees that it needs is free: a transaction that spends it excludes this one."""
    OPEN = auto()
    """A coin that it needs is spent by another one, which is not deep yet; or it is seen in the chain."""
    UNKNOWN = auto()
    """Nothing is known any more of the coins that it needs."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transaction and its fate. `coin` is the outpoint by which a CONTESTABLE one is contested."""

    txid: bytes
    fate: Fate
    coin: bytes = b""


@dataclass(slots=True)
class _Rows:
    """What is stored about transactions and coins."""

    transactions: dict[Any, Document] = field(default_factory=dict)
    evictions: dict[Any, Document] = field(default_factory=dict)
    spends: dict[Any, Document] = field(default_factory=dict)
    coins: dict[Any, Document] = field(default_factory=dict)

    def spender(self, outpoint: bytes) -> bytes | None:
        """Who spends a coin: a certificate's transaction, or one of the treasury's own."""
        if outpoint in self.spends:
            return bytes(self.spends[outpoint]["txid"])
        coin = self.coins.get(outpoint)
        return None if coin is None else coin["spender"]

    def is_free(self, outpoint: bytes) -> bool:
        return outpoint in self.coins and self.coins[outpoint]["live"] is not None

    def needed_by(self, txid: bytes) -> list[bytes]:
        """The coins of an evicted transaction, and of the evicted ones that made them."""
        found: dict[bytes, None] = {}
        waiting, seen = [txid], {txid}
        while waiting:
            for outpoint in self.spent_by(waiting.pop()):
                found[outpoint] = None
                if outpoint[:32] in self.evictions and outpoint[:32] not in seen:
                    seen.add(outpoint[:32])
                    waiting.append(outpoint[:32])
        return list(found)

    def spent_by(self, txid: bytes) -> list[bytes]:
        if txid in self.transactions or txid not in self.evictions:
            return []
        return list(self.evictions[txid].get("spends", ()))


class Fates:
    """Asks the engine's rows, the treasury's, and the header chain."""

    def __init__(self, ground: MirrorGround) -> None:
        self._store = ground.store
        self._headers = ground.engine.headers
        self._confirmations = ground.bridge.confirmations

    async def of(self, txids: Iterable[bytes]) -> dict[bytes, Attempt]:
        """The fates of transactions (32 B, as on the wire)."""
        wanted = set(txids)
        rows = await self._rows(wanted)
        return {txid: self._attempt(txid, rows) for txid in wanted}

    async def _rows(self, wanted: set[bytes]) -> _Rows:
        rows = _Rows()
        fresh, seen = wanted, set(wanted)
        while fresh and len(rows.evictions) < _MOST_NEEDED:
            transactions, evictions = await self._store.get_each(
                [(TRANSACTIONS, list(fresh)), (EVICTIONS, list(fresh))]
            )
            rows.transactions |= transactions
            rows.evictions |= evictions
            fresh = {outpoint[:32] for txid in fresh for outpoint in rows.spent_by(txid)} - seen
            seen |= fresh
        spent = list({outpoint for txid in rows.evictions for outpoint in rows.spent_by(txid)})
        rows.spends, rows.coins = await self._store.get_each([(SPENDS, spent), (FUND_COINS, spent)])
        spenders = {spender for each in spent if (spender := rows.spender(each)) is not None}
        rows.transactions |= await self._store.get_many(TRANSACTIONS, list(spenders - rows.evictions.keys()))
        return rows

    def _attempt(self, txid: bytes, rows: _Rows) -> Attempt:
        if txid in rows.transactions:
            return Attempt(txid, Fate.BACK if applied(rows.transactions[txid]) else Fate.OPEN)
        needed = rows.needed_by(txid)
        spenders = {spender for each in needed if (spender := rows.spender(each)) is not None}
        if any(self._is_deep(rows.transactions.get(each)) for each in spenders):
            return Attempt(txid, Fate.DEAD)
        if free := [each for each in needed if rows.is_free(each)]:
            return Attempt(txid, Fate.CONTESTABLE, min(free))
        return Attempt(txid, Fate.OPEN if spenders else Fate.UNKNOWN)

    def _is_deep(self, transaction: Document | None) -> bool:
        return confirmations_of(transaction, self._headers) >= self._confirmations
