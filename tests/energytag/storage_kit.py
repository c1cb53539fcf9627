"""A storage device beside the solar roof of `kit`, and the calls about it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from config.errors import ErrorCode
from energytag.actions import Kind, State
from energytag.holdings import find
from energytag.models.common import read, secs_of, written
from energytag.models.storage import (
    StorageAction,
    StorageActionUpdateMutables,
    StorageAllocation,
    StorageBundle,
    StorageChargeRecordBase,
    StorageDischargeRecordBase,
)
from energytag.plan import Holding
from energytag.queue import Outcome
from energytag.records import DEVICES
from energytag.storage_records import SCRS, SDRS
from lookup.filters import Filters
from store.port import Document, Find, Put
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode, device_row, moment

USER = "11111111-2222-4333-8444-555555555555"
BATTERY = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b51"
FACTOR = {"numerator": 9, "denominator": 10}

_MODELS: dict[Kind, Any] = {
    Kind.CREATE_SCR: StorageChargeRecordBase,
    Kind.CREATE_SDR: StorageDischargeRecordBase,
    Kind.ALLOCATE_STORAGE: StorageAllocation,
    Kind.ISSUE_SDGC: StorageBundle,
    Kind.STORAGE_UPDATE_MUTABLES: StorageActionUpdateMutables,
}


def battery_row(device_id: str = BATTERY, account_id: str = ACCOUNT) -> Document:
    return device_row(
        device_id,
        account_id,
        device_name="Battery 1",
        energy_source="battery_storage",
        technology_type="battery_storage",
        is_storage=True,
    )


def body(source: str = ACCOUNT, /, **fields: Any) -> dict[str, Any]:
    return {"source_account_id": source, "source_user_id": USER} | fields


class Battery:
    """The battery of the first account, on the real registry."""

    def __init__(self, registry: RegistryNode) -> None:
        self.registry = registry

    async def open(self) -> None:
        await self.registry.store.commit([Put(DEVICES, battery_row())])

    async def act(self, kind: Kind, request: dict[str, Any]) -> Outcome:
        model = _MODELS.get(kind, StorageAction)
        stated = written(read(model, request))
        if kind in (Kind.CREATE_SCR, Kind.CREATE_SDR):
            stated = {"source_account_id": ACCOUNT, "device_id": BATTERY} | stated
        return await self.registry.act(kind, stated)

    async def done(self, kind: Kind, request: dict[str, Any]) -> str:
        """The id of what an action that must come through is about."""
        outcome = await self.act(kind, request)
        assert outcome.action.state is State.RESOLVED, outcome.action.error
        return str(outcome.action.result["id"])

    async def refused(self, kind: Kind, request: dict[str, Any]) -> tuple[ErrorCode, str]:
        """The code and the message that an action was rejected with; nothing of the records may have changed."""
        before = await self.records()
        action = (await self.act(kind, request)).action
        assert action.state is State.REJECTED, action.result
        assert action.error is not None
        assert await self.records() == before
        return ErrorCode(action.error["code"]), action.error["message"]

    async def records(self) -> list[Document]:
        store = self.registry.store
        return [each for one in (SCRS, SDRS) for each in (await store.find(one, Find(limit=1000))).documents]

    async def cancelled(self, hour: int, energy_wh: int = 1000, **fields: Any) -> str:
        """The issuance of an hour of the roof, cancelled for the account unless another beneficiary is named."""
        await self.registry.issue(hour, 1, energy_wh)
        period = {"certificate_period_start": moment(hour), "certificate_period_end": moment(hour + 1)}
        await self.registry.resolved(Kind.CANCEL, body(**period, **fields))
        found = {each.token.issuance_id for each in await self.roof(hour)}
        assert len(found) == 1
        return found.pop()

    async def roof(self, hour: int) -> list[Holding]:
        """The certificates of an hour of the roof."""
        start = secs_of(moment(hour))
        filters = Filters({"device_id": (DEVICE,)}, period_start=start, period_end=start + 3600)
        return await find(self.registry.store, filters, self.registry.clock.now_ms // 1000, 1000)

    async def charge_body(self, hour: int, energy_wh: int = 1000) -> dict[str, Any]:
        """A charge with all of an hour's production."""
        issuance_id = await self.cancelled(hour, energy_wh)
        first = (await self.roof(hour))[0].token.issued.start
        return charge(hour, energy_wh, issuance_id, first)

    async def charged(self, hour: int, energy_wh: int = 1000) -> str:
        return await self.done(Kind.CREATE_SCR, await self.charge_body(hour, energy_wh))

    async def discharged(self, hour: float, energy_wh: int, **fields: Any) -> str:
        return await self.done(Kind.CREATE_SDR, discharge(hour, energy_wh, **fields))

    async def left(self, scr_id: str) -> Fraction:
        record = await self.registry.store.get(SCRS, scr_id)
        assert record is not None
        return Fraction(record["left"])


def charge(hour: int, energy_wh: int, issuance_id: str, first: int, **fields: Any) -> dict[str, Any]:
    return {
        "charging_start_datetime": moment(hour),
        "charging_end_datetime": moment(hour + 1),
        "charging_energy": energy_wh,
        "charging_energy_source": "Solar PV",
        "gc_issuance_id": issuance_id,
        "gc_bundle_id_range_start": first,
        "gc_bundle_id_range_end": first + energy_wh - 1,
        "scr_geographic_matching_method": "same bidding zone",
    } | fields


def discharge(hour: float, energy_wh: int, **fields: Any) -> dict[str, Any]:
    return {
        "discharging_start_datetime": moment(hour),
        "discharging_end_datetime": moment(hour + 1),
        "discharge_energy": energy_wh,
        "charging_energy_source": "solar_pv",
        "scr_allocation_methodology": "FIFO",
        "efficiency_factor_methodology": "output by input",
        "efficiency_factor": FACTOR,
    } | fields


def bundle(hour: float, energy_wh: int, **fields: Any) -> dict[str, Any]:
    """A bundle of discharged energy as EnergyTag's schema has it, without what the record tells."""
    return {
        "certificate_status": "Active",
        "account_id": ACCOUNT,
        "bundle_quantity": energy_wh,
        "energy_carrier": "electricity",
        "energy_source": "battery_storage",
        "face_value": 1,
        "issuance_post_energy_carrier_conversion": True,
        "registry_configuration": 1,
        "device_id": BATTERY,
        "device_name": "Battery 1",
        "device_technology_type": "battery_storage",
        "device_production_start_date": "2021-04-01",
        "device_capacity": 100_000,
        "device_location": [52.1, 5.2],
        "device_type": "storage",
        "production_starting_interval": moment(hour),
        "production_ending_interval": moment(hour + 1),
        "issuance_datestamp": "2026-06-01",
        "expiry_datestamp": "2028-01-01",
        "country_of_issuance": "NL",
        "connected_grid_identification": "10YNL----------L",
        "issuing_body": "METAWATT",
        "issue_market_zone": "NL",
    } | fields
