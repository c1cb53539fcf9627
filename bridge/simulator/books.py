"""The books of a run: what its wallets should hold, from what was accepted, and what the cluster says they do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.simulator.balances import Difference, Token, differences
from bridge.simulator.tally import Tally
from bridge.solana.rpc import SolanaRpc
from config.errors import Unavailable

_PAUSE_SECS: Final = 1.0


class Books:
    """`opening` is what each wallet held before the run, and what was accepted before and still to be minted."""

    def __init__(self, rpc: SolanaRpc, token: Token, tally: Tally, opening: Mapping[str, int]) -> None:
        self._rpc = rpc
        self._tally = tally
        self.token = token
        self.opening = dict(opening)
        self.actual: dict[str, int] = dict(opening)

    @property
    def wallets(self) -> Sequence[str]:
        return tuple(self.opening)

    @property
    def expected(self) -> dict[str, int]:
        """Base units by wallet."""
        accepted = self._tally.by_wallet
        return {wallet: units + self.token.units(accepted[wallet]) for wallet, units in self.opening.items()}

    @property
    def differences(self) -> list[Difference]:
        return differences(self.expected, self.actual)

    async def look(self) -> None:
        """Read the balances."""
        self.actual = await self.token.held(self._rpc, self.wallets)

    async def settle(self) -> None:
        """Read the balances until they are as expected. While the cluster does not answer they stay as they
        were."""
        while True:
            if await self.glance() and not self.differences:
                return
            await asyncio.sleep(_PAUSE_SECS)

    async def glance(self) -> bool:
        """Read the balances if they can be had."""
        try:
            await self.look()
        except Unavailable:
            return False
        return True
