"""The payer's SOL: each guard of a reading or of a release costs rent, and so does each new token account.

A payer that runs dry makes every transaction fail, and none of the readings is at fault: so nothing is signed that
it could not pay. On the embedded cluster it asks the faucet by itself.
"""

from __future__ import annotations

from typing import Final

import structlog
from solders.pubkey import Pubkey

from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, Unavailable
from overlay.clock import NowMs

LAMPORTS_A_SOL: Final = 1_000_000_000
_FRESH_MS: Final = 5_000
_TOKEN_ACCOUNT_BYTES: Final = 170
_FEE_LAMPORTS: Final = 5_000
_AIRDROP_LAMPORTS: Final = 500 * LAMPORTS_A_SOL
_AIRDROP_PAUSE_MS: Final = 2_000

log = structlog.get_logger("metawatt.minting")


class Funds:
    """What the payer has; `balance_lamports` is what it had when it was last asked, None before."""

    def __init__(
        self, rpc: SolanaRpc, payer: Pubkey, now_ms: NowMs, *, low_lamports: int, has_faucet: bool
    ) -> None:
        self._rpc = rpc
        self._payer = payer
        self._now_ms = now_ms
        self._low_lamports = low_lamports
        self._has_faucet = has_faucet
        self._reading_lamports = 0
        self._asked_ms = -_FRESH_MS
        self._dropped_ms = -_AIRDROP_PAUSE_MS
        self._left_lamports = 0
        self.balance_lamports: int | None = None

    @property
    def is_low(self) -> bool:
        """Whether it is below the alarm."""
        return self.balance_lamports is not None and self.balance_lamports < self._low_lamports

    async def spend(self, readings: int) -> None:
        """Count on paying for so many readings. `Unavailable(SOLANA_UNAVAILABLE)` when there is not enough."""
        await self._refresh()
        lamports = readings * self._reading_lamports
        if self._has_faucet and self._left_lamports < lamports + self._low_lamports:
            await self._airdrop()
        if lamports > self._left_lamports:
            raise Unavailable(
                f"{self._payer}, who pays, has {self.balance_lamports} lamports, too few for what is due",
                ErrorCode.SOLANA_UNAVAILABLE,
            )
        self._left_lamports -= lamports

    async def _refresh(self) -> None:
        if self._now_ms() - self._asked_ms < _FRESH_MS and self._left_lamports > self._low_lamports:
            return
        if not self._reading_lamports:
            guard = await self._rpc.rent_lamports(0)
            self._reading_lamports = guard + await self._rpc.rent_lamports(_TOKEN_ACCOUNT_BYTES) + _FEE_LAMPORTS
        self.balance_lamports = self._left_lamports = await self._rpc.balance(self._payer)
        self._asked_ms = self._now_ms()

    async def _airdrop(self) -> None:
        if self._now_ms() - self._dropped_ms < _AIRDROP_PAUSE_MS:
            return
        self._dropped_ms = self._now_ms()
        await self._rpc.airdrop(self._payer, _AIRDROP_LAMPORTS)
        log.info("asked the faucet for SOL", payer=str(self._payer), lamports=_AIRDROP_LAMPORTS)
