"""`create_scr`: a charge, and the cancelled certificates that back it.

The certificates must be the least that cover the charge. With certificates of 1 Wh that is the charged energy
itself; larger ones cannot always add up to it, and what the last of them has above it backs nothing else. One
range backs one charge: a guard for each issuance makes that hold for charges that are created at once, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from basket.keyring import Keyring
from certificates.bundle import source_word
from certificates.lifecycle import Status
from certificates.ranges import Range, merge, subtract
from config.errors import BadRequest, ErrorCode, MetawattError, NotFound
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.bundles import range_of
from energytag.choosing import StatusForbids
from energytag.creating import AttributesDiffer
from energytag.draft import Draft
from energytag.holdings import load, shown
from energytag.issuing import IntervalInvalid
from energytag.plan import Holding
from energytag.storage_devices import storage_device
from energytag.storage_records import SCRS, guard, ms_of, store_of
from lookup.filters import Filters
from store.port import Document, Find, Reader

BASE_FIELDS: Final = (
    "charging_start_datetime",
    "charging_end_datetime",
    "charging_energy",
    "charging_energy_source",
    "gc_issuance_id",
    "gc_bundle_id_range_start",
    "gc_bundle_id_range_end",
    "scr_geographic_matching_method",
)


class RangeInvalid(BadRequest):
    """The certificates are not those that can back the charge."""

    default_code = ErrorCode.RANGE_INVALID


async def draw_charge(draft: Draft, action: Action, *, keyring: Keyring) -> str:
    """Draw up the SCR of an action; its id is the action's."""
    body = action.request
    holder = await holder_of(draft.reader, keyring, body["source_account_id"])
    keys = {holder.identity.hex(), keyring.account(holder.account_id).public.hex()}
    await storage_device(draft.reader, body["source_account_id"], body["device_id"])
    start_ms, end_ms = interval_of(
        body["charging_start_datetime"], body["charging_end_datetime"], draft.now_ms, "charging"
    )
    issuance_id, numbers = body["gc_issuance_id"], _numbers(body)
    await guard(draft, f"issuance/{issuance_id}")
    other = await backed_by(draft.reader, issuance_id, numbers)
    if other is not None:
        raise StatusForbids(f"certificates {numbers} of {issuance_id} back, in part at least, charge {other}")
    await _check_certificates(draft, body, numbers, (start_ms, end_ms), keys)
    draft.insert(
        SCRS,
        {
            "_id": action.action_id,
            "rev": 0,
            "account_id": body["source_account_id"],
            "device_id": body["device_id"],
            "start_ms": start_ms,
            "end_ms": end_ms,
            "open": store_of(body["device_id"], body["charging_energy_source"]),
            "backing": issuance_id,
            "first_number": numbers.start,
            "last_number": numbers.end,
            "left": str(body["charging_energy"]),
            "sdr": None,
            "withdrawn_ms": None,
            "fields": {name: body[name] for name in BASE_FIELDS},
        },
    )
    return action.action_id


def interval_of(start: str, end: str, now_ms: int, what: str) -> tuple[int, int]:
    """Epoch milliseconds of an interval that is above zero and over; `IntervalInvalid` for any other."""
    start_ms, end_ms = ms_of(start), ms_of(end)
    if start_ms >= end_ms:
        raise IntervalInvalid(f"the {what} interval is not above zero")
    if end_ms > now_ms:
        raise IntervalInvalid(f"the {what} interval ends in the future, at {end}")
    return start_ms, end_ms


async def backed_by(reader: Reader, issuance_id: str, numbers: Range) -> str | None:
    """The charge that some of these certificates back; None when there is none. Ranges that back charges are
    disjoint, so the last that begins before the end of this one is the only one to look at."""
    find = Find("backing", {"backing": issuance_id}, upper=numbers.end + 1, descending=True, limit=1)
    for scr in (await reader.find(SCRS, find)).documents:
        if numbers.overlaps(Range(scr["first_number"], scr["last_number"])):
            return str(scr["_id"])
    return None


