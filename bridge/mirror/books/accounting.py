"""The accountant: nothing is signed that is not in the books, and the books never go below zero (I6).

    paused                       → looked at again later
    large, and not waited yet    → QUEUED for the delay
    beyond the direction's limit → QUEUED until it is refilled
    in: fewer readings on record → HELD, or looked at again
    out: not outstanding         → HELD overdrawn
    else                         → ACCOUNTED, in the commit that changes ledger, limits, lots, what is outstanding

All messages of a page are taken in their order, each from what those before it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bridge.mirror.book import Page
from bridge.mirror.books.drafts import Drafts
from bridge.mirror.books.landing import Landing
from bridge.mirror.books.ledger import (
    Change,
    Ledger,
    arrived_in,
    arrived_out,
    entered_in,
    entered_out,
    refund_decided,
    refund_ended,
)
from bridge.mirror.books.limits import Bucket, Limits, limit_key
from bridge.mirror.books.outstanding import NotYet, Outstanding, Overdrawn
from bridge.mirror.books.presence import Presence
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message, load_messages
from bridge.mirror.pauses import Pauses
from bridge.mirror.ports import Provenance
from bridge.mirror.records import INBOX, MIRROR
from bridge.mirror.states import UNSURE, Direction, Hold, State
from config.errors import BadRequest, ErrorCode
from store.port import Delete, Reader

PAUSED_MS: Final = 2_000
_LOOK_AGAIN_MS: Final = 500
_FOR_DELAY: Final = "delay"
_FOR_LIMIT: Final = "limit"


def ledger_key(asset: str) -> str:
    """The key of an asset's ledger in `records.MIRROR`."""
    return f"ledger:{asset}"


async def read_ledger(reader: Reader, asset: str) -> Ledger:
    """The ledger as it is stored."""
    return Ledger.read(await reader.get(MIRROR, ledger_key(asset)))


