"""What the engine keeps, collection by collection. Documents are written once and rarely changed.

    transactions   txid          newest proof, size, and for judged ones the receipt of each topic; a small one's
                                 raw bytes
    raws           txid          the raw bytes of the others, which never change
    outputs        outpoint      an admitted output and the topics that admitted it (see `outputs.py`)
    spends         outpoint      which applied transaction spends it, and which topics kept it as history
    descents       txid+txid     what an unproven ancestor that no topic judged spends from, and itself
    conflicts      outpoint+txid an unproven double spend that was refused: recorded and shown
    waiting        txid          submissions whose coins are not here yet (children before parents)
    evictions      txid          why a transaction that had been admitted is gone, and what it had spent
    outbox         seq           work that follows a commit: broadcasts, retries
    headers        height        the node's own header chain
    state          name          small single facts (an unfinished reorg, a reindex)

An outpoint is live in a topic when its output names the topic and it has no spend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from store.pages import every
from store.port import Collection, Document, Find, Index, Key, Reader

TRANSACTIONS: Final = Collection(
    "transactions",
    key="bytes",
    fields={"height": "int", "pending_ms": "int", "seq": "int", "rev": "int"},
    indexes=(
        Index("by_height", ("height",), partial=True),
        Index("pending", ("pending_ms",), partial=True),
    ),
    family="txid",
)
RAWS: Final = Collection("raws", key="bytes", fields={"raw": "bytes"}, family="txid")
OUTPUTS: Final = Collection(
    "outputs",
    key="bytes",
    fields={"seq": "int"},
    indexes=(Index("by_seq", ("seq",)),),
    family="txid",
)
SPENDS: Final = Collection("spends", key="bytes", family="txid")
DESCENTS: Final = Collection("descents", key="bytes", clustered=True)
CONFLICTS: Final = Collection(
    "conflicts",
    key="bytes",
    fields={"txid": "bytes", "seen_ms": "int"},
    indexes=(Index("by_txid", ("txid",)), Index("by_age", ("seen_ms",))),
)
WAITING: Final = Collection(
    "waiting", key="bytes", fields={"seen_ms": "int"}, indexes=(Index("by_age", ("seen_ms",)),)
)
EVICTIONS: Final = Collection(
    "evictions", key="bytes", fields={"at_ms": "int"}, indexes=(Index("by_age", ("at_ms",)),)
)
OUTBOX: Final = Collection(
    "outbox", key="int", fields={"due_ms": "int", "attempts": "int"}, indexes=(Index("due", ("due_ms",)),)
)
HEADERS: Final = Collection("headers", key="int", clustered=True)
STATE: Final = Collection("state", key="text", clustered=True)

MOST_CARRIED_BYTES: Final = 3072
"""Raw bytes of a transaction that its own document carries. A row is spared, and what is read or changed for a
proof's sake stays small."""

REINDEX_STATE: Final = "reindex:"
"""Prefix of the mark in `state` of a lookup service whose index is not whole."""

ENGINE_COLLECTIONS: Final = (
    TRANSACTIONS,
    RAWS,
    OUTPUTS,
    SPENDS,
    DESCENTS,
    CONFLICTS,
    WAITING,
    EVICTIONS,
    OUTBOX,
    HEADERS,
    STATE,
)


def applied(document: Document | None) -> bool:
    """Whether a transaction's document is of one that some topic has judged, not of a mere ancestor."""
    return document is not None and bool(document.get("receipts"))


def outpoint_range(txid: bytes) -> tuple[bytes, bytes | None]:
    """The bounds, lower inclusive and upper exclusive, between which a transaction's outpoints lie.

    Both are of an outpoint's length, for MongoDB orders binary values by length first.
    """
    following = int.from_bytes(txid, "big") + 1
    upper = following.to_bytes(32, "big") + bytes(4) if following < 1 << 256 else None
    return txid + bytes(4), upper


class Stored(NamedTuple):
    """A stored transaction: its document, and its raw bytes."""

    document: Document
    raw: bytes


async def load_stored(reader: Reader, txids: Iterable[bytes]) -> dict[bytes, Stored]:
    """Transactions with their raw bytes, in one trip. What is evicted between two reads counts as gone."""
    keys = list(txids)
    documents, rows = await reader.get_each([(TRANSACTIONS, keys), (RAWS, keys)])
    raws = _joined(documents.values(), rows)
    return {txid: Stored(documents[txid], raw) for txid, raw in raws.items()}


async def raws_of(reader: Reader, documents: Sequence[Document]) -> dict[bytes, bytes]:
    """The raw bytes of transactions whose documents have been read; only those that they do not carry are."""
    apart = [document["_id"] for document in documents if not document.get("raw")]
    return _joined(documents, await reader.get_many(RAWS, apart) if apart else {})


def _joined(documents: Iterable[Document], rows: Mapping[Key, Document]) -> dict[bytes, bytes]:
    """Raw bytes by txid, from wherever they are."""
    found = {each["_id"]: each.get("raw") or rows.get(each["_id"], {}).get("raw") for each in documents}
    return {txid: raw for txid, raw in found.items() if raw is not None}


async def load_raws(reader: Reader, txids: Iterable[bytes]) -> dict[bytes, bytes]:
    """The raw bytes of those of these transactions that are stored."""
    return {txid: stored.raw for txid, stored in (await load_stored(reader, txids)).items()}


async def descents_from(reader: Reader, txid: bytes) -> set[bytes]:
    """Txids of mere ancestors that spend from this transaction."""
    rows = await every(reader, DESCENTS, Find(lower=txid + bytes(32), upper=txid + b"\xff" * 32))
    return {row["_id"][32:] for row in rows}


async def outputs_of(reader: Reader, txid: bytes) -> list[Document]:
    """The admitted outputs of one transaction."""
    lower, upper = outpoint_range(txid)
    return await every(reader, OUTPUTS, Find(lower=lower, upper=upper))
