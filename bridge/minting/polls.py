"""Asking for a poll now, from whichever process: it is written down, and whoever mints carries it out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from bridge.minting.waiting import answered
from bridge.records import CONFIG
from config.errors import Busy
from store.port import Conflict, Insert, Patch, Store, Write

_KEY: Final = "minting-poll"
_LOOK_SECS: Final = 0.05
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a poll did: readings that it signed for, in how many transactions; readings that turned out to be
    minted already; `waiting`, those that are still due. `is_finished` is False when it was not carried
    out to its end."""

    readings: int = 0
    transactions: int = 0
    found: int = 0
    waiting: int = 0
    is_finished: bool = True

    def plus(self, readings: int, transactions: int, found: int) -> PollResult:
        return PollResult(self.readings + readings, self.transactions + transactions, self.found + found)


class Polls:
    """The polls asked for and done, numbered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ask(self) -> int:
        """Ask for a poll; its number."""
        for _ in range(_TRIES):
            row = await self._store.get(CONFIG, _KEY)
            number = 1 if row is None else row["asked"] + 1
            write: Write = Insert(CONFIG, {"_id": _KEY, "asked": 1, "done": 0, "result": None})
            if row is not None:
                write = Patch(CONFIG, _KEY, {"asked": number}, expect={"asked": row["asked"]})
            try:
                await self._store.commit([write])
            except Conflict:
                continue
            return number
        raise Busy("polls are being asked for by others")

    async def asked(self) -> int | None:
        """The number of a poll that was asked for and is not done."""
        row = await self._store.get(CONFIG, _KEY)
        return row["asked"] if row is not None and row["asked"] > row["done"] else None

    def done(self, number: int, result: PollResult) -> Patch:
        """The write that answers all polls up to that number."""
        return Patch(CONFIG, _KEY, {"done": number, "result": asdict(result)})

    async def outcome(self, number: int, wait_secs: float) -> PollResult:
        """What came of a poll; unfinished when it takes longer than `wait_secs`."""

        async def answer() -> PollResult | None:
            row = await self._store.get(CONFIG, _KEY)
            return PollResult(**row["result"]) if row is not None and row["done"] >= number else None

        return await answered(answer, wait_secs, _LOOK_SECS) or PollResult(is_finished=False)
