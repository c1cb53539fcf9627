"""Receipting: messages that are final end with their receipts, on whichever chain that was."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.ports import Accounting, Receipts
from bridge.mirror.states import State
from config.errors import Unavailable
from store.port import Write

_PUT_OFF_MS: Final = 5_000
"""Until a receipt is tried again that a chain did not tell enough for."""

log = structlog.get_logger("metawatt.mirror")


class Receipting:
    """Writes receipts, and the last step of those that nothing else is left to do for."""

    def __init__(self, ground: MirrorGround, accounting: Accounting, receipts: Receipts) -> None:
        self._ground = ground
        self._accounting = accounting
        self._receipts = receipts

    async def written(self, messages: Sequence[Message]) -> dict[bytes, Write]:
        """The receipts, by message, of those that can be written now; the others are put off."""
        answers = await asyncio.gather(*map(self._receipts.write, messages), return_exceptions=True)
        receipts: dict[bytes, Write] = {}
        lacking: list[Message] = []
        for message, answer in zip(messages, answers, strict=True):
            if isinstance(answer, Unavailable):
                log.info("a receipt waits", message=message.id.hex(), reason=answer.message)
                lacking.append(message)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                receipts[message.id] = answer
        await self._put_off(lacking)
        return receipts

    async def end(self, messages: Sequence[Message], receipts: Mapping[bytes, Write]) -> None:
        """DST_FINAL → RECEIPTED | REFUNDED, on one page, with the books."""
        if not messages:
            return
        async with self._ground.book.page() as page:
            await self._accounting.ended(messages, page)
            for message in messages:
                page.write(receipts[message.id])
                page.move(message, State.REFUNDED if message.is_refund else State.RECEIPTED)

    async def _put_off(self, messages: Sequence[Message]) -> None:
        if messages:
            async with self._ground.book.page() as page:
                for message in messages:
                    page.put_off(message, page.now_ms + _PUT_OFF_MS)
