"""Second readings of an interval: kept, and held up for a person, who decides.

The same message again is no conflict. Another one is: nobody can tell which of the two holds, so as long as
the first one is not in a transaction it is held (its state changes by compare-and-set, against the minter's),
and both wait for a decision. A first one that is on its way, or minted, stays; the second is kept and reported.

A conflict: _id (the reading's key + 16 bytes of the message's digest) · submitted_ms · open_ms (None once it is
decided) · reading (the second one, as it would have been kept) · decision
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import structlog

from bridge.meters.checking import message_of
from bridge.meters.looking import reading_of
from bridge.meters.paging import Listed, listed
from bridge.meters.registration import Decision
from bridge.records import CONFLICTS, READINGS, ReadingState, reading_id
from config.errors import BadRequest, Busy, ErrorCode
from overlay.clock import NowMs
from store.port import Conflict, Document, Find, Insert, Key, Patch, Store, Write

MOST_CONFLICTS: Final = 8
"""Second readings that are kept of one interval; a person who looks at so many needs no more."""
HELD_FOR: Final = "conflict"
_TRIES: Final = 32
_WAITING: Final = (ReadingState.ACCEPTED, ReadingState.RETRY, ReadingState.DEAD)
_SECOND: Final = "a second reading of the interval says otherwise"

log = structlog.get_logger("metawatt.meters")


class ReadingConflicts(BadRequest):
    """The meter's interval has a reading already, and this one says otherwise; a person decides between them."""

    default_code = ErrorCode.READING_CONFLICTS


class MintingForbids(BadRequest):
    """What is asked is not possible in the reading's state."""

    default_code = ErrorCode.MINTING_FORBIDS


def conflict_key(reading: Document) -> bytes:
    """32 B: the same second message has the same key, however often it comes."""
    return bytes(reading["_id"]) + sha256(message_of(reading)).digest()[:16]


def says_the_same(one: Document, other: Document) -> bool:
    """Whether they are one message; a signature over it may be made more than once."""
    return one["format"] == other["format"] and message_of(one) == message_of(other)


