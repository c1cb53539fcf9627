"""Which storage records of an account a call means."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

import orjson

from certificates.bundle import source_word
from config.errors import BadRequest, ErrorCode
from energytag.storage_records import ms_of
from store.port import Collection, Document, Find, Reader, Scalar

_SCAN_BUDGET: Final = 10_000
_PAGE: Final = 500
_DIGEST_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """What records must satisfy, all of it together: `start_ms` and `end_ms` bound their whole interval, `sources`
    are spelt as topics are. `sparse` has a beginning for each device, and overrides the rest but the account.
    Withdrawn records are not meant, unless they are named by their id."""

    account_id: str
    record_id: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    device_id: str | None = None
    sources: tuple[str, ...] = ()
    sparse: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Wanted:
        """What a body asks for, as `StorageAction` has checked it."""
        if sparse := request.get("sparse_filter_list"):
            return cls(request["source_account_id"], sparse={device: ms_of(at) for device, at in sparse.items()})
        start, end = request.get("charging_period_start"), request.get("charging_period_end")
        return cls(
            request["source_account_id"],
            request.get("source_allocation_id"),
            None if start is None else ms_of(start),
            None if end is None else ms_of(end),
            request.get("storage_device_id"),
            tuple(sorted({source_word(each) for each in request.get("storage_energy_source", ())})),
        )

    @property
    def is_everything(self) -> bool:
        """Whether nothing but the account is asked for."""
        return self == Wanted(self.account_id)

    def admits(self, record: Document) -> bool:
        """Whether a record is meant."""
        if record["account_id"] != self.account_id:
            return False
        if self.sparse:
            return record["withdrawn_ms"] is None and self.sparse.get(record["device_id"]) == record["start_ms"]
        return (
            self.record_id in (None, record["_id"])
            and (record["withdrawn_ms"] is None or self.record_id is not None)
            and self.device_id in (None, record["device_id"])
            and (self.start_ms is None or record["start_ms"] >= self.start_ms)
            and (self.end_ms is None or record["end_ms"] <= self.end_ms)
            and (not self.sources or source_word(record["fields"]["charging_energy_source"]) in self.sources)
        )

    def walk(self) -> Find:
        """The index entries that all records that are meant are among."""
        equals = {"account_id": self.account_id} if self.device_id is None else {"device_id": self.device_id}
        index = "account" if self.device_id is None else "device"
        return Find(index, equals, self.start_ms, self.end_ms, limit=_PAGE)


@dataclass(frozen=True, slots=True)
class Page:
    """Records by the beginning of their interval, and where to go on, None at the end."""

    records: list[Document]
    cursor: str | None


async def search(
    reader: Reader, collection: Collection, wanted: Wanted, limit: int, cursor: str | None = None
) -> Page:
    """At most `limit` records of `SCRS` or `SDRS`; fewer, with a cursor, when many had to be looked at.
    `BadRequest(BAD_CURSOR)` for a cursor of another search."""
    digest = sha256(f"{collection.name} {wanted!r}".encode()).hexdigest()[:_DIGEST_DIGITS]
    after = None if cursor is None else _position(cursor, digest)
    if wanted.record_id is not None:
        record = await reader.get(collection, wanted.record_id)
        return Page([] if record is None or not wanted.admits(record) else [record], None)
    if wanted.sparse:
        found, end = await _sparse(reader, collection, wanted, after), None
    else:
        found, end = await _walked(reader, collection, wanted, limit, after)
    if len(found) > limit:
        found = found[:limit]
        end = _place(found[-1])
    return Page(found, None if end is None else _cursor(end, digest))


async def _sparse(
    reader: Reader, collection: Collection, wanted: Wanted, after: tuple[Scalar, ...] | None
) -> list[Document]:
    found: list[Document] = []
    for device_id, start_ms in wanted.sparse.items():
        find = Find("device", {"device_id": device_id}, start_ms, start_ms + 1, limit=_PAGE)
        found += filter(wanted.admits, (await reader.find(collection, find)).documents)
    ordered = sorted(found, key=_place)
    return ordered if after is None else [each for each in ordered if _place(each) > after]


async def _walked(
    reader: Reader, collection: Collection, wanted: Wanted, limit: int, after: tuple[Scalar, ...] | None
) -> tuple[list[Document], tuple[Scalar, ...] | None]:
    """More than `limit` records, or all there are, or what the budget allows and where to go on."""
    found: list[Document] = []
    scanned = 0
    while True:
        page = await reader.find(collection, replace(wanted.walk(), after=after))
        scanned += len(page.documents)
        found += filter(wanted.admits, page.documents)
        after = page.last
        if len(found) > limit or after is None or scanned >= _SCAN_BUDGET:
            return found, after


def _place(record: Document) -> tuple[int, str]:
    return record["start_ms"], record["_id"]


def _cursor(place: tuple[Scalar, ...], digest: str) -> str:
    return urlsafe_b64encode(orjson.dumps([digest, *place])).decode()


def _position(cursor: str, digest: str) -> tuple[Scalar, ...]:
    """Where a cursor says to go on; `BadRequest(BAD_CURSOR)` when it is not one of this search."""
    try:
        stated, start_ms, record_id = orjson.loads(urlsafe_b64decode(cursor))
    except (ValueError, TypeError):
        stated = start_ms = record_id = None
    if stated != digest or type(start_ms) is not int or type(record_id) is not str:
        raise BadRequest("The cursor belongs to another search", ErrorCode.BAD_CURSOR)
    return start_ms, record_id
