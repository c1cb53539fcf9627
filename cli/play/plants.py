"""The power plants of the play, and the hours that they produced."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_HOUR = timedelta(hours=1)
_VALIDITY = timedelta(days=730)


@dataclass(frozen=True, slots=True)
class Plant:
    """A production device. `hourly_wh` is what its meter read in four hours, one after the other."""

    name: str
    source: str
    technology: str
    country: str
    grid: str
    zone: str
    capacity_w: int
    location: tuple[float, float]
    first_hour: int
    hourly_wh: tuple[int, ...]


SOLAR = Plant(
    name="Solarpark Lausitz",
    source="solar_pv",
    technology="solar_pv",
    country="DE",
    grid="50Hertz",
    zone="DE-LU",
    capacity_w=2_500_000,
    location=(51.55, 14.1),
    first_hour=10,
    hourly_wh=(1_420_000, 1_876_000, 2_104_000, 1_933_000),
)
WIND = Plant(
    name="Vindpark Vesterhav",
    source="wind",
    technology="wind_turbine",
    country="DK",
    grid="Energinet",
    zone="DK1",
    capacity_w=8_000_000,
    location=(56.36, 8.08),
    first_hour=0,
    hourly_wh=(5_210_000, 6_044_000, 7_315_000, 4_980_000),
)


@dataclass(frozen=True, slots=True)
class Meter:
    """A plant's identity in the registry, and the day it is metered on."""

    plant: Plant
    day: datetime
    device_id: str
    account_id: str

    @classmethod
    def of(cls, plant: Plant, day: datetime) -> Meter:
        """A fresh registration; `day` is midnight, UTC."""
        return cls(plant, day, str(uuid.uuid4()), str(uuid.uuid4()))

    def hours(self) -> Iterator[tuple[datetime, int]]:
        """The start of each hour, and the energy produced in it in Wh."""
        for offset, energy_wh in enumerate(self.plant.hourly_wh):
            yield self.day + _HOUR * (self.plant.first_hour + offset), energy_wh

    def bundle(self, start: datetime, energy_wh: int, issuance_id: str) -> dict[str, Any]:
        """The EnergyTag bundle of one hour: one certificate for each Wh."""
        plant = self.plant
        return {
            "account_id": self.account_id,
            "bundle_id_range_start": 1,
            "bundle_id_range_end": energy_wh,
            "bundle_quantity": energy_wh,
            "certificate_status": "Active",
            "connected_grid_identification": plant.grid,
            "country_of_issuance": plant.country,
            "device_capacity": plant.capacity_w,
            "device_id": self.device_id,
            "device_location": list(plant.location),
            "device_name": plant.name,
            "device_production_start_date": "2021-04-01",
            "device_technology_type": plant.technology,
            "device_type": "production",
            "energy_carrier": "electricity",
            "energy_source": plant.source,
            "expiry_datestamp": (start + _VALIDITY).date().isoformat(),
            "face_value": 1,
            "issuance_datestamp": start.date().isoformat(),
            "issuance_id": issuance_id,
            "issuance_post_energy_carrier_conversion": False,
            "issue_market_zone": plant.zone,
            "issuing_body": "Example Issuing Body",
            "production_ending_interval": _utc(start + _HOUR),
            "production_starting_interval": _utc(start),
            "registry_configuration": 1,
        }


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
