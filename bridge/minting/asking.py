"""A person asks for a reading to be minted: it is written down, and whoever mints takes it before all others."""

from __future__ import annotations

from typing import Final

from bridge.meters.conflicts import MintingForbids
from bridge.meters.looking import reading_of
from bridge.minting import changes
from bridge.minting.retry import ASKED_MS
from bridge.minting.views import MintingStatus, Views
from bridge.minting.waiting import answered
from bridge.records import ReadingState
from config.errors import Busy
from store.port import Conflict, Document, Store

_LOOK_SECS: Final = 0.05
_TRIES: Final = 8
_TAKEN: Final = (ReadingState.ACCEPTED, ReadingState.RETRY, ReadingState.DEAD)


class Asking:
    """Makes readings due at a person's word."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views

    async def ask(self, key: bytes) -> None:
        """Make it due, with auto-mint off, too; nothing happens to one that is on its way or minted. A dead one
        begins to count anew. `NotFound(READING_UNKNOWN)`; `MintingForbids` for one that is held or rejected."""
        for _ in range(_TRIES):
            row = await reading_of(self._store, key)
            if row["state"] in (ReadingState.SIGNED, ReadingState.MINTED) or row["due_ms"] == ASKED_MS:
                return
            if not _may_be_asked(row):
                raise MintingForbids(f"The reading is {row['state']}: {row.get('error')}")
            try:
                await self._store.commit([changes.asked(row)])
            except Conflict:
                continue
            return
        raise Busy("The reading is being changed by others")

    async def requeue(self, key: bytes) -> MintingStatus:
        """Like `ask`, for one that failed: `MintingForbids` for one that did not."""
        row = await reading_of(self._store, key)
        if not (row["state"] in (ReadingState.RETRY, ReadingState.DEAD) or _is_held_by_minting(row)):
            raise MintingForbids(f"The reading is {row['state']}, and not in the retry queue")
        await self.ask(key)
        return await self._views.status(key)

    async def outcome(self, key: bytes, wait_secs: float) -> MintingStatus:
        """The reading once it is minted, failed or held, or as it is after `wait_secs`."""

        async def settled() -> bool | None:
            return None if _is_under_way(await reading_of(self._store, key)) else True

        await answered(settled, wait_secs, _LOOK_SECS)
        return await self._views.status(key)


def _may_be_asked(row: Document) -> bool:
    return row["state"] in _TAKEN or _is_held_by_minting(row)


def _is_held_by_minting(row: Document) -> bool:
    """Held for what the chain shows: asked again, it is looked up again, and never signed for."""
    return bool(row["state"] == ReadingState.HELD and row.get("held_for") == changes.HELD_FOR)


def _is_under_way(row: Document) -> bool:
    return bool(row["state"] == ReadingState.SIGNED or row["due_ms"] == ASKED_MS)
