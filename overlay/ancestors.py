"""Transactions as they are kept; and ancestors, which no topic judged, kept for what stands on them."""

from __future__ import annotations

from collections.abc import Sequence

from overlay.envelope import Member
from overlay.headers import HeaderChain
from overlay.records import DESCENTS, MOST_CARRIED_BYTES, RAWS, TRANSACTIONS
from overlay.transaction import Transaction
from store.port import Document, Insert, Write


def transaction_document(member: Member, headers: HeaderChain, now_ms: int) -> Document:
    """A transaction as it is kept: with its own smallest Merkle path when mined, and its raw bytes when these are
    few."""
    transaction, bump = member.transaction, member.bump
    document: Document = {"_id": transaction.txid, "size": len(transaction.raw), "rev": 0}
    if _is_carried(transaction):
        document["raw"] = transaction.raw
    if bump is None:
        return document | {"pending_ms": now_ms}
    return document | {
        "height": bump.height,
        "block_hash": headers.hash_at(bump.height),
        "bump": bump.extract(transaction.txid),
    }


def raw_writes(*transactions: Transaction) -> list[Write]:
    """The raw bytes of those whose documents do not carry them. Those that are there already are the same ones:
    they hash to the key."""
    return [
        Insert(RAWS, {"_id": transaction.txid, "raw": transaction.raw}, keep=True)
        for transaction in transactions
        if not _is_carried(transaction)
    ]


def _is_carried(transaction: Transaction) -> bool:
    return len(transaction.raw) <= MOST_CARRIED_BYTES


def ancestor_writes(members: Sequence[Member], headers: HeaderChain, now_ms: int) -> list[Write]:
    """Keep these; one that is kept already stays as it is. What an unproven one spends from leads to it, so that
    it goes when that is evicted."""
    writes: list[Write] = [
        Insert(TRANSACTIONS, transaction_document(member, headers, now_ms), keep=True) for member in members
    ]
    writes += raw_writes(*(member.transaction for member in members))
    writes += [
        Insert(DESCENTS, {"_id": spend.source_txid + member.transaction.txid}, keep=True)
        for member in members
        if member.bump is None
        for spend in member.transaction.inputs
    ]
    return writes
