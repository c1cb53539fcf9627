"""The coins as the next block sees them: mined outputs and those of the pool, less what is spent."""

from __future__ import annotations

from collections.abc import Mapping

from overlay.devchain.ledger import Ledger
from overlay.devchain.pool import Pool
from overlay.devchain.report import Refusal
from overlay.devchain.rules import CONFLICT, MISSING_PARENTS, Source
from overlay.transaction import Input, Transaction


class CoinView:
    """Reads only. What it says holds for as long as the chain's lock is held."""

    def __init__(self, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def sources(self, transaction: Transaction) -> list[Source]:
        """The outputs that are spent, spent elsewhere or not; `Refusal(MISSING_PARENTS)` when one is unknown."""
        parents = self._pooled(transaction)
        unknown = [spent.source_txid for spent in transaction.inputs if spent.source_txid not in parents]
        parents.update(await self._ledger.mined_in(unknown))
        # Those that came while the records were read.
        parents |= self._pooled(transaction)
        return [self._source(transaction, spent, parents) for spent in transaction.inputs]

    def _pooled(self, transaction: Transaction) -> dict[bytes, tuple[Transaction, int | None]]:
        found = [self._pool.get(spent.source_txid) for spent in transaction.inputs]
        return {entry.transaction.txid: (entry.transaction, None) for entry in found if entry is not None}

    @staticmethod
    def _source(
        transaction: Transaction, spent: Input, parents: Mapping[bytes, tuple[Transaction, int | None]]
    ) -> Source:
        parent, height = parents.get(spent.source_txid, (None, None))
        if parent is None or spent.source_index >= len(parent.outputs):
            name = f"{spent.source_txid[::-1].hex()}.{spent.source_index}"
            raise Refusal(MISSING_PARENTS, f"output {name} is not known", transaction.txid)
        return Source(parent.outputs[spent.source_index], height, parent.is_coinbase)

    async def is_mined(self, transaction: Transaction) -> bool:
        """Whether this very transaction is mined; `Refusal(CONFLICT)` when one that spends the same is."""
        rivals = await self._ledger.spenders(transaction)
        if rivals and rivals != (transaction.txid,):
            names = tuple(txid[::-1].hex() for txid in rivals)
            raise Refusal(CONFLICT, "a mined transaction spends the same output", transaction.txid, names)
        return bool(rivals)
