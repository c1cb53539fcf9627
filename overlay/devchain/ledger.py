"""The dev chain's records: what may be read of them, and the writes that add a block or take one away.

Nothing is written here: the chain commits what these functions return, all of it or nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from overlay.chain import Header, TxStatus
from overlay.devchain.block import Block
from overlay.devchain.pool import Entry
from overlay.devchain.records import (
    BLOCKS,
    COINS,
    SPENDS,
    TRANSACTIONS,
    block_document,
    read_header,
    transaction_document,
)
from overlay.transaction import Input, Transaction, outpoint
from store.pages import every
from store.port import Delete, Document, Find, Insert, Patch, Put, Reader, Write

_CACHED_TRANSACTIONS: Final = 64


class Ledger:
    """`faucet_key` (public) and `faucet_script` tell which outputs the faucet can spend."""

    def __init__(self, reader: Reader, faucet_key: bytes, faucet_script: bytes, maturity: int) -> None:
        self._reader = reader
        self._faucet_key = faucet_key
        self._faucet_script = faucet_script
        self._maturity = maturity
        self._parsed: OrderedDict[bytes, Transaction] = OrderedDict()

    async def tip(self) -> Header | None:
        find = Find("by_height", {"main": 1}, descending=True, limit=1)
        documents = (await self._reader.find(BLOCKS, find)).documents
        return read_header(documents[0]) if documents else None

    async def headers(self, start: int, count: int) -> list[Header]:
        """Headers of the longest chain from a height on."""
        return [read_header(document) for document in await self.blocks(start, count)]

    async def blocks(self, start: int, count: int) -> list[Document]:
        find = Find("by_height", {"main": 1}, lower=start, limit=count)
        return (await self._reader.find(BLOCKS, find)).documents

    async def header(self, digest: bytes) -> tuple[Header, bool] | None:
        """A header by hash, and whether it is on the longest chain."""
        document = await self._reader.get(BLOCKS, digest)
        return (read_header(document), document["main"] == 1) if document else None

    async def record(self, txid: bytes) -> Document | None:
        return await self._reader.get(TRANSACTIONS, txid)

    async def mined_in(self, txids: Iterable[bytes]) -> dict[bytes, tuple[Transaction, int]]:
        """Those of the transactions that are mined, with their heights."""
        documents = await self._reader.get_many(TRANSACTIONS, list(dict.fromkeys(txids)))
        return {
            document["_id"]: (self._parse(document), document["height"])
            for document in documents.values()
            if document["status"] == TxStatus.MINED
        }

    def _parse(self, document: Document) -> Transaction:
        """Faucet payments may have a thousand outputs, each spent by another transaction."""
        txid = document["_id"]
        found = self._parsed.get(txid) or Transaction.parse(document["raw"])
        self._parsed[txid] = found
        self._parsed.move_to_end(txid)
        if len(self._parsed) > _CACHED_TRANSACTIONS:
            self._parsed.popitem(last=False)
        return found

    async def spenders(self, transaction: Transaction) -> tuple[bytes, ...]:
        """The mined transactions that spend what this one spends."""
        found = await self._reader.get_many(SPENDS, [spent.outpoint for spent in transaction.inputs])
        return tuple(dict.fromkeys([document["txid"] for document in found.values()]))

    async def pool_records(self) -> list[Document]:
        """The records of what was in the pool, in its order."""
        return await every(self._reader, TRANSACTIONS, Find("pool"))

    def connect(self, block: Block, entries: Sequence[Entry], now_ms: int) -> list[Write]:
        """The writes that put a block on top of the chain."""
        header = block.header
        txids = b"".join([transaction.txid for transaction in block.transactions])
        writes: list[Write] = [Insert(BLOCKS, block_document(header, txids))]
        reward = block.transactions[0]
        mined = self._mined_fields(block, 0)
        writes.append(Insert(TRANSACTIONS, transaction_document(reward, TxStatus.MINED, now_ms, **mined)))
        writes += self._new_coins(reward, header.height + self._maturity)
        for index, entry in enumerate(entries, 1):
            writes += self._mined(entry, self._mined_fields(block, index), now_ms)
            writes += self._new_coins(entry.transaction, header.height)
        return writes

    @staticmethod
    def _mined_fields(block: Block, index: int) -> dict[str, Any]:
        return {"block": block.header.hash, "height": block.header.height, "merkle_path": block.bump(index)}

    def _mined(self, entry: Entry, fields: dict[str, Any], now_ms: int) -> list[Write]:
        transaction = entry.transaction
        if entry.stored:
            changes = {"status": TxStatus.MINED.value, "pool_seq": None, "at_ms": now_ms, "detail": "", **fields}
            if entry.notify:
                changes["callback_due"] = 1
            writes: list[Write] = [Patch(TRANSACTIONS, transaction.txid, changes)]
        else:
            document = transaction_document(transaction, TxStatus.MINED, now_ms, fee=entry.fee, **fields)
            writes = [Put(TRANSACTIONS, document)]
        for spent in transaction.inputs:
            writes.append(Insert(SPENDS, {"_id": spent.outpoint, "txid": transaction.txid}))
            if self._is_faucet_spend(spent):
                writes.append(Delete(COINS, spent.outpoint))
        return writes

    def _is_faucet_spend(self, spent: Input) -> bool:
        return spent.unlocking_script.endswith(self._faucet_key)

    def _new_coins(self, transaction: Transaction, ready: int) -> list[Write]:
        return [
            Put(COINS, {"_id": outpoint(transaction.txid, i), "ready": ready, "satoshis": output.satoshis})
            for i, output in enumerate(transaction.outputs)
            if output.script == self._faucet_script
        ]

    async def disconnect(self, block: Document) -> tuple[list[Transaction], list[Document], list[Write]]:
        """Take the block from the top of the chain: its transactions and their records, coinbase first, and
        the writes that undo what it did to spends and coins. What becomes of the transactions is the
        caller's to say."""
        txids = [block["txids"][at : at + 32] for at in range(0, len(block["txids"]), 32)]
        found = await self._reader.get_many(TRANSACTIONS, txids)
        records = [found[txid] for txid in txids]
        transactions = [self._parse(record) for record in records]
        writes: list[Write] = [Patch(BLOCKS, block["_id"], {"main": 0})]
        for transaction in reversed(transactions):
            writes += [Delete(COINS, coin.document["_id"]) for coin in self._puts(transaction)]
            if not transaction.is_coinbase:
                writes += [Delete(SPENDS, spent.outpoint) for spent in transaction.inputs]
                writes += await self._restored_coins(transaction)
        return transactions, records, writes

    def _puts(self, transaction: Transaction) -> list[Put]:
        return [write for write in self._new_coins(transaction, 0) if isinstance(write, Put)]

    async def _restored_coins(self, transaction: Transaction) -> list[Write]:
        spends = [spent for spent in transaction.inputs if self._is_faucet_spend(spent)]
        sources = await self.mined_in([spent.source_txid for spent in spends]) if spends else {}
        writes: list[Write] = []
        for spent in spends:
            source, height = sources[spent.source_txid]
            ready = height + (self._maturity if source.is_coinbase else 0)
            satoshis = source.outputs[spent.source_index].satoshis
            writes.append(Put(COINS, {"_id": spent.outpoint, "ready": ready, "satoshis": satoshis}))
        return writes
