"""Following the bridge's own transactions on BSV until they are final, or evicted.

    signed ─ broadcast ─→ sent ─ proven ─→ seen ─ deep ─→ final          stages of rows of `ISSUES`
                            ↑               │
                            └── un-proven ──┘                            a reorganisation; the engine sends it again

What is asked each round does not grow with what is on its way: the rows of each stage are looked at in turn, and
those that wait for depth when the chain is high enough besides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Any, Final, TypeAlias

import structlog

from bridge.mirror.book import Page
from bridge.mirror.from_bsv.burial import confirmations_of
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message, load_messages
from bridge.mirror.records import ISSUES
from bridge.mirror.states import ON_ITS_WAY, Hold, State
from bridge.mirror.to_bsv.posting import SIGNED, Purpose
from overlay.records import EVICTIONS, OUTBOX, TRANSACTIONS
from store.pages import pages
from store.port import Absent, Conflict, Document, Find, Patch, Scalar, Write

_ROWS: Final = 64
_ROWS_A_PAGE: Final = 2
"""Transactions, of a hundred messages each, whose news one page takes: others who write meanwhile wait for it."""
_MOST_PENDING: Final = 5_000
"""Entries of the engine's outbox that are looked through; beyond, only a proof tells that one was sent."""

log = structlog.get_logger("metawatt.mirror")

Lost: TypeAlias = Callable[[Sequence[Document]], Awaitable[None]]


class Stage(IntEnum):
    """How far a transaction is; the row of one that is final, or evicted, has none."""

    SIGNED = SIGNED
    SENT = 1
    SEEN = 2


_STATES: Final = {Stage.SIGNED: State.DST_SIGNED, Stage.SENT: State.DST_SENT, Stage.SEEN: State.DST_SEEN}


@dataclass(frozen=True, slots=True)
class News:
    """What became of a transaction: `stage` None when it is final (`transaction` is there) or was evicted."""

    row: Document
    transaction: Document | None
    stage: Stage | None

    @property
    def is_evicted(self) -> bool:
        return self.transaction is None

    @property
    def height(self) -> int | None:
        return self.transaction["height"] if self.transaction is not None and self.stage is Stage.SEEN else None

    @property
    def is_new(self) -> bool:
        return (self.stage, self.height) != (self.row["stage"], self.row["height"])


