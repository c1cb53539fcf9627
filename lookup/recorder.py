"""Events to writes. Every event is recorded without a read, but for the rare eviction.

Nothing here depends on the order in which a notice and the coins that it speaks of arrive: notices are kept
beside the records and laid over them when a question is answered (`standing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from certificates.legacy import LegacyToken
from certificates.token import Token, issuance_id_for
from certificates.withdrawal import Withdrawal
from lookup.doubles import mark_writes, remark_writes
from lookup.records import (
    CERTIFICATES,
    DEVICES,
    NOTICES,
    WITHDRAWN,
    certificate_record,
    device_record,
    legacy_record,
    notice_record,
    topics_text,
)
from overlay.lookup_service import (
    Event,
    OutputAdmitted,
    OutputProven,
    OutputRemoved,
    OutputSpent,
    OutputUnspent,
)
from overlay.transaction import Transaction
from store.port import Delete, Document, Insert, Patch, Reader, Write
from topics.certificates import read_script

REMEMBERED: Final = 64
_UNSPENT: Final = {"live": 1, "lost": None, "spent_by": None, "succeeded_by": None}


async def writes_for(event: Event, reader: Reader) -> Sequence[Write]:
    """The writes that record one event; none for an output that is not of ours."""
    match event:
        case OutputAdmitted():
            return _admitted(event)
        case OutputSpent():
            return _spent(event)
        case OutputUnspent():
            return (_patch(event.ref.outpoint, _UNSPENT),)
        case OutputProven():
            return ()
        case OutputRemoved():
            return await _removed(event, reader)


def _patch(outpoint: bytes, changes: Document) -> Patch:
    return Patch(CERTIFICATES, outpoint, changes, must_exist=False)


def _admitted(event: OutputAdmitted) -> Sequence[Write]:
    if event.told:
        return ()
    if not event.first:
        return (_patch(event.ref.outpoint, {"topics": topics_text(event.topics)}),)
    match read_script(event.script):
        case Token() as token:
            return _certificate(event, token)
        case LegacyToken() as legacy:
            return _legacy(event, legacy)
        case Withdrawal() as notice:
            return (
                Insert(NOTICES, notice_record(event, notice), keep=True),
                Insert(WITHDRAWN, {"_id": notice.issuance_id}, keep=True),
            )
    return ()


def _certificate(event: OutputAdmitted, token: Token) -> Sequence[Write]:
    record = certificate_record(event, token)
    if record is None:
        return ()
    insert = Insert(CERTIFICATES, record, keep=True)
    return (insert, *issuance_writes(record)) if _is_issuance(event, token) else (insert,)


def _is_issuance(event: OutputAdmitted, token: Token) -> bool:
    if event.transaction is None or not event.transaction.inputs:
        return False
    first_spent = event.transaction.inputs[0].outpoint
    return token.issuance_id == issuance_id_for(first_spent, event.ref.output_index)


def issuance_writes(record: Document) -> tuple[Write, ...]:
    """Marks of which device was issued for, under which name, for which interval."""
    return *mark_writes(record), Insert(DEVICES, device_record(record), keep=True)


def _legacy(event: OutputAdmitted, token: LegacyToken) -> Sequence[Write]:
    record = legacy_record(event, token)
    insert = Insert(CERTIFICATES, record, keep=True)
    if record["device_name"] is None:
        return (insert,)
    return (insert, Insert(DEVICES, device_record(record), keep=True))


def _spent(event: OutputSpent) -> Sequence[Write]:
    """A coin whose issuance goes on in some admitted output is history. Another is lost, unless a second
    topic, which holds more of the merged coins, says that it goes on: `succeeded_by` outweighs `lost`.
    The first tokens have no issuance to lose: spending one is how it was redeemed."""
    coin = read_script(event.coin_script)
    if not isinstance(coin, Token | LegacyToken):
        return ()
    changes: Document = {"live": None, "spent_by": event.spending_txid}
    if isinstance(coin, LegacyToken) or _goes_on(event, coin):
        changes |= {"succeeded_by": event.spending_txid, "lost": None}
    else:
        changes["lost"] = 1
    return (_patch(event.ref.outpoint, changes),)


def _goes_on(event: OutputSpent, coin: Token) -> bool:
    if event.transaction is None:
        return bool(event.successors)
    return coin.issuance_id in _issuances(event.transaction, event.successors)


@lru_cache(REMEMBERED)
def _issuances(transaction: Transaction, successors: tuple[int, ...]) -> frozenset[str]:
    """The issuances that go on in these outputs; asked for every coin of a transaction, in every topic."""
    outputs = transaction.outputs
    contents = (read_script(outputs[index].script) for index in successors if index < len(outputs))
    return frozenset(each.issuance_id for each in contents if isinstance(each, Token))


async def _removed(event: OutputRemoved, reader: Reader) -> Sequence[Write]:
    """What a topic lets go of stays in the index as history; what the node evicts never was."""
    if not event.evicted:
        return ()
    outpoint = event.ref.outpoint
    record = await reader.get(CERTIFICATES, outpoint)
    marks = await remark_writes(record, reader) if record else ()
    return (Delete(CERTIFICATES, outpoint), Delete(NOTICES, outpoint), *marks)
