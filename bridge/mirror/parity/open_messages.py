"""All open messages, followed by the log: what moved since is read again, and nothing else.

Every step of a message has an entry in the log, in the same commit, so that whoever has read the log up to its
head, and each message that it names, knows all that is open, as it is at that head.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bridge.mirror.book import HEAD, head_of
from bridge.mirror.message import Message
from bridge.mirror.records import AUDIT, MESSAGES, MIRROR
from bridge.mirror.states import Direction, Hold, State
from store.pages import pages
from store.port import Document, Find, Reader

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """What of an open message parity asks for. `issues` are the transactions on BSV that may have issued
    certificates of it, of which one is in the chain at most; `payment` is the one on Solana that may have paid
    tokens for it: an exit's, or a refund's."""

    id: bytes
    direction: Direction
    units: int
    state: State
    is_refund: bool
    was_accounted: bool
    issues: tuple[bytes, ...]
    payment: bytes | None
    reason: Hold | None

    @classmethod
    def of(cls, row: Document) -> OpenMessage:
        message = Message.read(row)
        return cls(
            id=message.id,
            direction=message.direction,
            units=message.units,
            state=message.state,
            is_refund=message.is_refund,
            was_accounted=message.was_accounted,
            issues=message.attempts if message.direction is Direction.IN and not message.is_refund else (),
            payment=None if message.ends_on_bsv else message.destination_tx,
            reason=None if message.reason is None else message.reason.code,
        )


class OpenMessages:
    """Those of one store. `number` is the entry of the log up to which they are known; -1 before the first look."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._open: dict[bytes, OpenMessage] = {}
        self.number = -1

    def forget(self) -> None:
        """Read all of them again at the next look."""
        self._open.clear()
        self.number = -1

    def __iter__(self) -> Iterator[OpenMessage]:
        return iter(self._open.values())

    async def catch_up(self) -> None:
        """Know them as of the log's head, or of a later moment."""
        if self.number < 0:
            self.number = await self._head()
            async for rows in pages(self._reader, MESSAGES, Find("open"), size=_PAGE):
                self._know(rows)
                await asyncio.sleep(0)
        find = Find(lower=self.number + 1)
        async for entries in pages(self._reader, AUDIT, find, size=_PAGE):
            await self._read_again({message for entry in entries for message in _named(entry)})
            self.number = entries[-1]["_id"] if entries else self.number

    async def _head(self) -> int:
        return head_of(await self._reader.get(MIRROR, HEAD)).number

    async def _read_again(self, messages: Collection[bytes]) -> None:
        if messages:
            rows = await self._reader.get_many(MESSAGES, list(messages))
            self._know(rows.values())

    def _know(self, rows: Iterable[Document]) -> None:
        for row in rows:
            if row["open_ms"] is None:
                self._open.pop(row["_id"], None)
            else:
                self._open[row["_id"]] = OpenMessage.of(row)


def _named(entry: Document) -> Iterator[bytes]:
    """The messages that an entry tells of."""
    for edge in json.loads(entry["text"])["edges"]:
        yield bytes.fromhex(edge["message"])
