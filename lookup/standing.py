"""How a record stands at a moment: its token's status, with expiry, loss and the issuer's notices laid over.

A notice counts when its issuer is the record's own: one issuing body cannot withdraw what another issued. It
outweighs everything else, since neither the coin's owner nor the order of arrival may change what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from certificates.lifecycle import EXPIRING, Status
from certificates.ranges import Range
from lookup.records import NOTICES, WITHDRAWN
from overlay.transaction import show_outpoint
from store.port import Document, Find, Reader

LOST: Final = "lost"
STATUSES: Final = (*(status.value for status in Status), LOST)
MOST_NOTICES: Final = 1000
"""Notices of one issuance, by its own issuer, that are looked at."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A withdrawal notice: its outpoint, its issuer's key, the range and why."""

    outpoint: bytes
    issuer: bytes
    range: Range
    reason: str
    reissued_as: str | None

    @classmethod
    def read(cls, document: Document) -> Notice:
        return cls(
            document["_id"],
            document["issuer"],
            Range(document["start"], document["end"]),
            document["reason"],
            document["reissued_as"],
        )

    def told(self) -> dict[str, Any]:
        """The notice as JSON; the outpoint is `<txid, display order>.<index>`."""
        told = {"start": self.range.start, "end": self.range.end, "reason": self.reason}
        told["notice"] = show_outpoint(self.outpoint)
        if self.reissued_as is not None:
            told["reissued_as"] = self.reissued_as
        return told


Notices = Mapping[str, Sequence[Notice]]


async def notices_for(records: Sequence[Document], reader: Reader) -> Notices:
    """The notices on the issuances of these records, by issuance id; mostly one read that finds none."""
    issuers = {record["issuance_id"]: record["issuer"] for record in records if record["issuer"] is not None}
    marks = await reader.get_many(WITHDRAWN, list(issuers)) if issuers else {}
    return {str(marked): await _notices_on(str(marked), issuers[marked], reader) for marked in marks}


async def _notices_on(issuance_id: str, issuer: bytes, reader: Reader) -> list[Notice]:
    find = Find("issuance", {"issuance_id": issuance_id, "issuer": issuer}, limit=MOST_NOTICES)
    page = await reader.find(NOTICES, find)
    return [Notice.read(document) for document in page.documents]


def applying(record: Document, notices: Notices) -> list[Notice]:
    """The notices that withdraw some of a record's range."""
    on_issuance = notices.get(record["issuance_id"], ())
    if not on_issuance:
        return []
    own = Range(record["range_start"], record["range_end"])
    return [each for each in on_issuance if each.issuer == record["issuer"] and each.range.overlaps(own)]


def is_lost(record: Document) -> bool:
    """Whether the coin was spent without successors, and no topic knows better."""
    return bool(record["lost"]) and record["succeeded_by"] is None


def status_of(record: Document, is_withdrawn: bool, now_secs: int) -> str | None:
    """The status that a record shows: one of `STATUSES`, or for a first token what it says itself. None for
    history: an output that was spent, whose range goes on in its successors."""
    lost = is_lost(record)
    if not (record["live"] or lost):
        return None
    if is_withdrawn:
        return Status.WITHDRAWN.value
    if lost:
        return LOST
    return _with_expiry(record, now_secs)


def _with_expiry(record: Document, now_secs: int) -> str:
    expires, status = record["expires"], str(record["status"])
    if expires is not None and expires <= now_secs and status in EXPIRING:
        return Status.EXPIRED.value
    return status
