"""The minter: readings become tokens, each exactly once. What surrounds it is in the files beside this one.

    due ─ taking ─ sending ─ settling ─ minted
            ↑          expiry, failure, retry │
            └──────────────────────────────────┘

Whatever process asks (a poll now, a reading, a backfill), it is written to the store; the holder of the lease
carries it out. Only `start` works in the background; everything else may be called in any process of the node.

Where it may die, and who goes on (tests/bridge/test_minting_crashes.py dies at each of them):

    before the signed transactions are committed    nothing is stored, nobody has seen them: the readings are due
    after it, before or between the sends           the attempts are open: sent by whoever comes next, as they are
    after a send, before its answer                 the same; the bytes are identical, and land once
    after a transaction was seen, or was final      it is found by its signature, and settled
    before the commit of what was found out         it is found out again
    after it, before anybody was told               the store is right; the notice is lost
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from bridge.minting.backfill import Backfilling
from bridge.minting.batches import Batches
from bridge.minting.config import MintingConfig
from bridge.minting.confirming import Confirming
from bridge.minting.context import Context
from bridge.minting.desk import Desk
from bridge.minting.flights import Flights
from bridge.minting.funds import Funds
from bridge.minting.health import MintingHealth
from bridge.minting.lease import Lease, Lost, StoredLease
from bridge.minting.lookup import Lookup
from bridge.minting.measures import MintingMeasures
from bridge.minting.orders import Ground
from bridge.minting.polling import Polling
from bridge.minting.polls import PollResult
from bridge.minting.sending import Sending
from bridge.minting.settling import Settling
from bridge.minting.taking import Taking
from bridge.minting.token_accounts import TokenAccount, TokenAccounts
from bridge.notices import Tell, tell_nobody
from bridge.programs.keys import Signer
from bridge.programs.mode import MintMode
from bridge.solana.rpc import SeenTransaction, SolanaRpc
from config.errors import MetawattError, Unavailable
from config.settings import SolanaSettings, TokenizationSettings
from overlay.clock import NowMs
from store.port import Store, Write

_BUSY_SECS: Final = 0.25
_IDLE_SECS: Final = 1.0
_LONGEST_PUT_OFF_SECS: Final = 30.0

log = structlog.get_logger("metawatt.minting")


class Minting(Desk):
    """One process's minter.

    `signer` pays and mints; `co_signers` sign where the mode asks for more. With `has_faucet` (the embedded
    cluster) SOL is asked for when it runs low.
    """

    def __init__(
        self,
        store: Store,
        rpc: SolanaRpc,
        mode: MintMode,
        signer: Signer,
        settings: TokenizationSettings,
        solana: SolanaSettings,
        now_ms: NowMs,
        tell: Tell = tell_nobody,
        *,
        co_signers: Sequence[Signer] = (),
        has_faucet: bool = False,
        lease: Lease | None = None,
    ) -> None:
        super().__init__(store, settings, now_ms)
        self.measures = MintingMeasures()
        self._now_ms = now_ms
        self._lease = lease or StoredLease(store, now_ms)
        self._context = context = Context(
            store,
            rpc,
            mode,
            self._lease,
            settings,
            now_ms,
            tell,
            self.measures,
            Flights(store),
            Ground(rpc, mode, now_ms),
            Lookup(store, rpc, mode),
        )
        signers = (signer, *co_signers)
        self._accounts = TokenAccounts(rpc, mode, signers)
        self._confirming = Confirming(store, mode, context.retry, now_ms)
        self.funds = Funds(
            rpc, signer.public, now_ms, low_lamports=solana.payer_low_lamports, has_faucet=has_faucet
        )
        self._batches = Batches(tell)
        sending = Sending(context)
        taking = Taking(context, signers, self.funds, priority_micro_lamports=solana.priority_micro_lamports)
        settling = Settling(context, sending, self._batches)
        self._polling = Polling(context, taking, sending, settling, self._batches)
        self._backfilling = Backfilling(context, self._jobs)
        self.health = MintingHealth(store, self.funds, self._shelf, now_ms)
        self._loaded_term: int | None = None
        self._polled_ms: int | None = None
        self._answer = PollResult()
        self._put_off_secs = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def turn(self) -> asyncio.Lock:
        """Held while final transactions are settled; see `Context`."""
        return self._context.turn

    # The background

    async def start(self) -> None:
        """Mint in the background, whenever this process holds the lease."""
        self._task = asyncio.create_task(self._run(), name="minting")
        self.health.is_started = True

    async def stop(self) -> None:
        """End at the next await, wherever that is; what is under way is gone on with by whoever starts next."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.health.is_started = False
        await self._lease.release()

    def wake(self) -> None:
        """Look now: something has happened on the chain, or was asked for."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            pause_secs = await self._safe_turn()
            self.health.turned_ms = self._now_ms()
            try:
                async with asyncio.timeout(pause_secs):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _safe_turn(self) -> float:
        """A turn that does not raise; how long to pause after it."""
        try:
            pause_secs = await self._turn()
        except Lost:
            self._forget()
            self.measures.rounds["lost"] += 1
            log.warning("another process mints now")
            return _IDLE_SECS
        except Unavailable as error:
            self.measures.rounds["put_off"] += 1
            log.warning("minting is put off", reason=error.message)
            return self._put_off()
        except MetawattError as error:
            self.measures.rounds["failed"] += 1
            log.error("a round of minting failed", code=error.code, reason=error.message)
            return self._put_off()
        except Exception:
            self.measures.rounds["failed"] += 1
            log.exception("a round of minting failed")
            return self._put_off()
        self._put_off_secs = 0.0
        return pause_secs

    def _put_off(self) -> float:
        self._put_off_secs = min(max(_BUSY_SECS, self._put_off_secs * 2), _LONGEST_PUT_OFF_SECS)
        return self._put_off_secs

    async def _turn(self) -> float:
        if not await self._lease.hold():
            self._forget()
            return _IDLE_SECS
        if self._loaded_term != self._lease.term:
            self._forget()
            self._loaded_term = self._lease.term
        if not self._context.flights.is_complete:
            await self._context.flights.load()
        await self._polling.settle()
        config = await self._shelf.get()
        is_backfilling = await self._backfilling.step()
        interval_ms = round(config.polling_interval_secs * 1000)
        is_due = self._until_poll_ms(interval_ms) == 0
        if is_due or self._polling.goes_on or is_backfilling or await self._is_asked():
            await self._poll(config, is_due=is_due or self._polling.goes_on)
        if is_due:
            self._polled_ms = self._now_ms()
        self.measures.rounds["done"] += 1
        if is_backfilling or self._polling.has_more:
            return 0.0
        if self._polling.goes_on or len(self._context.flights):
            return _BUSY_SECS
        return min(_IDLE_SECS, self._until_poll_ms(interval_ms) / 1000)

    def _until_poll_ms(self, interval_ms: int) -> int:
        """Until the next poll by the interval in force, whichever process changed it; 0 also after the clock went
        back."""
        if self._polled_ms is None:
            return 0
        since_ms = self._now_ms() - self._polled_ms
        return max(0, interval_ms - since_ms) if since_ms >= 0 else 0

    async def _is_asked(self) -> bool:
        """Whether a person asked for a poll, or for a reading."""
        return await self._polls.asked() is not None or await self._polling.waiting(also_unasked=False) > 0

    async def _poll(self, config: MintingConfig, *, is_due: bool) -> PollResult:
        number = await self._polls.asked()
        also_unasked = number is not None or (is_due and config.auto_mint_enabled)
        result = await self._polling.poll(config.batch_size, also_unasked=also_unasked)
        if number is not None:
            self._answer = self._answer.plus(result.readings, result.transactions, result.found)
            if not self._polling.goes_on:
                await self._answered(number)
        return result

    async def _answered(self, number: int) -> None:
        """Tell those who asked for a poll, once it is through, what all of it did."""
        waiting = await self._polling.waiting(also_unasked=True)
        await self._context.commit([self._polls.done(number, replace(self._answer, waiting=waiting))])
        self._answer = PollResult()

    def _forget(self) -> None:
        """Know nothing of what is on its way: another one has the lease, or had it."""
        self._context.flights.forget()
        self._batches.forget()
        self._answer = PollResult()
        self._loaded_term = None

    async def round(self) -> PollResult:
        """One whole pass: everything on its way settled as far as it is, and all that is due signed for and sent.
        Raises `Lost`, `Unavailable`."""
        if not await self._lease.hold():
            raise Lost
        await self._context.flights.load()
        await self._polling.settle()
        while await self._backfilling.step():
            pass
        return await self._poll(await self._shelf.get(), is_due=True)

    # Asked for by other parts; what people ask for is the desk's, but for this

    async def initialize_token_account(self, wallet: str) -> TokenAccount:
        """Make a wallet's token account; see `TokenAccounts.make`."""
        return await self._accounts.make(wallet)

    async def confirmations(self, seen: SeenTransaction) -> Sequence[Write]:
        """What a final transaction means for readings, as writes for the caller's commit: a `Conflict` says that
        the minter was first, and that the caller should ask again."""
        writes = await self._confirming.confirmations(seen)
        if writes:
            self.wake()
        return writes
