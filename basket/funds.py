"""Coins for fees: what the registry's transactions are paid with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from overlay.builder import Coin
from overlay.merkle import Bump
from overlay.transaction import Transaction, outpoint
from store.port import Write


@dataclass(frozen=True, slots=True)
class FundCoin:
    """A coin of the node's own, locked to the hash of `Keyring.funds_key(key_id)`."""

    coin: Coin
    key_id: str

    @property
    def outpoint(self) -> bytes:
        return outpoint(self.coin.txid, self.coin.index)


@dataclass(frozen=True, slots=True)
class Funding:
    """Coins that were taken for one transaction, and those of their sources that the node does not keep yet
    and that must travel along: each transaction with its Merkle path, None while it is unproven."""

    coins: tuple[FundCoin, ...]
    sources: tuple[tuple[Transaction, Bump | None], ...] = ()

    @property
    def satoshis(self) -> int:
        return sum(each.coin.output.satoshis for each in self.coins)


@dataclass(frozen=True, slots=True)
class Change:
    """Where change goes: a P2PKH script, the key ID that it is derived from, and how much is worth having."""

    key_id: str
    script: bytes
    least_satoshis: int = 1


class Treasury(Protocol):
    """The funds of one node. Several transactions may be made at once, each with coins of its own."""

    @property
    def fee_rate(self) -> int:
        """Satoshis for 1000 bytes."""
        ...

    async def take(self, satoshis: int, spending: Sequence[bytes] = ()) -> Funding:
        """Coins worth at least that, which nobody else is given until they come back or are spent; first those
        of the outpoints in `spending`. `Unavailable(WALLET_EMPTY)` when there are none to be had, `Busy` when one
        of these is not free."""
        ...

    def give_back(self, funding: Funding) -> None:
        """The coins were not spent after all."""
        ...

    def change(self) -> Change: ...

    def writes(self, funding: Funding, change: FundCoin | None) -> Sequence[Write]:
        """What is to be written in the commit of the transaction that spends the coins."""
        ...

    def settle(self, funding: Funding, change: FundCoin | None) -> None:
        """That commit is done."""
        ...