class Following:
    """Follows them, for one worker. `on_lost` is told of evicted transactions by which exits had ended."""

    def __init__(self, ground: MirrorGround, on_lost: Lost) -> None:
        self._ground = ground
        self._store = ground.store
        self._headers = ground.engine.headers
        self._on_lost = on_lost
        self._positions: dict[Stage, tuple[Scalar, ...] | None] = {}

    async def follow(self) -> int:
        """One look at what may have news; how many messages moved. Raises `Unavailable`, `Lost`."""
        rows = await self._rows()
        if not rows:
            return 0
        is_asked = any(row["stage"] == Stage.SIGNED for row in rows.values())
        pending = await self._pending() if is_asked else frozenset()
        transactions = await self._store.get_many(TRANSACTIONS, list(rows))
        news = [self._news(row, transactions.get(txid), pending) for txid, row in rows.items()]
        await self._on_lost([each.row for each in news if each.is_evicted and _completes(each.row)])
        fresh = (each for each in news if each.is_new and not (each.is_evicted and _completes(each.row)))
        return sum([await self._enter(some) for some in _parts(fresh, _ROWS_A_PAGE)])

    # What to look at

    async def _rows(self) -> dict[bytes, Document]:
        """Rows by txid: those that may be deep enough, and some of each stage."""
        deep = self._headers.tip_height - self._ground.bridge.confirmations + 2
        find = Find("stage", {"stage": Stage.SEEN.value}, upper=deep, limit=_ROWS)
        found = (await self._store.find(ISSUES, find)).documents
        for stage in Stage:
            found += await self._in_turn(stage)
        return {row["_id"]: row for row in found}

    async def _in_turn(self, stage: Stage) -> list[Document]:
        """The next rows of a stage, from the first again after the last."""
        find = Find("stage", {"stage": stage.value}, limit=_ROWS, after=self._positions.get(stage))
        page = await self._store.find(ISSUES, find)
        self._positions[stage] = page.last
        return page.documents

    async def _pending(self) -> frozenset[bytes] | None:
        """Transactions that the engine has yet to broadcast; None when they are too many to tell. Read before the
        transactions are, and after the rows: what is in neither was sent."""
        txids: set[bytes] = set()
        seen = 0
        async for entries in pages(self._store, OUTBOX, Find("due")):
            txids.update(entry["txid"] for entry in entries)
            seen += len(entries)
            if seen > _MOST_PENDING:
                return None
        return frozenset(txids)

    def _news(self, row: Document, transaction: Document | None, pending: frozenset[bytes] | None) -> News:
        if transaction is None:
            return News(row, None, None)
        confirmations = confirmations_of(transaction, self._headers)
        if confirmations >= self._ground.bridge.confirmations and self._headers.halted is None:
            return News(row, transaction, None)
        if confirmations:
            return News(row, transaction, Stage.SEEN)
        is_unsent = row["stage"] == Stage.SIGNED and (pending is None or row["_id"] in pending)
        return News(row, transaction, Stage.SIGNED if is_unsent else Stage.SENT)

    # What follows

    async def _enter(self, news: Sequence[News]) -> int:
        """One page for some transactions; nothing when they, or their messages, changed meanwhile."""
        messages = await load_messages(self._store, [id_ for each in news for id_ in each.row["messages"]])
        evicted = [each.row["_id"] for each in news if each.is_evicted]
        reasons = await self._store.get_many(EVICTIONS, evicted) if evicted else {}
        try:
            async with self._ground.book.page() as page:
                for each in news:
                    page.write(*_writes(each))
                    self._move(each, messages, _text(each, reasons), page)
                return len(page.moved)
        except Conflict as error:
            log.info("transactions changed while they were followed", reason=error.message)
            return 0

    def _move(self, news: News, messages: Mapping[bytes, Message], text: str, page: Page) -> None:
        for id_ in news.row["messages"]:
            message = messages.get(id_)
            if message is None or message.state not in ON_ITS_WAY or message.destination_tx != news.row["_id"]:
                continue
            if news.is_evicted:
                page.hold(message, Hold.DESTINATION_CONFLICT, text)
            else:
                _step(message, news.stage, page)


def _step(message: Message, stage: Stage | None, page: Page) -> None:
    """Move a message to where its transaction is."""
    sent_ms = page.now_ms if message.sent_ms is None else message.sent_ms
    if stage is None:
        if message.state is not State.DST_SEEN:
            page.move(message, State.DST_SEEN, due_ms=None, sent_ms=sent_ms)
        page.move(message, State.DST_FINAL)
    elif _STATES[stage] is not message.state and stage is not Stage.SIGNED:
        page.move(message, _STATES[stage], due_ms=None, sent_ms=sent_ms)


def _writes(news: News) -> Iterator[Write]:
    """The row, and a guard that the transaction still stands as it was seen."""
    row, transaction = news.row, news.transaction
    changes: dict[str, Any] = {"stage": None if news.stage is None else news.stage.value, "height": news.height}
    if news.stage is None:
        changes["open_ms"] = None
    yield Patch(ISSUES, row["_id"], changes, expect={"stage": row["stage"], "height": row["height"]})
    if transaction is None:
        yield Absent(TRANSACTIONS, row["_id"])
    else:
        yield Patch(TRANSACTIONS, row["_id"], {}, expect={"rev": transaction["rev"]})


def _text(news: News, reasons: Mapping[Any, Document]) -> str:
    if not news.is_evicted:
        return ""
    txid: bytes = news.row["_id"]
    reason = reasons[txid]["reason"] if txid in reasons else "nothing is known of why"
    return f"transaction {txid[::-1].hex()} was evicted: {reason}"


def _completes(row: Document) -> bool:
    return bool(row["purpose"] == Purpose.COMPLETE)


def _parts(news: Iterable[News], size: int) -> Iterator[list[News]]:
    walk = iter(news)
    while part := list(islice(walk, size)):
        yield part
