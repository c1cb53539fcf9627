"""A lane: one direction's messages, each moved on as far as it goes, many in one commit.

    inbox ─ OBSERVED ─ SRC_FINAL ─ VALIDATED ─ [QUEUED] ─ ACCOUNTED ─ DST_SIGNED ─ DST_SENT   the destination
    follows it
                                                                          DST_FINAL ─ RECEIPTED

A lane sees only what is due. What it does is safe to do again: a crash anywhere leaves each message in a state from
which the next round, of whatever process, goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import structlog

from bridge.minting.lease import Lost
from bridge.mirror.book import Book, Page
from bridge.mirror.message import Message, lane_of, load_messages
from bridge.mirror.pauses import Pauses
from bridge.mirror.ports import Accounting, Destination, Source
from bridge.mirror.records import INBOX, MESSAGES
from bridge.mirror.states import Direction, State
from config.errors import Unavailable
from store.port import Conflict, Document, Find, Patch, Store

BATCH: Final = 256
_PUT_OFF_MS: Final = 30_000
_UNAVAILABLE_MS: Final = 2_000
_PAUSED_MS: Final = 2_000
"""How soon a message is looked at again whose direction is paused."""
_EARLY: Final = (State.OBSERVED, State.SRC_FINAL, State.VALIDATED, State.QUEUED)

Step: TypeAlias = Callable[[Sequence[Message]], Awaitable[None]]

log = structlog.get_logger("metawatt.mirror")


class Lane:
    """One direction. `back` is the destination of refunds: the chain that messages came from. `completion` is who
    does what is left once a message is final at its destination: BSV, where certificates are issued, withdrawn."""

    def __init__(
        self,
        direction: Direction,
        store: Store,
        book: Book,
        pauses: Pauses,
        source: Source,
        accounting: Accounting,
        destination: Destination,
        back: Destination,
        completion: Destination,
    ) -> None:
        self.direction = direction
        self._store = store
        self._book = book
        self._pauses = pauses
        self._source = source
        self._accounting = accounting
        self._destination = destination
        self._back = back
        self._completion = completion

    async def round(self) -> int:
        """Both parts, one after the other; how many messages were dealt with. Raises `Lost`, `Unavailable`."""
        return await self.forward() + await self.end()

    async def forward(self) -> int:
        """From the inbox to the destination: one pass over what is due."""
        await self._source.wake()
        count = await self._take_in()
        due = await self._due(State.OBSERVED)
        is_paused = await self._pauses.paused(self.direction) is not None
        if early := [each for each in due if each.state in _EARLY]:
            await self._each(early, self._advance)
        ready = await self._reread(early, due)
        if is_paused:
            await self._put_off(ready, _PAUSED_MS)
        else:
            await self._attempt([each for each in ready if _goes_out(each)], self._deliver)
            await self._attempt([each for each in ready if _goes_back(each)], self._back.deliver)
        return count + len(due)

    async def end(self) -> int:
        """What is final at its destination; this and `forward` do not touch the same messages."""
        final = await self._due(State.DST_FINAL)
        await self._attempt([each for each in final if not each.is_refund], self._completion.complete)
        await self._attempt([each for each in final if each.is_refund], self._back.complete)
        return len(final)

    # From the inbox

    async def _take_in(self) -> int:
        page = await self._store.find(INBOX, Find("lane", {"lane": self.direction.value}, limit=BATCH))
        if not page.documents:
            return 0
        messages = await self._source.observed(page.documents)
        known = await self._store.get_many(MESSAGES, [each.id for each in messages])
        async with self._book.page() as written:
            for row, message in zip(page.documents, messages, strict=True):
                _take(message, known.get(message.id), written)
                written.write(
                    Patch(INBOX, row["_id"], {"lane": None}, {"lane": row["lane"], "at_ms": row["at_ms"]})
                )
        return len(messages)

    # Steps

    async def _due(self, state: State) -> list[Message]:
        """What is due in the queue that messages of this state are in."""
        queue = {"lane": lane_of(self.direction, state)}
        find = Find("due", queue, upper=self._book.now_ms + 1, limit=BATCH)
        return [Message.read(row) for row in (await self._store.find(MESSAGES, find)).documents]

    async def _reread(self, early: Sequence[Message], due: Sequence[Message]) -> list[Message]:
        """What may be delivered: what was accounted before, and what this round brought so far."""
        before = [each for each in due if _goes_out(each) or _goes_back(each)]
        moved = await load_messages(self._store, [each.id for each in early])
        return before + [each for each in moved.values() if each.state is State.ACCOUNTED]

    async def _advance(self, messages: Sequence[Message]) -> None:
        """As far as the books, in one commit."""
        async with self._book.page() as page:
            await self._source.settle(_at(messages, page, State.OBSERVED), page)
            await self._source.validate(_at(messages, page, State.SRC_FINAL), page)
            await self._accounting.account(_at(messages, page, State.VALIDATED, State.QUEUED), page)

    async def _deliver(self, messages: Sequence[Message]) -> None:
        """To the destination; but for those whose source is no longer what it was."""
        async with self._book.page() as page:
            standing = await self._source.check_still_final(messages, page)
        if standing:
            await self._destination.deliver(standing)

    async def _attempt(self, messages: Sequence[Message], step: Step) -> None:
        """A step that a chain may not allow for now: its messages are put off then, so that they do not stand in
        the way of others."""
        try:
            await self._each(messages, step)
        except Unavailable:
            stored = await load_messages(self._store, [each.id for each in messages])
            same = [each for each in messages if each.id in stored and stored[each.id].version == each.version]
            await self._put_off(same, _UNAVAILABLE_MS)
            raise

    async def _put_off(self, messages: Sequence[Message], pause_ms: int) -> None:
        if messages:
            async with self._book.page() as page:
                for message in messages:
                    page.put_off(message, page.now_ms + pause_ms)

    async def _each(self, messages: Sequence[Message], step: Step) -> None:
        """A step of many at once; where that fails, of one after the other, so that one stops nobody."""
        if not messages:
            return
        try:
            await step(messages)
        except Conflict:
            log.info("messages changed meanwhile", direction=self.direction.value, messages=len(messages))
        except (Lost, Unavailable):
            raise
        except Exception:
            log.exception("a step failed", direction=self.direction.value, messages=len(messages))
            for message in messages:
                await self._alone(message, step)

    async def _alone(self, message: Message, step: Step) -> None:
        try:
            await step([message])
        except Conflict:
            return
        except (Lost, Unavailable):
            raise
        except Exception:
            log.exception("a message is put off", message=message.id.hex(), state=message.state.value)
            async with self._book.page() as page:
                page.put_off(message, page.now_ms + _PUT_OFF_MS)


def _take(message: Message, row: Document | None, page: Page) -> None:
    """A new message; or one that had been orphaned, and whose source is back."""
    if row is None:
        if message.id not in page.moved:
            page.open(message)
    elif row["state"] == State.SRC_ORPHANED:
        page.move(Message.read(row), State.OBSERVED)


def _at(messages: Sequence[Message], page: Page, *states: State) -> list[Message]:
    """Those of the messages that are in one of these states by now, and due."""
    now = (page.moved.get(each.id, each) for each in messages)
    return [each for each in now if each.state in states and _is_due(each, page.now_ms)]


def _is_due(message: Message, now_ms: int) -> bool:
    return message.due_ms is not None and message.due_ms <= now_ms


def _goes_out(message: Message) -> bool:
    return message.state is State.ACCOUNTED or (message.state is State.DST_EXPIRED and not message.is_refund)


def _goes_back(message: Message) -> bool:
    return message.state is State.REFUND_ACCOUNTED or (message.state is State.DST_EXPIRED and message.is_refund)
