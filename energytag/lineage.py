"""The lineage of an issuance: every transaction that made or moved some of it, and what is left where.

    issuance ─→ transfer, split, cancel, claim … ─→ now

A step tells which outputs it spent and which it made; a withdrawal notice is a step that spends nothing.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from certificates.lifecycle import Status
from config.errors import BadRequest, ErrorCode, NotFound
from energytag.bundles import range_of
from energytag.ground import RegistryGround
from energytag.models.common import moment_of_ms
from energytag.proofs import UNPROVEN, TimestampProof, proofs_of
from lookup.partition import partition
from lookup.records import CERTIFICATES
from lookup.standing import Notice, notices_for
from overlay.clock import drawn_ms
from overlay.transaction import show_outpoint
from store.port import Document, Find

_CHANGES: Final = {
    (Status.ACTIVE, Status.CANCELLED): "cancel",
    (Status.RESERVED, Status.CANCELLED): "cancel",
    (Status.CANCELLED, Status.CLAIMED): "claim",
    (Status.ACTIVE, Status.RESERVED): "reserve",
    (Status.RESERVED, Status.ACTIVE): "release",
    (Status.ACTIVE, Status.LOCKED): "lock",
    (Status.LOCKED, Status.ACTIVE): "unlock",
    (Status.LOCKED, Status.WITHDRAWN): "withdraw",
}


@dataclass(slots=True)
class Step:
    """One transaction and its part in an issuance."""

    txid: bytes
    spent: list[Document] = field(default_factory=list)
    made: list[Document] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def events(self) -> list[str]:
        """What happened: `issuance`, `transfer`, `split`, `merge`, a change of status, `withdraw`, `lost`;
        `move` when a token merely came under another key."""
        events = {"withdraw"} if self.notices else set()
        if self.spent and self.made:
            events |= self._changes() | self._cuts() or {"move"}
        elif self.made:
            events.add("issuance")
        elif self.spent:
            events.add("lost")
        return sorted(events)

    def _changes(self) -> set[str]:
        """How what was made differs from the part of what was spent that it goes on from."""
        events = set()
        for before in self.spent:
            for after in self.made:
                if not range_of(before).overlaps(range_of(after)):
                    continue
                if before["status"] != after["status"]:
                    events.add(_CHANGES.get((before["status"], after["status"]), "change"))
                if before["account_id"] != after["account_id"]:
                    events.add("transfer")
        return events

    def _cuts(self) -> set[str]:
        ends = {range_of(each).end for each in self.spent}, {range_of(each).end for each in self.made}
        return ({"split"} if ends[1] - ends[0] else set()) | ({"merge"} if ends[0] - ends[1] else set())

    def told(self, proof: TimestampProof) -> dict[str, Any]:
        """The step as JSON. `time` is the block's when it is proven, else when the node admitted it."""
        told = {
            "events": self.events(),
            "tx_id": self.txid[::-1].hex(),
            "time": self._time(proof),
            "block_height": proof.height,
            "from": [_told_output(each) for each in _ordered(self.spent)],
            "to": [_told_output(each) for each in _ordered(self.made)],
        }
        if self.notices:
            told["withdrawn"] = [notice.told() for notice in self.notices]
        return told

    def _time(self, proof: TimestampProof) -> str | None:
        if proof.block_time_ms is not None:
            return moment_of_ms(proof.block_time_ms)
        return moment_of_ms(drawn_ms(self.made[0]["seq"])) if self.made else None


def _ordered(records: Iterable[Document]) -> list[Document]:
    return sorted(records, key=range_of)


def _told_output(record: Document) -> dict[str, Any]:
    return {
        "outpoint": show_outpoint(record["_id"]),
        "bundle_id_range_start": record["range_start"],
        "bundle_id_range_end": record["range_end"],
        "bundle_quantity": record["quantity"],
        "certificate_status": record["status"],
        "account_id": record["account_id"],
    }


async def lineage(ground: RegistryGround, issuance_id: str) -> dict[str, Any]:
    """The issuance's steps, the earliest first, and the partition of its range as it is now.

    `NotFound(CERTIFICATE_UNKNOWN)`; `BadRequest(BAD_QUERY)` when it has more outputs than a lookup may read.
    """
    most = ground.settings.limits.lookup_scan
    find = Find("issuance", {"issuance_id": issuance_id}, limit=most)
    page = await ground.store.find(CERTIFICATES, find)
    records = [record for record in page.documents if not record["unissued"]]
    if not records:
        raise NotFound(f"there is no issuance {issuance_id}", ErrorCode.CERTIFICATE_UNKNOWN)
    if page.last is not None:
        raise BadRequest(f"the issuance has more than {most} outputs", ErrorCode.BAD_QUERY)
    notices = (await notices_for(records, ground.store)).get(issuance_id, ())
    steps = _steps(records, notices)
    proofs, now = await gather(
        proofs_of(ground, (step.txid for step in steps)),
        partition(issuance_id, ground.store, ground.now_ms() // 1000, most),
    )
    told = [step.told(proofs.get(step.txid, UNPROVEN)) for step in steps]
    return {"issuance_id": issuance_id, "timeline": told, "now": now}


def _steps(records: Sequence[Document], notices: Iterable[Notice]) -> list[Step]:
    """Transactions in the order in which they were admitted, after them the notices and what was lost."""
    steps: dict[bytes, Step] = {}
    for record in records:
        txid = record["_id"][:32]
        steps.setdefault(txid, Step(txid)).made.append(record)
    for record in records:
        if record["spent_by"] is not None:
            steps.setdefault(record["spent_by"], Step(record["spent_by"])).spent.append(record)
    for notice in notices:
        txid = notice.outpoint[:32]
        steps.setdefault(txid, Step(txid)).notices.append(notice)
    return list(steps.values())
