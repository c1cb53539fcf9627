"""Whether the cluster answers, how far it is, and what the keys that pay have left: asked every few seconds."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

import structlog
from solders.pubkey import Pubkey

from bridge.solana.rpc import SolanaRpc
from config.errors import MetawattError

_EVERY_SECS: Final = 10.0

log = structlog.get_logger("metawatt.solana")


class Pulse:
    """`is_up` is False until the cluster has answered; the other values are those of its last answer, None before
    the first. `answer_secs` is how long that one took. `payer` is the minting key, `bridge` the
    bridge's, if there is one."""

    def __init__(
        self, rpc: SolanaRpc, payer: Pubkey, bridge: Pubkey | None = None, every_secs: float = _EVERY_SECS
    ) -> None:
        self.is_up = False
        self.final_slot: int | None = None
        self.payer_lamports: int | None = None
        self.bridge_lamports: int | None = None
        self.answer_secs: float | None = None
        self._rpc = rpc
        self._payer = payer
        self._bridge = bridge
        self._every_secs = every_secs
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._beat(), name="Solana's pulse")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            try:
                await self.ask()
            except Exception:
                self.is_up = False
                log.exception("asking the cluster failed")
            await asyncio.sleep(self._every_secs)

    async def ask(self) -> None:
        """Ask once, and note the answer, or that there was none."""
        began = perf_counter()
        try:
            final_slot = await self._rpc.slot()
            payer_lamports = await self._rpc.balance(self._payer)
            bridge_lamports = None if self._bridge is None else await self._rpc.balance(self._bridge)
        except MetawattError as error:
            if self.is_up:
                log.warning("the cluster does not answer", reason=error.message)
            self.is_up = False
            return
        self.is_up = True
        self.final_slot = final_slot
        self.payer_lamports = payer_lamports
        self.bridge_lamports = bridge_lamports
        self.answer_secs = perf_counter() - began
