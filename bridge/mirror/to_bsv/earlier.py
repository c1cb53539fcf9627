"""Earlier attempts: what became of a message's transactions that were evicted, before another one is made.

An evicted transaction is not a dead one: what one node refused, or lost sight of, may be mined yet. Two
certificates of one message must never live beside each other, so a message is issued anew only

    - when no old transaction can be mined any more: another one that spends a coin of its is deep in the chain; or
    - by a transaction that spends a coin of the old one's, so that the chain takes one of the two.

Until then it waits. A transaction that came back, or that the network has after all, is taken up as it is. A refund
spends the locked certificate again, and so needs no such care.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.origin import read_origin
from bridge.mirror.records import ISSUES
from bridge.mirror.states import Direction, Hold, State
from bridge.mirror.to_bsv.fates import Attempt, Fate, Fates
from bridge.mirror.to_bsv.posting import SIGNED
from bridge.mirror.to_bsv.reviving import Reviving
from certificates.token import Token
from config.errors import Unavailable
from energytag.rebuild_overlay import OverlayPass
from overlay.records import load_raws
from overlay.transaction import Transaction, outpoint
from store.port import Patch
from topics.certificates import read_script

_PUT_OFF_MS: Final = 10_000
_SETTLED: Final = (Fate.BACK, Fate.DEAD)

log = structlog.get_logger("metawatt.mirror")


class Earlier:
    """Looks after messages of which transactions were made before."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._keyring = ground.registry.ground.keyring
        self._fates = Fates(ground)
        self._reviving = Reviving(ground)

    async def settle(self, messages: Sequence[Message]) -> tuple[list[Message], dict[bytes, frozenset[bytes]]]:
        """Those that a transaction may be made for now, and the coins for fees that it must spend, by the message's
        id. The others are taken up where a transaction came back, or put off, or held."""
        again = [each for each in messages if each.destination_tx is not None]
        if not again:
            return list(messages), {}
        try:
            attempts = await self._attempts_now(again)
        except Unavailable as error:
            await self._put_off(again, error.message)
            return [each for each in messages if each.destination_tx is None], {}
        clear = [each for each in messages if _is_clear(each, attempts.get(each.id, ()))]
        spending = {
            each.id: coins for each in again if (coins := _contested(attempts[each.id])) and _must_contest(each)
        }
        async with self._ground.book.page() as page:
            for message in again:
                if message not in clear:
                    await self._leave(message, attempts[message.id], page)
        return clear, spending

    async def attempts(self, messages: Sequence[Message]) -> dict[bytes, list[Attempt]]:
        """The earlier transactions of messages, and what they have come to."""
        txids = {each.id: each.attempts for each in messages}
        fates = await self._fates.of(txid for known in txids.values() for txid in known)
        return {id_: [fates[txid] for txid in known] for id_, known in txids.items()}

    async def _attempts_now(self, messages: Sequence[Message]) -> dict[bytes, list[Attempt]]:
        """`attempts`, when those that the network has are admitted again."""
        attempts = await self.attempts(messages)
        alive = {each.txid for known in attempts.values() for each in known if each.fate not in _SETTLED}
        return await self.attempts(messages) if await self._reviving.revive(alive) else attempts

    async def _put_off(self, messages: Sequence[Message], reason: str) -> None:
        """The network cannot be asked; nobody else has to wait for that."""
        log.info("messages wait for word of their last attempts", messages=len(messages), reason=reason)
        async with self._ground.book.page() as page:
            for message in messages:
                page.put_off(message, page.now_ms + _PUT_OFF_MS)

    async def _leave(self, message: Message, attempts: Sequence[Attempt], page: Page) -> None:
        """A message that no transaction is made for now."""
        back = next((each for each in attempts if each.fate is Fate.BACK), None)
        if back is not None:
            await self._take_up(message, back.txid, page)
        elif lost := [each for each in attempts if each.fate is Fate.UNKNOWN]:
            text = (
                f"transaction {lost[0].txid[::-1].hex()} may still be mined, and the coins that it spends are gone"
            )
            page.hold(message, Hold.DESTINATION_CONFLICT, text)
        else:
            log.info("a message waits for what excludes its last attempt", message=message.id.hex())
            page.put_off(message, page.now_ms + _PUT_OFF_MS)

    async def _take_up(self, message: Message, txid: bytes, page: Page) -> None:
        """The message goes on with a transaction of before."""
        issued = [] if message.is_refund else await self._issuances(message, txid)
        facts = {"issuances": issued} if issued else {}
        page.move(message, State.DST_SIGNED, due_ms=None, facts=facts, destination_tx=txid)
        page.write(Patch(ISSUES, txid, {"open_ms": page.now_ms, "stage": SIGNED, "height": None}))
        held_again = OverlayPass(self._store, self._keyring).held_again
        page.write(*await held_again([outpoint(txid, index) for _, index, _ in issued]))

    async def _issuances(self, message: Message, txid: bytes) -> list[list[Any]]:
        """What the transaction issued for the message: the certificates whose origin it is."""
        transaction = Transaction.parse((await load_raws(self._store, [txid]))[txid])
        tokens = ((index, read_script(output.script)) for index, output in enumerate(transaction.outputs))
        return [
            [token.issuance_id, index, token.bundle.energy_wh]
            for index, token in tokens
            if isinstance(token, Token) and _is_of(token, message)
        ]


def _is_of(token: Token, message: Message) -> bool:
    origin = read_origin(token.origin)
    return origin is not None and origin.message == message.id


def _must_contest(message: Message) -> bool:
    """A refund spends the locked certificate whatever it is paid with."""
    return message.direction is Direction.IN


def _is_clear(message: Message, attempts: Sequence[Attempt]) -> bool:
    fates = {each.fate for each in attempts}
    if not _must_contest(message):
        return Fate.BACK not in fates
    return fates <= {Fate.DEAD, Fate.CONTESTABLE}


def _contested(attempts: Sequence[Attempt]) -> frozenset[bytes]:
    return frozenset(each.coin for each in attempts if each.fate is Fate.CONTESTABLE)
