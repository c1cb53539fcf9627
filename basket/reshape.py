"""Which coins to split and which to join, so that enough coins of the right size lie ready. Decides only.

Its inputs are proven coins: what it makes stands on one unproven transaction, its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from basket.purse import PurseCoin

MOST_OUTPUTS: Final = 250
"""So that the transaction stays small: those who spend its coins carry it along."""
MOST_SMALL: Final = 100
_WORTH_JOINING: Final = 16
_OVERHEAD_BYTES: Final = 16
_INPUT_BYTES: Final = 149
_OUTPUT_BYTES: Final = 34


@dataclass(frozen=True, slots=True)
class Shape:
    """What is wished for: so many coins of that size, and the fee rate in satoshis for 1000 bytes."""

    coin_satoshis: int
    spare_coins: int
    fee_rate: int

    @property
    def input_fee(self) -> int:
        """What it costs to spend a coin: one that is not worth twice that stays where it is."""
        return -(-_INPUT_BYTES * self.fee_rate // 1000)

    @property
    def least_satoshis(self) -> int:
        """A coin below this is small: it is joined with others."""
        return self.coin_satoshis // 2


@dataclass(frozen=True, slots=True)
class Reshape:
    """The coins to spend, and how many coins of the shape's size to make; the rest is one coin more."""

    coins: tuple[PurseCoin, ...]
    count: int


def plan_reshape(free: Sequence[PurseCoin], ready: int, shape: Shape) -> Reshape | None:
    """What to do with the `free` coins, when `ready` are of a good size; None when nothing is worth a fee."""
    # Not for every coin that is spent: a transaction for each would cost more than it gives.
    lacking = shape.spare_coins - ready if 2 * ready < shape.spare_coins else 0
    proven = sorted((coin for coin in free if coin.depth == 0), key=lambda coin: coin.satoshis)
    small = [coin for coin in proven if 2 * shape.input_fee < coin.satoshis < shape.least_satoshis][:MOST_SMALL]
    if len(small) < _WORTH_JOINING:
        small = []
    large = proven[-1:] if lacking and proven and proven[-1].satoshis >= 2 * shape.coin_satoshis else []
    if not small and not large:
        return None
    coins = (*large, *small)
    # What a large coin gives beyond what is lacking stays together, for later.
    count = _count(coins, min(lacking, MOST_OUTPUTS) if large else MOST_OUTPUTS, shape)
    return Reshape(coins, count) if count or small else None


def _count(coins: Sequence[PurseCoin], most: int, shape: Shape) -> int:
    """How many coins of the shape's size they pay for, beside the fee and a rest that is no small coin."""
    each = shape.coin_satoshis + -(-_OUTPUT_BYTES * shape.fee_rate // 1000)
    fixed = _OVERHEAD_BYTES + _INPUT_BYTES * len(coins) + _OUTPUT_BYTES
    left = sum(coin.satoshis for coin in coins) - fixed * shape.fee_rate // 1000 - 1 - shape.least_satoshis
    return max(0, min(most, left // each))
