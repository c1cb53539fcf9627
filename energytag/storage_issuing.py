"""`issue_sdgc`: certificates of the energy that came out of a store.

They are issued to the storage device, for the very interval and energy of one discharge record, once. What the
record tells may be left out of the bundle; what is stated must agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from certificates.document import Json
from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.choosing import StatusForbids
from energytag.creating import AttributesDiffer, registered, stated_request
from energytag.draft import Draft
from energytag.ground import RegistryGround
from energytag.issuing import plan_issuance
from energytag.plan import Made, Plan, Recorder, Scene
from energytag.storage_certificates import stands_issued
from energytag.storage_discharging import RecordedTwice
from energytag.storage_records import SDRS, discharge_record, ms_of
from store.port import Document, Find, Patch, Reader, Write

_TAKEN: Final = "issued discharges"
_FACTOR_ACCURACY: Final = Fraction(1, 10**6)
"""How far a stated efficiency factor, which is a decimal, may be from the record's fraction."""
_FEW: Final = 100


@dataclass(frozen=True, slots=True)
class StorageIssuing:
    """The handler."""

    ground: RegistryGround
    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        body = action.request
        sdr = await discharge_meant(scene.reader, body)
        if action.memo is None:
            await _check_free(scene, sdr)
        known = (await registered(scene.reader, self.ground, [sdr["device_id"]]))[sdr["device_id"]]
        settled = _settled(sdr, known.device)
        _check(body, settled, sdr)
        request = stated_request(body, known, self.ground.settings.registry.issuing_body, None)
        request = replace(
            request, attributes={**request.attributes, **settled}, also=_recorder(sdr["_id"], action.action_id)
        )
        issuance = await plan_issuance([request], action, scene, self.ground.policy)
        claim = _claim(scene, sdr, action)
        scene.taken.setdefault(_TAKEN, set()).add(sdr["_id"])
        return Plan(
            issuance.pieces,
            decision=[*issuance.decision, *claim.writes],
            memo=issuance.memo,
            result=claim.result,
            touches=frozenset({known.holder.account_id}),
        )


async def discharge_meant(reader: Reader, body: Mapping[str, Any]) -> Document:
    """The discharge that a bundle is of: the one it names, else the only one of its device and interval."""
    if "sdr_allocation_id" in body:
        return await discharge_record(reader, body["sdr_allocation_id"])
    start_ms = ms_of(body["production_starting_interval"])
    find = Find("device", {"device_id": body["device_id"]}, start_ms, start_ms + 1, limit=_FEW)
    found = [each for each in (await reader.find(SDRS, find)).documents if each["withdrawn_ms"] is None]
    if len(found) != 1:
        message = f"sdr_allocation_id: {len(found)} discharges of the device begin then; name the one"
        raise BadRequest(message, ErrorCode.INVALID_FIELD)
    return found[0]


async def _check_free(scene: Scene, sdr: Document) -> None:
    if sdr["withdrawn_ms"] is not None:
        raise StatusForbids(f"discharge {sdr['_id']} was withdrawn")
    if sdr["_id"] in scene.taken.get(_TAKEN, ()) or await stands_issued(scene.reader, sdr):
        raise RecordedTwice(f"certificates were issued from discharge {sdr['_id']} already")


def _settled(sdr: Document, device: Document) -> dict[str, Json]:
    """The attributes that a discharge gives its certificates."""
    settled: dict[str, Json] = {
        "sdr_allocation_id": sdr["_id"],
        "storage_device_id": sdr["device_id"],
        "storage_efficiency_factor": float(Fraction(sdr["factor"])),
        "discharging_start_datetime": sdr["fields"]["discharging_start_datetime"],
        "discharging_end_datetime": sdr["fields"]["discharging_end_datetime"],
    }
    if device.get("location") is not None:
        settled["storage_device_location"] = list(device["location"])
    return settled


def _check(body: Mapping[str, Any], settled: Mapping[str, Json], sdr: Document) -> None:
    """`AttributesDiffer` when a bundle says another thing than its discharge."""
    expected = {
        **settled,
        "device_id": sdr["device_id"],
        "production_starting_interval": settled["discharging_start_datetime"],
        "production_ending_interval": settled["discharging_end_datetime"],
    }
    for name, value in expected.items():
        stated = body.get(name, value)
        if stated != value and not _alike(name, stated, sdr):
            raise AttributesDiffer(f"{name} is {stated!r}, and {value!r} by the discharge record")
    if "storage" not in body["device_type"].lower():
        raise AttributesDiffer("device_type must be storage: the energy was released by a storage device")
    energy_wh, discharge_wh = body["bundle_quantity"] * body["face_value"], sdr["fields"]["discharge_energy"]
    if energy_wh != discharge_wh:
        raise AttributesDiffer(f"bundle_quantity × face_value is {energy_wh} Wh, the discharge {discharge_wh} Wh")


def _alike(name: str, stated: Json, sdr: Document) -> bool:
    if name != "storage_efficiency_factor":
        return False
    return abs(Fraction(stated) - Fraction(sdr["factor"])) <= _FACTOR_ACCURACY


def _claim(scene: Scene, sdr: Document, action: Action) -> Plan:
    """The record's new state, as a plan of writes: none when an earlier run has decided this already."""
    if action.memo is None:
        draft = Draft(scene)
        draft.change(SDRS, sdr, {"issued_by": action.action_id, "sdgc": None})
        return draft.plan(sdr["_id"])
    documents = [{"collection": SDRS.name, "document": {**sdr, "issued_by": action.action_id}}]
    return Plan(result={"id": sdr["_id"], "documents": documents, "removed": []})


def _recorder(sdr_id: str, action_id: str) -> Recorder:
    """Notes in the record what was issued from it. The decision has claimed it; a rebuild, which knows of finished
    actions only, may have forgotten that since."""

    def record(made: Made) -> Sequence[Write]:
        assert made.token is not None
        return [Patch(SDRS, sdr_id, {"issued_by": action_id, "sdgc": made.token.issuance_id})]

    return record
