"""I6, verified on what is stored of the mirror: one message crosses once, as far as the store alone can tell.

    log        nothing in it was changed, and messages are where it left them (`log_check.py`)
    source     no two messages are of one source event
    fields     what says when a message is due, and since when it is open or ended, fits its state
    receipts   each message that ended has one, signed, of its own source event and of entries of this log
    lots       what is gone from each is what messages have of it (`lot_check.py`)

Whether both chains say the same is parity's to tell. A node may be at work between two reads, so only what is still
wrong at a second look is reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from bridge.mirror.checks.log_check import LogCheck, check_log, walked
from bridge.mirror.checks.lot_check import check_lots
from bridge.mirror.message import Message
from bridge.mirror.receipts.receipt import is_signed
from bridge.mirror.receipts.statement import read_statement
from bridge.mirror.records import MESSAGES, RECEIPTS
from bridge.mirror.states import ENDED, State
from config.errors import MetawattError
from store.pages import pages
from store.port import Document, Find, Reader


async def check_mirror(reader: Reader) -> list[str]:
    """Faults, each as a sentence that begins with I6; empty when all holds."""
    faults = await _look(reader)
    if not faults:
        return []
    again = set(await _look(reader))
    return [fault for fault in faults if fault in again]


async def _look(reader: Reader) -> list[str]:
    log = await walked(reader)
    return [
        *await check_log(log, reader),
        *await _messages(reader),
        *await _receipts(log, reader),
        *await _lots(reader),
    ]


async def _lots(reader: Reader) -> list[str]:
    try:
        return await check_lots(reader)
    except (KeyError, ValueError) as error:
        return [f"I6: lots cannot be held against messages, of which one cannot be read: {error}"]


# Messages


async def _messages(reader: Reader) -> list[str]:
    """By their sources, so that those of one event are beside each other."""
    faults: list[str] = []
    tx, events = b"", dict[bytes, bytes]()
    async for rows in pages(reader, MESSAGES, Find("source")):
        for row in rows:
            if row["source_tx"] != tx:
                tx, events = row["source_tx"], {}
            other = events.setdefault(row["source_event"], row["_id"])
            if other != row["_id"]:
                faults.append(f"{_name(row)} is of the same source event as message {other.hex()}")
            faults += _fields(row)
        faults += await _unreceipted(reader, rows)
    return faults


def _fields(row: Document) -> list[str]:
    """A message as it is read and written anew has the same fields."""
    try:
        fresh = Message.read(row).document()
    except (KeyError, ValueError) as error:
        return [f"{_name(row)} cannot be read: {type(error).__name__}: {error}"]
    faults = [f"{_name(row)} is {row['state']}, and its {name} does not fit" for name in _unfitting(row, fresh)]
    state = State(row["state"])
    if (state is State.HELD) and row["reason"] is None:
        faults.append(f"{_name(row)} is held, and there is no reason")
    if (state in ENDED) is (row["ended_ms"] is None):
        faults.append(f"{_name(row)} is {state.value}, and ended at {row['ended_ms']}")
    if state is State.REFUNDED and not row["is_refund"]:
        faults.append(f"{_name(row)} is refunded, and no refund was under way")
    return faults


def _unfitting(row: Document, fresh: Document) -> list[str]:
    return [name for name in ("lane", "open_ms") if row[name] != fresh[name]]


async def _unreceipted(reader: Reader, rows: Sequence[Document]) -> list[str]:
    ended = [row for row in rows if row["state"] in ENDED]
    found = await reader.get_many(RECEIPTS, [row["_id"] for row in ended]) if ended else {}
    return [f"{_name(row)} is {row['state']}, and has no receipt" for row in ended if row["_id"] not in found]


# Receipts


async def _receipts(log: LogCheck, reader: Reader) -> list[str]:
    faults: list[str] = []
    async for receipts in pages(reader, RECEIPTS):
        messages = await reader.get_many(MESSAGES, [each["_id"] for each in receipts]) if receipts else {}
        for receipt in receipts:
            faults += _receipt(receipt, messages.get(receipt["_id"]), log)
    return faults


def _receipt(receipt: Document, row: Document | None, log: LogCheck) -> list[str]:
    name = f"I6: the receipt of message {receipt['_id'].hex()}"
    if row is None:
        return [f"{name} is of no message that is here"]
    try:
        statement = read_statement(orjson.loads(receipt["receipt"]))
    except (KeyError, TypeError, ValueError, MetawattError) as error:
        return [f"{name} cannot be read: {error}"]
    faults = []
    if not is_signed(statement, receipt["receipt"], receipt["signature"]):
        faults.append(f"{name} is not signed by the bridge")
    if (statement.message.id, statement.message.source_event) != (row["_id"], row["source_event"]):
        faults.append(f"{name} is about another one")
    if statement.outcome != row["state"]:
        faults.append(f"{name} says {statement.outcome.value}, and the message is {row['state']}")
    if not all(log.has(step.number, step.hash) for step in statement.log):
        faults.append(f"{name} tells of entries that are not in the log")
    return faults


def _name(row: Document) -> str:
    return f"I6: message {row['_id'].hex()}"
