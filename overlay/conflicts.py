"""Double spends that were refused: recorded, within a bound, so that they can be shown (I3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overlay.clock import NowMs
from overlay.records import CONFLICTS
from store.port import Delete, Find, Insert, Store, Write

MOST_CONFLICTS: Final = 10_000


class ConflictLog:
    """A bounded record; the oldest give way."""

    def __init__(self, store: Store, now_ms: NowMs, most: int = MOST_CONFLICTS) -> None:
        self._store = store
        self._now_ms = now_ms
        self._most = most

    async def record(self, txid: bytes, rivals: Mapping[bytes, bytes]) -> None:
        """Note that `txid` tried to spend these outpoints, which others (the values) spend already."""
        writes: list[Write] = [
            Insert(
                CONFLICTS,
                {"_id": spent + txid, "txid": txid, "rival": rival, "seen_ms": self._now_ms()},
                keep=True,
            )
            for spent, rival in rivals.items()
        ]
        excess = await self._store.count(CONFLICTS) + len(writes) - self._most
        if excess > 0:
            oldest = await self._store.find(CONFLICTS, Find(index="by_age", limit=excess))
            writes += [Delete(CONFLICTS, document["_id"]) for document in oldest.documents]
        await self._store.commit(writes)