async def backing_charges(reader: Reader, holdings: Sequence[Holding]) -> dict[bytes, MetawattError]:
    """Which of these bundles back charges, by outpoint, as a refusal to claim them: their energy goes on in what is
    issued from the store."""
    if not (await reader.find(SCRS, Find("backing", limit=1))).documents:
        return {}
    found: dict[bytes, MetawattError] = {}
    for holding in holdings:
        scr_id = await backed_by(reader, holding.token.issuance_id, holding.token.bundle.range)
        if scr_id is not None:
            found[holding.outpoint] = StatusForbids(f"the certificates back storage charge {scr_id}")
    return found


def _numbers(body: Mapping[str, Any]) -> Range:
    return Range(body["gc_bundle_id_range_start"], body["gc_bundle_id_range_end"])


async def _check_certificates(
    draft: Draft, body: Mapping[str, Any], numbers: Range, interval: tuple[int, int], keys: Collection[str]
) -> None:
    """That all of these certificates are there, cancelled for the account, and fit the charge."""
    cancelled = await _cancelled(draft, body["gc_issuance_id"], numbers)
    missing = subtract(
        [numbers],
        merge(range_of(each.record) for each in cancelled if _is_for(each, body["source_account_id"], keys)),
    )
    if missing:
        raise StatusForbids(
            f"certificates {', '.join(map(str, missing[:8]))} of {body['gc_issuance_id']} are not cancelled in "
            f"favour of the storage device's account"
        )
    _check_fit(cancelled[0].record, body, numbers, interval)


async def _cancelled(draft: Draft, issuance_id: str, numbers: Range) -> list[Holding]:
    """The cancelled bundles that have some of the numbers."""
    filters = Filters({"issuance_id": (issuance_id,)}, statuses=(Status.CANCELLED.value,))
    outpoints = [
        each.record["_id"]
        async for page in shown(draft.reader, filters, draft.now_ms // 1000)
        for each in page
        if numbers.overlaps(range_of(each.record))
    ]
    if not outpoints:
        await _check_issued(draft.reader, issuance_id, draft.now_ms // 1000)
    return await load(draft.reader, outpoints)


async def _check_issued(reader: Reader, issuance_id: str, now_secs: int) -> None:
    async for page in shown(reader, Filters({"issuance_id": (issuance_id,)}), now_secs):
        if page:
            return
    raise NotFound(f"There are no certificates of issuance {issuance_id}", ErrorCode.CERTIFICATE_UNKNOWN)


def _is_for(holding: Holding, account_id: str, keys: Collection[str]) -> bool:
    """Whether a cancellation leaves the energy to this account: one of its keys (its user's, or the registry's for
    it) is named as the beneficiary, or nobody is and it held the certificates."""
    beneficiary = holding.token.beneficiary
    if beneficiary is None:
        return bool(holding.record["account_id"] == account_id)
    return isinstance(beneficiary, Mapping) and beneficiary.get("identity_key") in keys


def _check_fit(record: Document, body: Mapping[str, Any], numbers: Range, interval: tuple[int, int]) -> None:
    source = body["charging_energy_source"]
    if source_word(source) != record["energy_source"]:
        raise AttributesDiffer(f"the certificates are of {record['energy_source']}, the charge of {source}")
    if not interval[0] <= record["period_start"] * 1000 < record["period_end"] * 1000 <= interval[1]:
        raise IntervalInvalid("the certificates' production interval is not within the charging interval")
    face_value, energy_wh = record["face_value"], body["charging_energy"]
    needed = -(-energy_wh // face_value)
    if numbers.quantity != needed:
        raise RangeInvalid(
            f"{energy_wh} Wh are backed by {needed} certificates of {face_value} Wh, not by {numbers.quantity}"
        )
