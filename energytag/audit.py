"""The registry's own invariants, verified on what is stored: registry, index, wallet and chain tell one story.

    R1  what was issued for a device does not overlap in time, and each interval has its guard, which says the same;
        of the bridge's intervals, and of no others, there are any number of issuances that mirror tokens
    R2  a device's certificates are numbered from 1 to the next number, without gap or overlap; what the network
        refused has used its numbers up
    R3  the basket has every live token that stands in a custodial account, and the node can unlock it; but for what
        was handed to a bridge, which is locked to that one's key
    R4  every live coin of the wallet is an output of a transaction that is kept, and nobody spends it
    R5  charges are backed by cancelled certificates, each by its own            (`audit_storage.py`)
    R6  discharges take of charges what both say, and no more than there was

What was issued with the node's key for devices that the registry does not have, and what was imported, with the
numbers of its source registry, is no matter of R1 and R2. A registry in use may be caught between two reads, so
only what is still wrong at a second look is reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from basket.coins import FUND_COINS
from basket.keyring import Keyring
from certificates.lifecycle import Status
from certificates.ranges import Range, merge, partitions
from certificates.token import Token
from energytag.audit_storage import check_storage_records
from energytag.compose import ANYONE
from energytag.imports import IMPORTED
from energytag.intervals import is_bridges, series_key, span_of, start_of
from energytag.private import PRIVATE
from energytag.records import ACCOUNTS, BASKET, DEVICES, INTERVALS, NUMBERS
from energytag.undone import UNDONE
from lookup.records import CERTIFICATES
from lookup.standing import notices_for
from overlay.keys import Counterparty
from overlay.records import SPENDS, TRANSACTIONS
from store.pages import pages
from store.port import Document, Find, Reader
from topics.certificates import read_script

_AT_A_BRIDGE: Final = frozenset({Status.LOCKED, Status.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class _Issued:
    """An issuance; `period` in epoch seconds, widened to whole ones, as the index has it."""

    series: bytes
    numbers: Range
    period: tuple[int, int]
    is_mirrored: bool

    @classmethod
    def of_record(cls, record: Document) -> _Issued:
        return cls(
            series_key(record["device_id"], record["energy_carrier"]),
            Range(record["issued_start"], record["issued_end"]),
            (record["period_start"], record["period_end"]),
            bool(record.get("is_mirrored")),
        )

    @classmethod
    def of_token(cls, token: Token) -> _Issued:
        tag, (start_ms, end_ms) = token.bundle.attributes, token.bundle.period_ms
        series = series_key(str(tag["device_id"]), str(tag["energy_carrier"]))
        return cls(series, token.issued, _whole_secs(start_ms, end_ms), token.origin is not None)

    @property
    def span(self) -> _Span:
        return self.series, self.period

    def is_guarded_by(self, row: Document) -> bool:
        return (_span(row), Range(row["start"], row["stop"])) == (self.span, self.numbers)


_Span: TypeAlias = tuple[bytes, tuple[int, int]]
"""A series, and an interval in whole seconds."""


def _span(row: Document) -> _Span:
    series, (start_ms, end_ms) = span_of(row["_id"], row["end"])
    return series, _whole_secs(start_ms, end_ms)


def _whole_secs(start_ms: int, end_ms: int) -> tuple[int, int]:
    return start_ms // 1000, -(-end_ms // 1000)


async def check_registry(reader: Reader, keyring: Keyring) -> list[str]:
    """Faults, each as a sentence that begins with the invariant's number; empty when all hold."""
    faults = await _look(reader, keyring)
    if not faults:
        return []
    again = set(await _look(reader, keyring))
    return [fault for fault in faults if fault in again]


async def _look(reader: Reader, keyring: Keyring) -> list[str]:
    issued = await _issued(reader, keyring.identity)
    return [
        *await _intervals(reader, issued),
        *await _numbers(reader, issued, await _undone(reader, issued)),
        *await _basket(reader, keyring),
        *await _wallet(reader),
        *await check_storage_records(reader),
    ]


async def _issued(reader: Reader, issuer: bytes) -> dict[str, _Issued]:
    """What this registry has issued, by issuance id, private bundles too."""
    issued: dict[str, _Issued] = {}
    async for records in pages(reader, CERTIFICATES):
        own = [record for record in records if record["issuer"] == issuer and not record["unissued"]]
        devices, imported = await reader.get_each(
            [
                (DEVICES, list({record["device_id"] for record in own})),
                (IMPORTED, list({record["issuance_id"] for record in own})),
            ]
        )
        issued |= {
            record["issuance_id"]: _Issued.of_record(record)
            for record in own
            if record["device_id"] in devices and "source" not in imported.get(record["issuance_id"], ())
        }
    async for rows in pages(reader, PRIVATE):
        for token in (read_script(script) for row in rows for script in row["scripts"]):
            if isinstance(token, Token):
                issued[token.issuance_id] = _Issued.of_token(token)
    return issued


