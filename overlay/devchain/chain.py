"""The embedded dev chain: a miner and its pool, for one process and one network.

Real headers, coinbases, Merkle trees and scripts; nothing of it is meant to be secure, because whoever can
reach it may mine. It keeps everything in the store it is handed, and starts where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from config.errors import BadRequest, ErrorCode, Internal, Unavailable
from config.settings import Network
from overlay.chain import Header, TxStatus
from overlay.clock import NowMs, system_now_ms
from overlay.devchain.block import Block, header_time, mine_block
from overlay.devchain.callbacks import Callbacks, Sleep
from overlay.devchain.coins import CoinView
from overlay.devchain.faucet import Faucet, Payment, check_payment, faucet_key
from overlay.devchain.ledger import Ledger
from overlay.devchain.orphans import Orphan, Orphans
from overlay.devchain.pool import Entry, Pool
from overlay.devchain.records import TRANSACTIONS, read_callback, read_report, transaction_document
from overlay.devchain.reorg import Reorg, plan_reorg
from overlay.devchain.report import Callback, Refusal, Report
from overlay.devchain.rules import (
    MISSING_PARENTS,
    SCRIPTS,
    Policy,
    Source,
    check_claims,
    check_coins,
    check_shape,
    read,
    script_job,
)
from overlay.transaction import Output, Transaction
from overlay.verifier import ScriptWorker
from overlay.verify import run, runs_inline
from overlay.wire import write_beef
from store.port import Document, Patch, Put, Store, Write

log = structlog.get_logger(__name__)

MAX_BLOCKS: Final = 10_000
MAX_REORG: Final = 1000
_BLOCK_TRANSACTIONS: Final = 5000
_WRITES_AT_ONCE: Final = 2000
_SCRIPT_SECS: Final = 5.0
_SCRIPTS_WAITING: Final = 64
_SCRIPT_MIB: Final = 1024


_TAKEN_IN: Final = (TxStatus.MINED, TxStatus.SEEN_ON_NETWORK)


class DevChain:
    """One chain in one store, which is opened with `DEV_COLLECTIONS` among its collections. One event loop.

    `network` must be `dev`. `remote_callbacks` lets callbacks leave this machine.
    """

    def __init__(
        self,
        store: Store,
        network: Network,
        *,
        initial_blocks: int = 101,
        mine_interval_secs: float = 0,
        policy: Policy | None = None,
        remote_callbacks: bool = False,
        callbacks: Callbacks | None = None,
        now_ms: NowMs = system_now_ms,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if network != "dev":
            raise Internal(f"the dev chain does not run on network {network!r}", ErrorCode.SETTINGS_INVALID)
        self.policy = policy or Policy()
        self._store = store
        self._initial_blocks = initial_blocks
        self._interval_secs = mine_interval_secs
        self._remote_callbacks = remote_callbacks
        self._callbacks = callbacks or Callbacks(store)
        self.now_ms = now_ms
        self._sleep = sleep
        self._pool = Pool()
        self._orphans = Orphans()
        self._scripts = ScriptWorker(_SCRIPT_SECS, _SCRIPTS_WAITING, _SCRIPT_MIB)
        # Guards tip and pool: coins that were found free stay free until they are claimed, and no block is
        # mined over a submission that is being written.
        self._lock = asyncio.Lock()
        self._writing: set[asyncio.Future[None]] = set()
        self._miner: asyncio.Task[None] | None = None
        self._tip: Header | None = None
        self._records: Ledger | None = None

    # Life

    async def open(self) -> None:
        """Load the chain, or begin one; then start callbacks and automatic mining."""
        key = await faucet_key(self._store)
        self._faucet = Faucet(self._store, key)
        self._records = Ledger(self._store, key.public, self._faucet.script, self.policy.maturity)
        self._tip = await self._ledger.tip()
        for record in await self._ledger.pool_records():
            self._pool.add(_pool_entry(record))
        await self._begin()
        await self._callbacks.start()
        if self._interval_secs > 0:
            self._miner = asyncio.create_task(self._mine_now_and_then())

    async def _begin(self) -> None:
        """The first block and the initial ones; also those that a crash kept from being mined."""
        height = self._tip.height if self._tip else -1
        if height < self._initial_blocks:
            await self._extend([[] for _ in range(self._initial_blocks - height)])

    async def close(self) -> None:
        """Stop mining and telling; what was under way is finished."""
        if self._miner is not None:
            self._miner.cancel()
            await asyncio.gather(self._miner, return_exceptions=True)
        await self._callbacks.close()
        async with self._lock:
            await self._drain()
        await self._scripts.close()

    async def _mine_now_and_then(self) -> None:
        while True:
            await self._sleep(self._interval_secs)
            await self.mine(1)

    # Headers

    @property
    def tip(self) -> Header:
        """The longest chain's last header."""
        if self._tip is None:
            raise Unavailable("the dev chain has not started yet")
        return self._tip

    @property
    def _ledger(self) -> Ledger:
        if self._records is None:
            raise Unavailable("the dev chain has not started yet")
        return self._records

    async def headers(self, start: int, count: int) -> list[Header]:
        """Headers of the longest chain by height, ascending; fewer than `count` at the tip."""
        return await self._ledger.headers(start, count)

    async def header(self, digest: bytes) -> tuple[Header, bool] | None:
        """A header by hash (internal order), and whether it is on the longest chain; None when unknown."""
        return await self._ledger.header(digest)

    @property
    def pool_size(self) -> int:
        """Transactions that wait for a block."""
        return len(self._pool)

    # Mining

    async def mine(self, blocks: int = 1) -> list[Header]:
        """Mine blocks; the first takes what waits in the pool, as far as it fits."""
        if not 1 <= blocks <= MAX_BLOCKS:
            raise BadRequest(f"blocks is 1 to {MAX_BLOCKS}")
        async with self._lock:
            await self._drain()
            waiting = list(self._pool)
            shares = [waiting[i * _BLOCK_TRANSACTIONS : (i + 1) * _BLOCK_TRANSACTIONS] for i in range(blocks)]
            return [block.header for block in await self._extend(shares)]

    async def _extend(self, shares: Sequence[list[Entry]]) -> list[Block]:
        """Mine a block for each share, a few commits for many blocks."""
        mined: list[Block] = []
        writes: list[Write] = []
        fresh: list[tuple[Block, list[Entry]]] = []
        tip = self._tip
        for number, share in enumerate(shares, 1):
            block = self._assemble(tip, share)
            tip = block.header
            fresh.append((block, share))
            writes += self._ledger.connect(block, share, self.now_ms())
            if len(writes) >= _WRITES_AT_ONCE or number == len(shares):
                await self._store.commit(writes)
                self._adopt(fresh)
                mined += [block for block, _ in fresh]
                writes, fresh = [], []
        return mined

    def _assemble(self, tip: Header | None, share: Sequence[Entry]) -> Block:
        now_secs = self.now_ms() // 1000
        # The first block is dated back, so that the initial ones do not run ahead of the clock.
        time_secs = max(now_secs, header_time(tip) + 1) if tip else now_secs - self._initial_blocks - 1
        if tip is not None and tip.height < self._initial_blocks:
            time_secs = header_time(tip) + 1
        fees = sum([entry.fee for entry in share])
        return mine_block(tip, time_secs, self._faucet.script, [entry.transaction for entry in share], fees)

    def _adopt(self, fresh: Sequence[tuple[Block, list[Entry]]]) -> None:
        self._tip = fresh[-1][0].header
        for _, share in fresh:
            self._pool.remove([entry.transaction.txid for entry in share])
            for entry in share:
                if entry.notify:
                    self._callbacks.put(entry.transaction.txid)

    async def _drain(self) -> None:
        """Wait for submissions that are being written."""
        if self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)

    # The faucet

    async def faucet(self, script: bytes, satoshis: int, count: int = 1) -> Payment:
        """Pay `count` outputs of `satoshis` to a locking script, mined at once, in a block of its own: what
        others have in the pool stays there. Errors as `Faucet.pay`."""
        check_payment(script, satoshis, count)
        async with self._lock:
            await self._drain()
            height = self.tip.height + 1
            transaction = await self._faucet.pay(script, satoshis, count, height, self._pool)
            # The miner forgoes its own fee.
            (block,) = await self._extend([[Entry(transaction, fee=0, seq=0, stored=False)]])
        beef = write_beef([(transaction, block.bump(1))])
        return Payment(transaction.txid, tuple(range(count)), beef)

    # Submissions

    async def submit(self, data: bytes, callback: Callback | None = None) -> Report:
        """Take a transaction, raw or extended, into the pool; the reply comes when that is durable.

        Raises `Refusal` when a miner would not have it. One that spends what another in the pool spends is
        reported as DOUBLE_SPEND_ATTEMPTED, one whose parents are unknown as SEEN_IN_ORPHAN_MEMPOOL: the
        latter is taken in when they come.
        """
        if callback is not None:
            callback.check(self._remote_callbacks)
        transaction, claimed = read(data)
        known = await self._known(transaction, callback)
        if known is not None:
            return known
        check_shape(transaction, self.tip.height + 1, self.now_ms() // 1000, self.policy)
        try:
            report = await self._take(transaction, claimed, callback)
        except Refusal as refusal:
            if refusal.arc_status == MISSING_PARENTS and claimed is not None:
                return await self._set_aside(Orphan(transaction, callback))
            raise
        await self._take_orphans_of(transaction.txid)
        return report

    async def _take(
        self, transaction: Transaction, claimed: tuple[Output, ...] | None, callback: Callback | None
    ) -> Report:
        coins = CoinView(self._ledger, self._pool)
        sources = await coins.sources(transaction)
        check_claims(transaction, sources, claimed)
        check_coins(transaction, sources, self.tip.height + 1, self.policy)
        await self._run_scripts(transaction, sources)
        async with self._lock:
            # Again: a block may have been mined, or replaced, while the scripts ran.
            sources = await coins.sources(transaction)
            fee = check_coins(transaction, sources, self.tip.height + 1, self.policy)
            rivals = self._pool.conflicts(transaction)
            if transaction.txid in rivals or await coins.is_mined(transaction):
                return await self._came_twice(transaction.txid)
            if rivals:
                return await self._note_double_spend(transaction, rivals, callback)
            writing, report = self._claim(transaction, fee, callback)
        # Shielded: a caller who goes away leaves a transaction that is claimed and written.
        await asyncio.shield(writing)
        if callback is not None and callback.full:
            self._callbacks.put(transaction.txid)
        return report

    async def _came_twice(self, txid: bytes) -> Report:
        """The report of a transaction that another submission of it has just brought in."""
        await self._drain()
        record = await self._ledger.record(txid)
        if record is None:
            raise Unavailable("the transaction could not be written")
        return read_report(record)

    def _claim(
        self, transaction: Transaction, fee: int, callback: Callback | None
    ) -> tuple[asyncio.Future[None], Report]:
        """Take the transaction in and have it written."""
        seq = self._pool.next_seq()
        document = transaction_document(
            transaction, TxStatus.SEEN_ON_NETWORK, self.now_ms(), callback, pool_seq=seq, fee=fee
        )
        if callback is not None and callback.full:
            document["callback_due"] = 1
        self._pool.add(Entry(transaction, fee, seq, notify=callback is not None))
        self._orphans.discard(transaction.txid)
        writing = asyncio.ensure_future(self._store.commit([Put(TRANSACTIONS, document)]))
        self._writing.add(writing)
        writing.add_done_callback(lambda done: self._written(done, transaction.txid))
        return writing, read_report(document)

    def _written(self, done: asyncio.Future[None], txid: bytes) -> None:
        self._writing.discard(done)
        if done.cancelled() or done.exception() is not None:
            self._pool.remove(self._pool.descendants(txid))

    async def _known(self, transaction: Transaction, callback: Callback | None) -> Report | None:
        """What is said of a transaction that came before, unless it may be tried again."""
        record = await self._ledger.record(transaction.txid)
        if record is None:
            return None
        report = read_report(record)
        if report.status not in _TAKEN_IN:
            return None
        if callback is not None:
            async with self._lock:
                await self._listen(transaction.txid, callback, report)
        return report

    async def _listen(self, txid: bytes, callback: Callback, report: Report) -> None:
        """Note a callback that comes with a repeated submission."""
        await self._drain()
        mined = report.status is TxStatus.MINED
        changes = callback.fields() | ({"callback_due": 1} if mined else {})
        await self._store.commit([Patch(TRANSACTIONS, txid, changes)])
        entry = self._pool.get(txid)
        if entry is not None:
            self._pool.renew(Entry(entry.transaction, entry.fee, entry.seq, notify=True))
        if mined:
            self._callbacks.put(txid)

    async def _run_scripts(self, transaction: Transaction, sources: Sequence[Source]) -> None:
        job = script_job(transaction, sources)
        try:
            if runs_inline([job], self.policy.verify_limits):
                run(job)
            else:
                await self._scripts.run([job])
        except BadRequest as error:
            raise Refusal(SCRIPTS, error.message, transaction.txid) from None

    async def _note_double_spend(
        self, transaction: Transaction, rivals: tuple[bytes, ...], callback: Callback | None
    ) -> Report:
        """First seen, first kept: the later one is recorded for those who ask, and goes no further."""
        document = transaction_document(
            transaction,
            TxStatus.DOUBLE_SPEND_ATTEMPTED,
            self.now_ms(),
            callback,
            detail="another transaction that spends the same output was seen first",
            competing=[txid[::-1].hex() for txid in rivals],
        )
        await self._store.commit([Put(TRANSACTIONS, document)])
        return read_report(document)

    # Orphans

    async def _set_aside(self, orphan: Orphan) -> Report:
        """Have it wait for its parents; one may have come just before, when nobody waited for it."""
        transaction = orphan.transaction
        self._orphans.add(orphan)
        for parent in {spent.source_txid for spent in transaction.inputs}:
            record = await self._ledger.record(parent)
            if record is not None and read_report(record).status in _TAKEN_IN:
                await self._take_orphans_of(parent)
        return await self.status(transaction.txid) or self._orphan_report(transaction.txid)

    async def _take_orphans_of(self, txid: bytes) -> None:
        """Try those that waited for a transaction, and then those that waited for them."""
        came = [txid]
        while came:
            children = self._orphans.take_children(came.pop())
            came += [child.transaction.txid for child in children if await self._take_orphan(child)]

    async def _take_orphan(self, orphan: Orphan) -> bool:
        transaction = orphan.transaction
        record = await self._ledger.record(transaction.txid)
        callback = orphan.callback or (read_callback(record) if record else None)
        try:
            await self._take(transaction, None, callback)
        except Refusal as refusal:
            if refusal.arc_status == MISSING_PARENTS:
                self._orphans.add(orphan)
            else:
                await self._reject(transaction, refusal.message, callback)
            return False
        return True

    async def _reject(self, transaction: Transaction, reason: str, callback: Callback | None) -> None:
        """Record a refusal that nobody waits for any more, and tell it."""
        status, due = TxStatus.REJECTED, 1 if callback else None
        document = transaction_document(
            transaction, status, self.now_ms(), callback, detail=reason, callback_due=due
        )
        await self._store.commit([Put(TRANSACTIONS, document)])
        self._callbacks.put(transaction.txid)

    def _orphan_report(self, txid: bytes) -> Report:
        return Report(txid, TxStatus.SEEN_IN_ORPHAN_MEMPOOL, self.now_ms(), "a parent is not known")

    # Reports

    async def status(self, txid: bytes) -> Report | None:
        """What became of a transaction; None when it was never seen."""
        record = await self._ledger.record(txid)
        report = read_report(record) if record else None
        if txid in self._orphans and (report is None or report.status not in _TAKEN_IN):
            return self._orphan_report(txid)
        return report

    # Reorganisations

    async def reorg(self, depth: int, drop: bool = False) -> Reorg:
        """Replace the last `depth` blocks by `depth + 1` empty ones.

        Their transactions return to the pool, or, with `drop`, are gone until somebody submits them again.
        What stood on a replaced coinbase is rejected, and what stood on a dropped transaction is orphaned.
        `BadRequest` when the chain is not that long.
        """
        if not 1 <= depth <= min(MAX_REORG, self.tip.height):
            raise BadRequest(f"depth is 1 to {min(MAX_REORG, self.tip.height)}")
        async with self._lock:
            await self._drain()
            fork = self.tip.height - depth
            removed = await self._ledger.blocks(fork + 1, depth)
            plan = await plan_reorg(self._ledger, removed, self._pool, drop, self.now_ms())
            (base,) = await self._ledger.headers(fork, 1)
            blocks: list[Block] = []
            tip = base
            for _ in range(depth + 1):
                blocks.append(self._assemble(tip, []))
                tip = blocks[-1].header
                plan.writes += self._ledger.connect(blocks[-1], [], self.now_ms())
            await self._store.commit(plan.writes)
            self._tip = tip
            self._pool.replace(plan.entries)
            for orphan in plan.orphans:
                self._orphans.add(Orphan(orphan))
            for txid in plan.told:
                self._callbacks.put(txid)
        return Reorg(
            fork,
            tuple(document["_id"] for document in removed),
            tuple(block.header for block in blocks),
            plan.returned,
            plan.lost,
        )


def _pool_entry(record: Document) -> Entry:
    notify = bool(record.get("callback_url"))
    return Entry(Transaction.parse(record["raw"]), record["fee"], record["pool_seq"], notify)
