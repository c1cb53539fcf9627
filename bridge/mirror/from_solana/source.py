"""Solana as the source of messages: `ports.Source`.

The event processor reads final transactions alone, so a row of the inbox is final as far as the first endpoint
goes; what remains is whether the witnesses tell the same, and who is to get how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from solders.signature import Signature

from bridge.mirror.book import Page
from bridge.mirror.from_solana.arrivals import Arrival, arrivals
from bridge.mirror.from_solana.endpoint import Endpoint
from bridge.mirror.from_solana.memos import recipient_in
from bridge.mirror.from_solana.recipients import Recipients
from bridge.mirror.from_solana.witnesses import Opinion, Question, Verdict, Witnesses
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message, Reason, message_id
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.solana.rpc import SeenTransaction
from store.port import Document

_PATIENCE_SECS: Final = 1.0
"""While witnesses are asked, nobody else writes into the book."""
_EARLY_PATIENCE_SECS: Final = 5.0
_SOONEST_MS: Final = 250
_LATEST_MS: Final = 60_000


class SolanaSource:
    """Transfers into custody, burns, and our own mints for mirrored meters."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._recipients = Recipients(ground.store, ground.identity)
        genesis = ground.asset.genesis
        self._first = Endpoint("the first endpoint", ground.rpc, genesis, ground.now_ms)
        self._witnesses = Witnesses(ground.witnesses, genesis, ground.now_ms)

    @property
    def silent(self) -> list[str]:
        """The endpoints that did not answer when they were asked last: deposits wait for them."""
        return [*([self._first.name] if self._first.is_silent else []), *self._witnesses.silent]

    async def wake(self) -> int:
        """Nobody sleeps: what is not final yet is asked for at a pace."""
        return 0

    # From the inbox

    async def observed(self, rows: Sequence[Document]) -> list[Message]:
        messages = [self._message(row) for row in rows]
        if self._witnesses:
            # What is agreed upon here is remembered: `settle` asks within a page, while nobody else can write.
            await self._opinions(messages, _EARLY_PATIENCE_SECS)
        return messages

    def _message(self, row: Document) -> Message:
        asset = self._ground.asset
        event = row["_id"]
        return Message(
            id=message_id(
                src_genesis=bytes(asset.genesis),
                src_asset=bytes(asset.mint),
                src_event=event,
                dst_genesis=self._ground.bsv_genesis,
                dst_recipient=row["recipient"].encode(),
                units=row["units"],
            ),
            direction=Direction.IN,
            kind=Kind(row["kind"]),
            asset=asset.name,
            units=row["units"],
            source_tx=event[: Signature.LENGTH],
            source_event=event,
            recipient=row["recipient"],
            created_ms=row["at_ms"],
            facts=_facts(row),
        )

    # Is it final?

    async def settle(self, messages: Sequence[Message], page: Page) -> None:
        if not self._witnesses:
            for message in messages:
                page.move(message, State.SRC_FINAL, final_ms=message.created_ms)
            return
        opinions = await self._opinions(messages, _PATIENCE_SECS) if messages else {}
        for message in messages:
            _settled(message, opinions[message.id], page)

    async def _opinions(self, messages: Sequence[Message], patience_secs: float) -> dict[bytes, Opinion]:
        """The witnesses' word of each message, by its id."""
        now_ms = self._ground.now_ms()
        read_ms = {_signature(message): message.created_ms for message in messages}
        told = (await self._first.told(read_ms, patience_secs)).transactions
        questions = {
            signature: Question(seen, now_ms - read_ms[signature])
            for signature, seen in told.items()
            if seen is not None
        }
        opinions = await self._witnesses.opinions(questions, patience_secs)
        brought = {each.event: each for question in questions.values() for each in self._brought(question.told)}
        return {message.id: _opinion(message, brought, opinions) for message in messages}

    def _brought(self, seen: SeenTransaction) -> list[Arrival]:
        return arrivals(seen, self._ground.asset)

    async def check_still_final(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """All of them: what is finalized on Solana stays."""
        return list(messages)

    # Whose is it?

    async def validate(self, messages: Sequence[Message], page: Page) -> None:
        found = await self._recipients.found(messages)
        for message, recipient in zip(messages, found, strict=True):
            reason = memo_fault(message) or (recipient if isinstance(recipient, Reason) else dust_fault(message))
            if reason is not None:
                page.hold(message, reason.code, reason.text)
            elif not isinstance(recipient, Reason):
                page.move(message, State.VALIDATED, facts=recipient.facts)


def pace_ms(age_ms: int) -> int:
    """How soon a message of that age is looked at again: it waits for longer, the longer it has waited."""
    return max(_SOONEST_MS, min(age_ms // 4, _LATEST_MS))


def memo_fault(message: Message) -> Reason | None:
    """What is wrong with a deposit's memo: there must be exactly one of the bridge's. An automatic message has its
    recipient from the reading's meter."""
    texts = message.facts["memos"]
    if message.kind is Kind.AUTOMATIC:
        return None
    if not texts:
        return Reason(Hold.MEMO_MISSING, "the transaction has no memo gwx1:<recipient>")
    if len(texts) > 1:
        return Reason(Hold.MEMO_MALFORMED, "the transaction has several memos of the bridge's")
    if not recipient_in(texts):
        return Reason(Hold.MEMO_MALFORMED, "the memo names no recipient")
    return None


def dust_fault(message: Message) -> Reason | None:
    """Certificates are of whole Wh."""
    dust = message.units % UNITS_PER_WH
    return Reason(Hold.DUST, f"{dust} base units are no whole Wh") if dust else None


def _signature(message: Message) -> Signature:
    return Signature.from_bytes(message.source_tx)


def _facts(row: Document) -> dict[str, object]:
    same = ("slot", "block_time", "memos", "source", "authority")
    return {**{name: row[name] for name in same}, "readings": [key.hex() for key in row["readings"]]}


def _opinion(message: Message, brought: Mapping[bytes, Arrival], opinions: Mapping[Signature, Opinion]) -> Opinion:
    """The witnesses' word of the transaction, where that is still what the message was made of."""
    opinion = opinions.get(_signature(message))
    if opinion is None:
        return Opinion(Verdict.WAIT, "the first endpoint does not tell")
    arrival = brought.get(message.source_event)
    if arrival is None or not _is_of(message, arrival):
        return Opinion(Verdict.DISPUTED, "the first endpoint tells otherwise than when it was read")
    return opinion


def _is_of(message: Message, arrival: Arrival) -> bool:
    source = None if arrival.source is None else str(arrival.source)
    stated = (message.units, list(message.facts["memos"]), message.facts["source"], message.facts["authority"])
    return stated == (arrival.units, list(arrival.memos), source, str(arrival.authority))


def _settled(message: Message, opinion: Opinion, page: Page) -> None:
    match opinion.verdict:
        case Verdict.AGREED:
            page.move(message, State.SRC_FINAL, final_ms=page.now_ms)
        case Verdict.DISPUTED:
            page.hold(message, Hold.SOURCE_DISPUTED, opinion.text)
        case Verdict.WAIT:
            page.put_off(message, page.now_ms + pace_ms(page.now_ms - message.created_ms))
