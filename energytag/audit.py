"""The registry's own invariants, verified on what is stored: registry, index, wallet and chain tell one story.

    R1  what was issued for a device does not overlap in time, and each interval has its guard
    R2  a device's certificates are numbered from 1 to the next number, without gap or overlap
    R3  the basket has every live token that stands in a custodial account, and the node can unlock it
    R4  every live coin of the wallet is an output of a transaction that is kept, and nobody spends it

Read with nobody at work; a registry in use may be caught between two reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from basket.coins import FUND_COINS
from basket.keyring import Keyring
from certificates.ranges import Range, merge, partitions
from certificates.token import Token
from energytag.compose import ANYONE
from energytag.intervals import series_key, start_of
from energytag.private import PRIVATE
from energytag.records import ACCOUNTS, BASKET, INTERVALS, NUMBERS
from lookup.records import CERTIFICATES
from lookup.standing import notices_for
from overlay.invariants import walk
from overlay.keys import Counterparty
from overlay.records import SPENDS, TRANSACTIONS
from store.port import Document, Find, Reader
from topics.certificates import read_script


@dataclass(frozen=True, slots=True)
class _Issued:
    series: bytes
    numbers: Range


async def check_registry(reader: Reader, keyring: Keyring) -> list[str]:
    """Faults, each as a sentence that begins with the invariant's number; empty when all hold."""
    issued = await _issued(reader, keyring.identity)
    return [
        *await _intervals(reader, issued),
        *await _numbers(reader, issued),
        *await _basket(reader, keyring),
        *await _wallet(reader),
    ]


async def _issued(reader: Reader, issuer: bytes) -> dict[str, _Issued]:
    """What this registry has issued, by issuance id, private bundles too."""
    issued: dict[str, _Issued] = {}
    async for records in walk(reader, CERTIFICATES):
        for record in records:
            if record["issuer"] == issuer and not record["unissued"]:
                series = series_key(record["device_id"], record["energy_carrier"])
                numbers = Range(record["issued_start"], record["issued_end"])
                issued[record["issuance_id"]] = _Issued(series, numbers)
    async for rows in walk(reader, PRIVATE):
        for token in (read_script(script) for row in rows for script in row["scripts"]):
            if isinstance(token, Token):
                tag = token.bundle.attributes
                issued[token.issuance_id] = _Issued(
                    series_key(tag["device_id"], tag["energy_carrier"]), token.issued
                )
    return issued


async def _intervals(reader: Reader, issued: dict[str, _Issued]) -> list[str]:
    faults: list[str] = []
    guarded: set[str] = set()
    last: Document | None = None
    async for rows in walk(reader, INTERVALS):
        for before, row in pairwise([last, *rows] if last is not None else rows):
            if before["_id"][:16] == row["_id"][:16] and before["end"] > start_of(row):
                faults.append(f"R1: issuances {before['issuance_id']} and {row['issuance_id']} overlap in time")
        for row in rows:
            guarded.add(row["issuance_id"])
            if row["issuance_id"] not in issued:
                faults.append(f"R1: issuance {row['issuance_id']} has a guard, and is not in the index")
        last = rows[-1] if rows else last
    unguarded = await _standing(reader, [each for each in issued if each not in guarded])
    return faults + [f"R1: issuance {each} has no guard" for each in unguarded]


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


async def _numbers(reader: Reader, issued: dict[str, _Issued]) -> list[str]:
    ranges: dict[bytes, list[Range]] = defaultdict(list)
    for each in issued.values():
        ranges[each.series].append(each.numbers)
    faults: list[str] = []
    async for rows in walk(reader, NUMBERS):
        for row in rows:
            found = ranges.pop(row["_id"], [])
            if not partitions(found, [Range(1, row["next"] - 1)]):
                shown = ", ".join(map(str, merge(found)))
                faults.append(f"R2: series {row['_id'].hex()} has numbers {shown}; the next is {row['next']}")
    return faults + [f"R2: series {series.hex()} has no next number" for series in ranges]


async def _basket(reader: Reader, keyring: Keyring) -> list[str]:
    faults: list[str] = []
    async for rows in walk(reader, BASKET):
        records = await reader.get_many(CERTIFICATES, [row["_id"] for row in rows])
        for row in rows:
            faults += _basket_row(row, records.get(row["_id"]), keyring)
    async for records_page in walk(reader, CERTIFICATES):
        live = [record for record in records_page if record["live"] and record["issuer"] == keyring.identity]
        faults += await _missing(reader, live)
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
    async for rows in walk(reader, FUND_COINS):
        keys = [row["_id"] for row in rows if row["live"] is not None]
        kept, spends = await reader.get_each([(TRANSACTIONS, [key[:32] for key in keys]), (SPENDS, keys)])
        faults += [
            f"R4: coin {key.hex()} is of a transaction that is not kept" for key in keys if key[:32] not in kept
        ]
        faults += [f"R4: coin {key.hex()} is spent" for key in keys if key in spends]
    return faults
