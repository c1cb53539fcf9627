"""Starting again: the accounts at the root, then the blocks after it, executed as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog
from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.chain import RESERVED_SLOTS, Chain
from bridge.cluster.envelope import Envelope
from bridge.cluster.executed import Executed
from bridge.cluster.journal import Journal
from bridge.cluster.runtime import Runtime
from bridge.cluster.slots import Slots
from overlay.clock import NowMs

_log = structlog.get_logger(__name__)


async def restored(journal: Journal, programs: Mapping[Pubkey, bytes], now_ms: NowMs) -> Chain:
    """The chain as the store has it, with a new slot open; a new chain where the store is empty."""
    header = await journal.open() or await journal.begin(now_ms() // 1000)
    tip = header.reserved + 1
    header = replace(header, reserved=tip + RESERVED_SLOTS)
    await journal.commit([header.write()])
    slots = Slots(header.genesis, tip, await journal.skipped())
    chain = Chain(header, slots, Runtime(programs), now_ms)
    await _read_accounts(chain, journal)
    await _read_statuses(chain, journal)
    async for executed in journal.landed(header.root + 1):
        _execute_again(chain, executed)
    chain.begin(tip, now_ms() // 1000)
    chain.durable = tip - 1
    return chain


async def _read_accounts(chain: Chain, journal: Journal) -> None:
    programs: list[tuple[Pubkey, Account]] = []
    async for address, account in journal.accounts():
        if account.executable:
            programs.append((address, account))
        else:
            chain.restore(address, account)
    # A program can be loaded only once the account with its code is there.
    for address, account in programs:
        chain.restore(address, account)


async def _read_statuses(chain: Chain, journal: Journal) -> None:
    """Of the blocks whose transactions could still be sent again."""
    async for executed in journal.landed(chain.oldest_to_keep, chain.header.root):
        chain.statuses.add(executed.signature, executed.slot, executed.error)


def _execute_again(chain: Chain, executed: Executed) -> None:
    if executed.slot != chain.slots.tip:
        chain.begin(executed.slot, executed.block_time)
    envelope = Envelope.trusted(executed.raw)
    again = chain.replay(envelope, chain.keys(envelope, executed.slot))
    if again is None or again.error != executed.error:
        _log.error("solana_replay_differs", signature=str(executed.signature), slot=executed.slot)
