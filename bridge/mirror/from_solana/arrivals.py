"""What final transactions brought to the bridge on Solana, as rows of its inbox.

    mode lock   tokens that came into custody: a transfer from elsewhere, or a mint; every one is a row, with or
                without a memo, for it is in custody's balance
    mode burn   a burn of the mint with a memo of the bridge's; without one it is a burn and nothing more

The rows of a transaction and the commit that reads it are one. What leaves custody is no arrival: the bridge's own
releases and refunds do. Where the instructions of a transaction do not explain custody's balance, or of a burn any
balance, it has no arrivals either; MOVEMENTS shows it as unexplained, and parity finds what it did. What else they
leave unexplained is no matter of the bridge's: anybody may write into his transaction what is hard to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from bridge.mirror.from_solana.memos import bridge_memos, recipient_in, speaking_for
from bridge.mirror.ground import Asset
from bridge.mirror.message import solana_event
from bridge.mirror.provenance.lots import lots_of
from bridge.mirror.receipts.sources import source_write
from bridge.mirror.records import INBOX
from bridge.mirror.states import Direction, Kind
from bridge.programs import instructions
from bridge.programs.instructions import TokenInstruction
from bridge.programs.movements import Movements, movements
from bridge.records import ATTEMPTS, READINGS
from bridge.solana.rpc import SeenTransaction
from bridge.watching.rows import readings_by_mint, too_large
from overlay.clock import NowMs
from store.port import Document, Insert, Reader, Write

_MOVED: Final = (instructions.Kind.TRANSFER, instructions.Kind.MINT)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Tokens that came by one instruction, `index` among those of the transaction that concern the mint. `units`
    are what arrived, a fee taken off. `source` is the token account that they came from, None of a mint. `memos`
    are those of the bridge's that count for it."""

    event: bytes
    index: int
    kind: Kind
    units: int
    source: Pubkey | None
    authority: Pubkey
    memos: tuple[str, ...]


def arrivals(seen: SeenTransaction, asset: Asset) -> list[Arrival]:
    """In the order of their instructions; none of a transaction that failed, or that cannot be explained."""
    told = movements(seen, asset.mint)
    if too_large(told) or (asset.custody in told.differing if asset.mode == "lock" else told.problems):
        return []
    memos = bridge_memos(seen)
    found: list[Arrival] = []
    for index, each in enumerate(told.instructions):
        kind, texts = _kind(each, asset), speaking_for(each.path, memos)
        units = each.units - each.fee
        if kind is None or units <= 0 or (kind is Kind.BURN and not texts):
            continue
        event = solana_event(bytes(seen.signature), each.path.packed())
        found.append(Arrival(event, index, kind, units, each.source, each.authority, tuple(texts)))
    return found


def _kind(one: TokenInstruction, asset: Asset) -> Kind | None:
    """What an instruction is to the bridge, before its readings are known."""
    if asset.mode == "burn":
        return Kind.BURN if one.kind is instructions.Kind.BURN else None
    came = one.kind in _MOVED and one.destination == asset.custody and one.source != asset.custody
    return Kind.DEPOSIT if came else None


class Arrivals:
    """Makes the rows, and the lots of what our own transactions minted. `on_final` is the event processor's; a
    transaction that it is told of again, by a replay or by the history of another address, changes nothing."""

    def __init__(self, asset: Asset, store: Reader, now_ms: NowMs) -> None:
        self._asset = asset
        self._store = store
        self._now_ms = now_ms

    async def on_final(self, seen: SeenTransaction) -> Sequence[Write]:
        found = arrivals(seen, self._asset)
        own = await self._readings(seen) if any(each.source is None for each in found) else {}
        rows = [self._row(each, seen, own.get(each.index)) for each in found]
        writes: list[Write] = [Insert(INBOX, row, keep=True) for row in rows]
        if rows:
            writes.append(source_write(seen))
        return [*writes, *await lots_of(seen, self._asset, self._store)]

    async def _readings(self, seen: SeenTransaction) -> dict[int, Document]:
        """The readings that our own transaction minted into custody, by the index of their mints. A reading that
        was not to go there is left out, and one of which it is not sure which mint is its."""
        attempt = await self._store.get(ATTEMPTS, bytes(seen.signature))
        if attempt is None:
            return {}
        told: Movements = movements(seen, self._asset.mint)
        keys = {
            index: each[0]
            for index, each in readings_by_mint(told.instructions, attempt["readings"]).items()
            if len(each) == 1
        }
        rows = await self._store.get_many(READINGS, list(keys.values()))
        return {index: rows[key] for index, key in keys.items() if key in rows and self._is_mirrored(rows[key])}

    def _is_mirrored(self, reading: Document) -> bool:
        return reading.get("mint_to") == str(self._asset.owner) and reading["account_id"] is not None

    def _row(self, arrival: Arrival, seen: SeenTransaction, reading: Document | None) -> Document:
        row = {
            "_id": arrival.event,
            "lane": Direction.IN.value,
            "at_ms": self._now_ms(),
            "kind": arrival.kind.value,
            "units": arrival.units,
            "slot": seen.slot,
            "block_time": seen.block_time,
            "memos": list(arrival.memos),
            "recipient": recipient_in(arrival.memos),
            "source": None if arrival.source is None else str(arrival.source),
            "authority": str(arrival.authority),
            "readings": [],
        }
        if reading is None:
            return row
        automatic = {"kind": Kind.AUTOMATIC.value, "recipient": reading["account_id"], "readings": [reading["_id"]]}
        return row | automatic
