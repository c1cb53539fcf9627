"""One watched address: its cursor, and the rounds that move it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

import structlog
from solders.pubkey import Pubkey

from bridge.records import CURSORS
from bridge.solana.rpc import SeenSignature, SolanaRpc
from bridge.watching.applying import CHUNK, Applier
from bridge.watching.cursor import LAG_SLOTS, Cursor, HistoryGap, Verdict, moved, verdict
from bridge.watching.history import CursorNotMet, History
from config.errors import ErrorCode, NotFound, Unavailable
from store.port import Conflict, Store, Write

_STORED_EVERY_SLOTS: Final = 1000
_MOST_SKIPPED: Final = 100
_RACES: Final = 3
"""So often in a round others may be first between a look at a reading and the commit, each time by a moment."""
_ENOUGH_SILENCES: Final = 30
"""So many rounds in a row must have told of nothing, where no transaction shows that the history is whole."""

Progress: TypeAlias = Callable[[int, int], Awaitable[None]]
"""Told of how many transactions were applied, and of the slot of the last one."""

log = structlog.get_logger("metawatt.watching")


class Role(StrEnum):
    MINT = "mint"
    """Its movements are kept: mints, burns, and the transfers that name it."""
    CUSTODY = "custody"
    """A token account of ours: also transfers that do not name the mint are in its history."""
    PROGRAM = "program"
    """What its logs claim is kept, as hints."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An address, and a name for people. With `from_start` its history is read from where the cluster's begins,
    else from when it is first watched."""

    name: str
    address: Pubkey
    role: Role = Role.MINT
    from_start: bool = True


class Follower:
    """Applies the history of one address. Rounds must not overlap. `gap` is why there are no more of them;
    `read_slot` is the newest final slot when the last one was complete, -1 before the first."""

    def __init__(
        self, store: Store, rpc: SolanaRpc, watched: Watched, applier: Applier, counts: Counter[str]
    ) -> None:
        self.watched = watched
        self.gap: HistoryGap | None = None
        self.read_slot = -1
        self._store = store
        self._rpc = rpc
        self._applier = applier
        self._counts = counts
        self._history = History(rpc, watched.address)
        self._stored: Cursor | None = None
        self._place: Cursor | None = None
        self._skipped: list[dict[str, int]] = []
        self._misses = 0
        self._silences = 0

    async def round(self, final_slot: int) -> int:
        """Apply what is new at that final slot; how many transactions. Raises `HistoryGap`, and again until it is
        skipped or replayed, or the cluster shows what was missing; Unavailable where it tells too little."""
        place = await self._begin(final_slot)
        if self.gap is not None:
            await self._leave_lie(place, self.gap)
        try:
            await self._demand_reach(place)
            count = await self._apply_after(place)
        except CursorNotMet as miss:
            self._place = await self._after_miss(place, final_slot, miss)
            count = await self._apply_after(self._place)
        self._misses = 0
        self._silences = 0 if count else self._silences + 1
        self.read_slot = final_slot
        try:
            await self._keep_whole(final_slot - LAG_SLOTS)
        except Conflict:
            await self.load()  # another process is further
        return count

    async def replay(self, from_slot: int, at_slot: int, progress: Progress) -> None:
        """Apply what is after `from_slot` anew, beginning at `at_slot`, where an earlier try came to. The cursor
        stays where it is, unless this closes a gap."""
        if self._stored is None or self.gap is not None:
            await self.load()
        last = prior = None
        place = Cursor.after_slot(at_slot - 1)
        async with aclosing(self._history.after(place, is_doubtful=True)) as pages:
            async for page in pages:
                for start in range(0, len(page), CHUNK):
                    entries = page[start : start + CHUNK]
                    await self._apply_anew(entries)
                    await progress(len(entries), entries[-1].slot)
                last, prior = page[-1], page[-2] if len(page) > 1 else last
        self._demand_up_to_cursor(at_slot, -1 if last is None else last.slot)
        if last is not None and self._closes_gap(from_slot):
            await self._leave_gap(Cursor.after_slot(-1).at(last, prior))

    async def skip(self, now_ms: int) -> None:
        """An operator's decision to go on with what the cluster still has, whatever happened before; it stays on
        record. NotFound when there is no gap."""
        await self.load()
        cursor = self._stored
        if self.gap is None or cursor is None:
            raise NotFound(f"There is no gap in the history of {self.watched.name}")
        first_slot = await self._rpc.first_available_slot()
        skipped = {"after_slot": cursor.whole_slot, "to_slot": first_slot, "at_ms": now_ms}
        await self._leave_gap(Cursor.after_slot(first_slot - 1), skipped=[*self._skipped, skipped][-_MOST_SKIPPED:])
        log.warning("history skipped", address=self.watched.name, **skipped)

    def _demand_up_to_cursor(self, at_slot: int, last_slot: int) -> None:
        """What was applied once must be in the history again."""
        cursor = self._stored
        if self.gap is not None or cursor is None or cursor.signature is None or cursor.slot < at_slot:
            return
        if last_slot < cursor.slot:
            raise CursorNotMet(f"the history ends at slot {last_slot}, before {cursor.signature}")

    # The cursor

    async def load(self) -> None:
        """Take what is stored, perhaps by another process."""
        document = await self._store.get(CURSORS, str(self.watched.address))
        self._stored = self._place = None if document is None else Cursor.of(document)
        self._skipped = [] if document is None else document["skipped"]
        gap = None if document is None else document["gap"]
        self.gap = None if gap is None else HistoryGap(gap)

    async def _begin(self, final_slot: int) -> Cursor:
        """Where to go on from. Another process may have closed the gap."""
        if self._place is None or self.gap is not None:
            await self.load()
        if self._place is None and not self.watched.from_start:
            await self._move(Cursor.after_slot(final_slot))
        return self._place or Cursor.after_slot(-1)

    async def _move(self, cursor: Cursor, **more: object) -> None:
        await self._store.commit([moved(self.watched.address, self._stored, cursor, **more)])
        self._stored = self._place = cursor

    async def _leave_gap(self, cursor: Cursor, **more: object) -> None:
        await self._move(cursor, gap=None, **more)
        self.gap, self._misses = None, 0

    async def _keep_whole(self, whole_slot: int) -> None:
        """Now and then, keep that nothing happened for long: a node that forgets must not make a gap of it."""
        place = self._place
        if place is None or whole_slot - place.whole_slot < _STORED_EVERY_SLOTS:
            return
        if place.signature is not None:
            await self._move(replace(place, whole_slot=whole_slot))
        elif place.whole_slot >= 0 and self._silences >= _ENOUGH_SILENCES:
            await self._move(Cursor.after_slot(whole_slot))

    # Applying

    async def _apply_after(self, place: Cursor) -> int:
        """After a conflict one by one: the minter or another process was first with a reading or the cursor, or two
        transactions of a commit move the same reading."""
        for chunk in (CHUNK, *[1] * _RACES):
            try:
                return await self._pages(place, chunk)
            except Conflict:
                await self.load()
                place = self._place or place
        return await self._pages(place, 1)

    async def _pages(self, place: Cursor, chunk: int) -> int:
        count = 0
        async with aclosing(self._history.after(place)) as pages:
            async for page in pages:
                for start in range(0, len(page), chunk):
                    count += await self._apply(page[start : start + chunk])
        return count

    async def _apply(self, entries: Sequence[SeenSignature]) -> int:
        place, stored = self._place or Cursor.after_slot(-1), self._stored
        reached = place

        def moving(count: int) -> list[Write]:
            nonlocal reached
            reached = place.at(entries[count - 1], entries[count - 2] if count > 1 else None)
            return [moved(self.watched.address, stored, reached)]

        count = await self._applier.apply(entries, moving)
        if count:
            self._stored = self._place = reached
        _demand_all(entries, count)
        return count

    async def _apply_anew(self, entries: Sequence[SeenSignature]) -> None:
        try:
            _demand_all(entries, await self._applier.apply(entries, lambda _: (), anew=True))
        except Conflict:
            for entry in entries:
                _demand_all([entry], await self._applier.apply([entry], lambda _: (), anew=True))

    # Gaps

    async def _demand_reach(self, place: Cursor) -> None:
        """A place by slot is met by no transaction: the cluster's history must begin before it."""
        if place.signature is None and place.whole_slot >= 0:
            first_slot = await self._rpc.first_available_slot()
            if first_slot > place.whole_slot + 1:
                raise CursorNotMet(f"the cluster's history begins at slot {first_slot}")

    async def _after_miss(self, place: Cursor, final_slot: int, miss: CursorNotMet) -> Cursor:
        """The place to go on from; raises the miss while it may be a lie, `HistoryGap` when it is none."""
        first_slot = await self._rpc.first_available_slot()
        if final_slot >= place.slot:
            self._misses += 1
        match verdict(place, self._misses, final_slot, first_slot):
            case Verdict.AGAIN:
                raise miss
            case Verdict.BY_SLOT:
                return place.by_slot()
            case Verdict.GAP:
                raise await self._found_gap(place, first_slot, miss)

    async def _found_gap(self, place: Cursor, first_slot: int, miss: CursorNotMet) -> HistoryGap:
        """It is stored: a restart does not forget it, and any process may tell of it."""
        gap = HistoryGap(
            f"the history of {self.watched.name} ({self.watched.address}) after slot {place.whole_slot} is not to "
            f"be had, the cluster's begins at slot {first_slot}: {miss.message}"
        )
        await self._move(place, gap=gap.message)
        self._counts["gap"] += 1
        self.gap = gap
        return gap

    async def _leave_lie(self, place: Cursor, gap: HistoryGap) -> None:
        """Raise the gap again, unless the cluster shows the place that it did not: it lied, or another one that
        keeps more is asked now. Whether all that is newer follows from there, the round will see."""
        if place.signature is None:
            is_shown = await self._rpc.first_available_slot() <= place.whole_slot + 1
        else:
            (status,) = await self._rpc.statuses([place.signature])
            is_shown = status is not None
        if not is_shown:
            raise gap
        await self._leave_gap(place)
        log.info("the history is whole again", address=self.watched.name)

    def _closes_gap(self, from_slot: int) -> bool:
        return self.gap is not None and (self._stored is None or from_slot <= self._stored.whole_slot + 1)


def _demand_all(entries: Sequence[SeenSignature], count: int) -> None:
    if count < len(entries):
        raise Unavailable(
            f"the cluster names {entries[count].signature} and does not tell it", ErrorCode.SOLANA_UNAVAILABLE
        )
