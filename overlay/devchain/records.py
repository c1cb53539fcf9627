"""What the dev chain keeps.

    dev_blocks        hash       header, txids, and whether the block is on the longest chain
    dev_transactions  txid       raw bytes, status, its block and BUMP when mined, its callback
    dev_spends        outpoint   the mined transaction that spends it
    dev_coins         outpoint   an output that the faucet can spend, and from which height on
    dev_state         name       the faucet's key

What is in the pool has a `pool_seq`, by which it is ordered: parents come before children.
"""

from __future__ import annotations

from typing import Any, Final

from overlay.chain import Header, TxStatus
from overlay.devchain.report import Callback, Report
from overlay.sdk import hash256
from overlay.transaction import Transaction
from store.port import Collection, Document, Index

BLOCKS: Final = Collection(
    "dev_blocks",
    key="bytes",
    fields={"main": "int", "height": "int"},
    indexes=(Index("by_height", ("main", "height")),),
)
TRANSACTIONS: Final = Collection(
    "dev_transactions",
    key="bytes",
    fields={"pool_seq": "int", "callback_due": "int"},
    indexes=(
        Index("pool", ("pool_seq",), partial=True),
        Index("callbacks", ("callback_due",), partial=True),
    ),
)
SPENDS: Final = Collection("dev_spends", key="bytes", clustered=True)
COINS: Final = Collection(
    "dev_coins", key="bytes", fields={"ready": "int"}, indexes=(Index("by_ready", ("ready",)),)
)
STATE: Final = Collection("dev_state", key="text", clustered=True)

DEV_COLLECTIONS: Final = (BLOCKS, TRANSACTIONS, SPENDS, COINS, STATE)


def block_document(header: Header, txids: bytes) -> Document:
    """`txids` are those of the block, one after the other."""
    return {"_id": header.hash, "main": 1, "height": header.height, "raw": header.raw, "txids": txids}


def read_header(document: Document) -> Header:
    raw = document["raw"]
    return Header(document["height"], hash256(raw), raw[4:36], raw[36:68], raw)


def transaction_document(
    transaction: Transaction, status: TxStatus, now_ms: int, callback: Callback | None = None, **more: Any
) -> Document:
    """A transaction's first record; `more` are its other fields."""
    document = {"_id": transaction.txid, "raw": transaction.raw, "status": status.value, "at_ms": now_ms, **more}
    return document | (callback.fields() if callback else {})


def read_report(document: Document) -> Report:
    return Report(
        document["_id"],
        TxStatus(document["status"]),
        document["at_ms"],
        document.get("detail", ""),
        document.get("merkle_path"),
        document.get("height"),
        document.get("block"),
        tuple(document.get("competing", ())),
    )


def read_callback(document: Document) -> Callback | None:
    """Where the changes of a transaction's status are to be told."""
    if not document.get("callback_url"):
        return None
    return Callback(document["callback_url"], document["callback_token"], document["callback_full"])
