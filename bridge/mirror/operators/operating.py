"""What operators ordered, carried out: each in one commit with its answer, and with who and why in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from bridge.minting.lease import Lost
from bridge.mirror.alarms import is_breached
from bridge.mirror.book import Page
from bridge.mirror.books.accounting import Accountant
from bridge.mirror.books.landing import Landing
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.operators.commands import Command, Order
from bridge.mirror.pauses import Pauses, pause, resume
from bridge.mirror.records import COMMANDS, MESSAGES
from bridge.mirror.states import UNSURE, Hold, State
from config.errors import BadRequest, ErrorCode, Internal, MetawattError, NotFound, Unavailable
from store.port import Conflict, Document, Find

BATCH: Final = 50
HOLDABLE: Final = frozenset(
    {State.OBSERVED, State.SRC_FINAL, State.VALIDATED, State.QUEUED, State.ACCOUNTED, State.REFUND_ACCOUNTED}
)
"""Nothing of these is signed: once something is, it may land, whatever is said here."""

log = structlog.get_logger("metawatt.mirror")


class Operating:
    """Carries out what is on the desk. Only the holder of the lease may."""

    def __init__(self, ground: MirrorGround, accountant: Accountant, pauses: Pauses) -> None:
        self._ground = ground
        self._store = ground.store
        self._book = ground.book
        self._accountant = accountant
        self._pauses = pauses
        self._landing = Landing(ground)

    async def round(self) -> int:
        """One pass over what is open, oldest first; how many were answered. What a chain has to be asked for, and
        does not tell, waits, and keeps no other order waiting. Raises `Lost`, and `Unavailable` in the end."""
        rows = (await self._store.find(COMMANDS, Find("open", limit=BATCH))).documents
        count, trouble = 0, None
        for row in rows:
            try:
                count += await self._answer(row)
            except Unavailable as error:
                trouble = error
        if trouble is not None and not count:
            raise trouble
        return count

    async def _answer(self, row: Document) -> bool:
        command = Command.read(row)
        try:
            await self._carry_out(command)
        except Conflict:
            return False  # the message moved meanwhile: by the next round it is read anew
        except (Lost, Unavailable):
            raise
        except MetawattError as refusal:
            await self._refuse(command, refusal)
        except Exception:
            log.exception("an order failed", command=command.id, order=command.order.value)
            await self._refuse(command, Internal("the order could not be carried out: see the node's log"))
        return True

    async def _carry_out(self, command: Command) -> None:
        async with self._book.page() as page:
            answer = await self._ordered(command, page)
            page.note(_note(command))
            page.write(command.done(answer))

    async def _refuse(self, command: Command, refusal: MetawattError) -> None:
        async with self._book.page() as page:
            page.note({**_note(command), "refused": refusal.code.value})
            page.write(command.refused(refusal))

    async def _ordered(self, command: Command, page: Page) -> Mapping[str, Any]:
        match command.order:
            case Order.PAUSE:
                return await self._pause(command, page)
            case Order.RESUME:
                return await self._resume(command, page)
        message = await self._message(command)
        match command.order:
            case Order.HOLD:
                await self._hold(message, command, page)
            case Order.RELEASE:
                await self._release(message, page)
            case Order.REFUND:
                await self._accountant.refund(message, page)
            case Order.WRITE_OFF:
                await self._accountant.write_off(message, page)
        return {"message": message.id.hex(), "message_state": page.moved[message.id].state.value}

    # Directions

    async def _pause(self, command: Command, page: Page) -> Mapping[str, Any]:
        assert command.direction is not None
        pause(command.direction, command.reason, command.by, page)
        return {"direction": command.direction.value, "paused": True}

    async def _resume(self, command: Command, page: Page) -> Mapping[str, Any]:
        assert command.direction is not None
        if not command.even_breached and await is_breached(self._store, self._ground.asset.name):
            raise _forbidden("Parity is breached: find out why, or say even_breached")
        if await self._pauses.paused(command.direction) is None:
            raise _forbidden(f"Direction {command.direction.value} is not paused")
        resume(command.direction, command.by, page)
        return {"direction": command.direction.value, "paused": False}

    # Messages

    async def _message(self, command: Command) -> Message:
        assert command.message is not None
        row = await self._store.get(MESSAGES, command.message)
        if row is None:
            raise NotFound(f"There is no message {command.message.hex()}")
        return Message.read(row)

    async def _hold(self, message: Message, command: Command, page: Page) -> None:
        if message.state not in HOLDABLE:
            raise _forbidden(f"The message is {message.state.value}: it cannot be held now")
        await self._accountant.let_go(message, page)
        page.hold(message, Hold.OPERATOR, f"{command.by}: {command.reason}")

    async def _release(self, message: Message, page: Page) -> None:
        """Back to where it was held: nothing is skipped, and what is in the books stays there."""
        if message.state is not State.HELD:
            raise _forbidden(f"The message is {message.state.value}, and not HELD")
        to = released_to(message)
        if why := await self._landing.against_release(message):
            raise _forbidden(f"It cannot be begun anew: {why}")
        page.move(message, to)


def released_to(message: Message) -> State:
    """Where a held message goes on."""
    if message.is_refund:
        return State.REFUND_ACCOUNTED
    if message.was_accounted:
        return State.ACCOUNTED
    is_unsure = message.reason is not None and message.reason.code in UNSURE
    return State.OBSERVED if is_unsure or message.final_ms is None else State.SRC_FINAL


def _note(command: Command) -> dict[str, Any]:
    about = {"direction": command.direction, "message": command.message}
    return {
        "command": command.order.value,
        "id": command.id,
        "by": command.by,
        "reason": command.reason,
        **{name: value for name, value in about.items() if value is not None},
    }


def _forbidden(text: str) -> BadRequest:
    return BadRequest(text, ErrorCode.STATUS_FORBIDS)
