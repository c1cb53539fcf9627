"""The log's tail as events, read from the store, so that every process of the node tells of every edge.

One task looks for new entries while anybody listens, and keeps the text of the newest for all of them, up to a
number of bytes. Each listener has nothing but the number of the entry that it is at: one that is slow, or begins
far back, reads its pages itself, in turns with others of the kind, and no memory is held for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from bridge.mirror.book import HEAD, head_of
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.records import AUDIT, MESSAGES, MIRROR
from bridge.mirror.states import Direction
from config.errors import MetawattError
from energytag.models.common import moment_of_ms
from store.port import Document, Find, Reader

POLL_SECS: Final = 0.25
PAGE_ENTRIES: Final = 16
"""An entry may tell of a few hundred messages, each of which is read."""
KEPT_BYTES: Final = 1024 * 1024
KEPT_ENTRIES: Final = 1024
_DIRECTIONS: Final = frozenset(each.value for each in Direction)
_TROUBLED_SECS: Final = 2.0

log = structlog.get_logger("metawatt.mirror")


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the log as events, in the form of an event stream; empty where it has nothing for the public."""

    number: int
    text: bytes


class Legs:
    """The tail of one process. `is_over` says when the node is stopping: then listeners are let go."""

    def __init__(self, reader: Reader, is_over: Callable[[], bool]) -> None:
        self._reader = reader
        self._is_over = is_over
        self._kept: deque[Told] = deque()
        self._kept_bytes = 0
        self._head: int | None = None
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        # Guards reading back, so that all who do it take the place of one.
        self._turn = asyncio.Lock()

    @property
    def is_over(self) -> bool:
        return self._is_over()

    async def join(self) -> int:
        """Begin to listen; the log's newest entry. Each call is followed by one of `leave`."""
        self._listeners += 1
        try:
            if self._task is None:
                self._forget()
                self._task = asyncio.create_task(self._follow(), name="the bridge's log")
            return await self._newest() if self._head is None else self._head
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    async def after(self, number: int) -> Sequence[Told]:
        """Entries that follow this one, a page at most; none where it is the newest. `StoreUnavailable`."""
        if self._head is not None and number >= self._head:
            return ()
        if self._kept and number >= self._kept[0].number - 1:
            return tuple(each for each in self._kept if each.number > number)[:PAGE_ENTRIES]
        async with self._turn:
            return await told_after(self._reader, number)

    async def growth(self, secs: float) -> bool:
        """Wait for new entries, or the end; False when the time was up before."""
        grown = self._grown
        try:
            async with asyncio.timeout(secs):
                await grown.wait()
        except TimeoutError:
            return False
        return True

    # Following

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        self._head = None

    async def _follow(self) -> None:
        while not self.is_over:
            try:
                has_more = await self._look()
            except MetawattError as error:
                log.warning("the bridge's log cannot be told", code=error.code, reason=error.message)
                await asyncio.sleep(_TROUBLED_SECS)
                continue
            await asyncio.sleep(0 if has_more else POLL_SECS)
        self._wake()

    async def _look(self) -> bool:
        """Keep what is new; whether there may be more of it."""
        if self._head is None:
            self._head = await self._newest()
        page = await told_after(self._reader, self._head)
        for told in page:
            self._keep(told)
        if page:
            self._head = page[-1].number
            self._wake()
        return len(page) == PAGE_ENTRIES

    def _keep(self, told: Told) -> None:
        self._kept.append(told)
        self._kept_bytes += len(told.text)
        while len(self._kept) > KEPT_ENTRIES or (self._kept_bytes > KEPT_BYTES and len(self._kept) > 1):
            self._kept_bytes -= len(self._kept.popleft().text)

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _newest(self) -> int:
        return head_of(await self._reader.get(MIRROR, HEAD)).number


async def told_after(reader: Reader, number: int) -> list[Told]:
    """A page of the log after an entry, as events."""
    page = await reader.find(AUDIT, Find(lower=number + 1, limit=PAGE_ENTRIES))
    entries = [orjson.loads(row["text"]) for row in page.documents]
    ids = {bytes.fromhex(edge["message"]) for entry in entries for edge in entry["edges"]}
    messages = await reader.get_many(MESSAGES, list(ids))
    named = {key.hex(): row for key, row in messages.items() if isinstance(key, bytes)}
    return [Told(entry["n"], _stream(entry, named)) for entry in entries]


def _stream(entry: Mapping[str, Any], messages: Mapping[str, Document]) -> bytes:
    """The entry's events. The last of them alone carries the number: who was cut off amid them hears all again."""
    at = moment_of_ms(entry["at_ms"])
    events = [*_legs(entry["edges"], messages, at), *_pauses(entry.get("notes", ()), at)]
    if not events:
        return b""
    *early, last = events
    return b"".join(f"{each}\n".encode() for each in early) + f"{last}id: {entry['n']}\n\n".encode()


def _legs(edges: Iterable[Mapping[str, Any]], messages: Mapping[str, Document], at: str) -> list[str]:
    return [
        _event("leg", _leg(edge, messages[edge["message"]], at)) for edge in edges if edge["message"] in messages
    ]


def _leg(edge: Mapping[str, Any], row: Document, at: str) -> dict[str, Any]:
    return {
        "message_id": edge["message"],
        "direction": row["direction"],
        "from": edge["from"],
        "to": edge["to"],
        "wh": row["units"] // UNITS_PER_WH,
        "at": at,
    }


def _pauses(notes: Iterable[Mapping[str, Any]], at: str) -> list[str]:
    """That a direction is paused, or no longer; why and by whom is for operators."""
    told = [(note.get("pause") or note.get("resume"), "pause" in note) for note in notes]
    return [
        _event("pause", {"direction": direction, "is_paused": is_paused, "at": at})
        for direction, is_paused in told
        if direction in _DIRECTIONS
    ]


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {orjson.dumps(data).decode()}\n"
