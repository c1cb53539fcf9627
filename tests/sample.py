"""One hour of one device: the attributes that tests issue certificates with."""

from __future__ import annotations

from typing import Any

ATTRIBUTES: dict[str, Any] = {
    "account_id": "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d",
    "connected_grid_identification": "10YDE-EON------1",
    "country_of_issuance": "DE",
    "device_capacity": 1_000_000,
    "device_id": "0d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f",
    "device_location": [48.1351, 11.582],
    "device_name": "Dachanlage Süd 7",
    "device_production_start_date": "2021-04-01",
    "device_technology_type": "solar_pv",
    "device_type": "production",
    "energy_carrier": "electricity",
    "energy_source": "solar_pv",
    "expiry_datestamp": "2028-06-01",
    "face_value": 1,
    "issuance_datestamp": "2026-06-01",
    "issuance_post_energy_carrier_conversion": False,
    "issue_market_zone": "DE-LU",
    "issuing_body": "Example Issuing Body",
    "production_ending_interval": "2026-06-01T11:00:00Z",
    "production_starting_interval": "2026-06-01T10:00:00Z",
    "registry_configuration": 1,
}
