"""What the log tells of a message, read from its entries."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeAlias

import orjson

from bridge.mirror.message import Message
from bridge.mirror.receipts.statement import LogStep
from bridge.mirror.records import AUDIT
from store.port import Reader

_REMEMBERED: Final = 128

Steps: TypeAlias = Mapping[str, list[LogStep]]
"""By message, in hex."""


class Logged:
    """Entries are shared by the messages that moved together, and end together: the last ones read are kept."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._entries: OrderedDict[int, Steps] = OrderedDict()
        self._turn = asyncio.Lock()

    async def steps_of(self, message: Message) -> tuple[LogStep, ...]:
        """The message's steps so far, but for those of a page that is being written."""
        async with self._turn:  # so that messages that end together read an entry once
            entries = await self._read(message.entries)
        name = message.id.hex()
        return tuple(step for steps in entries for step in steps.get(name, ()))

    async def _read(self, numbers: tuple[int, ...]) -> list[Steps]:
        missing = [number for number in numbers if number not in self._entries]
        if missing:
            rows = await self._reader.get_many(AUDIT, missing)
            for number, row in rows.items():
                self._entries[int(number)] = steps_in(row["text"], row["hash"])
        found = [self._entries[number] for number in numbers if number in self._entries]
        while len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)
        return found


def steps_in(text: bytes, digest: bytes) -> dict[str, list[LogStep]]:
    """The steps that an entry tells of."""
    entry = orjson.loads(text)
    found: dict[str, list[LogStep]] = {}
    for edge in entry["edges"]:
        facts = edge.get("facts", {})
        step = LogStep(entry["n"], digest, entry["at_ms"], edge["from"], edge["to"], facts)
        found.setdefault(edge["message"], []).append(step)
    return found
