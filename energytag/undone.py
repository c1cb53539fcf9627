"""What the network refused: the registry's own transactions that were evicted, and what is undone with them.

    eviction ──→ a row here, in the same commit: what was issued and spent, what was withdrawn from
    round    ──→ intervals free again, withdrawals not counted, the basket as it was, parts to be done again,
                 and the error on each action that had been resolved

Numbers that were issued are not given out again: whoever has seen them must not meet them on another certificate.
The row stays, and tells why the device's numbers have a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from certificates.ranges import Range, subtract
from certificates.token import Token, issuance_id_for
from certificates.withdrawal import Withdrawal
from config.errors import ErrorCode
from energytag.actions import Action, State
from energytag.delivery import DELIVERIES, settle
from energytag.ground import RegistryGround
from energytag.imports import ATTRIBUTE, IMPORTED
from energytag.intervals import interval_key, series_key
from energytag.measure import RegistryMeasures
from energytag.rebuild_overlay import OverlayPass
from energytag.records import ACTION_PARTS, ACTIONS, BASKET, INTERVALS
from overlay.records import TRANSACTIONS, outpoint_range
from overlay.transaction import Transaction
from store.pages import every, pages
from store.port import Collection, Delete, Document, Find, Index, Patch, Put, Write
from topics.certificates import read_script

UNDONE: Final = Collection(
    "energytag_undone",
    key="bytes",
    fields={"pending": "int"},
    indexes=(Index("pending", ("pending",), partial=True),),
)
"""Key: the txid. `pending` is 1, then 2 while only actions are to be looked at, then None. `reason` is why it was
evicted, `spent` the outpoints that it spent, `issued` what it issued: [issuance id, key in `INTERVALS`, first and
last number, end (epoch ms)], `imported` what it issued for imports: [issuance id, that of the source, first number,
last number], `bridged` the bridge's intervals among those of `issued` ([key in `INTERVALS`, end]), which stay the
bridge's, and `withdrawn` the issuances that its notices are about. `raw` are its bytes, when it issued something. A
coin for fees that is live again may give an issuance id once more, so an issuance is known by its numbers, too."""

_AT_ONCE: Final = 20

log = structlog.get_logger("metawatt.registry")


class Undoing:
    """Notes what is evicted, in every process, and undoes what followed from it, in one."""

    def __init__(self, ground: RegistryGround, measures: RegistryMeasures) -> None:
        self._ground = ground
        self._measures = measures
        self._store = ground.store

    def note(self, transaction: Transaction, reason: str) -> Sequence[Write]:
        """What joins the eviction of a transaction; nothing for one that is not about this registry's
        certificates."""
        own = self._ground.keyring.identity
        contents = [read_script(output.script) for output in transaction.outputs]
        if not any(isinstance(each, Token | Withdrawal) and each.issuer_key == own for each in contents):
            return ()
        first = transaction.inputs[0].outpoint
        tokens = [
            each
            for index, each in enumerate(contents)
            if isinstance(each, Token)
            and each.issuer_key == own
            and each.issuance_id == issuance_id_for(first, index)
        ]
        row = {
            "_id": transaction.txid,
            "pending": 1,
            "reason": reason,
            "spent": [spend.outpoint for spend in transaction.inputs],
            "issued": [_issued(each) for each in tokens if ATTRIBUTE not in each.bundle.attributes],
            "bridged": [_bridged(each) for each in tokens if each.origin is not None],
            "imported": [_imported(each) for each in tokens if ATTRIBUTE in each.bundle.attributes],
            "withdrawn": sorted({each.issuance_id for each in contents if isinstance(each, Withdrawal)}),
            "raw": transaction.raw if tokens else None,
        }
        return (Put(UNDONE, row),)

    async def work(self) -> int:
        """Undo what is noted; how many transactions that were. Documents are put right first, in one commit: an
        action that goes on needs them. What follows may be done twice, so a crash in between does no harm."""
        page = await self._store.find(UNDONE, Find("pending", limit=_AT_ONCE))
        if not page.documents:
            return 0
        back = await self._store.get_many(TRANSACTIONS, [row["_id"] for row in page.documents])
        gone = [row for row in page.documents if row["_id"] not in back]
        for row in gone:
            if row["pending"] == 1:
                await self._restore(row)
        await self._undo_parts({row["_id"][::-1].hex() for row in gone})
        await self._tell({row["_id"][::-1].hex(): row["reason"] for row in gone})
        await self._store.commit([_done(row, is_back=row["_id"] in back) for row in page.documents])
        return len(gone)

    # Documents

    async def _restore(self, row: Document) -> None:
        """Intervals, imports, basket and deliveries as they were before the transaction."""
        overlay = OverlayPass(self._store, self._ground.keyring)
        lower, upper = outpoint_range(row["_id"])
        made = await every(self._store, BASKET, Find(lower=lower, upper=upper))
        delivered = await every(self._store, DELIVERIES, Find(lower=lower, upper=upper))
        await settle(self._store, [each["_id"] for each in delivered])
        writes: list[Write] = [Patch(UNDONE, row["_id"], {"pending": 2}, expect={"pending": 1})]
        writes += [Delete(BASKET, each["_id"]) for each in made]
        writes += [*await self._freed(row), *await self._not_imported(row)]
        writes += await overlay.held_again(row["spent"])
        for issuance_id in row["withdrawn"]:
            writes += await overlay.guarded_again(issuance_id)
        await self._store.commit(writes)

    async def _freed(self, row: Document) -> list[Write]:
        """The guards of what was issued go, but not the bridge's, nor that of what was issued meanwhile."""
        issued = {key: (issuance_id, start) for issuance_id, key, start, *_ in row["issued"]}
        guards = await self._store.get_many(INTERVALS, list(issued))
        return [
            Delete(INTERVALS, key, expect={"issuance_id": guard["issuance_id"], "start": guard["start"]})
            for key, guard in guards.items()
            if (guard["issuance_id"], guard["start"]) == issued[guard["_id"]]
        ]

    async def _not_imported(self, row: Document) -> list[Write]:
        """What was imported may be imported again."""
        parts: dict[str, list[Range]] = {}
        for _, source, start, stop in row["imported"]:
            parts.setdefault(source, []).append(Range(start, stop))
        writes: list[Write] = [Delete(IMPORTED, own) for own, *_ in row["imported"]]
        for source, claimed in (await self._store.get_many(IMPORTED, list(parts))).items():
            left = subtract([Range(*pair) for pair in claimed["ranges"]], parts[str(source)])
            changes = {"ranges": [list(each) for each in left], "rev": claimed["rev"] + 1}
            writes.append(Patch(IMPORTED, source, changes, expect={"rev": claimed["rev"]}))
        return writes

    # Actions

    async def _undo_parts(self, txids: set[str]) -> None:
        """What an unfinished action had done by these is to be done again."""
        async for rows in pages(self._store, ACTION_PARTS):
            for row in rows:
                if row["txid"] in txids:
                    await self._store.commit([Delete(ACTION_PARTS, row["_id"], expect={"txid": row["txid"]})])

    async def _tell(self, reasons: Mapping[str, str]) -> None:
        """Put the error on the resolved actions. No index leads from a transaction to them, so all are looked at:
        this is rare."""
        if not reasons:
            return
        async for rows in pages(self._store, ACTIONS, Find("seq")):
            for row in rows:
                for txid in row["txids"]:
                    if txid in reasons:
                        await self._tell_one(Action.read(row), txid, reasons[txid])

    async def _tell_one(self, action: Action, txid: str, reason: str) -> None:
        if action.state is not State.RESOLVED or action.error is not None:
            return
        log.error("an action is undone", action_id=action.action_id, kind=action.kind, txid=txid, reason=reason)
        error = {"code": ErrorCode.BROADCAST_REJECTED.value, "message": f"transaction {txid} was evicted: {reason}"}
        await self._store.commit([Patch(ACTIONS, action.action_id, {"error": error})])
        self._measures.undone += 1


def _issued(token: Token) -> list[object]:
    tag, (start_ms, end_ms) = token.bundle.attributes, token.bundle.period_ms
    series = series_key(str(tag["device_id"]), str(tag["energy_carrier"]))
    return [token.issuance_id, interval_key(series, start_ms), token.issued.start, token.issued.end, end_ms]


def _bridged(token: Token) -> list[object]:
    _, key, *_, end_ms = _issued(token)
    return [key, end_ms]


def _imported(token: Token) -> list[object]:
    source = token.bundle.attributes[ATTRIBUTE]["issuance_id"]
    return [token.issuance_id, source, token.issued.start, token.issued.end]


def _done(row: Document, *, is_back: bool) -> Write:
    """A row that explains a gap stays; one of a transaction that came back explains nothing."""
    if row["issued"] and not is_back:
        return Patch(UNDONE, row["_id"], {"pending": None}, expect={"reason": row["reason"]})
    return Delete(UNDONE, row["_id"], expect={"reason": row["reason"]})
