"""Completing: the end of crossings, with their receipts.

An exit whose tokens are released, finally, has its certificate become Withdrawn, many in one transaction; the
message ends in the commit that admits it. Everything else that is final on BSV ends on a page of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from solders.signature import Signature

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message, load_messages
from bridge.mirror.ports import Accounting, Provenance
from bridge.mirror.receipts.receipting import Receipting
from bridge.mirror.records import ISSUES
from bridge.mirror.states import Direction, Hold, State
from bridge.mirror.to_bsv.locked import LockedCoins, MoveLeg
from bridge.mirror.to_bsv.posting import Planned, Posted, Poster, Purpose, Refusals
from certificates.successor import complete
from certificates.token import Token
from energytag.plan import Lock, Part
from overlay.records import SPENDS
from store.port import Document, Patch, Write

_AGAIN_MS: Final = 60_000


class Completing:
    """Ends messages whose destination is final."""

    def __init__(
        self,
        ground: MirrorGround,
        provenance: Provenance,
        accounting: Accounting,
        receipting: Receipting,
        poster: Poster,
    ) -> None:
        self._ground = ground
        self._provenance = provenance
        self._accounting = accounting
        self._receipting = receipting
        self._poster = poster

    async def complete(self, messages: Sequence[Message]) -> None:
        """DST_FINAL → RECEIPTED | REFUNDED; put off where a chain does not tell what the receipt needs."""
        receipts = await self._receipting.written(messages)
        ready = [each for each in messages if each.id in receipts]
        await self._receipting.end([each for each in ready if not _is_exit(each)], receipts)
        if exits := [each for each in ready if _is_exit(each)]:
            errand = Withdrawing(self._ground, self._provenance, self._accounting, receipts)
            await self._poster.carry_out(errand, exits)

    async def again(self, rows: Sequence[Document]) -> None:
        """Withdraw once more what evicted transactions, rows of `ISSUES`, had withdrawn: their messages have ended,
        and stay so. The coins that they spent are the bridge's, so the old transaction and the new one exclude
        each other. Each is tried again after a while, since the network may go on refusing."""
        long_ago = self._ground.now_ms() - _AGAIN_MS
        for row in (each for each in rows if each["open_ms"] <= long_ago):
            messages = (await load_messages(self._ground.store, row["messages"])).values()
            spends = await self._ground.store.get_many(SPENDS, [each.source_event for each in messages])
            if left := [each for each in messages if each.source_event not in spends]:
                await self._poster.carry_out(WithdrawingAgain(self._ground, row["_id"]), left)
                continue
            async with self._ground.book.page() as page:
                page.write(Patch(ISSUES, row["_id"], {"open_ms": None, "stage": None}, {"stage": row["stage"]}))


class _Withdrawals:
    """What both errands have in common: Locked certificates become Withdrawn."""

    purpose = Purpose.COMPLETE
    fault = Hold.DESTINATION_CONFLICT

    def __init__(self, ground: MirrorGround) -> None:
        self._coins = LockedCoins(ground)

    async def legs(self, messages: Sequence[Message]) -> tuple[list[MoveLeg], Refusals]:
        holdings, refused = await self._coins.of(messages)
        legs = [
            self._coins.leg(each, holdings[each.id], _withdrawn_part(each, holdings[each.id].token))
            for each in messages
            if each.id in holdings
        ]
        return legs, refused

    async def plan(self, legs: Sequence[MoveLeg]) -> Planned:
        return Planned([leg.piece for leg in legs])


class Withdrawing(_Withdrawals):
    """The errand of exits that end."""

    def __init__(
        self,
        ground: MirrorGround,
        provenance: Provenance,
        accounting: Accounting,
        receipts: Mapping[bytes, Write],
    ) -> None:
        super().__init__(ground)
        self._provenance = provenance
        self._accounting = accounting
        self._receipts = receipts

    async def enter(self, posted: Sequence[Posted], page: Page) -> None:
        await self._accounting.ended([each.message for each in posted], page)
        for each in posted:
            page.write(self._receipts[each.message.id], *await self._provenance.returned(each.message))
            page.move(each.message, State.RECEIPTED, facts={"completion": each.txid.hex()})


class WithdrawingAgain(_Withdrawals):
    """The errand of exits that had ended by a transaction which was evicted."""

    def __init__(self, ground: MirrorGround, evicted: bytes) -> None:
        super().__init__(ground)
        self._evicted = evicted

    async def enter(self, posted: Sequence[Posted], page: Page) -> None:
        for each in posted:
            facts = {**each.message.facts, "completion": each.txid.hex()}
            page.put_off(each.message, None, facts=facts)
            page.note({"completed_again": each.message.id, "by": each.txid, "evicted": self._evicted})


def _is_exit(message: Message) -> bool:
    return message.direction is Direction.OUT and not message.is_refund


def _withdrawn_part(message: Message, token: Token) -> Part:
    """It stays with the key that it was locked to: nothing can follow."""
    assert message.destination_tx is not None
    make = partial(_withdrawn, transaction=str(Signature.from_bytes(message.destination_tx)))
    return Part(make, owner_key=token.locking_key)


def _withdrawn(token: Token, lock: Lock, *, transaction: str) -> Token:
    return complete(token, transaction, lock.owner_key)
