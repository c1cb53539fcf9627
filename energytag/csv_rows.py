"""CSV of calls: rows by a header, each checked by a model, and every fault named by its row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from energytag.models.common import InvalidFields, read

MOST_FAULTS: Final = 20
"""Faults that are told of one file."""

M = TypeVar("M", bound=BaseModel)


def read_rows(body: bytes, model: type[M], integers: Sequence[str]) -> Iterator[tuple[int, M]]:
    """The rows of a CSV text in UTF-8, with the lines on which they stand (the header is line 1).

    The header names the model's fields in any order, all of them and no others; an optional one may be
    missing, and an empty cell is a field that was not given. `integers` are cells to be read as such.
    `InvalidFields` names line and column of what is wrong, up to `MOST_FAULTS` of them.
    """
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline=""), strict=True)
    faults: list[dict[str, Any]] = []
    try:
        header = _header(next(reader, None), model)
        for cells in reader:
            if not cells:
                continue
            try:
                row = read(model, _fields(header, cells, integers))
            except InvalidFields as error:
                faults += [_at(reader.line_num, fault) for fault in error.detail]
                if len(faults) >= MOST_FAULTS:
                    break
                continue
            if not faults:
                yield reader.line_num, row
    except csv.Error as error:
        raise _refusal(f"row {reader.line_num}: this is not CSV: {error}") from None
    except UnicodeDecodeError as error:
        raise _refusal(f"after row {reader.line_num}: the text is not UTF-8: {error.reason}") from None
    if faults:
        raise InvalidFields(faults[:MOST_FAULTS])


def _header(cells: Sequence[str] | None, model: type[BaseModel]) -> list[str]:
    header = [cell.strip() for cell in cells or ()]
    fields = model.model_fields
    missing = [name for name, field in fields.items() if field.is_required() and name not in header]
    unknown = [name for name in header if name not in fields]
    if missing or unknown or len(set(header)) != len(header):
        raise _refusal(f"row 1: the header must be {','.join(fields)}")
    return header


def _fields(header: Sequence[str], cells: Sequence[str], integers: Sequence[str]) -> Mapping[str, Any]:
    if len(cells) != len(header):
        message = f"has {len(cells)} cells, and the header {len(header)}"
        raise InvalidFields([{"loc": ["body"], "msg": message, "type": "csv"}])
    row: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    for name in integers:
        cell = row.get(name, "")
        # Only plain digits: int() would also take `1_000` and digits of other scripts.
        if cell.removeprefix("-").isdecimal() and cell.isascii() and len(cell) < 20:
            row[name] = int(cell)
    return row


def _at(line: int, fault: Mapping[str, Any]) -> dict[str, Any]:
    return {"loc": ["body", f"row {line}", *fault["loc"][1:]], "msg": fault["msg"], "type": fault["type"]}


def _refusal(message: str) -> InvalidFields:
    return InvalidFields([{"loc": ["body"], "msg": message, "type": "csv"}])
