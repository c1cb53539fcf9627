"""Batches under way: told of when the last of their transactions is over. A hint; lost with the process."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.notices import Notice, NoticeKind, Tell


@dataclass(slots=True)
class _Tally:
    readings: int
    minted: int = 0
    failed: int = 0


class Batches:
    """Adds up what became of each batch's readings."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._tallies: dict[str, _Tally] = {}

    def begin(self, batch: str, readings: int) -> None:
        self._tallies[batch] = _Tally(readings)

    def over(self, batch: str | None, minted: int, readings: int) -> None:
        """One of its transactions is over: so many of its readings are minted."""
        tally = self._tallies.get(batch or "")
        if batch is None or tally is None:
            return
        tally.minted += minted
        tally.failed += readings - minted
        if tally.minted + tally.failed >= tally.readings:
            del self._tallies[batch]
            self._tell(Notice(NoticeKind.BATCH_DONE, _body(batch, tally)))

    def forget(self) -> None:
        self._tallies.clear()


def _body(batch: str, tally: _Tally) -> dict[str, object]:
    return {
        "batch_id": batch,
        "total_readings": tally.readings,
        "successful_mints": tally.minted,
        "failed_mints": tally.failed,
    }
