"""Storage records over HTTP: charge, discharge, issue, trace back; and who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from energytag.models.storage import (
    SCRQueryResponse,
    SDRQueryResponse,
    StorageActionResponse,
    StorageChargeRecord,
    StorageDischargeRecord,
    StorageLineage,
)
from tests.api.meters import Meters, meters, moment, reading

NOWHERE = "00000000-0000-7000-8000-000000000000"


@dataclass
class Plant:
    """A roof and a battery of one account."""

    meters: Meters
    battery_id: str

    def base(self, who: str = "holder", **fields: Any) -> dict[str, Any]:
        return {"source_account_id": self.meters.account_id, "source_user_id": self.meters.users[who]} | fields

    async def charge_body(self, hour: int, energy_wh: int = 1000) -> dict[str, Any]:
        """A charge with an hour of the roof, cancelled by the account."""
        readings = {"device_id": self.meters.device_id, "readings": [reading(hour, energy_wh)]}
        issued = await self.meters.done("issuer", "POST", "/certificates/create_many", 201, json=readings)
        bundle = issued["bundles"][0]
        await self.meters.act("cancel", source_certificate_issuance_id=bundle["issuance_id"])
        return {
            "charging_start_datetime": moment(hour),
            "charging_end_datetime": moment(hour + 1),
            "charging_energy": energy_wh,
            "charging_energy_source": "Solar PV",
            "gc_issuance_id": bundle["issuance_id"],
            "gc_bundle_id_range_start": bundle["bundle_id_range_start"],
            "gc_bundle_id_range_end": bundle["bundle_id_range_end"],
            "scr_geographic_matching_method": "same zone",
        }

    async def charge(self, hour: int, energy_wh: int = 1000) -> dict[str, Any]:
        body = await self.charge_body(hour, energy_wh)
        told = await self.meters.done("holder", "POST", "/storage/create_scr", json=body)
        StorageChargeRecord.model_validate(told)
        return dict(told)

    async def discharge(self, hour: int, energy_wh: int, **fields: Any) -> dict[str, Any]:
        body = discharge_body(hour, energy_wh, **fields)
        told = await self.meters.done("holder", "POST", "/storage/create_sdr", json=body)
        StorageDischargeRecord.model_validate(told)
        return dict(told)

    def bundle(self, hour: int, energy_wh: int) -> dict[str, Any]:
        return {
            "certificate_status": "Active",
            "account_id": self.meters.account_id,
            "bundle_id_range_start": 1,
            "bundle_id_range_end": energy_wh,
            "bundle_quantity": energy_wh,
            "energy_carrier": "electricity",
            "energy_source": "battery_storage",
            "face_value": 1,
            "issuance_post_energy_carrier_conversion": True,
            "registry_configuration": 1,
            "device_id": self.battery_id,
            "device_name": "Battery 1",
            "device_technology_type": "battery_storage",
            "device_production_start_date": "2021-04-01",
            "device_capacity": 100_000,
            "device_location": [52.1, 5.2],
            "device_type": "storage",
            "production_starting_interval": moment(hour),
            "production_ending_interval": moment(hour + 1),
            "issuance_datestamp": moment(hour)[:10],
            "expiry_datestamp": "2099-01-01",
            "country_of_issuance": "NL",
            "connected_grid_identification": "10YNL----------L",
            "issuing_body": "METAWATT",
            "issue_market_zone": "NL",
        }


def discharge_body(hour: int, energy_wh: int, **fields: Any) -> dict[str, Any]:
    return {
        "discharging_start_datetime": moment(hour),
        "discharging_end_datetime": moment(hour + 1),
        "discharge_energy": energy_wh,
        "charging_energy_source": "solar_pv",
        "scr_allocation_methodology": "FIFO",
        "efficiency_factor_methodology": "output by input",
    } | fields


def battery_body(account_id: str) -> dict[str, Any]:
    return {
        "device_name": "Battery 1",
        "grid": "10YNL----------L",
        "energy_source": "battery_storage",
        "technology_type": "battery_storage",
        "operational_date": "2021-04-01",
        "capacity": 100_000,
        "peak_demand": 0,
        "account_id": account_id,
        "location": [52.1, 5.2],
        "country": "NL",
        "zone": "NL",
        "is_storage": True,
    }


@pytest.fixture
async def plant(running: Any) -> Plant:
    made = await meters(running)
    battery = await made.done("admin", "POST", "/devices", json=battery_body(made.account_id))
    return Plant(made, battery["device_id"])


async def test_from_charge_to_certificate_and_back(plant: Plant) -> None:
    """Bodies as EnergyTag has them: device, account and efficiency follow from what is registered."""
    scr = await plant.charge(0)
    assert (scr["device_id"], scr["account_id"]) == (plant.battery_id, plant.meters.account_id)
    assert "sdr_allocation_id" not in scr
    sdr = await plant.discharge(2, 890)
    assert sdr["efficiency_factor"] == {"numerator": "89", "denominator": "100"}
    assert sdr["scr_allocation_id"] == scr["scr_allocation_id"]
    assert sdr["allocations"] == [
        {
            "scr_allocation_id": scr["scr_allocation_id"],
            "energy": {"numerator": "890", "denominator": "1"},
            "charged_energy": {"numerator": "1000", "denominator": "1"},
            "proportion": {"numerator": "1", "denominator": "1"},
        }
    ]
    issued = await plant.meters.done("issuer", "POST", "/storage/issue_sdgc", json=plant.bundle(2, 890))
    assert issued["sdr_allocation_id"] == sdr["sdr_allocation_id"]
    assert issued["storage_efficiency_factor"] == 0.89
    assert (issued["storage_device_id"], issued["bundle_quantity"]) == (plant.battery_id, 890)

    for wanted in (sdr["sdr_allocation_id"], issued["issuance_id"].upper()):
        chain = await plant.meters.done("stranger", "GET", f"/storage/lineage/{wanted}")
        StorageLineage.model_validate(chain)
        assert chain["certificates"][0]["tx_id"] == issued["tx_id"]
        backing = chain["charges"][0]["certificates"][0]
        assert (backing["certificate_status"], backing["issuance_id"]) == ("Cancelled", scr["gc_issuance_id"])
        assert chain["losses"] == {"numerator": "110", "denominator": "1"}
    again = await plant.meters.refused("issuer", "POST", "/storage/issue_sdgc", json=plant.bundle(2, 890))
    assert again[:2] == (409, "ERR_ISSUED_TWICE")


@pytest.mark.parametrize("path", ["/storage", "/storage/storage"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_records_are_queried(plant: Plant, method: str, path: str) -> None:
    scrs = [await plant.charge(hour) for hour in range(3)]
    sdr = await plant.discharge(4, 2500, efficiency_factor={"numerator": 1, "denominator": 1})
    body = plant.base(action_response_status="", charging_period_start=moment(0)) | {"action_response_status": "x"}
    told = await plant.meters.done("holder", method, f"{path}/query_scr", json=body | {"limit": 2})
    SCRQueryResponse.model_validate(told)
    assert [each["scr_allocation_id"] for each in told["filtered_scrs"]] == [
        each["scr_allocation_id"] for each in scrs[:2]
    ]
    assert told["filtered_scrs"][0]["sdr_allocation_id"] == sdr["sdr_allocation_id"]
    assert (told["action_response_status"], told["charging_period_start"]) == ("accepted", moment(0))
    more = body | {"limit": 2, "cursor": told["next_cursor"]}
    told = await plant.meters.done("holder", method, f"{path}/query_scr", json=more)
    assert len(told["filtered_scrs"]) == 1
    assert told["filtered_scrs"][0]["energy_left"] == {"numerator": "500", "denominator": "1"}
    assert "next_cursor" not in told
    told = await plant.meters.done("meter", method, f"{path}/query_sdr", json=plant.base("meter"))
    SDRQueryResponse.model_validate(told)
    assert told["filtered_sdrs"] == [sdr]


async def test_records_are_withdrawn_by_the_issuing_body(plant: Plant) -> None:
    scr = await plant.charge(0)
    sdr = await plant.discharge(1, 900)
    charge = {"source_allocation_id": scr["scr_allocation_id"]}
    told = await plant.meters.done("issuer", "POST", "/storage/withdraw_scr", json=plant.base("issuer", **charge))
    StorageActionResponse.model_validate(told)
    assert (told["action_response_status"], told["error"]["code"]) == ("rejected", "ERR_STILL_IN_USE")
    assert told["source_allocation_id"] == scr["scr_allocation_id"]
    discharge = plant.base("issuer", storage_device_id=plant.battery_id)
    told = await plant.meters.done("issuer", "POST", "/storage/storage/withdraw_sdr", json=discharge)
    StorageActionResponse.model_validate(told)
    assert (told["action_state"], told["records"]) == ("resolved", [sdr["sdr_allocation_id"]])
    told = await plant.meters.done("issuer", "POST", "/storage/withdraw_scr", json=plant.base("issuer", **charge))
    assert told["action_response_status"] == "accepted"
    named = await plant.meters.done("holder", "POST", "/storage/query_scr", json=plant.base(**charge))
    assert "withdrawn_datetime" in named["filtered_scrs"][0]


async def test_what_may_change_is_changed_by_the_administrator(plant: Plant) -> None:
    scr = await plant.charge(0)
    body = plant.base(source_allocation_id=scr["scr_allocation_id"], scr_geographic_matching_method="country")
    told = await plant.meters.done("admin", "PATCH", "/storage/update_mutables", json=body)
    StorageActionResponse.model_validate(told)
    shown = await plant.meters.done("holder", "POST", "/storage/query_scr", json=plant.base())
    assert shown["filtered_scrs"][0]["scr_geographic_matching_method"] == "country"


async def test_an_operator_chooses_charges(plant: Plant) -> None:
    a, b = [(await plant.charge(hour))["scr_allocation_id"] for hour in (0, 1)]
    full = {"numerator": 1, "denominator": 1}
    sdr = await plant.discharge(
        2,
        900,
        scr_allocation_methodology="Storage Operator's discretion",
        efficiency_factor=full,
        allocations=[{"scr_allocation_id": b, "energy": 900}],
    )
    assert sdr["scr_allocation_id"] == b
    choice = [{"scr_allocation_id": a, "energy": 300}, {"scr_allocation_id": b, "energy": 600}]
    body = plant.base(sdr_allocation_id=sdr["sdr_allocation_id"], allocations=choice)
    told = await plant.meters.done("holder", "POST", "/storage/allocate", json=body)
    assert [each["proportion"] for each in told["allocations"]] == [
        {"numerator": "1", "denominator": "3"},
        {"numerator": "2", "denominator": "3"},
    ]


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("holder", "withdraw_scr", 403),
        ("meter", "withdraw_sdr", 403),
        ("issuer", "create_scr", 403),
        ("issuer", "create_sdr", 403),
        ("issuer", "allocate", 403),
        ("both", "query_scr", 200),
        ("stranger", "query_scr", 403),
        ("stranger", "query_sdr", 403),
    ],
)
async def test_who_may_call(plant: Plant, who: str, path: str, status: int) -> None:
    body = plant.base(who, storage_device_id=plant.battery_id)
    assert (await plant.meters.ask(who, "POST", f"/storage/{path}", json=body)).status == status


async def test_certificates_are_issued_by_the_issuing_body_alone(plant: Plant) -> None:
    for who in ("holder", "meter", "stranger"):
        reply = await plant.meters.refused(who, "POST", "/storage/issue_sdgc", json=plant.bundle(0, 1))
        assert reply[:2] == (403, "ERR_FORBIDDEN")
    issue = await plant.meters.refused("issuer", "POST", "/storage/issue_sdgc", json=plant.bundle(0, 1))
    assert issue[:2] == (422, "ERR_INVALID_FIELD")
    update = await plant.meters.refused("issuer", "PATCH", "/storage/update_mutables", json=plant.base("issuer"))
    assert update[:2] == (403, "ERR_FORBIDDEN")


async def test_a_device_must_be_named_where_there_are_several(plant: Plant) -> None:
    body = await plant.charge_body(0)
    second = (await plant.meters.done("admin", "POST", "/devices", json=battery_body(plant.meters.account_id)))[
        "device_id"
    ]
    refusal = await plant.meters.refused("holder", "POST", "/storage/create_scr", json=body)
    assert refusal[:2] == (422, "ERR_INVALID_FIELD")
    refusal = await plant.meters.refused("stranger", "POST", "/storage/create_scr", json=body)
    assert refusal[:2] == (422, "ERR_INVALID_FIELD")
    named = body | {"device_id": second}
    assert (await plant.meters.refused("stranger", "POST", "/storage/create_scr", json=named))[0] == 403
    told = await plant.meters.done("meter", "POST", "/storage/create_scr", json=named)
    assert told["device_id"] == second


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("create_scr", {}, "charging_energy"),
        ("create_sdr", discharge_body(0, 1) | {"discharge_energy": 0.5}, "discharge_energy"),
        ("query_scr", {"limit": 0}, "limit"),
        ("withdraw_sdr", {"sparse_filter_list": {"a": "b"}}, "sparse_filter_list"),
    ],
)
async def test_what_is_wrong_is_told_field_by_field(plant: Plant, path: str, body: Any, field: str) -> None:
    reply = await plant.meters.ask("admin", "POST", f"/storage/{path}", json=body)
    assert reply.status == 422
    assert field in {each["loc"][1] for each in reply.json()["detail"]}


async def test_what_has_no_chain(plant: Plant) -> None:
    refusal = await plant.meters.refused("holder", "GET", f"/storage/lineage/{NOWHERE}")
    assert refusal[:2] == (404, "ERR_RECORD_UNKNOWN")
