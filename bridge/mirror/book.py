"""The book: every edge of every message, each in one commit with the entry of the audit log that tells of it.

A *page* is what one commit writes: messages that came into being or moved on, whatever else belongs to that, and
one entry of the log, chained to the entry before by its hash. The commit is guarded threefold: each message by its
version, the log by its head, the whole by the lease's fence. So two workers, or one that slept, cannot both write:
one of them meets a `Conflict`, and nothing of its page is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from bridge.minting.lease import Lease
from bridge.mirror.measures import MirrorMeasures
from bridge.mirror.message import Message, Reason
from bridge.mirror.records import AUDIT, MESSAGES, MIRROR
from bridge.mirror.states import ENDED, Hold, State, demand_edge
from certificates.canonical import canonical
from overlay.clock import NowMs
from store.port import Conflict, Document, Insert, Patch, Store, Write

HEAD: Final = "head"
GENESIS_HASH: Final = bytes(32)
"""What the first entry of a log is chained to."""


@dataclass(frozen=True, slots=True)
class Head:
    """The log's last entry: its number, 0 before there is one, and its hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """A step as the log tells of it; `before` is None for a message that came into being. `facts` are those that
    the step brought, and what else belongs into the log."""

    message: bytes
    before: State | None
    after: State
    facts: Mapping[str, Any] = field(default_factory=dict)


def entry_bytes(
    number: int, previous: bytes, at_ms: int, edges: Sequence[Edge], notes: Sequence[Mapping[str, Any]]
) -> bytes:
    """An entry's text, canonical JSON (RFC 8785); its hash is the SHA-256 of it."""
    return canonical(
        {
            "n": number,
            "previous": previous.hex(),
            "at_ms": at_ms,
            "edges": [
                {
                    "message": edge.message.hex(),
                    "from": None if edge.before is None else edge.before.value,
                    "to": edge.after.value,
                    **({"facts": plain(edge.facts)} if edge.facts else {}),
                }
                for edge in edges
            ],
            **({"notes": [plain(note) for note in notes]} if notes else {}),
        }
    )


