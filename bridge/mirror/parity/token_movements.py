"""What the event processor's rows add up to: the supply, what lies in custody, what the bridge burned and minted.

Rows are added up for good as far as every watched history was applied whole; those after that are added up anew at
each reading. `forget` begins at the first row again, as after a replay, which may have changed old ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bridge.mirror.ground import Asset
from bridge.mirror.records import INBOX, MIRROR, RELEASES
from bridge.programs.instructions import Kind
from bridge.records import MOVEMENTS
from bridge.watching.rows import UNEXPLAINED
from store.pages import pages
from store.port import Document, Find, Put, Store

_PAGE: Final = 500
_KEY_BYTES: Final = 78
_SLOT_BYTES: Final = 8
_SIGNATURE_ENDS: Final = 72


@dataclass(frozen=True, slots=True)
class Strange:
    """A transaction that a person should look at."""

    signature: str
    text: str


@dataclass(slots=True)
class Sums:
    """Base units, of all rows up to a slot. `burned` is of burns that came into the inbox, `minted` of mints by the
    bridge's releases."""

    supply: int = 0
    custody: int = 0
    burned: int = 0
    minted: int = 0

    def copy(self) -> Sums:
        return Sums(**asdict(self))


@dataclass(slots=True)
class Told:
    """The sums at a slot, and what was strange in rows that are not behind us for good. A transaction that is no
    release of the bridge's and takes from custody is `foreign`."""

    sums: Sums
    foreign: list[Strange] = field(default_factory=list)
    unexplained: list[Strange] = field(default_factory=list)


class TokenMovements:
    """Of one asset. One reading at a time."""

    def __init__(self, store: Store, asset: Asset) -> None:
        self._store = store
        self._mint = str(asset.mint)
        self._custody = str(asset.custody)
        self._key = f"movements:{asset.name}"
        self._whole: Sums | None = None
        self._whole_slot = -1

    def forget(self) -> None:
        self._whole, self._whole_slot = Sums(), -1

    async def at(self, slot: int, whole_slot: int) -> Told:
        """The sums at a slot. Every history was applied up to `whole_slot`."""
        if self._whole is None:
            await self._load()
        assert self._whole is not None
        told = Told(self._whole.copy())
        await self._add_up(told, self._whole_slot + 1, min(slot, whole_slot))
        if min(slot, whole_slot) > self._whole_slot:
            await self._keep(told.sums, min(slot, whole_slot))
        later = Told(told.sums.copy(), told.foreign, told.unexplained)
        await self._add_up(later, self._whole_slot + 1, slot)
        return later

    async def _load(self) -> None:
        row = await self._store.get(MIRROR, self._key)
        self.forget()
        if row is not None:
            self._whole, self._whole_slot = Sums(**row["sums"]), row["slot"]

    async def _keep(self, sums: Sums, slot: int) -> None:
        self._whole, self._whole_slot = sums.copy(), slot
        await self._store.commit([Put(MIRROR, {"_id": self._key, "slot": slot, "sums": asdict(sums)})])

    async def _add_up(self, told: Told, first_slot: int, last_slot: int) -> None:
        """Rows of these slots, both included."""
        find = Find(lower=_place(first_slot), upper=_place(last_slot + 1))
        async for rows in pages(self._store, MOVEMENTS, find, size=_PAGE):
            own = [row for row in rows if row.get("mint") == self._mint]
            if own:
                await self._add(told, own)
            await asyncio.sleep(0)

    async def _add(self, told: Told, rows: Sequence[Document]) -> None:
        releases, inbox = await self._store.get_each(
            [(RELEASES, list({_signature(row) for row in rows})), (INBOX, [_event(row) for row in rows])]
        )
        for row in rows:
            is_release = _signature(row) in releases
            told.sums.supply += _supply(row)
            change = self._custody_change(row)
            told.sums.custody += change
            if row["kind"] == Kind.BURN and _event(row) in inbox:
                told.sums.burned += row["units"]
            if row["kind"] == Kind.MINT and is_release:
                told.sums.minted += row["units"]
            if row["kind"] == UNEXPLAINED:
                told.unexplained.append(Strange(row["signature"], "; ".join(row["problems"])))
            elif change < 0 and not is_release:
                told.foreign.append(Strange(row["signature"], f"{-change} base units left custody"))

    def _custody_change(self, row: Mapping[str, Any]) -> int:
        came = row["units"] - row["fee"] if row.get("destination") == self._custody else 0
        went = row["units"] if row.get("source") == self._custody else 0
        return int(came - went)


def _supply(row: Mapping[str, Any]) -> int:
    """What a row adds to the supply. One that is unexplained has the change itself."""
    if row["kind"] in (Kind.MINT, UNEXPLAINED):
        return int(row["units"])
    return -int(row["units"]) if row["kind"] == Kind.BURN else 0


def _place(slot: int) -> bytes:
    """Where the rows of a slot begin. All keys are of one length, for MongoDB orders bytes by length first."""
    return slot.to_bytes(_SLOT_BYTES, "big") + bytes(_KEY_BYTES - _SLOT_BYTES)


def _signature(row: Document) -> bytes:
    return bytes(row["_id"][_SLOT_BYTES:_SIGNATURE_ENDS])


def _event(row: Document) -> bytes:
    return bytes(row["_id"][_SLOT_BYTES:])
