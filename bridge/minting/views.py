"""Readings on their way, as they are listed and shown: plain values, times in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

from solders.signature import Signature

from bridge.meters.looking import reading_of
from bridge.meters.paging import Listed, listed
from bridge.records import ATTEMPTS, READINGS, AttemptState, ReadingState, reading_id
from store.port import Document, Find, Store


@dataclass(frozen=True, slots=True)
class MintingStatus:
    """Where a reading is. `signature` is that of the transaction that minted it, or may yet; `attempt` that
    transaction's state; `due_ms` when it is taken next, None when it is not; `slot` where it was minted."""

    reading_id: str
    state: ReadingState
    units: int
    signature: str | None
    attempt: AttemptState | None
    failures: int
    error: str | None
    due_ms: int | None
    slot: int | None
    submitted_ms: int
    minted_ms: int | None


class Views:
    """Reads only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def status(self, key: bytes) -> MintingStatus:
        """`NotFound(READING_UNKNOWN)` when there is no such reading."""
        row = await reading_of(self._store, key)
        signature = row.get("attempt")
        attempt = None if signature is None else await self._store.get(ATTEMPTS, signature)
        return _status(row, attempt)

    async def unminted(self, limit: int, cursor: str | None) -> Listed:
        """Readings that are not minted, in whatever state, oldest first."""
        return await listed(self._store, READINGS, Find("open", limit=limit), cursor)

    async def retries(self, limit: int, cursor: str | None) -> Listed:
        """The retry queue: by when each is taken next, dead ones last."""
        return await listed(self._store, READINGS, Find("retry", limit=limit), cursor)


def _status(row: Document, attempt: Document | None) -> MintingStatus:
    signature = row.get("attempt")
    return MintingStatus(
        reading_id(row["_id"]),
        ReadingState(row["state"]),
        row["units"],
        None if signature is None else str(Signature.from_bytes(signature)),
        None if attempt is None else AttemptState(attempt["state"]),
        row["attempts"],
        row.get("error"),
        row["due_ms"],
        row.get("slot"),
        row["submitted_ms"],
        row["minted_ms"],
    )
