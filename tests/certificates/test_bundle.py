"""The bundle's attributes, each right and wrong."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from certificates.bundle import MUTABLE, OPTIONAL, REQUIRED, Bundle, source_word
from certificates.errors import TokenMalformed
from certificates.lifecycle import Status
from certificates.ranges import Range

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
GOOD: dict[str, Any] = json.loads(VECTORS["tokens"][0]["f0"])["energyTag"]
UUID = "0d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f"


def test_attributes() -> None:
    bundle = Bundle.read(GOOD)
    assert bundle.status is Status.ACTIVE
    assert bundle.range == Range(1, 52500)
    assert bundle.energy_wh == 52500
    assert bundle.period == (datetime(2026, 6, 1, 10, tzinfo=UTC), datetime(2026, 6, 1, 11, tzinfo=UTC))
    assert bundle.period_ms == (1780308000000, 1780311600000)
    assert bundle.expiry == date(2028, 6, 1)
    assert bundle.immutable().keys() == GOOD.keys() - MUTABLE


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_required(name: str) -> None:
    with pytest.raises(TokenMalformed, match=f"energyTag.{name} is missing"):
        Bundle.read({key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(TokenMalformed, match=f"energyTag.{name} is not"):
        Bundle.read({**GOOD, name: None})


@pytest.mark.parametrize("name", sorted(REQUIRED | OPTIONAL))
@pytest.mark.parametrize("value", [{}, [], ["x"], {"a": 1}])
def test_no_attribute_is_an_object_or_another_list(name: str, value: Any) -> None:
    with pytest.raises(TokenMalformed, match=f"energyTag.{name} is not"):
        Bundle.read({**GOOD, name: value})


WRONG = [
    ("account_id", UUID.upper()),
    ("account_id", UUID + "\n"),
    ("account_id", UUID.replace("-", "")),
    ("bundle_id_range_start", True),
    ("bundle_id_range_start", 1.0),
    ("bundle_id_range_start", -1),
    ("bundle_id_range_start", 52501),
    ("bundle_id_range_end", 2**53),
    ("bundle_quantity", 0),
    ("bundle_quantity", "1"),
    ("certificate_status", "active"),
    ("certificate_status", "Bundle Split"),
    ("country_of_issuance", "de"),
    ("country_of_issuance", "XX"),
    ("country_of_issuance", "DEU"),
    ("device_capacity", -1),
    ("device_capacity", 7.5),
    ("device_location", [1.0]),
    ("device_location", [1.0, "2"]),
    ("device_location", [1.0, True]),
    ("device_production_start_date", "20210401"),
    ("device_production_start_date", "2021-02-29"),
    ("expiry_datestamp", "2028-06-01T00:00:00Z"),
    ("expiry_datestamp", "2028-06-01\n"),
    ("face_value", 0),
    ("issuance_post_energy_carrier_conversion", 0),
    ("production_starting_interval", "2026-06-01T10:00:00"),
    ("production_starting_interval", "2026-06-01T12:00:00+02:00"),
    ("production_starting_interval", "2026-06-01 10:00:00Z"),
    ("production_starting_interval", "2026-06-01T10:00Z"),
    ("production_starting_interval", "2026-06-01T24:00:01Z"),
    ("production_starting_interval", "2026-13-01T10:00:00Z"),
    ("production_starting_interval", "٢٠٢٦-06-01T10:00:00Z"),
    ("production_starting_interval", 1780308000),
    ("registry_configuration", 0),
    ("registry_configuration", 4),
    ("registry_configuration", True),
    ("emissions_factor_production_device", "1"),
    ("emissions_factor_production_device", False),
    ("storage_device_id", "x"),
    ("discharging_start_datetime", "yesterday"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong(name: str, value: Any) -> None:
    with pytest.raises(TokenMalformed, match=f"energyTag.{name}"):
        Bundle.read({**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bundle_id_range_start", 0),
        ("device_location", [48, -11]),
        ("device_capacity", 0),
        ("production_starting_interval", "2026-06-01T10:00:00.123456+00:00"),
        ("emissions_factor_production_device", 0.4),
        ("storage_efficiency_factor", None),
        ("sdr_allocation_id", UUID),
        ("energyTag_extension", {"nested": [1, {"a": None}]}),
    ],
)
def test_right(name: str, value: Any) -> None:
    assert Bundle.read({**GOOD, name: value}).attributes[name] == value


def test_unknown_attributes_are_immutable() -> None:
    assert Bundle.read({**GOOD, "extension": 1}).immutable()["extension"] == 1


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_not_an_object(value: Any) -> None:
    with pytest.raises(TokenMalformed, match="not an object"):
        Bundle.read(value)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("solar_pv", "solar_pv"),
        ("Solar PV", "solar_pv"),
        (" Wind-Offshore 2 ", "wind_offshore"),
        ("\u212aohle", "ohle"),
        ("7", ""),
    ],
)
def test_source_word(source: str, word: str) -> None:
    assert source_word(source) == word
