"""A minter as one writes it who has not lost money yet: send, wait for the confirmation, mark as minted.

After GridTokenX's gateway: the poller takes unminted readings, oldest first, mints each, and marks it once its
transaction is confirmed. What fails or takes longer than the timeout stays unminted, and the next poll takes it
again. There is neither a lease nor a marker, and a transaction is not written down before it is sent. Times are the
gateway's, counted in slots of 400 ms: a poll a minute, 30 s for a confirmation.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.minting.orders import order_of
from bridge.programs.keys import Signer
from bridge.programs.memo import reading_memo
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.programs.tokens import create_associated_account, mint_to_checked
from bridge.records import READINGS, ReadingState
from bridge.solana.rpc import SendRefused, SolanaRpc
from config.errors import Unavailable
from overlay.clock import NowMs
from store.port import Document, Find, Patch, Store

POLL_SLOTS: Final = 150
CONFIRM_SLOTS: Final = 75
BATCH: Final = 50
AT_ONCE: Final = 20
_LOOK_SLOTS: Final = 2

log = logging.getLogger("naive")


class NotConfirmed(Exception):
    """The transaction failed, or was not confirmed in time."""


@dataclass(frozen=True, slots=True)
class NaiveMinter:
    """One process's worker. `decimals` are the mint's."""

    store: Store
    rpc: SolanaRpc
    mode: OwnMint
    signer: Signer
    decimals: int
    slot_ms: int
    now_ms: NowMs

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._secs(POLL_SLOTS))

    async def poll(self) -> None:
        """Mint what is unminted now."""
        at_once = asyncio.Semaphore(AT_ONCE)
        page = await self.store.find(READINGS, Find("due", upper=self.now_ms() + 1, limit=BATCH))
        await asyncio.gather(*(self._mint(row, at_once) for row in page.documents))

    async def _mint(self, row: Document, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            try:
                signature = await self._send(row)
                await self._confirmed(signature)
            except (SendRefused, Unavailable, NotConfirmed) as error:
                log.warning("minting failed, the next poll tries again: %s", error)
                return
            await self._mark(row, signature)

    async def _send(self, row: Document) -> Signature:
        order, payer = order_of(row), self.signer.public
        mint, program = self.mode.mint, self.mode.token_program
        destination: Pubkey = self.mode.destination(order)
        instructions = (
            create_associated_account(payer, order.wallet, mint, program),
            mint_to_checked(program, mint, destination, payer, order.units, self.decimals),
            reading_memo([order.key]),
        )
        blockhash = await self.rpc.latest_blockhash()
        made = await signed(Packed((order,), instructions, payer), blockhash.value, [self.signer])
        return await self.rpc.send(bytes(made))

    async def _confirmed(self, signature: Signature) -> None:
        try:
            async with asyncio.timeout(self._secs(CONFIRM_SLOTS)):
                while not await self._is_confirmed(signature):
                    await asyncio.sleep(self._secs(_LOOK_SLOTS))
        except TimeoutError:
            raise NotConfirmed(f"{signature} was not confirmed in time") from None

    async def _is_confirmed(self, signature: Signature) -> bool:
        (status,) = await self.rpc.statuses([signature], history=False)
        if status is not None and status.error is not None:
            raise NotConfirmed(f"{signature} failed: {status.error}")
        return status is not None and status.commitment != "processed"

    async def _mark(self, row: Document, signature: Signature) -> None:
        changes = {
            "state": ReadingState.MINTED,
            "attempt": bytes(signature),
            "minted_ms": self.now_ms(),
            "open_ms": None,
            "due_ms": None,
        }
        await self.store.commit([Patch(READINGS, row["_id"], changes)])

    def _secs(self, slots: int) -> float:
        return slots * self.slot_ms / 1000
