"""Answers with proofs: from outpoints to BEEF, always with the newest Merkle paths.

Each transaction is stored once, with its own path when it is mined; what an answer needs is walked here,
level by level, down to mined transactions, and written out from the stored bytes as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from config.errors import BadRequest, ErrorCode
from overlay.envelope import BEEF_V1, BEEF_V2, Member
from overlay.lookup_service import Formula
from overlay.merkle import Bump
from overlay.records import OUTPUTS, load_raws, load_stored
from overlay.transaction import Transaction
from overlay.varint import write_varint
from store.port import Reader

_MOST_TRANSACTIONS = 20_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored transaction as bytes; `parents` are empty when it is mined."""

    txid: bytes
    raw: bytes
    bump: bytes | None
    parents: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FoundOutput:
    """One output of an answer; `txid` in internal order. `history` are ancestors to send along."""

    txid: bytes
    output_index: int
    context: bytes | None = None
    history: tuple[bytes, ...] = ()


@dataclass(slots=True)
class OutputList:
    """A hydrated answer. Outputs that are no longer stored were left out."""

    outputs: list[FoundOutput]
    cursor: str | None = None
    kept: dict[bytes, Kept] = field(default_factory=dict)

    def beef(self, output: FoundOutput) -> bytes:
        """BEEF V1 (which every SDK reads) of one output's transaction, itself last."""
        return b"".join(_beef_v1(ordered(self.kept, [*output.history, output.txid])))

    def aggregated(self) -> Iterator[bytes]:
        """One BEEF V2 over all outputs, in chunks."""
        roots = chain.from_iterable((*output.history, output.txid) for output in self.outputs)
        return _beef_v2(ordered(self.kept, roots))


def ordered(kept: Mapping[bytes, Kept], roots: Iterable[bytes]) -> list[Kept]:
    """The roots and all that they descend from, parents first, each once."""
    order: list[Kept] = []
    done: set[bytes] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            txid, expanded = stack.pop()
            entry = kept[txid]
            if expanded:
                order.append(entry)
            elif txid not in done:
                done.add(txid)
                stack.append((txid, True))
                stack.extend((parent, False) for parent in entry.parents if parent not in done)
    return order


def _paths(entries: Sequence[Kept]) -> dict[bytes, int]:
    paths: dict[bytes, int] = {}
    for entry in entries:
        if entry.bump is not None:
            paths.setdefault(entry.bump, len(paths))
    return paths


def _beef_v1(entries: Sequence[Kept]) -> Iterator[bytes]:
    paths = _paths(entries)
    yield BEEF_V1 + write_varint(len(paths))
    yield from paths
    yield write_varint(len(entries))
    for entry in entries:
        yield entry.raw + (b"\x00" if entry.bump is None else b"\x01" + write_varint(paths[entry.bump]))


def _beef_v2(entries: Sequence[Kept]) -> Iterator[bytes]:
    paths = _paths(entries)
    yield BEEF_V2 + write_varint(len(paths))
    yield from paths
    yield write_varint(len(entries))
    for entry in entries:
        yield (b"\x00" if entry.bump is None else b"\x01" + write_varint(paths[entry.bump])) + entry.raw


async def load_kept(reader: Reader, txids: Iterable[bytes]) -> dict[bytes, Kept]:
    """These transactions and their ancestry down to mined ones. Txids that are not stored are left out, and so is
    whatever would need them."""
    kept: dict[bytes, Kept] = {}
    wanted = set(txids)
    while wanted:
        if len(kept) + len(wanted) > _MOST_TRANSACTIONS:
            raise BadRequest(
                f"the answer has more than {_MOST_TRANSACTIONS} transactions; ask for less",
                ErrorCode.RESPONSE_TOO_LARGE,
            )
        found = await load_stored(reader, wanted)
        kept.update((txid, _kept(txid, raw, document.get("bump"))) for txid, (document, raw) in found.items())
        wanted = {parent for txid in found for parent in kept[txid].parents if parent not in kept}
    return _complete(kept)


def _kept(txid: bytes, raw: bytes, bump: bytes | None) -> Kept:
    if bump is not None:
        return Kept(txid, raw, bump, ())
    transaction = Transaction.parse(raw)
    return Kept(txid, raw, None, tuple(dict.fromkeys(spend.source_txid for spend in transaction.inputs)))


def _complete(kept: dict[bytes, Kept]) -> dict[bytes, Kept]:
    """Only those entries all of whose ancestry is here (an eviction may have come between two reads)."""
    while True:
        broken = [txid for txid, entry in kept.items() if any(parent not in kept for parent in entry.parents)]
        if not broken:
            return kept
        for txid in broken:
            del kept[txid]


async def load_members(reader: Reader, txids: Iterable[bytes]) -> list[Member]:
    """Stored transactions, without what they stand on, as members of an envelope."""
    return [
        Member(Transaction.parse(raw), Bump.parse(bump)[0] if bump is not None else None, is_kept=True)
        for document, raw in (await load_stored(reader, txids)).values()
        for bump in (document.get("bump"),)
    ]


async def hydrate(reader: Reader, formula: Formula, most_history: int, most_bytes: int) -> OutputList:
    """Turn a formula into an answer; `BadRequest(RESPONSE_TOO_LARGE)` when its transactions and
    their proofs exceed `most_bytes`."""
    roots = {found.txid for found in formula.found}
    histories = {
        (found.txid, depth): await _history(reader, found.txid, depth)
        for found in formula.found
        if (depth := min(found.history or 0, most_history))
    }
    kept = await load_kept(reader, roots.union(*histories.values()))
    paths = {entry.bump for entry in kept.values() if entry.bump is not None}
    if sum(len(entry.raw) for entry in kept.values()) + sum(map(len, paths)) > most_bytes:
        raise BadRequest(f"the answer exceeds {most_bytes} bytes; ask for less", ErrorCode.RESPONSE_TOO_LARGE)
    outputs = [
        FoundOutput(
            found.txid,
            found.output_index,
            found.context,
            tuple(
                txid
                for txid in histories.get((found.txid, min(found.history or 0, most_history)), ())
                if txid in kept
            ),
        )
        for found in formula.found
        if found.txid in kept
    ]
    return OutputList(outputs, formula.cursor, kept)


async def _history(reader: Reader, txid: bytes, depth: int) -> tuple[bytes, ...]:
    """Transactions whose admitted outputs this one descends from, to `depth` generations, oldest first."""
    seen: dict[bytes, None] = {}
    level = [txid]
    for _ in range(depth):
        raws = await load_raws(reader, level)
        spent = [spend.outpoint for raw in raws.values() for spend in Transaction.parse(raw).inputs]
        coins = await reader.get_many(OUTPUTS, spent)
        level = list({document["_id"][:32] for document in coins.values()} - seen.keys() - {txid})
        if not level or len(seen) > _MOST_TRANSACTIONS:
            break
        seen.update(dict.fromkeys(level))
    return tuple(reversed(seen))
