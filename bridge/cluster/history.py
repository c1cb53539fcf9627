"""What landed: statuses, transactions, blocks and the history of addresses, from memory and from the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.chain import Chain
from bridge.cluster.executed import Block, Entry, Executed, Status
from bridge.cluster.faults import Faults
from bridge.cluster.journal import Journal
from bridge.cluster.records import position_of, slot_of
from bridge.solana.rpc import Commitment
from config.errors import BadRequest

MAX_ENTRIES: Final = 1000
MAX_BLOCKS: Final = 500_000

_BATCH: Final = 250
_COMMITMENTS: Final[tuple[Commitment, ...]] = ("finalized", "confirmed", "processed")


@dataclass(frozen=True, slots=True)
class _Span:
    """Which part of a history is asked for: positions above `low` and below `high`, blocks up to `view`."""

    low: int
    high: int
    view: int

    def has(self, executed: Executed) -> bool:
        position = position_of(executed.slot, executed.index)
        return self.low < position < self.high and executed.slot <= self.view


class History:
    """Answers as of a commitment, with the faults' say."""

    def __init__(self, chain: Chain, journal: Journal, faults: Faults) -> None:
        self._chain = chain
        self._journal = journal
        self._faults = faults

    def view(self, commitment: Commitment) -> int:
        """The newest slot that a read at a commitment shows."""
        return self._chain.slot_at(commitment, self._faults.plan.lag_slots)

    def commitment_of(self, slot: int) -> Commitment | None:
        if not self._chain.slots.has_block(slot):
            return None
        return next((each for each in _COMMITMENTS if slot <= self.view(each)), None)

    async def statuses(self, signatures: Sequence[Signature], *, history: bool) -> list[Status | None]:
        known = [self._chain.recently(signature) for signature in signatures]
        missing = [signature for signature, found in zip(signatures, known, strict=True) if found is None]
        records = await self._stored(missing) if history and missing else {}
        stored = {signature: (record.slot, record.error) for signature, record in records.items()}
        known = [found or stored.get(signature) for signature, found in zip(signatures, known, strict=True)]
        return [
            None if found is None else self._status(signature, *found)
            for signature, found in zip(signatures, known, strict=True)
        ]

    def _status(self, signature: Signature, slot: int, error: Any) -> Status | None:
        commitment = self.commitment_of(slot)
        if commitment is None or self._faults.denies(signature):
            return None
        slots, view = self._chain.slots, self.view("processed")
        is_final = commitment == "finalized"
        return Status(slot, error, commitment, None if is_final else slots.height(view) - slots.height(slot))

    async def executed(self, signature: Signature, commitment: Commitment) -> Executed | None:
        found = await self._find(signature)
        if found is None or found.slot > self.view(commitment) or self._faults.denies(signature):
            return None
        return found

    async def _find(self, signature: Signature) -> Executed | None:
        found = self._chain.recent.get(signature)
        if found is None:
            found = (await self._stored([signature])).get(signature)
        return found if found is not None and found.slot >= self._chain.header.first_available else None

    async def _stored(self, signatures: Sequence[Signature]) -> dict[Signature, Executed]:
        """Records that are only in the store; what is above the memory's floor there is not asked for: a
        fork may have undone it."""
        floor, first = self._chain.recent.floor, self._chain.header.first_available
        found = await self._journal.executed(signatures)
        return {each: record for each, record in found.items() if first <= record.slot < floor}

    async def signatures_for(
        self,
        address: Pubkey,
        before: Signature | None,
        until: Signature | None,
        limit: int,
        commitment: Commitment,
    ) -> list[Entry]:
        if not 1 <= limit <= MAX_ENTRIES:
            raise BadRequest(f"limit must be from 1 to {MAX_ENTRIES}")
        span = await self._span(before, until, commitment)
        if span is None or self._faults.denies():
            return []
        entries: list[Entry] = []
        async for executed in self._newest_first(address, span):
            if executed.signature not in self._faults.denied:
                entries.append(_entry(executed))
            if len(entries) == limit:
                break
        return entries

    async def _span(
        self, before: Signature | None, until: Signature | None, commitment: Commitment
    ) -> _Span | None:
        view = self.view(commitment)
        newest = None if before is None else await self._find(before)
        if before is not None and newest is None:
            return None
        oldest = None if until is None else await self._find(until)
        first = position_of(self._chain.header.first_available)
        return _Span(
            low=first - 1 if oldest is None else position_of(oldest.slot, oldest.index),
            high=position_of(view + 1) if newest is None else position_of(newest.slot, newest.index),
            view=view,
        )

    async def _newest_first(self, address: Pubkey, span: _Span) -> AsyncIterator[Executed]:
        recent = self._chain.recent
        floor = recent.floor
        for executed in [each for each in recent.of(address) if span.has(each)]:
            yield executed
        if span.low >= position_of(floor):
            return
        first, last = slot_of(span.low), min(floor - 1, slot_of(span.high), span.view)
        waiting: list[Signature] = []
        async for signatures in self._journal.signatures_of(address, max(0, first), last):
            waiting += signatures
            if len(waiting) >= _BATCH:
                async for executed in self._loaded(waiting, span):
                    yield executed
                waiting = []
        async for executed in self._loaded(waiting, span):
            yield executed

    async def _loaded(self, signatures: Sequence[Signature], span: _Span) -> AsyncIterator[Executed]:
        for start in range(0, len(signatures), _BATCH):
            part = signatures[start : start + _BATCH]
            found = await self._journal.executed(part)
            for signature in part:
                executed = found.get(signature)
                if executed is not None and span.has(executed):
                    yield executed

    def blocks(self, first: int, last: int, commitment: Commitment) -> list[int]:
        if last - first > MAX_BLOCKS:
            raise BadRequest(f"Slot range too large; max {MAX_BLOCKS}")
        slots = self._chain.slots
        start, end = max(first, self._chain.header.first_available, 0), min(last, self.view(commitment))
        return [slot for slot in range(start, end + 1) if not slots.is_skipped(slot)]

    async def block(self, slot: int, commitment: Commitment) -> Block | None:
        slots = self._chain.slots
        is_there = self._chain.header.first_available <= slot <= self.view(commitment) and slots.has_block(slot)
        block_time = await self.block_time(slot) if is_there else None
        if block_time is None:
            return None
        parent = slots.parent(slot)
        return Block(
            slot=slot,
            parent=parent,
            height=slots.height(slot),
            blockhash=slots.blockhash(slot),
            previous_blockhash=slots.blockhash(parent),
            block_time=block_time,
            transactions=await self._landed_in(slot),
        )

    async def _landed_in(self, slot: int) -> tuple[Executed, ...]:
        if slot >= self._chain.recent.floor:
            return self._chain.recent.block(slot)
        return tuple([executed async for executed in self._journal.landed(slot, slot)])

    async def block_time(self, slot: int) -> int | None:
        """Of a long past block without transactions: when the one before it that has some was opened."""
        if not self._chain.slots.has_block(slot):
            return None
        if (recent := self._chain.times.get(slot)) is not None:
            return recent
        return await self._journal.block_time(slot) or self._chain.header.genesis_secs


def _entry(executed: Executed) -> Entry:
    return Entry(executed.signature, executed.slot, executed.block_time, executed.error, executed.memo)