def plain(value: Any) -> Any:
    """As JSON has it: bytes in hex, integers beyond 2^53 as text."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if type(value) is int and abs(value) > 2**53:
        return str(value)
    return value


class Page:
    """What one commit writes. Not to be kept: a page is filled and committed while `Book.page` holds the turn."""

    def __init__(self, head: Head, now_ms: int) -> None:
        self.now_ms = now_ms
        self.moved: dict[bytes, Message] = {}
        """Messages as they are after this page, by id."""
        self._head = head
        self._edges: list[Edge] = []
        self._notes: list[Mapping[str, Any]] = []
        self._stored: dict[bytes, int] = {}
        """The versions that these messages have in the store, 0 of one that is not there."""
        self._writes: list[Write] = []

    @property
    def is_empty(self) -> bool:
        return not (self._stored or self._notes or self._writes)

    @property
    def steps(self) -> list[tuple[Message, State]]:
        """Each step's message as it is after this page, and the state that the step reached."""
        return [(self.moved[edge.message], edge.after) for edge in self._edges]

    def open(self, message: Message) -> Message:
        """A message comes into being; a `Conflict` at the commit when there is one of its id."""
        number = self._head.number + 1
        message = replace(message, seq=number, version=1, entries=(number,))
        self._edges.append(Edge(message.id, None, message.state, _opening(message)))
        self._stored[message.id] = 0
        self.moved[message.id] = message
        return message

    def move(
        self,
        message: Message,
        to: State,
        *,
        due_ms: int | None = 0,
        reason: Reason | None = None,
        facts: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Message:
        """One step of a message that was read, or of one that this page moved before. `due_ms` is when its lane
        looks at it next: at once by default, None for never (states that end, or that others look after). `facts`
        are added to its facts, `changes` are further fields of `Message`."""
        message = self.moved.get(message.id, message)
        demand_edge(message.state, to)
        told = {**(facts or {}), **({"code": reason.code.value, "text": reason.text} if reason else {})}
        told |= {name: value for name, value in changes.items() if name in _TOLD}
        self._edges.append(Edge(message.id, message.state, to, told))
        ended = self.now_ms if to in ENDED else None
        due_ms = None if to in ENDED or to in (State.HELD, State.SRC_ORPHANED) else due_ms
        return self._changed(
            message,
            state=to,
            due_ms=due_ms,
            reason=reason,
            ended_ms=ended,
            facts={**message.facts, **facts} if facts else message.facts,
            entries=message.entries_with(self._head.number + 1),
            **changes,
        )

    def hold(self, message: Message, code: Hold, text: str) -> Message:
        """Set it aside for a person."""
        return self.move(message, State.HELD, reason=Reason(code, text[:500]))

    def put_off(self, message: Message, due_ms: int | None, **changes: Any) -> Message:
        """No step: only when its lane looks at it next. The log does not tell of it."""
        message = self.moved.get(message.id, message)
        return self._changed(message, due_ms=due_ms, **changes)

    def note(self, note: Mapping[str, Any]) -> None:
        """Something for the log that is no step: a pause, a command, an alarm."""
        self._notes.append(note)

    def write(self, *writes: Write) -> None:
        """What belongs to these steps, and is written with them or not at all."""
        self._writes += writes

    def _changed(self, before: Message, **changes: Any) -> Message:
        stored_version = self._stored.setdefault(before.id, before.version)
        after = replace(before, version=stored_version + 1, **changes)
        self.moved[after.id] = after
        return after

    def writes(self) -> tuple[list[Write], Head]:
        """All of it, and the log's head after it."""
        writes = [*(_written(self.moved[id_], version) for id_, version in self._stored.items()), *self._writes]
        if not self._edges and not self._notes:
            return writes, self._head
        number = self._head.number + 1
        text = entry_bytes(number, self._head.hash, self.now_ms, self._edges, self._notes)
        head = Head(number, sha256(text).digest())
        writes.append(Insert(AUDIT, {"_id": number, "text": text, "hash": head.hash}))
        writes.append(_head_write(self._head, head))
        return writes, head


class Book:
    """The book of one worker. `open` reads the log's head; it is read again after every conflict."""

    def __init__(self, store: Store, lease: Lease, now_ms: NowMs) -> None:
        self._store = store
        self._lease = lease
        self._now_ms = now_ms
        self._head: Head | None = None
        self._turn = asyncio.Lock()
        self.measures = MirrorMeasures()

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def open(self) -> None:
        self._head = head_of(await self._store.get(MIRROR, HEAD))

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page, committed at the end of the block; nothing is, when the block raises. One page at a time: what
        the block reads to decide by is better read before, and guarded by versions. Raises `Conflict` when
        something was changed meanwhile (read it anew), `Lost` when another worker has the lease."""
        async with self._turn:
            page = await self._blank()
            yield page
            if page.is_empty:
                return
            writes, head = page.writes()
            await self._guarded(self._store.commit([*self._lease.guard(), *writes]))
            self._head = head
            self.measures.moved(page.steps, page.now_ms)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[Page]:
        """A page whose `writes()`, with those of `guard()` before them, the block has committed by somebody else:
        the engine, with the admission of a transaction. The head is read anew afterwards, whatever came of it."""
        async with self._turn:
            page = await self._blank()
            self._head = None
            yield page
            self.measures.moved(page.steps, page.now_ms)

    def guard(self) -> list[Write]:
        """The lease's fence, for a joined page."""
        return self._lease.guard()

    async def demand(self) -> None:
        """Raises `Lost` when another worker has the lease: after a joined page's conflict."""
        await self._lease.demand()

    async def _blank(self) -> Page:
        if self._head is None:
            await self.open()
        assert self._head is not None
        return Page(self._head, self._now_ms())

    async def _guarded(self, commit: Any) -> None:
        try:
            await commit
        except Conflict:
            self._head = None
            await self._lease.demand()
            raise
        except BaseException:
            self._head = None  # whether it came about is not known
            raise


def head_of(row: Document | None) -> Head:
    return Head(0, GENESIS_HASH) if row is None else Head(row["number"], row["hash"])


_TOLD: Final = frozenset({"destination_tx", "attempt", "is_refund"})


def _opening(message: Message) -> dict[str, Any]:
    """What the log tells of a message that came into being: all that its id is made of, and its kind."""
    return {
        "direction": message.direction.value,
        "kind": message.kind.value,
        "asset": message.asset,
        "units": message.units,
        "source_event": message.source_event,
        "recipient": message.recipient,
    }


def _head_write(before: Head, after: Head) -> Write:
    fields = {"number": after.number, "hash": after.hash}
    if before.number == 0:
        return Insert(MIRROR, {"_id": HEAD, **fields})
    return Patch(MIRROR, HEAD, fields, expect={"number": before.number, "hash": before.hash})


def _written(message: Message, stored_version: int) -> Write:
    """A message as its page leaves it, however many steps it took."""
    if stored_version == 0:
        return Insert(MESSAGES, message.document())
    return Patch(MESSAGES, message.id, message.changes(), expect={"version": stored_version})
