"""What a conformance test finds on the node, made through the API itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeAlias

import requests

Ask: TypeAlias = Callable[[str, str, Any], requests.Response]
Json: TypeAlias = dict[str, Any]

HOUR = datetime(2026, 1, 1, tzinfo=UTC)
QUANTITY = 1000


class World:
    """One organisation with a user and two accounts. Every bundle is of a device of its own."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._numbers = count(1)
        self.organisation = self.made("/organisations", self.organisation_body())
        self.user = self.made("/users", self.user_body())
        self.account = self.made("/accounts", self.account_body())
        self.target = self.made("/accounts", self.account_body())
        self._join()

    def _join(self) -> None:
        """Have the user act for the account."""
        organisation_id, user_id = self.organisation["organisation_id"], self.user["user_id"]
        change = {"organisation_id": organisation_id, "user_id": user_id}
        assert self._ask("PATCH", f"/accounts/{self.account['account_id']}", change).status_code == 200

    def made(self, path: str, body: Json) -> Json:
        """The answer to a call that must succeed."""
        reply = self._ask("POST", path, body)
        assert reply.status_code in (200, 201, 202), reply.text
        made: Json = reply.json()
        assert made.get("action_response_status") != "rejected", made
        return made

    # Bodies

    def organisation_body(self) -> Json:
        return {"name": self._name("Organisation"), "business_id": 7, "primary_contact": "post@example.org"}

    def user_body(self) -> Json:
        return {
            "name": self._name("User"),
            "primary_contact": "user@example.org",
            "role": ["Account Holder"],
            "organisation_id": self.organisation["organisation_id"],
        }

    def account_body(self) -> Json:
        return {"account_name": self._name("Account"), "organisation_id": self.organisation["organisation_id"]}

    def device_body(self, **more: Any) -> Json:
        return {
            "device_name": self._name("Device"),
            "grid": "10YNL----------L",
            "energy_source": "solar_pv",
            "technology_type": "solar_pv",
            "operational_date": "2021-04-01",
            "capacity": 1_000_000,
            "peak_demand": 0,
            "account_id": self.account["account_id"],
            "location": [52.1, 5.2],
            "country": "NL",
            "zone": "NL",
        } | more

    def bundle_body(self) -> Json:
        """The first bundle of a new device."""
        return self._bundle_of(self.made("/devices", self.device_body()), HOUR)

    def _bundle_of(self, device: Json, start: datetime) -> Json:
        return {
            "certificate_status": "Active",
            "account_id": device["account_id"],
            "bundle_id_range_start": 1,
            "bundle_id_range_end": QUANTITY,
            "bundle_quantity": QUANTITY,
            "energy_carrier": "electricity",
            "energy_source": device["energy_source"],
            "face_value": 1,
            "issuance_post_energy_carrier_conversion": False,
            "registry_configuration": 1,
            "device_id": device["device_id"],
            "device_name": device["device_name"],
            "device_technology_type": device["technology_type"],
            "device_production_start_date": device["operational_date"],
            "device_capacity": device["capacity"],
            "device_location": device["location"],
            "device_type": "production",
            "production_starting_interval": moment(start),
            "production_ending_interval": moment(start + timedelta(hours=1)),
            "issuance_datestamp": start.date().isoformat(),
            "expiry_datestamp": "2028-01-01",
            "country_of_issuance": device["country"],
            "connected_grid_identification": device["grid"],
            "issuing_body": "METAWATT",
            "issue_market_zone": device["zone"],
        }

    def issued(self) -> Json:
        """A bundle, Active."""
        return self.made("/certificates/create", self.bundle_body())

    def of_bundle(self, bundle: Json, **more: Any) -> Json:
        """The fields with which an action chooses a bundle."""
        return {**self.who(), "source_certificate_issuance_id": bundle["issuance_id"], **more}

    def who(self) -> Json:
        return {"source_account_id": self.account["account_id"], "source_user_id": self.user["user_id"]}

    def cancelled(self) -> Json:
        """A bundle that was cancelled for its own account."""
        bundle = self.issued()
        self.made("/certificates/cancel", self.of_bundle(bundle, beneficiary=self.account["account_id"]))
        return bundle

    # Storage

    def battery(self) -> Json:
        body = self.device_body(energy_source="battery_storage", technology_type="battery_storage", is_storage=True)
        return self.made("/devices", body)

    def charge_body(self, battery: Json) -> Json:
        """A charge that a cancelled bundle backs."""
        return {
            "device_id": battery["device_id"],
            "charging_start_datetime": moment(HOUR),
            "charging_end_datetime": moment(HOUR + timedelta(hours=1)),
            "charging_energy": QUANTITY,
            "charging_energy_source": "solar_pv",
            "gc_issuance_id": self.cancelled()["issuance_id"],
            "gc_bundle_id_range_start": 1,
            "gc_bundle_id_range_end": QUANTITY,
            "scr_geographic_matching_method": "same zone",
        }

    def charge(self, battery: Json) -> Json:
        return self.made("/storage/create_scr", self.charge_body(battery))

    def discharge_body(self) -> Json:
        """A discharge of a battery that was charged an hour before."""
        battery = self.battery()
        self.charge(battery)
        return {
            "device_id": battery["device_id"],
            "discharging_start_datetime": moment(HOUR + timedelta(hours=1)),
            "discharging_end_datetime": moment(HOUR + timedelta(hours=2)),
            "discharge_energy": QUANTITY * 9 // 10,
            "charging_energy_source": "solar_pv",
            "scr_allocation_methodology": "FIFO",
            "efficiency_factor_methodology": "stated",
            "efficiency_factor_interval_start": moment(HOUR),
            "efficiency_factor_interval_end": moment(HOUR + timedelta(hours=2)),
            "efficiency_factor": {"numerator": 9, "denominator": 10},
        }

    def discharge(self) -> Json:
        return self.made("/storage/create_sdr", self.discharge_body())

    def storage_bundle_body(self) -> Json:
        """A bundle of what a battery gave back."""
        record = self.discharge()
        battery = self._ask("GET", f"/devices/{record['device_id']}", None).json()
        quantity = record["discharge_energy"]
        return self._bundle_of(battery, HOUR + timedelta(hours=1)) | {
            "bundle_quantity": quantity,
            "bundle_id_range_end": quantity,
            "device_type": "storage",
            "sdr_allocation_id": record["sdr_allocation_id"],
        }

    def of_record(self, allocation_id: str, **more: Any) -> Json:
        """The fields with which a call chooses a storage record."""
        return {"action_response_status": "accepted", **self.who(), "source_allocation_id": allocation_id, **more}

    def _name(self, what: str) -> str:
        return f"{what} {next(self._numbers)}"


def moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")
