"""Reviving: evicted transactions that the network has after all, admitted again as they were.

What they issued is on the chain, or will be: another transaction for the same messages would be refused there.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from bridge.mirror.ground import MirrorGround
from certificates.token import Token
from config.errors import BadRequest
from energytag.undone import UNDONE
from overlay.chain import Broadcast, TxStatus
from overlay.transaction import Transaction
from overlay.wire import write_beef
from store.port import Document
from topics.certificates import read_script

log = structlog.get_logger("metawatt.mirror")


class Reviving:
    """Asks the network of transactions of the registry's own that are gone."""

    def __init__(self, ground: MirrorGround) -> None:
        self._engine = ground.engine
        self._store = ground.store
        self._sender = ground.registry.sender

    async def revive(self, txids: Iterable[bytes]) -> int:
        """Admit those again that the network has; how many. Raises `Unavailable` when nobody can be asked."""
        rows = await self._store.get_many(UNDONE, sorted(txids))
        return sum([await self._revive(row) for row in rows.values()])

    async def _revive(self, row: Document) -> bool:
        status = await self._engine.proofs.ask(row["_id"])
        if row.get("raw") is None or status is None or not _is_alive(status):
            return False
        transaction = Transaction.parse(row["raw"])
        try:
            await self._engine.submit(write_beef([(transaction, status.merkle_path)]), self._topics(transaction))
        except BadRequest as error:
            log.warning("a transaction is not admitted again", txid=transaction.txid_hex, reason=error.message)
            return False
        log.info("a transaction is admitted again", txid=transaction.txid_hex, status=status.status)
        return True

    def _topics(self, transaction: Transaction) -> list[str]:
        tokens = (read_script(output.script) for output in transaction.outputs)
        origins = {_origin(token) for token in tokens if isinstance(token, Token)}
        return self._sender.named(frozenset().union(*(self._sender.topics_for(*each) for each in origins)))


def _is_alive(status: Broadcast) -> bool:
    return not status.status.refused and status.status is not TxStatus.UNKNOWN


def _origin(token: Token) -> tuple[str, str]:
    tag = token.bundle.attributes
    return str(tag["energy_source"]), str(tag["country_of_issuance"])
