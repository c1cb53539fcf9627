"""Bundles as a table: the CSV that an export writes and an import reads.

One line for each bundle under a line of EnergyTag's names; UTF-8, commas, by RFC 4180. Text stands as it is, a
pair of coordinates and true or false as in JSON. An empty cell is an attribute that was not set. Columns that are
not EnergyTag's are read over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from certificates.bundle import OPTIONAL, REQUIRED
from certificates.document import Json
from config.errors import BadRequest, ErrorCode

_WHOLE: Final = frozenset(
    {
        "bundle_id_range_start",
        "bundle_id_range_end",
        "bundle_quantity",
        "device_capacity",
        "face_value",
        "registry_configuration",
    }
)
_AS_JSON: Final = frozenset(
    {
        "device_location",
        "emissions_factor_production_device",
        "issuance_post_energy_carrier_conversion",
        "storage_device_location",
        "storage_efficiency_factor",
    }
)
_FIRST: Final = (
    "issuance_id",
    "certificate_status",
    "account_id",
    "bundle_id_range_start",
    "bundle_id_range_end",
    "bundle_quantity",
    "device_id",
    "production_starting_interval",
    "production_ending_interval",
)
ATTRIBUTES: Final = (*_FIRST, *sorted((REQUIRED | OPTIONAL) - set(_FIRST)))
"""EnergyTag's names, in the order of the columns."""
_KNOWN: Final = frozenset(ATTRIBUTES)
_MOST_CELL_CHARACTERS: Final = 4096


class RowInvalid(BadRequest):
    """A row of an import cannot be taken."""

    default_code = ErrorCode.IMPORT_INVALID

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row}: {reason}")


def head(more: Sequence[str] = ()) -> str:
    """The line of names; `more` are columns after EnergyTag's."""
    return _line([*ATTRIBUTES, *more])


def line(bundle: Mapping[str, Json], more: Sequence[str] = ()) -> str:
    """The line of one bundle."""
    return _line([_cell(name, bundle.get(name)) for name in (*ATTRIBUTES, *more)])


def rows(text: str) -> Iterator[dict[str, Json]]:
    """The bundles of a table, attributes as JSON has them; `RowInvalid` names a row that cannot be read.
    Rows count from 1, without the line of names."""
    reader = csv.reader(io.StringIO(text), strict=True)
    row = 0
    try:
        names = next(reader, [])
        if len(set(names)) != len(names) or not set(names) >= REQUIRED:
            lacking = ", ".join(sorted(REQUIRED - set(names))) or "none twice"
            raise RowInvalid(0, f"the first line must have the names of the columns; it lacks {lacking}")
        for row, cells in enumerate(reader, 1):
            if cells:
                yield _bundle(row, names, cells)
    except csv.Error as error:
        raise RowInvalid(row + 1, f"this is not CSV: {error}") from None


def _bundle(row: int, names: Sequence[str], cells: Sequence[str]) -> dict[str, Json]:
    if len(cells) != len(names):
        raise RowInvalid(row, f"there are {len(cells)} cells under {len(names)} names")
    set_ones = ((name, cell) for name, cell in zip(names, cells, strict=True) if cell and name in _KNOWN)
    return {name: _value(row, name, cell) for name, cell in set_ones}


def _value(row: int, name: str, cell: str) -> Json:
    if len(cell) > _MOST_CELL_CHARACTERS:
        raise RowInvalid(row, f"{name} has more than {_MOST_CELL_CHARACTERS} characters")
    if name in _WHOLE:
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 16):
            raise RowInvalid(row, f"{name} is not a whole number")
        return int(cell)
    if name in _AS_JSON:
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise RowInvalid(row, f"{name} is not JSON") from None
    return cell


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _AS_JSON or not isinstance(value, str):
        return orjson.dumps(value).decode()
    return value


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
