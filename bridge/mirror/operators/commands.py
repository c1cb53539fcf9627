"""The operators' desk: what they order is written down, and carried out by the process that has the lease.

Any process may be asked. An order stays until it was carried out, or refused with the code of why; so it outlives a
restart, and is carried out once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

from bridge.minting.waiting import answered
from bridge.mirror.records import COMMANDS
from bridge.mirror.states import Direction
from config.errors import BadRequest, Busy, ErrorCode, Internal, MetawattError, NotFound, Unavailable
from overlay.clock import NowMs
from store.port import Document, Find, Insert, Patch, Store

WAIT_SECS: Final = 10.0
MOST_OPEN: Final = 100
MOST_REASON_CHARACTERS: Final = 500
MOST_BY_CHARACTERS: Final = 200
_LOOK_SECS: Final = 0.05
_MESSAGE_HEX: Final = re.compile("[0-9a-f]{64}")


class Order(StrEnum):
    """What may be ordered. `reason` is said of each, and goes into the log."""

    PAUSE = "pause"
    """`direction`."""
    RESUME = "resume"
    """`direction`; `even_breached` to go on although parity is breached."""
    HOLD = "hold"
    """`message`, hex: set it aside, before anything is signed."""
    RELEASE = "release"
    """`message`: a held one goes on."""
    REFUND = "refund"
    """`message`: a held one is given back."""
    WRITE_OFF = "write_off"
    """`message`: a held one whose source is gone for good leaves the books."""


_OF_DIRECTIONS: Final = (Order.PAUSE, Order.RESUME)


@dataclass(frozen=True, slots=True)
class Command:
    """An order as it is stored, checked."""

    id: str
    order: Order
    by: str
    reason: str
    open_ms: int
    direction: Direction | None = None
    message: bytes | None = None
    even_breached: bool = False

    @classmethod
    def checked(cls, command_id: str, kind: str, arguments: Mapping[str, Any], by: str, open_ms: int) -> Command:
        """`BadRequest(INVALID_FIELD)` for what cannot be ordered so."""
        order = _order(kind)
        known = {"reason", "direction", "even_breached"} if order in _OF_DIRECTIONS else {"reason", "message"}
        if unknown := sorted(arguments.keys() - known):
            raise _invalid(f"{order.value} takes no {', '.join(unknown)}")
        return cls(
            command_id,
            order,
            by=_text(by, "by", MOST_BY_CHARACTERS),
            reason=_text(arguments.get("reason"), "reason", MOST_REASON_CHARACTERS),
            open_ms=open_ms,
            direction=_direction(arguments) if order in _OF_DIRECTIONS else None,
            message=None if order in _OF_DIRECTIONS else _message(arguments),
            even_breached=arguments.get("even_breached") is True,
        )

    @classmethod
    def read(cls, row: Document) -> Command:
        return cls.checked(row["_id"], row["kind"], row["arguments"], row["by"], row["open_ms"])

    def done(self, answer: Mapping[str, Any]) -> Patch:
        """The write that answers it."""
        return self._closed({"answer": dict(answer)})

    def refused(self, error: MetawattError) -> Patch:
        return self._closed({"error": {"code": error.code.value, "message": error.message}})

    def _closed(self, changes: Mapping[str, Any]) -> Patch:
        return Patch(COMMANDS, self.id, {"open_ms": None, **changes}, expect={"open_ms": self.open_ms})


class Desk:
    """Takes orders. By itself it wakes nobody: what was ordered is found at the worker's next look."""

    def __init__(self, store: Store, now_ms: NowMs) -> None:
        self._store = store
        self._now_ms = now_ms

    async def ask(
        self, kind: str, arguments: Mapping[str, Any], by: str, wait_secs: float = WAIT_SECS
    ) -> dict[str, Any]:
        """Order something (`Order`); `command` is its id, `state` done, with what came of it, or open when nobody
        has carried it out within `wait_secs`. Raises what it was refused with; `Busy` when too many are open."""
        command = Command.checked(str(uuid4()), kind, arguments, by, self._now_ms())
        if await self._store.count(COMMANDS, Find("open")) >= MOST_OPEN:
            raise Busy("too many orders wait for the bridge to carry them out")
        row = {"_id": command.id, "kind": kind, "arguments": dict(arguments), "by": by, "open_ms": command.open_ms}
        await self._store.commit([Insert(COMMANDS, row)])
        return await self.outcome(command.id, wait_secs)

    async def outcome(self, command_id: str, wait_secs: float = 0) -> dict[str, Any]:
        """What came of an order, as `ask` answers it. `NotFound` for one that was never given."""

        async def closed() -> Document | None:
            row = await self._store.get(COMMANDS, command_id)
            if row is None:
                raise NotFound(f"There is no order {command_id}")
            return row if row["open_ms"] is None else None

        row = await answered(closed, wait_secs, _LOOK_SECS) if wait_secs > 0 else await closed()
        if row is None:
            return {"command": command_id, "state": "open"}
        if error := row.get("error"):
            raise _raised(error["code"], error["message"])
        return {"command": command_id, "state": "done", **row["answer"]}


_RAISED: Final[Mapping[ErrorCode, Callable[[str, ErrorCode], MetawattError]]] = {
    ErrorCode.NOT_FOUND: NotFound,
    ErrorCode.SOLANA_UNAVAILABLE: Unavailable,
    ErrorCode.CHAIN_UNAVAILABLE: Unavailable,
    ErrorCode.INTERNAL: Internal,
}


def _raised(code: str, message: str) -> MetawattError:
    """The error of a stored code."""
    known = ErrorCode(code)
    return _RAISED.get(known, BadRequest)(message, known)


def _order(kind: str) -> Order:
    try:
        return Order(kind)
    except ValueError:
        raise _invalid(f"kind must be one of {', '.join(Order)}") from None


def _direction(arguments: Mapping[str, Any]) -> Direction:
    try:
        return Direction(str(arguments.get("direction")))
    except ValueError:
        raise _invalid("direction must be in or out") from None


def _message(arguments: Mapping[str, Any]) -> bytes:
    text = arguments.get("message")
    if type(text) is not str or _MESSAGE_HEX.fullmatch(text) is None:
        raise _invalid("message must be the id of a message, 64 hexadecimal digits")
    return bytes.fromhex(text)


def _text(value: object, name: str, most: int) -> str:
    if type(value) is not str or not value.strip() or len(value) > most:
        raise _invalid(f"{name} must be a text of at most {most} characters")
    return value


def _invalid(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.INVALID_FIELD)
