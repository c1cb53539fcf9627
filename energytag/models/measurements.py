"""Bodies of measurements: readings of production by device, of consumption by account and zone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from energytag.models.common import MAX_INTEGER, Model, Moment, Positive, Reply, Text, Uuid, secs_of

MOST_READINGS: Final = 20_000
"""Readings of one JSON body, and of one action."""
MOST_LISTED: Final = 10_000
USUAL_LIMIT: Final = 1000
MOST_SECS: Final = 2**40
"""Beyond every moment that has a date."""
MOST_READING_WH: Final = 10**12
"""More than any meter counts in an hour; sums of readings stay within 64 bits."""


def _whole_second(moment: str) -> str:
    if datetime.fromisoformat(moment).microsecond:
        raise ValueError("must be on a whole second")
    return moment


Second = Annotated[Moment, AfterValidator(_whole_second), WithJsonSchema({"type": "string", "format": "date-time"})]
Energy = Annotated[int, Field(ge=0, le=MOST_READING_WH, strict=True, description="Wh.")]


class IntervalReading(Model):
    """What a meter counted in an interval of at most an hour; the end is not included."""

    start: Second
    end: Second
    energy_wh: Energy


Readings = Annotated[list[IntervalReading], Field(min_length=1, max_length=MOST_READINGS)]


class DeviceReadings(Model):
    """Production of one device. With `issue`, certificates are issued of what was not issued yet, each of
    `face_value` Wh; a reading of zero is kept, and nothing is issued of it."""

    device_id: Uuid
    readings: Readings
    issue: bool = False
    face_value: Positive = 1


class ConsumptionReadings(Model):
    """Consumption of one account in one market zone."""

    account_id: Uuid
    zone: Text
    readings: Readings


class ReadingsQuestion(Model):
    """Which readings: by the start of their intervals, the end not included."""

    start: Moment | None = Field(None, description="Intervals that start at this moment or later.")
    end: Moment | None = Field(None, description="Intervals that start before this moment.")
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = Field(USUAL_LIMIT, description="Most readings of a page.")
    cursor: Annotated[str, Field(max_length=64)] | None = Field(None, description="What the page before gave.")

    @property
    def bounds(self) -> tuple[int, int]:
        """From and to, epoch seconds."""
        start = -MOST_SECS if self.start is None else secs_of(self.start)
        return start, MOST_SECS if self.end is None else secs_of(self.end)


class ProductionQuestion(ReadingsQuestion):
    """A device's readings."""

    device_id: Uuid = Field(description="The device.")


class ConsumptionQuestion(ReadingsQuestion):
    """An account's readings."""

    account_id: Uuid = Field(description="The account.")
    zone: Text | None = Field(None, description="Only this zone's.")


class FileOptions(Model):
    """What a file of production is to be used for."""

    issue: bool = Field(False, description="Issue certificates of what was not issued yet.")
    face_value: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = Field(1, description="Wh of each certificate.")


class ProductionRow(IntervalReading):
    """A row of CSV: a device's reading."""

    device_id: Uuid


class ConsumptionRow(IntervalReading):
    """A row of CSV: an account's reading in a zone."""

    account_id: Uuid
    zone: Text


class Issued(Reply):
    """What came of issuing one device's readings. `already_issued` counts readings whose interval had
    certificates before; `error` has code and message when the action was rejected."""

    device_id: str
    bundles: int
    already_issued: int
    action_id: str | None = None
    action_state: str | None = None
    tx_ids: list[str] = Field(default_factory=list)
    error: dict[str, str] | None = None


class ReadingsTaken(Reply):
    """What came of readings: `accepted` are new, `repeated` were here already with the same value. `energy_wh`
    is that of the new ones. `action_ids` are several when a file was larger than one action."""

    action_ids: list[str]
    action_state: str
    accepted: int = 0
    repeated: int = 0
    energy_wh: int = 0
    issuance: list[Issued] | None = None


class KeptReading(Reply):
    """A reading as it is kept; a device's has `device_id`, `zone` and `energy_source`, an account's has
    `account_id` and `zone`."""

    start: str
    end: str
    energy_wh: int
    action_id: str


class KeptReadings(Reply):
    """A page of readings in the order of time; `cursor` is null on the last one."""

    readings: list[KeptReading]
    cursor: str | None = None


def csv_request(rows: list[tuple[int, dict[str, Any]]], subject: tuple[str, ...]) -> dict[str, Any]:
    """Rows of CSV with their numbers as an action's request: a series for each subject, in the order in which
    they first come."""
    series: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, row in rows:
        key = tuple(row[name] for name in subject)
        each = series.get(key)
        if each is None:
            each = series[key] = {**dict(zip(subject, key, strict=True)), "readings": [], "rows": []}
        each["readings"].append({name: row[name] for name in ("start", "end", "energy_wh")})
        each["rows"].append(number)
    return {"series": list(series.values())}
