"""Certificates as a registry would issue them: devices of several sources and countries, hour after hour.

Everything follows from a seed; no two bundles of one seed are the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

SOURCES = {"solar_pv": "solar_pv", "wind": "wind_turbine", "hydro": "hydro"}
COUNTRIES = {
    "DE": ("10YDE-EON------1", "DE-LU"),
    "DK": ("10Y1001A1001A65H", "DK1"),
    "FR": ("10YFR-RTE------C", "FR"),
    "GB": ("10YGB----------A", "GB"),
    "NL": ("10YNL----------L", "NL"),
}
DEVICES = 400
FIRST_HOUR = datetime(2026, 1, 1, tzinfo=UTC)
ISSUING_BODY = "Example Issuing Body"


@dataclass(frozen=True, slots=True)
class Device:
    device_id: str
    name: str
    account_id: str
    source: str
    country: str
    capacity_w: int
    location: tuple[float, float]


class Fleet:
    """The devices of one seed, and their production: bundle `n` is that of device `n % DEVICES` in hour
    `n // DEVICES`."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._devices = [_device(chance, number) for number in range(DEVICES)]

    def bundle(self, number: int, issuance_id: str) -> dict[str, Any]:
        """The EnergyTag bundle, as `f0` carries it."""
        device = self._devices[number % DEVICES]
        hour, load = number // DEVICES, 1 + number * 2654435761 % 97
        start = FIRST_HOUR + timedelta(hours=hour)
        quantity = device.capacity_w * load // 100
        grid, zone = COUNTRIES[device.country]
        return {
            "certificate_status": "Active",
            "account_id": device.account_id,
            "bundle_id_range_start": 1,
            "bundle_id_range_end": quantity,
            "bundle_quantity": quantity,
            "energy_carrier": "electricity",
            "energy_source": device.source,
            "face_value": 1,
            "issuance_post_energy_carrier_conversion": False,
            "registry_configuration": 1,
            "device_id": device.device_id,
            "device_name": device.name,
            "device_technology_type": SOURCES[device.source],
            "device_production_start_date": "2021-04-01",
            "device_capacity": device.capacity_w,
            "device_location": list(device.location),
            "device_type": "production",
            "production_starting_interval": _utc(start),
            "production_ending_interval": _utc(start + timedelta(hours=1)),
            "issuance_datestamp": start.date().isoformat(),
            "expiry_datestamp": (start + timedelta(days=730)).date().isoformat(),
            "country_of_issuance": device.country,
            "connected_grid_identification": grid,
            "issuing_body": ISSUING_BODY,
            "issue_market_zone": zone,
            "issuance_id": issuance_id,
        }


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _device(chance: random.Random, number: int) -> Device:
    source = chance.choice(list(SOURCES))
    country = chance.choice(list(COUNTRIES))
    return Device(
        device_id=_uuid(chance),
        name=f"Site {number:03d} {source}",
        account_id=_uuid(chance),
        source=source,
        country=country,
        capacity_w=chance.randrange(50, 5000) * 1000,
        location=(round(chance.uniform(43, 58), 4), round(chance.uniform(-4, 14), 4)),
    )


def _uuid(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))
