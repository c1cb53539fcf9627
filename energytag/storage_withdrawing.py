"""What becomes of storage records later: withdrawn by the issuing body, or changed in what may change.

A withdrawn discharge gives back what it took of its charges. Records stay, marked; what was issued, or allocated,
is withdrawn first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.creating import AttributesDiffer
from energytag.devices import device
from energytag.draft import Draft, StillInUse
from energytag.plan import Plan, Scene
from energytag.selection import NothingSelected
from energytag.storage_allocating import give_back, given_back
from energytag.storage_certificates import stands_issued
from energytag.storage_records import SCRS, SDRS
from energytag.storage_search import Wanted, search
from store.port import Collection, Document

MOST_RECORDS: Final = 500
"""Records that one action may change."""

Change: TypeAlias = Callable[[Draft, Mapping[str, Any], Sequence[Document]], Awaitable[None]]
"""What is done with records that were found, by the request."""


@dataclass(frozen=True, slots=True)
class Changing:
    """The handler of an action on records that satisfy criteria, of any of these collections."""

    collections: tuple[Collection, ...]
    change: Change
    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        wanted = Wanted.read(action.request)
        if wanted.is_everything:
            raise BadRequest("say which of the account's records are meant", ErrorCode.INVALID_FIELD)
        found = await self._found(scene, wanted)
        draft = Draft(scene)
        await self.change(draft, action.request, found)
        plan = draft.plan(action.action_id)
        return replace(plan, result={**plan.result, "records": [record["_id"] for record in found]})

    async def _found(self, scene: Scene, wanted: Wanted) -> list[Document]:
        found: list[Document] = []
        for collection in self.collections:
            page = await search(scene.reader, collection, wanted, MOST_RECORDS)
            found += page.records
            if page.cursor is not None or len(found) > MOST_RECORDS:
                raise BadRequest(f"an action changes at most {MOST_RECORDS} records", ErrorCode.INVALID_FIELD)
        found = [record for record in found if record["withdrawn_ms"] is None]
        if not found:
            raise NothingSelected("No record of the account satisfies the criteria")
        return found


async def withdraw_charges(draft: Draft, _request: Mapping[str, Any], scrs: Sequence[Document]) -> None:
    """`StillInUse` when a discharge draws on one of them."""
    for scr in scrs:
        if scr["sdr"] is not None:
            raise StillInUse(f"discharge {scr['sdr']} draws on charge {scr['_id']}; withdraw it first")
        draft.change(SCRS, scr, {"open": None, "backing": None, "withdrawn_ms": draft.now_ms})


async def withdraw_discharges(draft: Draft, _request: Mapping[str, Any], sdrs: Sequence[Document]) -> None:
    """`StillInUse` when certificates stand that were issued from one of them."""
    for sdr in sdrs:
        if await stands_issued(draft.reader, sdr):
            raise StillInUse(f"certificates were issued from discharge {sdr['_id']}; withdraw them first")
    give_back(draft, *await given_back(draft.reader, sdrs))
    for sdr in sdrs:
        draft.change(SDRS, sdr, {"live": None, "scrs": [], "withdrawn_ms": draft.now_ms})


async def update_records(draft: Draft, request: Mapping[str, Any], records: Sequence[Document]) -> None:
    """Set what may change. A record goes to another account only along with its device."""
    account_id = request.get("account_id")
    for record in records:
        is_charge = "charging_energy" in record["fields"]
        name = "scr_geographic_matching_method" if is_charge else "efficiency_factor_methodology"
        changes: dict[str, Any] = {}
        if name in request:
            changes["fields"] = {**record["fields"], name: request[name]}
        if account_id is not None:
            await _check_moved(draft, record, account_id)
            changes |= {"account_id": account_id} if is_charge else {"account_id": account_id, "live": account_id}
        if changes:
            draft.change(SCRS if is_charge else SDRS, record, changes)


async def _check_moved(draft: Draft, record: Document, account_id: str) -> None:
    registered = (await device(draft.reader, record["device_id"]))["account_id"]
    if registered != account_id:
        raise AttributesDiffer(f"account_id: device {record['device_id']} is registered to account {registered}")
