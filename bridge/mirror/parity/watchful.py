"""What else calls for a person, beside parity itself: found while parity is read, raised as alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bridge.mirror.alarms import Alarm, Alarms, standing
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.parity.solana_side import SolanaSide
from bridge.mirror.parity.token_movements import Strange
from bridge.mirror.records import MESSAGES, MIRROR
from bridge.mirror.states import Hold, State
from bridge.records import CURSORS
from store.port import Find, Put

_MOST_AT_ONCE: Final = 100


class Watchful:
    """Of one asset, for the worker."""

    def __init__(self, ground: MirrorGround, alarms: Alarms) -> None:
        self._store = ground.store
        self._asset = ground.asset
        self._alarms = alarms
        self._doubted: dict[Alarm, int] = {}

    async def look_around(self) -> None:
        """Histories that the event processor cannot read on."""
        for address in map(str, (self._asset.custody, self._asset.mint)):
            row = await self._store.get(CURSORS, address)
            if row is not None and row["gap"] is not None:
                await self._alarms.raise_for(Alarm.HISTORY_GAP, address, row["gap"])
            else:
                await self._alarms.clear(Alarm.HISTORY_GAP, address, "the history is read on")

    async def alarms_of(self, side: SolanaSide, lost: Sequence[bytes]) -> int:
        """What a reading of Solana shows, and messages whose source went; how many alarms are new."""
        new = await self._lost(dict.fromkeys(lost, "the source went after it had been final"))
        new += await self._strange(Alarm.FOREIGN_RELEASE, side.foreign)
        new += await self._strange(Alarm.MOVEMENT_UNEXPLAINED, side.unexplained)
        new += await self._differs(Alarm.SUPPLY_DIFFERS, side.supply, side.supply_moved)
        return new + await self._differs(Alarm.CUSTODY_DIFFERS, side.balance, side.custody_moved)

    async def _lost(self, held: Mapping[bytes, str]) -> int:
        """Sources that went, as long as that is so."""
        lost = {**held, **await self._paid_for_nothing()}
        for row in await standing(self._store):
            if row["alarm"] == Alarm.SOURCE_LOST and bytes.fromhex(row["subject"]) not in lost:
                await self._alarms.clear(Alarm.SOURCE_LOST, row["subject"], "it is lost no longer, or written off")
        first = list(lost.items())[:_MOST_AT_ONCE]
        return sum([await self._alarms.raise_for(Alarm.SOURCE_LOST, each.hex(), text) for each, text in first])

    async def _paid_for_nothing(self) -> dict[bytes, str]:
        """Exits whose tokens are out, finally, and whose certificates cannot be withdrawn any more. They are the
        oldest in their state, for everybody else passes through it."""
        find = Find("state", {"state": State.DST_FINAL.value}, limit=_MOST_AT_ONCE)
        messages = map(Message.read, (await self._store.find(MESSAGES, find)).documents)
        return {
            each.id: f"its tokens are out, and {each.reason.text}"
            for each in messages
            if each.reason is not None and each.reason.code is Hold.SOURCE_LOST
        }

    async def _strange(self, alarm: Alarm, found: Sequence[Strange]) -> int:
        return sum(
            [await self._alarms.raise_for(alarm, each.signature, each.text) for each in found[:_MOST_AT_ONCE]]
        )

    async def _differs(self, alarm: Alarm, told: int, moved: int | None) -> int:
        """Whether the chain's figure is what its movements add up to, but for what there was when they were first
        added up: a history that the cluster had pruned. It must be found twice in a row."""
        if moved is None:
            return 0
        key = f"offset:{alarm.value}:{self._asset.name}"
        row = await self._store.get(MIRROR, key)
        if row is None:
            await self._store.commit([Put(MIRROR, {"_id": key, "units": told - moved})])
            return 0
        difference = told - moved - row["units"]
        is_found_again = bool(difference) and self._doubted.get(alarm) == difference
        self._doubted[alarm] = difference
        text = f"the chain says {told}, movements add up to {difference} base units less"
        return await self._alarms.raise_for(alarm, self._asset.name, text) if is_found_again else 0
