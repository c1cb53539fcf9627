"""Readings and meters are looked up: what can be asked, and the pages that answer."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, model_validator

from bridge.meters.paging import Listed, listed
from bridge.meters.registration import Base58, Serial
from bridge.records import READINGS, reading_id
from config.errors import ErrorCode, NotFound
from energytag.models.common import Model, Uuid
from store.port import Document, Find, Reader

MOST_LISTED: Final = 1000
_USUAL_LIMIT: Final = 100
_MOST_CURSOR: Final = 512


class ReadingUnknown(NotFound):
    """There is no reading with that id."""

    default_code = ErrorCode.READING_UNKNOWN


class Paged(Model):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = Field(_USUAL_LIMIT, description="Most entries of a page.")
    cursor: Annotated[str, Field(min_length=1, max_length=_MOST_CURSOR)] | None = Field(
        None, description="What the page before gave."
    )


class ReadingsQuestion(Paged):
    """A meter's readings, or a wallet's, the latest interval first."""

    meter: Serial | None = Field(None, description="The meter's serial; or else `wallet`.")
    wallet: Base58 | None = Field(None, description="The owner's wallet; or else `meter`.")

    @model_validator(mode="after")
    def _one_of_both(self) -> ReadingsQuestion:
        if (self.meter is None) == (self.wallet is None):
            raise ValueError("either meter or wallet must be given")
        return self


class MetersQuestion(Paged):
    """Meters of an account, of a wallet, or (for the operator) all by serial."""

    account_id: Uuid | None = Field(None, description="Of this account; needed by who is not the operator.")
    wallet: Base58 | None = Field(None, description="Of this wallet.")

    @model_validator(mode="after")
    def _not_both(self) -> MetersQuestion:
        if self.account_id is not None and self.wallet is not None:
            raise ValueError("give account_id or wallet, not both")
        return self


async def reading_of(reader: Reader, key: bytes) -> Document:
    """The reading; `ReadingUnknown` when there is none."""
    reading = await reader.get(READINGS, key)
    if reading is None:
        raise ReadingUnknown(f"There is no reading {reading_id(key)}")
    return reading


def reading_key_of(text: str) -> bytes:
    """The key of a reading's id; `ReadingUnknown` when this is no id at all."""
    try:
        return UUID(text).bytes
    except ValueError:
        raise ReadingUnknown("A reading's id is a UUID") from None


async def readings_listed(reader: Reader, question: ReadingsQuestion) -> Listed:
    """A page of readings; `BadRequest(BAD_CURSOR)` for a cursor of something else."""
    index = "meter" if question.meter is not None else "wallet"
    find = Find(index, {index: question.meter or question.wallet}, descending=True, limit=question.limit)
    return await listed(reader, READINGS, find, question.cursor)
