"""The embedded Solana cluster: the real SPL programs on LiteSVM, with slots, finality, history and faults.

One process is the whole cluster. A slot lasts `slot_ms`; a block is confirmed one slot later and final 31
slots later. A block is confirmed only once it is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import structlog
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.accounts import Accounts
from bridge.cluster.chain import FINAL_SLOTS, Chain
from bridge.cluster.events import Confirmed, Event, Listener
from bridge.cluster.executed import Block, Entry, Executed, Forked, Simulated, Status
from bridge.cluster.faults import Faults
from bridge.cluster.history import History
from bridge.cluster.journal import Journal
from bridge.cluster.restoring import restored
from bridge.cluster.sending import Sending
from bridge.cluster.slots import BLOCKHASH_AGE
from bridge.solana.rpc import Blockhash, Commitment
from config.errors import BadRequest, ErrorCode, MetawattError, Unavailable
from overlay.clock import NowMs
from store.port import Store

_NO_PROGRAMS: Final[Mapping[Pubkey, bytes]] = MappingProxyType({})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is while the cluster is open."""

    chain: Chain
    history: History
    accounts: Accounts
    sending: Sending


class Cluster:
    """The cluster on a store of its own. `slot_ms` 0 opens slots only by `advance`.

    Methods that are not coroutines answer from memory. Reads at a commitment show what was true at that
    commitment's slot, and the faults (`faults`) have their say: they may lag, or deny what is there.
    """

    def __init__(
        self,
        store: Store,
        *,
        network: str,
        slot_ms: int = 400,
        now_ms: NowMs,
        programs: Mapping[Pubkey, bytes] = _NO_PROGRAMS,
    ) -> None:
        """`programs` are ELFs by program id. Raises MetawattError(SETTINGS_INVALID) unless network is dev."""
        if network != "dev":
            raise MetawattError(
                f"the embedded Solana cluster is for the dev network, not for {network}", ErrorCode.SETTINGS_INVALID
            )
        self.slot_ms = slot_ms
        self.faults = Faults()
        self._now_ms = now_ms
        self._programs = dict(programs)
        self._journal = Journal(store)
        self._listeners: list[Listener] = []
        self._ticker: asyncio.Task[None] | None = None
        self._parts: _Parts | None = None
        # One slot closes at a time, so that blocks are committed in their order.
        self._closing = asyncio.Lock()

    async def open(self) -> None:
        """Open the store, restore the accounts at the last root, execute the blocks after it, start slots."""
        try:
            chain = await restored(self._journal, self._programs, self._now_ms)
        except BaseException:
            await self._journal.close()
            raise
        chain.emit = self._tell
        self._parts = _Parts(
            chain, History(chain, self._journal, self.faults), Accounts(chain), Sending(chain, self.faults)
        )
        if self.slot_ms:
            self._ticker = asyncio.create_task(self._tick(), name="solana-slots")

    async def close(self) -> None:
        """Close the tip's slot, make it durable, and let go."""
        parts, self._parts = self._parts, None
        if parts is None:
            return
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        try:
            async with self._closing:
                await self._journal.commit(parts.chain.close_tip(is_last=True))
        finally:
            await self._journal.close()

    # Slots and blocks

    @property
    def genesis_hash(self) -> Hash:
        """Of this data directory alone, and no real cluster's."""
        return self._open.chain.slots.genesis

    @property
    def first_available(self) -> int:
        """The oldest slot whose transactions are still told of."""
        return self._open.chain.header.first_available

    @property
    def transaction_count(self) -> int:
        """Transactions that landed since genesis."""
        return self._open.chain.header.transactions

    def slot(self, commitment: Commitment) -> int:
        """The slot of the newest block at that commitment."""
        return self._open.history.view(commitment)

    def block_height(self, commitment: Commitment) -> int:
        """How many blocks that block has below it."""
        return self._open.chain.slots.height(self.slot(commitment))

    def commitment_of(self, slot: int) -> Commitment | None:
        """How settled the block of a slot is; None when the slot is skipped, or not yet there."""
        return self._open.history.commitment_of(slot)

    def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        return self._open.chain.slots.named(self.slot(commitment))

    def is_blockhash_valid(self, blockhash: Hash, commitment: Commitment) -> bool:
        """Whether a transaction with it may land in the block after that commitment's newest."""
        return self._open.chain.slots.is_valid(blockhash, self.slot(commitment))

    def blocks(self, first: int, last: int, commitment: Commitment) -> list[int]:
        """Slots that have a block, from `first` to `last` (both included), at most 500,000."""
        return self._open.history.blocks(first, last, commitment)

    async def block(self, slot: int, commitment: Commitment = "finalized") -> Block | None:
        """None when the slot is skipped, pruned, or its block not at that commitment."""
        return await self._open.history.block(slot, commitment)

    async def block_time(self, slot: int) -> int | None:
        """Epoch seconds; None when the slot has no block."""
        return await self._open.history.block_time(slot)

    # Transactions

    async def send(
        self, raw: bytes, *, skip_preflight: bool = False, preflight_commitment: Commitment = "finalized"
    ) -> Signature:
        """Take a signed transaction; it lands in the tip's block at once (or, by a fault, later or never).

        Identical bytes that landed are not executed again: their signature is the answer, or with preflight
        `PreflightFailed` with AlreadyProcessed once they landed at the preflight's commitment, as on a real
        node. What fails in execution lands with its error. What a real leader would not take (a blockhash
        that is too old, a payer who cannot pay) is refused in preflight, and is silently gone without.
        Raises `Malformed`, `BadSignature`, `PreflightFailed`, `AnswerLost`.
        """
        return self._open.sending.send(raw, skip_preflight, preflight_commitment)

    async def simulate(
        self,
        raw: bytes,
        *,
        sig_verify: bool = False,
        replace_blockhash: bool = False,
        commitment: Commitment = "finalized",
    ) -> Simulated:
        """Execute on the state at that commitment, without effect. Raises `Malformed`, `BadSignature`."""
        return self._open.sending.simulate(
            raw, self.slot(commitment), sig_verify=sig_verify, replace_blockhash=replace_blockhash
        )

    async def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """A transfer from the faucet. Raises BadRequest when it is more than the faucet has."""
        return self._open.sending.airdrop(address, lamports)

    def fee_for(self, message: bytes, commitment: Commitment) -> int | None:
        """Lamports for a serialized message; None when its blockhash is not valid. Raises `Malformed`."""
        return self._open.sending.fee_for(message, self.slot(commitment))

    async def statuses(self, signatures: Sequence[Signature], *, history: bool) -> list[Status | None]:
        """In their order. Without `history` only transactions of the last 150 blocks."""
        return await self._open.history.statuses(signatures, history=history)

    async def executed(self, signature: Signature, commitment: Commitment = "finalized") -> Executed | None:
        """None when it is not known at that commitment."""
        return await self._open.history.executed(signature, commitment)

    def landed_in(self, slot: int) -> tuple[Executed, ...]:
        """The transactions of one of the last blocks (those not final yet, and some more); from memory."""
        return self._open.chain.recent.block(slot)

    async def signatures_for(
        self,
        address: Pubkey,
        *,
        before: Signature | None = None,
        until: Signature | None = None,
        limit: int = 1000,
        commitment: Commitment = "finalized",
    ) -> list[Entry]:
        """An address's history, newest first; `before` and `until` are not in it. Empty when `before` is not
        known. At most 1000."""
        return await self._open.history.signatures_for(address, before, until, limit, commitment)

    # Accounts

    def account(self, address: Pubkey, commitment: Commitment) -> Account | None:
        return self._open.chain.account_at(address, self.slot(commitment))

    def rent_exempt_lamports(self, space: int) -> int:
        return self._open.chain.runtime.rent_exempt_lamports(space)

    def program_accounts(
        self,
        program: Pubkey,
        commitment: Commitment,
        *,
        data_size: int | None = None,
        memcmp: Sequence[tuple[int, bytes]] = (),
    ) -> list[tuple[Pubkey, Account]]:
        """Accounts that a program owns, by address; `memcmp` are (offset, bytes) that the data must have."""
        return self._open.accounts.of_program(program, self.slot(commitment), data_size, memcmp)

    def token_accounts_of(self, owner: Pubkey, commitment: Commitment) -> list[tuple[Pubkey, Account]]:
        """Token accounts (both token programs) of a wallet, by address."""
        return self._open.accounts.of_owner(owner, self.slot(commitment))

    def token_accounts_for(self, mint: Pubkey, commitment: Commitment) -> list[tuple[Pubkey, Account]]:
        """Token accounts of a mint, largest first."""
        return self._open.accounts.of_mint(mint, self.slot(commitment))

    # What only a dev cluster can do

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every event, on the event loop; the answer ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def advance(self, slots: int = 1) -> int:
        """Close the tip's slot and open the next, `slots` times; durable on return. The new tip's slot."""
        for _ in range(slots):
            async with self._closing:
                await self._next_slot()
        return self._open.chain.slots.tip

    async def fork(self, depth: int, drop: Collection[Signature] | bool = ()) -> Forked:
        """Undo the last `depth` blocks (1 to 30, the tip's included) and open a new slot on what was before.

        Their transactions land again in the new slot, in their order, but for those in `drop` (True: all) and
        those whose blockhash was of an undone block; these vanish, and may be sent again while their blockhash
        is valid. Undone slots are skipped for ever. Raises BadRequest when it would undo what is final.
        """
        return self._open.chain.fork(depth, drop)

    async def prune(self, before_slot: int) -> int:
        """Forget the transactions before a slot; the new `first_available`. The accounts stay as they are.

        Raises BadRequest for one of the last 181 blocks, whose transactions must not land again, nor after a fork.
        """
        chain = self._open.chain
        if before_slot > chain.oldest_to_keep:
            raise BadRequest(f"only what is older than {BLOCKHASH_AGE + FINAL_SLOTS} blocks can be forgotten")
        first = chain.header.first_available
        if before_slot > first:
            chain.header = replace(chain.header, first_available=before_slot)
            await self._journal.commit([chain.header.write()])
            await self._journal.prune(first, before_slot)
        return chain.header.first_available

    # Slots

    @property
    def _open(self) -> _Parts:
        if self._parts is None:
            raise Unavailable("the embedded cluster is not open", ErrorCode.SOLANA_UNAVAILABLE)
        return self._parts

    async def _tick(self) -> None:
        """Open slots in step with the clock; when one took longer than its time, the next is not hurried."""
        loop, slot_secs = asyncio.get_running_loop(), self.slot_ms / 1000
        due = loop.time() + slot_secs
        while True:
            await asyncio.sleep(max(0, due - loop.time()))
            due = max(due + slot_secs, loop.time())
            try:
                await self.advance()
            except MetawattError:
                _log.exception("solana_slot_not_stored")

    async def _next_slot(self) -> None:
        """Close the tip's slot and open the next; then wait until the closed one is durable."""
        chain = self._open.chain
        closed, writes = chain.slots.tip, chain.close_tip()
        chain.open_next()
        if writes:
            try:
                await self._journal.commit(writes)
            except MetawattError:
                chain.carry(writes)
                raise
        chain.durable = closed
        chain.forget_old()
        self._tell(Confirmed(chain.slot_at("confirmed"), chain.slot_at("finalized")))

    def _tell(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            listener(event)
