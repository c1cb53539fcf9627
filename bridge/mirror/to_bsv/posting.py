"""Posting: what messages ask of BSV, many in one transaction, and their page in the commit of its admission.

    messages ─ legs ─ runs ─ pieces ─ signed transaction ┬ admitted ┐
                                          page of the book ─────────┴ one commit

So a certificate is there, its message says so, and the log tells of it, or none of it. A run that fails is halved
until the message is alone that is to blame.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, TypeVar

import structlog

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message, Reason, load_messages
from bridge.mirror.records import ISSUES
from bridge.mirror.states import EDGES, Hold, State
from config.errors import BadRequest, Busy, ErrorCode, Forbidden, Internal, MetawattError, NotFound
from energytag.compose import Composed
from energytag.intervals import IssuedTwice
from energytag.plan import Made, Piece
from overlay.admission import AlongsideConflict
from store.port import Conflict, Document, Insert, Write

_ATTEMPTS: Final = 5
_PUT_OFF_MS: Final = 30_000
_OVERTAKEN: Final = (ErrorCode.ANCESTOR_MISSING, ErrorCode.DOUBLE_SPEND)
_FAULTS: Final = (BadRequest, NotFound, Forbidden, Internal)
"""What a message may be to blame for: `Internal` is a topic's refusal of what was made for it."""
SIGNED: Final = 0
"""The stage in `ISSUES` of a transaction that was just admitted."""

log = structlog.get_logger("metawatt.mirror")


class Purpose(StrEnum):
    """What a transaction of the bridge's on BSV is for."""

    ISSUE = "issue"
    REFUND = "refund"
    COMPLETE = "complete"


