"""A single field that is at fault, told as the models tell of theirs."""

from __future__ import annotations

from typing import Final

from energytag.models.common import InvalidFields

_MOST_CHARACTERS: Final = 200


def invalid(name: str, sentence: str) -> InvalidFields:
    """The error (422) that names the field of the body; the body itself when there is no name."""
    place = ["body", name] if name else ["body"]
    return InvalidFields([{"loc": place, "msg": sentence[:_MOST_CHARACTERS], "type": "value_error"}])
