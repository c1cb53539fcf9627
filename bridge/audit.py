"""I6, verified on what is stored: one reading mints once, as far as the store alone can tell.

    key        a reading lies under the key of its meter and interval, so that there is one of each
    state      what says when a reading is due, and since when it is open or minted, fits its state
    signed     its transaction is stored, still under way, and names it
    minted     its transaction is stored, final, and names it; else it was found on the chain, and movements have it
    attempts   what is over is not open; a final transaction has minted all that it names, but for what is held
    movements  what minted a reading is the transaction that the reading tells, and no other

Whether the cluster says the same, the event processor finds out while the node runs. A node that mints may be
caught between two reads, so only what is still wrong at a second look is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from solders.signature import Signature

from bridge.connecting import CLUSTER_KEPT
from bridge.records import (
    ATTEMPTS,
    CONFIG,
    CURSORS,
    MOVEMENTS,
    READINGS,
    AttemptState,
    ReadingState,
    reading_id,
    reading_key,
)
from store.pages import pages
from store.port import Document, Find, Reader

_FITTING: Final[Mapping[str, frozenset[str]]] = {
    ReadingState.ACCEPTED: frozenset({"open_ms", "due_ms"}),
    ReadingState.SIGNED: frozenset({"open_ms", "attempt"}),
    ReadingState.MINTED: frozenset({"minted_ms", "attempt", "slot"}),
    ReadingState.RETRY: frozenset({"open_ms", "due_ms", "retry_ms"}),
    ReadingState.DEAD: frozenset({"open_ms", "retry_ms"}),
    ReadingState.HELD: frozenset({"open_ms"}),
    ReadingState.REJECTED: frozenset(),
}
"""What a reading has in each state; of `_TIMES` it has nothing else."""
_TIMES: Final = frozenset({"open_ms", "due_ms", "retry_ms", "minted_ms"})
_OVER: Final = frozenset({AttemptState.FINAL, AttemptState.FAILED, AttemptState.EXPIRED})


async def check_readings(reader: Reader, *, may_repeat: bool = False) -> list[str]:
    """Faults, each as a sentence that begins with I6; empty when all holds. `may_repeat`: the way to mint lets a
    repetition succeed without minting, so that two final transactions may name one reading."""
    faults = await _look(reader, may_repeat)
    if not faults:
        return []
    again = set(await _look(reader, may_repeat))
    return [fault for fault in faults if fault in again]


async def _look(reader: Reader, may_repeat: bool) -> list[str]:
    return [
        *await _readings(reader),
        *await _attempts(reader, may_repeat),
        *await _movements(reader),
    ]


# Readings


async def _readings(reader: Reader) -> list[str]:
    faults: list[str] = []
    async for rows in pages(reader, READINGS):
        faults += [fault for row in rows for fault in (*_key(row), *_state(row))]
        signed = [row for row in rows if row["state"] == ReadingState.SIGNED and row["attempt"]]
        minted = [row for row in rows if row["state"] == ReadingState.MINTED and row["attempt"]]
        attempts = await reader.get_many(ATTEMPTS, list({row["attempt"] for row in (*signed, *minted)}))
        faults += [fault for row in signed for fault in _signed(row, attempts.get(row["attempt"]))]
        for row in minted:
            faults += await _minted(reader, row, attempts.get(row["attempt"]))
    return faults


def _key(row: Document) -> list[str]:
    if row["_id"] == reading_key(row["meter"], row["interval_start_ms"]):
        return []
    return [_fault(row, "does not lie under the key of its meter and interval")]


def _state(row: Document) -> list[str]:
    fitting = _FITTING.get(row["state"])
    if fitting is None:
        return [_fault(row, f"is in no state that there is: {row['state']}")]
    lacking = sorted(name for name in fitting if row.get(name) is None)
    surplus = sorted(name for name in _TIMES - fitting if row.get(name) is not None)
    faults = [_fault(row, f"is {row['state']}, and has no {name}") for name in lacking]
    faults += [_fault(row, f"is {row['state']}, and has {name}") for name in surplus]
    if row["state"] == ReadingState.RETRY and not faults and row["due_ms"] != row["retry_ms"]:
        faults.append(_fault(row, "stands in the retry queue at another time than it is due"))
    return faults


def _signed(row: Document, attempt: Document | None) -> list[str]:
    if attempt is None:
        return [_fault(row, f"is signed, and {_name(row['attempt'])} is not stored")]
    if row["_id"] not in attempt["readings"]:
        return [_fault(row, f"is signed, and {_name(row['attempt'])} does not name it")]
    if attempt["open_ms"] is None:
        return [_fault(row, f"is signed, and {_name(row['attempt'])} is over: {attempt['state']}")]
    return []


async def _minted(reader: Reader, row: Document, attempt: Document | None) -> list[str]:
    name = _name(row["attempt"])
    if attempt is None:
        # Minted by a process whose attempts are not here: before a backup was restored, for instance.
        known = await _may_be_on_chain(reader, row)
        return [] if known else [_fault(row, f"is minted by {name}, which is neither stored nor in the history")]
    if row["_id"] not in attempt["readings"]:
        return [_fault(row, f"is minted by {name}, which does not name it")]
    if attempt["state"] != AttemptState.FINAL:
        return [_fault(row, f"is minted by {name}, which is not final: {attempt['state']}")]
    return []


async def _may_be_on_chain(reader: Reader, row: Document) -> bool:
    """Whether the mint's history, as far as it was read, has the transaction; True where it was not read so far, or
    not without a gap."""
    prefix = int(row["slot"] or 0).to_bytes(8, "big") + row["attempt"]
    page = await reader.find(MOVEMENTS, Find(lower=prefix, upper=prefix + b"\xff" * 7, limit=1))
    if page.documents:
        return True
    kept = await reader.get(CONFIG, CLUSTER_KEPT)
    cursor = None if kept is None else await reader.get(CURSORS, kept["mint"])
    return cursor is None or bool(cursor["skipped"]) or cursor["whole_slot"] < (row["slot"] or 0)


# Attempts


async def _attempts(reader: Reader, may_repeat: bool) -> list[str]:
    faults: list[str] = []
    async for attempts in pages(reader, ATTEMPTS):
        faults += [fault for attempt in attempts for fault in _open(attempt)]
        final = [attempt for attempt in attempts if attempt["state"] == AttemptState.FINAL]
        rows = await reader.get_many(READINGS, _keys(attempt["readings"] for attempt in final))
        for attempt in final:
            for key in attempt["readings"]:
                faults += _final(attempt["_id"], key, rows.get(key), may_repeat)
    return faults


def _open(attempt: Document) -> list[str]:
    if (attempt["state"] in _OVER) == (attempt["open_ms"] is None):
        return []
    told = "open" if attempt["open_ms"] is not None else "not open"
    return [f"I6: {_name(attempt['_id'])} is {attempt['state']}, and {told}"]


def _final(signature: bytes, key: bytes, row: Document | None, may_repeat: bool) -> list[str]:
    if row is None:
        return [f"I6: reading {reading_id(key)} is not here, and {_name(signature)}, which is final, names it"]
    if row["state"] == ReadingState.MINTED:
        if row["attempt"] in (signature, None) or may_repeat:
            return []
        return [_fault(row, f"is in two final transactions: {_name(row['attempt'])} and {_name(signature)}")]
    if row["state"] == ReadingState.HELD or row.get("asked"):
        return []  # it was minted otherwise than was asked: held, or looked up again at a person's word
    return [_fault(row, f"is {row['state']}, and {_name(signature)}, which is final, names it")]


# Movements


async def _movements(reader: Reader) -> list[str]:
    faults: list[str] = []
    async for movements in pages(reader, MOVEMENTS, Find("kind", {"kind": "mint"})):
        own = [each for each in movements if len(each["readings"]) == 1]
        rows = await reader.get_many(READINGS, _keys(each["readings"] for each in own))
        for movement in own:
            faults += _moved(movement, rows.get(movement["readings"][0]))
    return faults


def _moved(movement: Document, row: Document | None) -> list[str]:
    """Of a reading that is minted; of another one it is settled yet what the movement means."""
    if row is None or row["state"] != ReadingState.MINTED or row["attempt"] is None:
        return []
    if movement["signature"] != _name(row["attempt"]):
        return [_fault(row, f"is minted by {_name(row['attempt'])}, and by {movement['signature']} as well")]
    if movement["units"] != row["units"]:
        return [_fault(row, f"is of {row['units']} base units, and {movement['units']} were minted")]
    return []


# Names


def _keys(lists: Iterable[Sequence[bytes]]) -> list[bytes]:
    return list({key for keys in lists for key in keys})


def _fault(row: Document, what: str) -> str:
    return f"I6: reading {reading_id(row['_id'])} {what}"


def _name(signature: bytes) -> str:
    return str(Signature.from_bytes(signature))