class Conflicts:
    """The conflicts of one store."""

    def __init__(self, store: Store, now_ms: NowMs) -> None:
        self._store = store
        self._now_ms = now_ms

    async def meet(self, reading: Document) -> Document:
        """The stored reading, when `reading` is that message again. Otherwise `ReadingConflicts`, with `reading`
        kept and the stored one held where that is still possible."""
        key = conflict_key(reading)
        for _ in range(_TRIES):
            first = await reading_of(self._store, reading["_id"])
            if says_the_same(first, reading):
                return first
            writes = self._writes(first, reading, await self._store.get(CONFLICTS, key))
            try:
                await self._store.commit(writes)
            except Conflict:
                continue
            _log(first, reading)
            raise ReadingConflicts()
        raise Busy("Too many readings of this interval at once", ErrorCode.OVERLOADED)

    def _writes(self, first: Document, second: Document, known: Document | None) -> list[Write]:
        """What is left to do of a conflict: nothing of one that was decided, or beyond the bound."""
        if known is not None and known["open_ms"] is None:
            return []
        changes: dict[str, Any] = {}
        writes: list[Write] = []
        if known is None and first["conflicts"] < MOST_CONFLICTS:
            writes.append(Insert(CONFLICTS, _conflict(second)))
            changes["conflicts"] = first["conflicts"] + 1
        if first["state"] in _WAITING and (writes or known is not None):
            changes |= _held()
        if changes:
            expect = {name: first[name] for name in ("state", "due_ms", "conflicts")}
            writes.append(Patch(READINGS, first["_id"], changes, expect=expect))
        return writes

    # Decisions

    async def listed(self, limit: int, cursor: str | None) -> Listed:
        """Conflicts that wait for a decision, oldest first."""
        return await listed(self._store, CONFLICTS, Find("open", limit=limit), cursor)

    async def of_reading(self, key: bytes) -> list[Document]:
        """All conflicts of a reading, decided ones too."""
        after = (int.from_bytes(key, "big") + 1).to_bytes(len(key), "big")
        page = await self._store.find(CONFLICTS, Find(lower=key, upper=after, limit=2 * MOST_CONFLICTS))
        return page.documents

    async def decide(self, key: bytes, decision: Decision, chosen: bytes | None = None) -> Document:
        """Settle all open conflicts of a reading; returns it as it is then. `chosen` is the conflict that is taken,
        needed where there are several. `MintingForbids` when there is none, or the reading's state rules it out."""
        for _ in range(_TRIES):
            first = await reading_of(self._store, key)
            still_open = [each for each in await self.of_reading(key) if each["open_ms"] is not None]
            if not still_open:
                raise MintingForbids("The reading has no conflict that waits for a decision")
            changes, writes = self._settled(first, still_open, decision, chosen)
            closed: list[Write] = [
                Patch(CONFLICTS, each["_id"], {"open_ms": None, "decision": decision.value}, _still_open(each))
                for each in still_open
            ]
            expect = {name: first[name] for name in ("state", "conflicts", "signature", "attempt", "due_ms")}
            try:
                await self._store.commit([*writes, *closed, Patch(READINGS, key, changes, expect=expect)])
            except Conflict:
                continue
            log.info("conflict decided", reading=reading_id(key), decision=decision.value)
            return first | changes
        raise Busy("The reading is being changed by others", ErrorCode.OVERLOADED)

    def _settled(
        self, first: Document, still_open: list[Document], decision: Decision, chosen: bytes | None
    ) -> tuple[dict[str, Any], list[Write]]:
        """The changes of the reading, and what else is written."""
        is_held = first["state"] == ReadingState.HELD and first["held_for"] == HELD_FOR
        if decision is Decision.KEEP:
            return (_free(self._now_ms()) if is_held else {"held_for": None}), []
        if not is_held or (decision is Decision.TAKE and first["attempt"] is not None):
            raise MintingForbids("The first reading is not held here, or was signed for: it can only be kept")
        if decision is Decision.REJECT:
            rejected = {"state": ReadingState.REJECTED.value, "open_ms": None, "held_for": None}
            return rejected | {"error": "rejected, for another reading said otherwise"}, []
        second = _chosen(still_open, chosen)["reading"]
        kept = {name: second[name] for name in second if name not in ("_id", "conflicts")}
        replaced = _conflict(first) | {"open_ms": None, "decision": "replaced"}
        return kept | _free(self._now_ms()), [Insert(CONFLICTS, replaced, keep=True)]


def _log(first: Document, second: Document) -> None:
    """With all that a second reading says: beyond the bound it is kept nowhere else."""
    log.warning(
        "readings conflict",
        reading=reading_id(first["_id"]),
        meter=second["meter"],
        state=first["state"],
        first_kwh=first["kwh"],
        kwh=second["kwh"],
        timestamp=second["timestamp"],
        signature=second["signature"],
    )


def _conflict(reading: Document) -> Document:
    at_ms = reading["submitted_ms"]
    return {
        "_id": conflict_key(reading),
        "submitted_ms": at_ms,
        "open_ms": at_ms,
        "reading": reading,
        "decision": None,
    }


def _still_open(conflict: Document) -> dict[str, Key]:
    return {"open_ms": conflict["open_ms"]}


def _held() -> dict[str, Any]:
    return {
        "state": ReadingState.HELD.value,
        "held_for": HELD_FOR,
        "due_ms": None,
        "retry_ms": None,
        "error": _SECOND,
    }


def _free(now_ms: int) -> dict[str, Any]:
    """Due again, as a reading that was just accepted is."""
    return {
        "state": ReadingState.ACCEPTED.value,
        "held_for": None,
        "due_ms": now_ms,
        "retry_ms": None,
        "error": None,
    }


def _chosen(still_open: list[Document], chosen: bytes | None) -> Document:
    if chosen is None and len(still_open) == 1:
        return still_open[0]
    for each in still_open:
        if each["_id"] == chosen:
            return each
    raise BadRequest("conflict_id must name one of the reading's open conflicts", ErrorCode.INVALID_FIELD)