async def _intervals(reader: Reader, issued: dict[str, _Issued]) -> list[str]:
    faults: list[str] = []
    guarded: set[str] = set()
    bridged: set[_Span] = set()
    last: Document | None = None
    async for rows in pages(reader, INTERVALS):
        for before, row in pairwise([last, *rows] if last is not None else rows):
            if before["_id"][:16] == row["_id"][:16] and before["end"] > start_of(row):
                faults.append(f"R1: issuances {before['issuance_id']} and {row['issuance_id']} overlap in time")
        for row in rows:
            if is_bridges(row):
                bridged.add(_span(row))
                continue
            guarded.add(row["issuance_id"])
            faults += _guard(row, issued.get(row["issuance_id"]))
        last = rows[-1] if rows else last
    guarded |= {key for key, each in issued.items() if each.is_mirrored and each.span in bridged}
    unguarded = await _standing(reader, [each for each in issued if each not in guarded])
    return faults + [f"R1: issuance {each} has no guard" for each in unguarded]


def _guard(row: Document, issued: _Issued | None) -> list[str]:
    if issued is None:
        return [f"R1: issuance {row['issuance_id']} has a guard, and is not in the index"]
    if not issued.is_guarded_by(row):
        return [f"R1: the guard of issuance {row['issuance_id']} says another interval, or other numbers"]
    return []


async def _standing(reader: Reader, issuance_ids: Sequence[str]) -> list[str]:
    """Those of which something was never withdrawn."""
    standing = []
    for issuance_id in issuance_ids:
        page = await reader.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=1))
        if not page.documents or not await _withdrawn_whole(reader, page.documents[0]):
            standing.append(issuance_id)
    return standing


async def _withdrawn_whole(reader: Reader, record: Document) -> bool:
    issued = Range(record["issued_start"], record["issued_end"])
    notices = (await notices_for([record], reader)).get(record["issuance_id"], ())
    return merge(each.range for each in notices if each.issuer == record["issuer"]) == [issued]


async def _undone(reader: Reader, issued: dict[str, _Issued]) -> dict[bytes, list[Range]]:
    """By series the numbers of issuances that the network refused: no other certificate gets them."""
    undone: dict[bytes, list[Range]] = defaultdict(list)
    async for rows in pages(reader, UNDONE):
        for issuance_id, key, start, stop, _ in (each for row in rows for each in row["issued"]):
            numbers, known = Range(start, stop), issued.get(issuance_id)
            if known is None or known.numbers != numbers:
                undone[key[:16]].append(numbers)
    return undone


async def _numbers(reader: Reader, issued: dict[str, _Issued], undone: dict[bytes, list[Range]]) -> list[str]:
    ranges: dict[bytes, list[Range]] = defaultdict(list)
    for each in issued.values():
        ranges[each.series].append(each.numbers)
    faults: list[str] = []
    async for rows in pages(reader, NUMBERS):
        for row in rows:
            found = ranges.pop(row["_id"], []) + undone.get(row["_id"], [])
            if not partitions(found, [Range(1, row["next"] - 1)]):
                shown = ", ".join(map(str, merge(found)))
                faults.append(f"R2: series {row['_id'].hex()} has numbers {shown}; the next is {row['next']}")
    return faults + [f"R2: series {series.hex()} has no next number" for series in ranges]


async def _basket(reader: Reader, keyring: Keyring) -> list[str]:
    faults: list[str] = []
    async for rows in pages(reader, BASKET):
        records = await reader.get_many(CERTIFICATES, [row["_id"] for row in rows])
        for row in rows:
            faults += _basket_row(row, records.get(row["_id"]), keyring)
    async for records_page in pages(reader, CERTIFICATES):
        live = [record for record in records_page if record["live"] and record["issuer"] == keyring.identity]
        faults += await _missing(reader, [record for record in live if record["status"] not in _AT_A_BRIDGE])
    return faults


def _basket_row(row: Document, record: Document | None, keyring: Keyring) -> list[str]:
    name = row["_id"].hex()
    if record is None:
        return []  # of a private bundle, or of one that the network refused
    if not record["live"]:
        return [f"R3: the basket has {name}, which is spent"]
    sender: Counterparty = "anyone" if row["sender"] == ANYONE else row["sender"]
    if keyring.unlocking_key(row["account_id"], row["key_id"], sender).public != record["owner_key"]:
        return [f"R3: the basket's key does not unlock {name}"]
    return []


async def _missing(reader: Reader, live: Sequence[Document]) -> list[str]:
    rows = await reader.get_many(BASKET, [record["_id"] for record in live])
    accounts = await reader.get_many(ACCOUNTS, list({record["account_id"] for record in live}))
    return [
        f"R3: {record['_id'].hex()} stands in account {record['account_id']}, and is not in the basket"
        for record in live
        if record["_id"] not in rows
        and record["account_id"] in accounts
        and accounts[record["account_id"]]["identity_key"] is None
    ]


async def _wallet(reader: Reader) -> list[str]:
    faults: list[str] = []
    async for rows in pages(reader, FUND_COINS):
        keys = [row["_id"] for row in rows if row["live"] is not None]
        kept, spends = await reader.get_each([(TRANSACTIONS, [key[:32] for key in keys]), (SPENDS, keys)])
        faults += [
            f"R4: coin {key.hex()} is of a transaction that is not kept" for key in keys if key[:32] not in kept
        ]
        faults += [f"R4: coin {key.hex()} is spent" for key in keys if key in spends]
    return faults
