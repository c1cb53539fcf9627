"""Messages are found by the transactions and outputs that they came of, or became; and where there is none, it is
said why, as far as that can be known."""

from __future__ import annotations

from typing import Final

from solders.signature import Signature

from api.bridge.mirror_part import MessageUnknown
from api.limits import Gate
from bridge.mirror.message import Message, load_messages
from bridge.mirror.mirror import Mirror
from bridge.mirror.records import INBOX, ISSUES, MESSAGES, RELEASES
from bridge.mirror.states import Direction
from bridge.programs.movements import balance_changes
from config.errors import MetawattError
from overlay.records import TRANSACTIONS
from store.port import Find

MOST_FOUND: Final = 1000
"""As many as the bridge puts into one transaction; one of a stranger's may lock more to it."""
_NOT_TAKEN_IN: Final = "It is known, and becomes a message within moments: ask again"


class Search:
    """Asks the cluster only for a reason, a few at a time."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._store = mirror.store
        self._gate = Gate("searches", concurrent=4, waiting=16)

    async def by_signature(self, signature: bytes) -> list[Message]:
        """Messages of a transaction on Solana, at most one more than `MOST_FOUND`; `MessageUnknown` with the
        reason when there is none."""
        return await self._of(signature) or await self._no_deposit(signature)

    async def by_txid(self, txid: bytes) -> list[Message]:
        """The same of a transaction on BSV."""
        return await self._of(txid) or await self._no_lock(txid)

    async def by_outpoint(self, txid: bytes, index: int) -> list[Message]:
        """Messages that an output began, or that it was issued for."""
        outpoint = txid + index.to_bytes(4, "little")
        found = [each for each in await self._of(txid) if each.source_event == outpoint or _made(each, txid, index)]
        return found or await self._no_lock(txid)

    async def _of(self, transaction: bytes) -> list[Message]:
        """By source, by destination, and by transactions that carry several messages or an earlier attempt."""
        found: dict[bytes, Message] = {}
        for index, field in (("source", "source_tx"), ("destination", "destination_tx")):
            page = await self._store.find(MESSAGES, Find(index, {field: transaction}, limit=MOST_FOUND + 1))
            found |= {row["_id"]: Message.read(row) for row in page.documents}
        collection = RELEASES if len(transaction) == 64 else ISSUES
        carrier = await self._store.get(collection, transaction)
        named = [] if carrier is None else [each for each in carrier["messages"] if each not in found]
        found |= await load_messages(self._store, named)
        return list(found.values())[: MOST_FOUND + 1]

    # Why there is none

    async def _no_deposit(self, signature: bytes) -> list[Message]:
        inbox = await self._store.find(INBOX, Find(None, lower=signature, upper=signature + b"\xff" * 7, limit=1))
        if inbox.documents:
            raise MessageUnknown(_NOT_TAKEN_IN)
        asset = self._mirror.asset
        if asset is None:
            raise MessageUnknown(
                f"No message is of this transaction; the bridge is not connected: {self._mirror.trouble}"
            )
        async with self._gate:
            raise MessageUnknown(await self._reason(signature))

    async def _reason(self, signature: bytes) -> str:
        ground = self._mirror.parts.ground
        try:
            seen = await ground.rpc.transaction(Signature.from_bytes(signature))
        except MetawattError:
            return "No message is of this transaction, and the cluster does not say what it did"
        if seen is None:
            return "The cluster has no such transaction, or it is not final yet"
        if seen.error is not None:
            return "The transaction failed: it moved nothing"
        changes, asset = balance_changes(seen, ground.asset.mint), ground.asset
        if not changes:
            return f"The transaction moved nothing of the asset: its mint is {asset.mint}"
        if changes[asset.custody] <= 0 and sum(changes.values()) >= 0:
            return f"The transaction moved nothing of the asset into custody, which is {asset.custody}"
        return "The transaction is final, and the bridge has not read it yet: ask again"

    async def _no_lock(self, txid: bytes) -> list[Message]:
        inbox = await self._store.find(INBOX, Find(None, lower=txid, upper=txid + b"\xff" * 5, limit=1))
        if any(row["lane"] == Direction.OUT for row in inbox.documents):
            raise MessageUnknown(_NOT_TAKEN_IN)
        if await self._store.get(TRANSACTIONS, txid) is None:
            raise MessageUnknown(
                "This node does not know the transaction: submit it, with its proof, to a topic of certificates"
            )
        raise MessageUnknown(
            f"No certificate is locked there to the bridge's key, {self._mirror.identity.hex()}, nor issued by it"
        )


def _made(message: Message, txid: bytes, index: int) -> bool:
    """Whether this output was issued for it."""
    made = message.facts.get("issuances", ())
    return message.destination_tx == txid and any(index == each for _, each, _ in made)
