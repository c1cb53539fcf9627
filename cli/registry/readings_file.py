"""Files of hourly generation: CSV, plain or gzipped, with the columns `device`, `start` and `energy_wh`.

An `end` may stand beside the start; without it a reading is of one hour.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TextIO

from config.errors import BadRequest, ErrorCode
from energytag.models.common import InvalidFields, moment_text, read
from energytag.models.measurements import IntervalReading

_GZIP: Final = b"\x1f\x8b"
_NEEDED: Final = ("device", "start", "energy_wh")


@dataclass(frozen=True, slots=True)
class Row:
    """One reading, and the name of its device."""

    device: str
    reading: IntervalReading


class FileInvalid(BadRequest):
    """A file that cannot be read."""

    default_code = ErrorCode.MEASUREMENT_INVALID


def read_file(path: Path) -> dict[str, list[IntervalReading]]:
    """The readings of each device, in the order of the file; `FileInvalid` names the line that is wrong."""
    readings: dict[str, list[IntervalReading]] = {}
    try:
        with _opened(path) as file:
            for row in rows(file):
                readings.setdefault(row.device, []).append(row.reading)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FileInvalid(f"{path}: {error}") from None
    if not readings:
        raise FileInvalid(f"{path}: there are no readings in it")
    return readings


def rows(file: TextIO) -> Iterator[Row]:
    """The readings of a table."""
    reader = csv.DictReader(file, strict=True)
    if not set(_NEEDED) <= set(reader.fieldnames or ()):
        raise FileInvalid(f"the first line must name the columns {', '.join(_NEEDED)}")
    while True:
        try:
            cells = next(reader, None)
            if cells is None:
                return
            yield Row(cells["device"], _reading(cells))
        except (csv.Error, ValueError, TypeError, InvalidFields) as error:
            raise FileInvalid(f"line {reader.line_num}: {error}") from None


def _reading(cells: dict[str, str]) -> IntervalReading:
    start = _utc(cells["start"])
    end = _utc(cells["end"]) if cells.get("end") else start + timedelta(hours=1)
    fields = {"start": moment_text(start), "end": moment_text(end), "energy_wh": int(cells["energy_wh"])}
    return read(IntervalReading, fields)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} names no zone: end it in Z for UTC")
    return moment.astimezone(UTC)


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    if packed:
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
