"""Readings as orders to mint, and the accounts that orders, and other payments, need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic

from solders.pubkey import Pubkey

from bridge.meters.mirroring import minted_to
from bridge.programs.destination import fault_of, is_missing
from bridge.programs.mode import Facts, Item, Order, PayMode, is_guard
from bridge.solana.rpc import AccountState, SolanaRpc
from overlay.clock import NowMs
from store.port import Document

FRESH_MS: Final = 60_000
"""How long a destination that was good is believed to be so."""
_MOST_REMEMBERED: Final = 100_000


def order_of(row: Document) -> Order:
    """A reading's order: to custody where its meter is mirrored, else to its owner. `ValueError` when that is no
    address: intake lets none such in."""
    wallet = Pubkey.from_string(minted_to(row))
    return Order(row["_id"], row["meter"], row["interval_start_ms"], wallet, row["units"])


@dataclass(frozen=True, slots=True)
class Standing:
    """What the cluster says of an order before it is signed. `fault` is why nothing can be minted to its
    destination, None when it can, or when the account is still to be made."""

    facts: Facts
    is_guarded: bool
    fault: str | None = None


class Ground(Generic[Item]):
    """Looks accounts up, at finalized. Destinations that were found good are remembered for a while, at most until
    a transaction fails: their owners may give them away, or close them."""

    def __init__(self, rpc: SolanaRpc, mode: PayMode[Item], now_ms: NowMs) -> None:
        self._rpc = rpc
        self._mode = mode
        self._now_ms = now_ms
        self._good_ms: dict[Pubkey, int] = {}

    async def standings(self, orders: Sequence[Item]) -> list[Standing]:
        """One for each order."""
        guards = [self._mode.guard(order) for order in orders]
        owners = {self._mode.destination(order): order.wallet for order in orders}
        unknown = [each for each in owners if not self._is_known(each)]
        found = await self._rpc.accounts([*guards, *unknown])
        destinations = dict(zip(unknown, found[len(guards) :], strict=True))
        self._remember(destinations, owners)
        return [
            self._standing(order, guard, destinations)
            for order, guard in zip(orders, found[: len(guards)], strict=True)
        ]

    async def guarded(self, orders: Sequence[Item]) -> list[bool]:
        """For each order whether its guard is there."""
        found = await self._rpc.accounts([self._mode.guard(order) for order in orders])
        return [is_guard(account) for account in found]

    def doubt(self, orders: Sequence[Item]) -> None:
        """Ask for these orders' destinations again."""
        for order in orders:
            self._good_ms.pop(self._mode.destination(order), None)

    def _standing(
        self, order: Item, guard: AccountState | None, destinations: Mapping[Pubkey, AccountState | None]
    ) -> Standing:
        destination = destinations.get(address := self._mode.destination(order))
        is_there = address not in destinations or not is_missing(destination)
        return Standing(
            Facts(is_there, 0 if guard is None else guard.lamports),
            is_guard(guard),
            None if destination is None or not is_there else self._fault(destination, order.wallet),
        )

    def _fault(self, account: AccountState, wallet: Pubkey | None) -> str | None:
        return fault_of(account, wallet=wallet, mint=self._mode.mint, token_program=self._mode.token_program)

    def _is_known(self, destination: Pubkey) -> bool:
        return self._now_ms() - self._good_ms.get(destination, -FRESH_MS) < FRESH_MS

    def _remember(
        self, found: Mapping[Pubkey, AccountState | None], owners: Mapping[Pubkey, Pubkey | None]
    ) -> None:
        now_ms = self._now_ms()
        for address, account in found.items():
            self._good_ms.pop(address, None)
            owner = owners[address]  # where it may be anybody's, nothing is known of whose it is
            if account is not None and owner is not None and self._fault(account, owner) is None:
                self._good_ms[address] = now_ms
        while len(self._good_ms) > _MOST_REMEMBERED:
            self._good_ms.pop(next(iter(self._good_ms)))
