"""The purse: which coins there are, who was given which, and which to give next. No I/O.

A coin is ranked by what a transaction that spends it must carry along: first those whose own transaction is
proven, of these first those of the treasury's own small transactions, then the smallest that will do, so that
large coins stay whole for splitting.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from basket.funds import FundCoin

MOST_COINS_AT_ONCE: Final = 100
_INPUT_BYTES: Final = 149

_Rank: TypeAlias = tuple[int, bool, int, bytes]


@dataclass(frozen=True, slots=True)
class PurseCoin:
    """A coin, the unproven transactions of the node's own that it stands on, and whether its transaction is
    small. `block` is the height and hash of the block that holds it, None while it is unproven."""

    fund: FundCoin
    depth: int
    is_light: bool
    block: tuple[int, bytes] | None = None

    @property
    def outpoint(self) -> bytes:
        return self.fund.outpoint

    @property
    def txid(self) -> bytes:
        return self.fund.coin.txid

    @property
    def satoshis(self) -> int:
        return self.fund.coin.output.satoshis

    def proven(self, height: int, block_hash: bytes) -> PurseCoin:
        return replace(self, depth=0, block=(height, block_hash))

    def unproven(self) -> PurseCoin:
        """Its block is no longer in the chain."""
        return replace(self, depth=max(1, self.depth), block=None)


class Purse:
    """Coins by outpoint. A coin is free, or taken by somebody who will spend it or give it back."""

    def __init__(self, most_depth: int, fee_rate: int = 1) -> None:
        self._most_depth = most_depth
        self._input_fee = -(-_INPUT_BYTES * fee_rate // 1000)
        self._coins: dict[bytes, PurseCoin] = {}
        self._taken: set[bytes] = set()
        self._free: list[_Rank] = []
        self.satoshis = 0

    def __len__(self) -> int:
        return len(self._coins)

    def __contains__(self, outpoint: bytes) -> bool:
        return outpoint in self._coins

    def __iter__(self) -> Iterator[PurseCoin]:
        return iter(self._coins.values())

    def get(self, outpoint: bytes) -> PurseCoin | None:
        return self._coins.get(outpoint)

    @property
    def taken(self) -> int:
        """How many coins are with somebody."""
        return len(self._taken)

    def free(self) -> list[PurseCoin]:
        """The coins that nobody has, best first; those that stand too deep too."""
        return [self._coins[rank[-1]] for rank in self._free]

    def ready(self, least_satoshis: int) -> int:
        """How many free coins of small transactions, and of at least that size, could be given now."""
        free = self._free
        return sum(rank[0] <= self._most_depth and not rank[1] and rank[2] >= least_satoshis for rank in free)

    # Coming and going

    def add(self, coin: PurseCoin) -> None:
        """A new coin, free; or what is known now of one that is here already."""
        known = self._coins.get(coin.outpoint)
        if known is not None:
            self._replace(known, coin)
            return
        self._coins[coin.outpoint] = coin
        self.satoshis += coin.satoshis
        insort(self._free, _rank(coin))

    def _replace(self, known: PurseCoin, coin: PurseCoin) -> None:
        self._coins[coin.outpoint] = coin
        if coin.outpoint not in self._taken:
            self._unlist(known)
            insort(self._free, _rank(coin))

    def drop(self, outpoint: bytes) -> None:
        """The coin is spent, or gone; nothing happens when it is not here."""
        coin = self._coins.pop(outpoint, None)
        if coin is None:
            return
        self.satoshis -= coin.satoshis
        if outpoint in self._taken:
            self._taken.remove(outpoint)
        else:
            self._unlist(coin)

    def _unlist(self, coin: PurseCoin) -> None:
        rank = _rank(coin)
        index = bisect_left(self._free, rank)
        assert self._free[index] == rank
        del self._free[index]

    # Giving

    def take(self, satoshis: int) -> list[PurseCoin]:
        """The smallest set worth at least that, now taken: one coin where one will do. Each coin beyond the first
        brings what its own input costs. Empty when there is no such set."""
        chosen = self._one(satoshis) or self._several(satoshis)
        for coin in chosen:
            self.hold(coin)
        return chosen

    def take_these(self, outpoints: Sequence[bytes]) -> list[PurseCoin]:
        """These very coins, now taken; none when one of them is not free."""
        coins = [self._coins[each] for each in outpoints if each in self._coins and each not in self._taken]
        if len(coins) < len(outpoints):
            return []
        for coin in coins:
            self.hold(coin)
        return coins

    def worth_beyond_inputs(self, coins: Sequence[PurseCoin]) -> int:
        """What coins bring that are spent beside another one."""
        return sum(coin.satoshis - self._input_fee for coin in coins)

    def hold(self, coin: PurseCoin) -> None:
        """Take this very coin, which is free."""
        self._unlist(coin)
        self._taken.add(coin.outpoint)

    def release(self, outpoint: bytes) -> None:
        """The coin comes back, unless it is gone meanwhile."""
        if outpoint in self._taken:
            self._taken.remove(outpoint)
            insort(self._free, _rank(self._coins[outpoint]))

    def _one(self, satoshis: int) -> list[PurseCoin]:
        for depth, _, worth, outpoint in self._free:
            if depth > self._most_depth:
                break
            if worth >= satoshis:
                return [self._coins[outpoint]]
        return []

    def _several(self, satoshis: int) -> list[PurseCoin]:
        usable = [rank for rank in self._free if rank[0] <= self._most_depth]
        usable.sort(key=lambda rank: -rank[2])
        chosen: list[PurseCoin] = []
        lacking = satoshis
        for *_, worth, outpoint in usable[:MOST_COINS_AT_ONCE]:
            chosen.append(self._coins[outpoint])
            lacking -= worth - (self._input_fee if len(chosen) > 1 else 0)
            if lacking <= 0:
                return chosen
        return []


def _rank(coin: PurseCoin) -> _Rank:
    return coin.depth, not coin.is_light, coin.satoshis, coin.outpoint
