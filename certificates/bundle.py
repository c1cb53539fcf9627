"""The EnergyTag v2 bundle: the attributes under `energyTag`, checked, with the API's own names and shapes.

A bundle is kept as the JSON object it came as. Attributes that the standard does not name are kept too, and
count as immutable, like all but the few that `MUTABLE` lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from certificates.countries import COUNTRIES
from certificates.document import MAX_INTEGER, Json
from certificates.errors import TokenMalformed
from certificates.lifecycle import Status
from certificates.ranges import Range

MUTABLE: Final = frozenset(
    {
        "account_id",
        "bundle_id_range_end",
        "bundle_id_range_start",
        "bundle_quantity",
        "certificate_status",
        "sdr_allocation_id",
        "storage_efficiency_factor",
    }
)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|\+00:00)"
).fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_STATUSES: Final = {status.value: status for status in Status}

Check = Callable[[Any], object]


def is_text(value: Json) -> bool:
    return type(value) is str


def is_uuid(value: Json) -> bool:
    """A UUID in its one spelling: lower case, with hyphens."""
    return type(value) is str and _UUID(value) is not None


def is_whole(value: Json) -> bool:
    """An integer from 0 that every JSON reader holds exactly."""
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_positive(value: Json) -> bool:
    return type(value) is int and 0 < value <= MAX_INTEGER


def _is_number(value: Json) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= MAX_INTEGER)


def _is_location(value: Json) -> bool:
    return type(value) is list and len(value) == 2 and _is_number(value[0]) and _is_number(value[1])


def _is_date(value: Json) -> bool:
    return type(value) is str and _DATE(value) is not None and _parses(date.fromisoformat, value)


def _is_datetime(value: Json) -> bool:
    return type(value) is str and _DATETIME(value) is not None and _parses(datetime.fromisoformat, value)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


_TEXT: Final = (is_text, "text")
_UUID_TEXT: Final = (is_uuid, "a UUID in lower case")
_WHOLE: Final = (is_whole, f"an integer from 0 to {MAX_INTEGER}")
_POSITIVE: Final = (_is_positive, f"an integer from 1 to {MAX_INTEGER}")
_NUMBER: Final = (_is_number, "a number")
_LOCATION: Final = (_is_location, "two numbers, latitude and longitude")
_DAY: Final = (_is_date, "a date, YYYY-MM-DD")
_MOMENT: Final = (_is_datetime, "a UTC date and time by RFC 3339, ending in Z or +00:00")

_REQUIRED: Final[dict[str, tuple[Check, str]]] = {
    "account_id": _UUID_TEXT,
    "bundle_id_range_end": _WHOLE,
    "bundle_id_range_start": _WHOLE,
    "bundle_quantity": _POSITIVE,
    "certificate_status": (
        lambda value: type(value) is str and value in _STATUSES,
        "one of " + ", ".join(_STATUSES),
    ),
    "connected_grid_identification": _TEXT,
    "country_of_issuance": (
        lambda value: type(value) is str and value in COUNTRIES,
        "a country by ISO 3166-1 alpha-2, in capitals",
    ),
    "device_capacity": _WHOLE,
    "device_id": _UUID_TEXT,
    "device_location": _LOCATION,
    "device_name": _TEXT,
    "device_production_start_date": _DAY,
    "device_technology_type": _TEXT,
    "device_type": _TEXT,
    "energy_carrier": _TEXT,
    "energy_source": _TEXT,
    "expiry_datestamp": _DAY,
    "face_value": _POSITIVE,
    "issuance_datestamp": _DAY,
    "issuance_id": _UUID_TEXT,
    "issuance_post_energy_carrier_conversion": (lambda value: type(value) is bool, "true or false"),
    "issue_market_zone": _TEXT,
    "issuing_body": _TEXT,
    "production_ending_interval": _MOMENT,
    "production_starting_interval": _MOMENT,
    "registry_configuration": (lambda value: type(value) is int and 1 <= value <= 3, "1, 2 or 3"),
}
_REQUIRED_CHECKS: Final = tuple((name, check) for name, (check, _) in _REQUIRED.items())

_OPTIONAL: Final[dict[str, tuple[Check, str]]] = {
    "discharging_end_datetime": _MOMENT,
    "discharging_start_datetime": _MOMENT,
    "dissemination_level": _TEXT,
    "emissions_factor_production_device": _NUMBER,
    "emissions_factor_source": _TEXT,
    "issuance_purpose": _TEXT,
    "legal_status": _TEXT,
    "quality_scheme_reference": _TEXT,
    "sdr_allocation_id": _UUID_TEXT,
    "storage_device_id": _UUID_TEXT,
    "storage_device_location": _LOCATION,
    "storage_efficiency_factor": _NUMBER,
    "support_received": _TEXT,
}
"""These may be absent, or null as the API returns an attribute that was never set."""

REQUIRED: Final = frozenset(_REQUIRED)
OPTIONAL: Final = frozenset(_OPTIONAL)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle. `attributes` is the JSON object; nobody changes it. Make one with `read`."""

    attributes: Mapping[str, Json]

    @classmethod
    def read(cls, value: Json) -> Bundle:
        """Check an `energyTag` object; `TokenMalformed` names the first attribute that is wrong."""
        if type(value) is not dict:
            raise TokenMalformed("energyTag is not an object")
        get = value.get
        for name, check in _REQUIRED_CHECKS:
            if not check(get(name)):
                raise TokenMalformed(_complaint(value, name, _REQUIRED[name][1]))
        if len(value) > len(_REQUIRED_CHECKS):
            _check_optional(value)
        if value["bundle_id_range_start"] > value["bundle_id_range_end"]:
            raise TokenMalformed("energyTag.bundle_id_range_start is above bundle_id_range_end")
        return cls(value)

    @property
    def issuance_id(self) -> str:
        return str(self.attributes["issuance_id"])

    @property
    def status(self) -> Status:
        return _STATUSES[self.attributes["certificate_status"]]

    @property
    def range(self) -> Range:
        return Range(self.attributes["bundle_id_range_start"], self.attributes["bundle_id_range_end"])

    @property
    def quantity(self) -> int:
        """Certificates, as the bundle says; whether the range agrees is an admission rule."""
        return int(self.attributes["bundle_quantity"])

    @property
    def face_value_wh(self) -> int:
        return int(self.attributes["face_value"])

    @property
    def energy_wh(self) -> int:
        """Quantity times face value."""
        return self.quantity * self.face_value_wh

    @property
    def capacity_w(self) -> int:
        return int(self.attributes["device_capacity"])

    @property
    def technology(self) -> str:
        return str(self.attributes["device_technology_type"])

    @property
    def source(self) -> str:
        """The energy source as topic names spell it."""
        return source_word(self.attributes["energy_source"])

    @property
    def country(self) -> str:
        """ISO 3166-1 alpha-2, capitals."""
        return str(self.attributes["country_of_issuance"])

    @property
    def registry_configuration(self) -> int:
        return int(self.attributes["registry_configuration"])

    @property
    def expiry(self) -> date:
        return date.fromisoformat(self.attributes["expiry_datestamp"])

    @property
    def period(self) -> tuple[datetime, datetime]:
        """Start and end of production, UTC."""
        return (
            datetime.fromisoformat(self.attributes["production_starting_interval"]),
            datetime.fromisoformat(self.attributes["production_ending_interval"]),
        )

    @property
    def period_ms(self) -> tuple[int, int]:
        """Start and end of production in milliseconds since 1970."""
        start, end = self.period
        return (start - EPOCH) // _MILLISECOND, (end - EPOCH) // _MILLISECOND

    def immutable(self) -> dict[str, Json]:
        """The attributes under the issuer's signature."""
        return {name: value for name, value in self.attributes.items() if name not in MUTABLE}

    def changed(self, **changes: Json) -> Bundle:
        """A checked copy with some attributes set."""
        return Bundle.read({**self.attributes, **changes})


_MILLISECOND: Final = timedelta(milliseconds=1)
_REMEMBERED_SOURCES: Final = 256
_SHORT: Final = 64
_NOT_LETTERS: Final = re.compile(r"[^A-Za-z]+")


def source_word(energy_source: str) -> str:
    """An energy source as topic names spell it: lower case, everything but a to z as one underscore;
    `Solar PV` and `solar_pv` are one source. Empty when there is no letter in it."""
    return _short_word(energy_source) if len(energy_source) <= _SHORT else _word(energy_source)


@lru_cache(_REMEMBERED_SOURCES)
def _short_word(energy_source: str) -> str:
    return _word(energy_source)


def _word(energy_source: str) -> str:
    return _NOT_LETTERS.sub("_", energy_source).strip("_").lower()


def _check_optional(value: Mapping[str, Json]) -> None:
    for name, (check, expected) in _OPTIONAL.items():
        found = value.get(name)
        if found is not None and not check(found):
            raise TokenMalformed(_complaint(value, name, expected))


def _complaint(value: Mapping[str, Json], name: str, expected: str) -> str:
    if name not in value:
        return f"energyTag.{name} is missing"
    return f"energyTag.{name} is not {expected}"