class Refused(Exception):
    """One message's own fault, which sets it aside."""

    def __init__(self, code: Hold, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


@dataclass(frozen=True, slots=True)
class Leg:
    """What one message asks of a transaction: so many outputs, which are offered to these topics."""

    message: Message
    outputs: int
    topics: frozenset[str]


L = TypeVar("L", bound=Leg)
Refusals: TypeAlias = list[tuple[Message, Reason]]
Spending: TypeAlias = Mapping[bytes, frozenset[bytes]]
"""Coins for fees, by outpoint, that the transaction of a message, by its id, must spend."""
_NOTHING: Final[Spending] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Planned:
    """The pieces of legs, in their order, and the writes that they rest on."""

    pieces: Sequence[Piece]
    decision: Sequence[Write] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """A message with the outputs that its transaction (32 B, as on the wire) makes for it."""

    message: Message
    made: Sequence[Made]
    txid: bytes


class Errand(Protocol[L]):
    """One purpose for which transactions are made."""

    @property
    def purpose(self) -> Purpose: ...

    @property
    def fault(self) -> Hold:
        """Why a message is held that no transaction can be made for."""
        ...

    async def legs(self, messages: Sequence[Message]) -> tuple[list[L], Refusals]: ...

    async def plan(self, legs: Sequence[L]) -> Planned:
        """Raises a `MetawattError` when one of them cannot be."""
        ...

    async def enter(self, posted: Sequence[Posted], page: Page) -> None:
        """Put on the page what follows for the messages."""
        ...


class Poster:
    """Makes the transactions of errands."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._book = ground.book
        self._store = ground.store
        self._sender = ground.registry.sender

    async def carry_out(
        self,
        errand: Errand[L],
        messages: Sequence[Message],
        spending: Spending = _NOTHING,
    ) -> None:
        """Transactions for all of them, as few as will do. What others win meanwhile is planned anew a few times,
        then left as it is. Raises `Unavailable`, `Lost`, and whatever else is no message's fault."""
        legs = await self._legs(errand, messages)
        for run in packed(legs, self._ground.bridge.issues_per_transaction, self._ground.engine.limits.topics):
            await self._carry_out(errand, run, spending)

    async def _legs(self, errand: Errand[L], messages: Sequence[Message]) -> list[L]:
        """The legs of those that have one that fits a transaction; the others are set aside."""
        legs, refused = await errand.legs(messages)
        most = self._ground.engine.limits.topics
        for leg in legs:
            if len(leg.topics) > most:
                text = f"its certificates are of {len(leg.topics)} topics, and a transaction may name {most}"
                refused.append((leg.message, Reason(Hold.FRAGMENTED, text)))
        await self._set_aside(refused)
        return [leg for leg in legs if len(leg.topics) <= most]

    async def _carry_out(self, errand: Errand[L], legs: Sequence[L], spending: Spending) -> None:
        for _ in range(_ATTEMPTS):
            if not legs:
                return
            try:
                await self._post(errand, legs, spending)
            except Exception as error:
                if not _is_transient(error):
                    await self._divide(errand, legs, spending, error)
                    return
                log.info("a transaction is planned anew", purpose=errand.purpose, reason=str(error))
            else:
                return
            await self._book.demand()
            legs = await self._legs(errand, await self._unmoved([leg.message for leg in legs]))
        log.warning("others keep changing what is to be spent or numbered", messages=len(legs))

    async def _divide(
        self,
        errand: Errand[L],
        legs: Sequence[L],
        spending: Spending,
        error: Exception,
    ) -> None:
        if not isinstance(error, _FAULTS):
            raise error
        if len(legs) > 1:
            half = len(legs) // 2
            await self._carry_out(errand, legs[:half], spending)
            await self._carry_out(errand, legs[half:], spending)
            return
        await self._set_aside([(legs[0].message, reason_of(error, errand.fault))])

    async def _post(self, errand: Errand[L], legs: Sequence[L], spending: Spending) -> None:
        planned = await errand.plan(legs)
        topics = frozenset().union(*(leg.topics for leg in legs))
        coins = frozenset().union(*(spending.get(leg.message.id, frozenset()) for leg in legs))

        @asynccontextmanager
        async def joining(composed: Composed) -> AsyncIterator[Sequence[Write]]:
            async with self._book.joined() as page:
                await errand.enter(_posted(legs, composed), page)
                page.write(Insert(ISSUES, _row(errand.purpose, legs, composed, page.now_ms)))
                writes, _ = page.writes()
                yield [*self._book.guard(), *planned.decision, *writes]

        await self._sender.send_pieces(planned.pieces, topics, joining, sorted(coins))

    async def _unmoved(self, messages: Sequence[Message]) -> list[Message]:
        """As they are stored, without those that somebody moved."""
        before = {each.id: each.state for each in messages}
        now = await load_messages(self._store, before)
        return [each for each in now.values() if each.state is before[each.id]]

    async def _set_aside(self, refused: Refusals) -> None:
        """Hold them; what cannot be held, since its other side is final, is tried again later."""
        if not refused:
            return
        async with self._book.page() as page:
            for message, reason in refused:
                if State.HELD in EDGES[message.state]:
                    page.hold(message, reason.code, reason.text)
                elif message.is_open:
                    log.error("a crossing cannot be completed", message=message.id.hex(), reason=reason.text)
                    page.put_off(message, page.now_ms + _PUT_OFF_MS, reason=reason)


def packed(legs: Iterable[L], most_outputs: int, most_topics: int) -> list[list[L]]:
    """Runs of at most so many outputs and topics, in order. One leg of more outputs has a run of its own."""
    runs: list[list[L]] = []
    outputs, topics = 0, frozenset[str]()
    for leg in legs:
        is_full = outputs + leg.outputs > most_outputs or len(topics | leg.topics) > most_topics
        if not runs or is_full:
            runs.append([])
            outputs, topics = 0, frozenset()
        runs[-1].append(leg)
        outputs, topics = outputs + leg.outputs, topics | leg.topics
    return runs


def reason_of(error: Exception, fault: Hold) -> Reason:
    """Why a message is held, from what its transaction failed by."""
    if isinstance(error, Refused):
        return error.reason
    text = error.message if isinstance(error, MetawattError) else str(error)
    return Reason(Hold.ISSUED_ELSEWHERE if isinstance(error, IssuedTwice) else fault, text)


def _is_transient(error: Exception) -> bool:
    """Whether others were faster, or have evicted what was to be spent: planned anew, it may go well."""
    if isinstance(error, AlongsideConflict | Conflict | Busy):
        return True
    return isinstance(error, MetawattError) and error.code in _OVERTAKEN


def _posted(legs: Sequence[Leg], composed: Composed) -> list[Posted]:
    posted: list[Posted] = []
    position = 0
    for leg in legs:
        made = composed.made[position : position + leg.outputs]
        posted.append(Posted(leg.message, made, composed.transaction.txid))
        position += leg.outputs
    return posted


def _row(purpose: Purpose, legs: Sequence[Leg], composed: Composed, now_ms: int) -> Document:
    return {
        "_id": composed.transaction.txid,
        "purpose": purpose.value,
        "messages": [leg.message.id for leg in legs],
        "open_ms": now_ms,
        "stage": SIGNED,
        "height": None,
    }
