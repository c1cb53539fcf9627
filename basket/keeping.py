"""The treasury's own transactions in the engine's keeping: as ancestors, which no topic judges.

Once they are there the engine does the rest as for any ancestor: it broadcasts them, asks for their proofs, sends
them along with what stands on them, and evicts them, with all of that, when the network refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable

from overlay.envelope import Envelope, Member
from overlay.headers import HeaderChain
from overlay.hydrate import load_members
from overlay.records import DESCENTS, RAWS, TRANSACTIONS
from overlay.verifier import Verifier
from store.port import Document, Insert, Reader, Write


def keep(members: Iterable[Member], headers: HeaderChain, now_ms: int) -> list[Write]:
    """Keep these transactions; one that is kept already stays as it is."""
    writes: list[Write] = []
    for member in members:
        transaction = member.transaction
        writes.append(Insert(TRANSACTIONS, _document(member, headers, now_ms), keep=True))
        writes.append(Insert(RAWS, {"_id": transaction.txid, "raw": transaction.raw}, keep=True))
        if member.bump is None:
            writes += [
                Insert(DESCENTS, {"_id": spend.source_txid + transaction.txid}, keep=True)
                for spend in transaction.inputs
            ]
    return writes


def _document(member: Member, headers: HeaderChain, now_ms: int) -> Document:
    transaction, bump = member.transaction, member.bump
    document: Document = {"_id": transaction.txid, "size": len(transaction.raw), "rev": 0}
    if bump is None:
        return document | {"pending_ms": now_ms}
    return document | {
        "height": bump.height,
        "block_hash": headers.hash_at(bump.height),
        "bump": bump.extract(transaction.txid),
    }


async def verify(envelope: Envelope, reader: Reader, headers: HeaderChain, verifier: Verifier) -> None:
    """Hold an envelope against the header chain and run its scripts; ancestors that did not come along are taken
    from what is kept. `BadRequest` as `overlay.verify.prepare` and `run` raise it."""
    missing = envelope.missing()
    if missing:
        envelope.supply(await load_members(reader, missing))
    heights = {member.bump.height for member in envelope.ancestry() if member.bump is not None}
    await headers.ensure(height for height in heights if headers.root_at(height) is None)
    await verifier.verify(envelope)
