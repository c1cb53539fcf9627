"""What the store knows of a submission before it is judged, and the writes that record the judgement.

    read_picture   submission → Picture: its receipts, the coins that it spends, who spent them before
    Picture.coins  the coins of one topic, ready to be judged
    plan           Picture + judgements → the writes of one atomic commit (I2)

Races are not locked out but found out: what the picture showed absent is guarded by `Absent`, what it showed
present by `expect`, so a commit that was overtaken is a `Conflict`, and the engine takes a new picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from overlay.envelope import Envelope
from overlay.outputs import carried, complete_outputs
from overlay.records import OUTPUTS, SPENDS, TRANSACTIONS
from overlay.steak import Steak, TopicResult
from overlay.topic import Coin
from overlay.transaction import Output, Transaction, outpoint
from store.port import Absent, Conflict, Document, Insert, Key, Patch, Reader, Write


@dataclass(slots=True)
class Picture:
    """The store's knowledge of one transaction. `outputs` and `spends` are by outpoint, for its inputs; the
    `own_…` ones for its outputs. `receipts` are what each topic said when it judged this transaction."""

    transaction: Transaction
    stored: Document | None
    outputs: Mapping[Key, Document]
    spends: Mapping[Key, Document]
    own_outputs: Mapping[Key, Document] = field(default_factory=dict)
    own_spends: Mapping[Key, Document] = field(default_factory=dict)
    sources: dict[bytes, Output] = field(default_factory=dict)
    receipts: Steak = field(init=False)

    def __post_init__(self) -> None:
        wire = (self.stored or {}).get("receipts") or {}
        self.receipts = {topic: TopicResult.from_wire(entry) for topic, entry in wire.items()}

    def holding_topics(self) -> list[str]:
        """Topics that hold a coin which this transaction spends, in a stable order."""
        return sorted({topic for document in self.outputs.values() for topic in document["topics"]})

    def rivals(self) -> dict[bytes, bytes]:
        """Inputs' outpoints that another applied transaction spends, with that transaction's txid."""
        own = self.transaction.txid
        return {op: d["txid"] for op, d in self.spends.items() if isinstance(op, bytes) and d["txid"] != own}

    def coins(self, topic: str) -> tuple[Coin, ...]:
        """This topic's coins among the inputs, by input index."""
        if not self.outputs:
            return ()
        coins = []
        for index, spend in enumerate(self.transaction.inputs):
            document = self.outputs.get(spend.outpoint)
            if document is not None and topic in document["topics"]:
                source = self.sources[spend.outpoint]
                coins.append(Coin(index, spend.source_txid, spend.source_index, source.satoshis, source.script))
        return tuple(coins)


async def read_picture(reader: Reader, envelope: Envelope, *, deep: bool = False) -> Picture:
    """Take the picture. `deep` also asks who spends the subject's own outputs (a child that came first)."""
    subject = envelope.subject
    spent = [spend.outpoint for spend in subject.inputs]
    known, outputs, spends = await reader.get_each(
        [(TRANSACTIONS, [subject.txid]), (OUTPUTS, spent), (SPENDS, spent)]
    )
    picture = Picture(subject, known.get(subject.txid), outputs, spends)
    if deep or picture.stored is not None:
        own = [outpoint(subject.txid, index) for index in range(len(subject.outputs))]
        picture.own_outputs, picture.own_spends = await reader.get_each([(OUTPUTS, own), (SPENDS, own)])
    await _find_sources(reader, picture, envelope)
    return picture


async def _find_sources(reader: Reader, picture: Picture, envelope: Envelope) -> None:
    """The coins themselves: from parents in the envelope, else from the store (a mined subject may come alone)."""
    if not picture.outputs:
        return
    missing = []
    for spend in picture.transaction.inputs:
        key = spend.outpoint
        if key not in picture.outputs:
            continue
        member = envelope.members.get(spend.source_txid)
        if member is None:
            missing.append(key)
        else:
            picture.sources[key] = member.transaction.outputs[spend.source_index]
    if missing:
        picture.sources |= await complete_outputs(reader, missing, picture.outputs)
        if any(key not in picture.sources for key in missing):
            raise Conflict("a coin was evicted while the picture was taken")


def seen_result(previous: TopicResult | None, result: TopicResult) -> TopicResult:
    """A topic's result after a second judgement with more coins: what it admitted before stays admitted."""
    if previous is None:
        return result
    retained = {*previous.coins_to_retain, *result.coins_to_retain}
    return TopicResult(
        tuple(sorted({*previous.outputs_to_admit, *result.outputs_to_admit})),
        tuple(sorted(retained)),
        tuple(sorted({*previous.coins_removed, *result.coins_removed} - retained)),
    )


def guards(picture: Picture, admitted: Iterable[int]) -> list[Write]:
    """Guards on what the picture showed: coins that may have gone or come, or been taken by another topic,
    children that may have come."""
    writes: list[Write] = [
        Patch(OUTPUTS, spend.outpoint, {}, expect={"topics": picture.outputs[spend.outpoint]["topics"]})
        if spend.outpoint in picture.outputs
        else Absent(OUTPUTS, spend.outpoint)
        for spend in picture.transaction.inputs
    ]
    own = (outpoint(picture.transaction.txid, index) for index in admitted)
    writes += [Absent(SPENDS, op) for op in own if op not in picture.own_spends]
    return writes


def record_outputs(picture: Picture, admitted: Mapping[int, Sequence[str]], seq: int) -> list[Write]:
    """Rows for admitted outputs: `admitted` names, by output index, the topics that take it now."""
    writes: list[Write] = []
    for index, topics in admitted.items():
        key = outpoint(picture.transaction.txid, index)
        document = picture.own_outputs.get(key)
        if document is None:
            row = {"_id": key, "seq": seq, "topics": list(topics), **carried(picture.transaction, index)}
            writes.append(Insert(OUTPUTS, row))
            continue
        held = document["topics"]
        merged = [*held, *(topic for topic in topics if topic not in held)]
        if merged != held:
            writes.append(Patch(OUTPUTS, key, {"topics": merged}, expect={"topics": held}))
    return writes


def record_spends(picture: Picture, results: Steak) -> list[Write]:
    """Rows for every input (I3: a second one under the same outpoint is a conflict)."""
    writes: list[Write] = []
    for index, spend in enumerate(picture.transaction.inputs):
        kept = [topic for topic, result in results.items() if index in result.coins_to_retain]
        document = picture.spends.get(spend.outpoint)
        if document is None:
            row = {"_id": spend.outpoint, "txid": picture.transaction.txid, "input": index, "kept": kept}
            writes.append(Insert(SPENDS, row))
            continue
        merged = sorted({*document["kept"], *kept})
        if merged != document["kept"]:
            writes.append(Patch(SPENDS, spend.outpoint, {"kept": merged}, expect={"kept": document["kept"]}))
    return writes
