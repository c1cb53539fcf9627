"""From judgements to lookup events, and from events to the writes of every lookup service that wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog

from overlay.lookup_service import (
    AdmissionMode,
    Event,
    LookupService,
    OutputAdmitted,
    OutputRef,
    OutputSpent,
    SpendMode,
)
from overlay.picture import Picture
from overlay.records import REINDEX_STATE, STATE
from overlay.steak import Steak
from overlay.topic import Coin
from overlay.transaction import outpoint
from store.port import Put, Reader, Write

log = structlog.get_logger(__name__)


async def writes_for(events: Iterable[Event], services: Mapping[str, LookupService], reader: Reader) -> list[Write]:
    """What every service records of these events.

    A service that raises records nothing more of them and is marked for a reindex in the same commit: the
    admission itself goes on.
    """
    writes: list[Write] = []
    failed: set[str] = set()
    for event in events:
        for name, service in services.items():
            if name in failed or not service.serves(event.ref.topic):
                continue
            try:
                writes.extend(await service.writes_for(narrow(event, service), reader))
            except Exception:
                failed.add(name)
                log.exception("lookup service failed", service=name, topic=event.ref.topic)
    writes += [Put(STATE, {"_id": REINDEX_STATE + name}) for name in sorted(failed)]
    return writes


def narrow(event: Event, service: LookupService) -> Event:
    """The event as the service's modes ask for it: nothing that it did not ask for."""
    if isinstance(event, OutputAdmitted) and service.admission_mode is AdmissionMode.LOCKING_SCRIPT:
        return _without_transaction(event)
    if isinstance(event, OutputSpent) and service.spend_mode is not SpendMode.WHOLE_TX:
        return _narrow_spent(event, service.spend_mode)
    return event


def _without_transaction(event: OutputAdmitted) -> OutputAdmitted:
    return OutputAdmitted(
        event.ref,
        event.satoshis,
        event.script,
        event.topics,
        event.first,
        event.height,
        event.off_chain_values,
        told=event.told,
    )


def _narrow_spent(event: OutputSpent, mode: SpendMode) -> OutputSpent:
    base = OutputSpent(event.ref, event.retained, event.successors, event.coin_script)
    if mode is SpendMode.NONE:
        return base
    if mode is SpendMode.TXID:
        return OutputSpent(
            event.ref, event.retained, event.successors, event.coin_script, spending_txid=event.spending_txid
        )
    return OutputSpent(
        event.ref,
        event.retained,
        event.successors,
        event.coin_script,
        event.spending_txid,
        event.input_index,
        event.unlocking_script,
        event.sequence,
        event.off_chain_values,
    )


def spend_events(
    picture: Picture, results: Steak, coins: Mapping[str, Sequence[Coin]], off_chain_values: bytes | None
) -> Iterator[OutputSpent]:
    """One event for each coin of each judged topic."""
    transaction = picture.transaction
    for topic, result in results.items():
        for coin in coins.get(topic, ()):
            spend = transaction.inputs[coin.input_index]
            yield OutputSpent(
                OutputRef(topic, coin.txid, coin.output_index, picture.outputs[spend.outpoint]["seq"]),
                coin.input_index in result.coins_to_retain,
                result.outputs_to_admit,
                coin.script,
                transaction.txid,
                coin.input_index,
                spend.unlocking_script,
                spend.sequence,
                off_chain_values,
                transaction,
            )


def admission_events(
    picture: Picture, results: Steak, seq: int, height: int | None, off_chain_values: bytes | None
) -> Iterator[OutputAdmitted]:
    """One event for each output that a topic takes and did not hold; `first` marks the first for the output."""
    transaction = picture.transaction
    topics_by_output = admitted_topics(results)
    for index, topics in topics_by_output.items():
        document = picture.own_outputs.get(outpoint(transaction.txid, index))
        held: list[str] = document["topics"] if document else []
        fresh = [topic for topic in topics if topic not in held]
        everything = (*held, *fresh)
        output = transaction.outputs[index]
        for position, topic in enumerate(fresh):
            yield OutputAdmitted(
                OutputRef(topic, transaction.txid, index, document["seq"] if document else seq),
                output.satoshis,
                output.script,
                everything,
                first=not held and position == 0,
                height=height,
                off_chain_values=off_chain_values,
                transaction=transaction,
                told=position > 0,
            )


def admitted_topics(results: Steak) -> dict[int, list[str]]:
    """By output index, the topics that admit it."""
    topics: dict[int, list[str]] = {}
    for topic, result in results.items():
        for index in result.outputs_to_admit:
            topics.setdefault(index, []).append(topic)
    return topics