class Accountant:
    """`ports.Accounting` of one asset."""

    def __init__(self, ground: MirrorGround, provenance: Provenance, pauses: Pauses) -> None:
        self._store = ground.store
        self._asset = ground.asset
        self._provenance = provenance
        self._pauses = pauses
        self._landing = Landing(ground)
        self._presence = Presence(ground)
        self._drafts = Drafts(ground.store)
        self._outstanding = Outstanding(self._drafts)
        self._limits = Limits(ground.store, ground.bridge, ground.now_ms)

    # What may cross

    async def account(self, messages: Sequence[Message], page: Page) -> None:
        """VALIDATED, QUEUED → ACCOUNTED | QUEUED | HELD, or put off."""
        for direction in Direction:
            if own := [each for each in messages if each.direction is direction]:
                await self._account(direction, own, page)

    async def _account(self, direction: Direction, messages: Sequence[Message], page: Page) -> None:
        if await self._pauses.paused(direction) is not None:
            for each in messages:
                page.put_off(each, page.now_ms + PAUSED_MS)
            return
        if direction is Direction.IN:
            passing = await self._passing(messages, page)
            entered = await self._enter_in(passing, page)
        else:
            origins = await self._origins(messages)
            passing = await self._passing(await self._covered(messages, origins, page), page)
            entered = await self._enter_out(passing, origins, page)
        for each in passing:
            if each.id not in entered:
                await self._return(each, page)

    async def _passing(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """Those that neither wait for their delay nor for their turn."""
        passing, ahead_wh = [], 0
        for each in messages:
            if self._is_delayed(each, page):
                continue
            waits_wh = await self._wait(each, ahead_wh, page)
            ahead_wh += waits_wh
            if not waits_wh:
                passing.append(each)
        return passing

    def _is_delayed(self, message: Message, page: Page) -> bool:
        """Queue a large message for a while, once."""
        delay_ms = self._limits.large_delay_ms if message.wh >= self._limits.large_wh else 0
        if not delay_ms or message.state is State.QUEUED:
            return False
        page.move(message, State.QUEUED, due_ms=page.now_ms + delay_ms, facts={"queued": _FOR_DELAY})
        return True

    async def _wait(self, message: Message, ahead_wh: int, page: Page) -> int:
        """Take from the direction's bucket; or queue the message until there is enough: what it waits for, in Wh.
        Of those that are queued already only `ahead_wh` cross before it."""
        bucket = await self._bucket(message.direction, page)
        is_queued = _waits(message)
        if not self._limits.is_bounded(message.direction):
            if is_queued:
                await self._keep(message.direction, bucket.awaited(-_waiting_wh(message)), page)
            return 0
        wait_ms = bucket.wait_ms(message.wh, ahead_wh if is_queued else None)
        if not wait_ms:
            bucket = bucket.taken(message.wh).awaited(-_waiting_wh(message))
            await self._keep(message.direction, bucket, page)
            return 0
        need_wh = bucket.need_wh(message.wh)
        await self._keep(message.direction, bucket.awaited(need_wh - _waiting_wh(message)), page)
        _queue(message, page.now_ms + wait_ms, {"queued": _FOR_LIMIT, "waiting_wh": need_wh}, page)
        return need_wh

    async def _enter_in(self, messages: Sequence[Message], page: Page) -> set[bytes]:
        entered = set()
        for each in await self._provenance.allocate(messages, page):
            await self._change(entered_in(each), page)
            await self._refill(each, page)
            page.move(each, State.ACCOUNTED, facts={"accounted": True, "lots": each.facts["lots"]})
            entered.add(each.id)
        return entered

    async def _covered(
        self, messages: Sequence[Message], origins: Mapping[bytes, Message], page: Page
    ) -> list[Message]:
        """Those that something is outstanding for, so that no other takes up room in a limit."""
        covered = []
        for each in messages:
            if await self._is_covered(each, origins, page):
                covered.append(each)
            elif page.moved[each.id].state is State.HELD:
                await self.let_go(each, page)
        return covered

    async def _is_covered(self, message: Message, origins: Mapping[bytes, Message], page: Page) -> bool:
        match await self._outstanding.against(message, origins.get(_origin(message)), page):
            case Overdrawn(text):
                page.hold(message, Hold.OVERDRAWN, text)
            case NotYet():
                page.put_off(message, page.now_ms + _LOOK_AGAIN_MS)
            case None:
                return True
        return False

    async def _enter_out(
        self, messages: Sequence[Message], origins: Mapping[bytes, Message], page: Page
    ) -> set[bytes]:
        entered = set()
        for each in messages:
            # Another exit of this page may have taken what was there.
            if await self._is_covered(each, origins, page):
                await self._outstanding.take(_origin(each), each.units, page)
                await self._change(entered_out(each), page)
                await self._refill(each, page)
                page.move(each, State.ACCOUNTED, facts={"accounted": True})
                entered.add(each.id)
        return entered

    async def _origins(self, messages: Sequence[Message]) -> Mapping[bytes, Message]:
        """The incoming messages that exits mirror, by id."""
        return await load_messages(self._store, {_origin(each) for each in messages} - {b""})

    # Back, and to the end

    async def refund(self, message: Message, page: Page) -> None:
        """HELD → REFUND_ACCOUNTED. `BadRequest(STATUS_FORBIDS)` for one that is not held, whose source is not sure,
        or of which a transaction may have landed, or may yet."""
        await self._demand_refundable(message)
        if not message.is_refund:
            await self._change(refund_decided(message), page)
            if message.direction is Direction.OUT and message.was_accounted:
                await self._outstanding.put(_origin(message), message.units, page)
        page.move(message, State.REFUND_ACCOUNTED, is_refund=True, destination_tx=None)

    async def write_off(self, message: Message, page: Page) -> None:
        """HELD → SRC_ORPHANED: what was entered for a source that is gone is taken back, and nothing was paid for
        it. `BadRequest(STATUS_FORBIDS)` while its source is there, or a transaction for it may have landed. Should
        the source come back, the message begins anew."""
        await self._demand_vanished(message)
        if message.direction is Direction.IN:
            # So that the chain, when it is read again, brings it in as new.
            page.write(Delete(INBOX, message.source_event))
        elif message.was_accounted and not message.is_refund:
            await self._change(refund_decided(message), page)
            await self._outstanding.put(_origin(message), message.units, page)
        page.move(
            message,
            State.SRC_ORPHANED,
            facts={"accounted": False},
            is_refund=False,
            destination_tx=None,
            final_ms=None,
        )

    async def ended(self, messages: Sequence[Message], page: Page) -> None:
        """Energy has arrived at its destination, or is back: what the books write with the last step."""
        for each in messages:
            await self._change(self._ending(each), page)
            if each.direction is Direction.IN and not each.is_refund:
                await self._outstanding.put(each.id, each.units, page)
        if back := [each for each in messages if each.is_refund and each.direction is Direction.IN]:
            await self._provenance.released(back, page)

    async def let_go(self, message: Message, page: Page) -> None:
        """A message that was queued is held by a person: it leaves its place in the queue."""
        if _waits(message):
            bucket = await self._bucket(message.direction, page)
            await self._keep(message.direction, bucket.awaited(-_waiting_wh(message)), page)

    async def _demand_refundable(self, message: Message) -> None:
        if message.state is not State.HELD or message.reason is None:
            raise _forbidden(f"The message is {message.state.value}, and only one that is HELD can be refunded")
        if message.final_ms is None or message.reason.code in UNSURE:
            raise _forbidden("Its source is not final for sure: nothing is there to be given back")
        if why := await self._landing.against_refund(message):
            raise _forbidden(f"It cannot be refunded: {why}")

    async def _demand_vanished(self, message: Message) -> None:
        if message.state is not State.HELD or message.reason is None:
            raise _forbidden(f"The message is {message.state.value}, and only one that is HELD can be written off")
        if message.final_ms is not None and message.reason.code not in UNSURE:
            raise _forbidden(f"It is held for {message.reason.code.value}: its source is not in doubt")
        if message.direction is Direction.IN and message.is_refund:
            raise _forbidden("It is in the books as to be given back, and what is final on Solana stays")
        if why := await self._presence.against_write_off(message) or await self._landing.against_refund(message):
            raise _forbidden(f"It cannot be written off: {why}")

    def _ending(self, message: Message) -> Change:
        if message.is_refund:
            return refund_ended(message, self._asset.mode)
        if message.direction is Direction.IN:
            return arrived_in(message)
        return arrived_out(message, self._asset.mode)

    # Rows

    async def _change(self, change: Change, page: Page) -> None:
        """Raises `LedgerRefuses`: then nothing of the page is written."""
        if change:
            key = ledger_key(self._asset.name)
            ledger = Ledger.read(await self._drafts.get(page, MIRROR, key)).changed(change)
            await self._drafts.put(page, MIRROR, key, ledger.document())

    async def _return(self, message: Message, page: Page) -> None:
        """What a message took from its direction's bucket, and did not use. One that is still queued waits on."""
        if self._limits.is_bounded(message.direction):
            bucket = (await self._bucket(message.direction, page)).refilled(message.wh)
            stays = _waiting_wh(page.moved.get(message.id, message))
            await self._keep(message.direction, bucket.awaited(stays), page)

    async def _refill(self, message: Message, page: Page) -> None:
        """What crosses one way makes room the other way."""
        other = Direction.OUT if message.direction is Direction.IN else Direction.IN
        if self._limits.is_bounded(other):
            await self._keep(other, (await self._bucket(other, page)).refilled(message.wh), page)

    async def _bucket(self, direction: Direction, page: Page) -> Bucket:
        row = await self._drafts.get(page, MIRROR, limit_key(direction))
        return self._limits.bucket(direction, row, page.now_ms)

    async def _keep(self, direction: Direction, bucket: Bucket, page: Page) -> None:
        await self._drafts.put(page, MIRROR, limit_key(direction), bucket.document())


def _queue(message: Message, due_ms: int, facts: Mapping[str, object], page: Page) -> None:
    if message.state is State.QUEUED:
        page.put_off(message, due_ms, facts={**message.facts, **facts})
    else:
        page.move(message, State.QUEUED, due_ms=due_ms, facts=facts)


def _waits(message: Message) -> bool:
    """Whether it is queued for its turn."""
    return message.state is State.QUEUED and message.facts.get("queued") == _FOR_LIMIT


def _waiting_wh(message: Message) -> int:
    """What it waits for of its direction's bucket."""
    return int(message.facts["waiting_wh"]) if _waits(message) else 0


def _origin(message: Message) -> bytes:
    """The id of the message that an exit's certificate mirrors; empty where there is none."""
    return bytes.fromhex(message.facts.get("origin") or "")


def _forbidden(text: str) -> BadRequest:
    return BadRequest(text, ErrorCode.STATUS_FORBIDS)
