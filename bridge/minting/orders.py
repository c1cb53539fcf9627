"""Readings as orders to mint, and the accounts that orders need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from bridge.programs.mode import Facts, MintMode, Order, is_guard
from bridge.solana.rpc import AccountState, SolanaRpc
from store.port import Document

_MOST_REMEMBERED: Final = 100_000


def order_of(row: Document) -> Order:
    """A reading's order. `ValueError` when its wallet is not an address: intake lets none such in."""
    wallet = Pubkey.from_string(row["wallet"])
    return Order(row["_id"], row["meter"], row["interval_start_ms"], wallet, row["units"])


@dataclass(frozen=True, slots=True)
class Standing:
    """What the cluster says of an order before it is signed."""

    facts: Facts
    is_guarded: bool


class Ground:
    """Looks accounts up, at finalized. Destinations that were there are remembered until a transaction fails."""

    def __init__(self, rpc: SolanaRpc, mode: MintMode) -> None:
        self._rpc = rpc
        self._mode = mode
        self._destinations: dict[Pubkey, None] = {}

    async def standings(self, orders: Sequence[Order]) -> list[Standing]:
        """One for each order."""
        guards = [self._mode.guard(order) for order in orders]
        destinations = [self._mode.destination(order) for order in orders]
        unknown = [each for each in dict.fromkeys(destinations) if each not in self._destinations]
        found = await self._rpc.accounts([*guards, *unknown])
        self._remember(unknown, found[len(guards) :])
        return [
            Standing(
                Facts(destination in self._destinations, 0 if account is None else account.lamports),
                is_guard(account),
            )
            for account, destination in zip(found[: len(guards)], destinations, strict=True)
        ]

    async def guarded(self, orders: Sequence[Order]) -> list[bool]:
        """For each order whether its guard is there."""
        found = await self._rpc.accounts([self._mode.guard(order) for order in orders])
        return [is_guard(account) for account in found]

    def doubt(self, orders: Sequence[Order]) -> None:
        """Ask for these orders' destinations again: an owner may have closed one."""
        for order in orders:
            self._destinations.pop(self._mode.destination(order), None)

    def _remember(self, addresses: Sequence[Pubkey], accounts: Sequence[AccountState | None]) -> None:
        for address, account in zip(addresses, accounts, strict=True):
            if account is not None and account.owner == self._mode.token_program:
                self._destinations[address] = None
        while len(self._destinations) > _MOST_REMEMBERED:
            self._destinations.pop(next(iter(self._destinations)))
