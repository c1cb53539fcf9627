"""Readings, and what is made of them: matching, the residual mix, cancellation statements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import BaseModel

from energytag.client.connection import Connection
from energytag.models.matching import (
    CancellationStatement,
    MatchingQuestion,
    ResidualMixReply,
    ResidualQuestion,
    StatementQuestion,
)
from energytag.models.matching import Matching as MatchingReply
from energytag.models.measurements import (
    ConsumptionQuestion,
    ConsumptionReadings,
    DeviceReadings,
    FileOptions,
    KeptReading,
    KeptReadings,
    ProductionQuestion,
    ReadingsTaken,
)

_CSV = "text/csv"
_STATEMENT = "/statements/cancellation"


def _params(question: BaseModel) -> Mapping[str, Any]:
    """A question as the query of a URL."""
    given = question.model_dump(mode="json", exclude_none=True)
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}


class Measurements:
    """What meters counted: production by device, consumption by account and zone. A reading that was taken before
    is no fault, so a file can be sent again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def produce(self, body: DeviceReadings) -> ReadingsTaken:
        """Hand in a device's readings; with `issue`, certificates are issued of them."""
        return await self._connection.read(ReadingsTaken, "POST", "/measurements", body)

    async def produce_table(self, table: bytes, options: FileOptions | None = None) -> ReadingsTaken:
        """The same from a table: device_id, start, end, energy_wh."""
        return await self._connection.read(
            ReadingsTaken,
            "POST",
            "/measurements/csv",
            params=_params(options or FileOptions()),
            content=table,
            media_type=_CSV,
        )

    def produced(self, question: ProductionQuestion) -> AsyncIterator[KeptReading]:
        """A device's readings in the order of time."""
        return self._pages("/measurements", question)

    async def consume(self, body: ConsumptionReadings) -> ReadingsTaken:
        """Hand in an account's consumption in a zone."""
        return await self._connection.read(ReadingsTaken, "POST", "/consumption", body)

    async def consume_table(self, table: bytes) -> ReadingsTaken:
        """The same from a table: account_id, zone, start, end, energy_wh."""
        return await self._connection.read(
            ReadingsTaken, "POST", "/consumption/csv", content=table, media_type=_CSV
        )

    def consumed(self, question: ConsumptionQuestion) -> AsyncIterator[KeptReading]:
        """An account's consumption in the order of time."""
        return self._pages("/consumption", question)

    async def _pages(self, path: str, question: BaseModel) -> AsyncIterator[KeptReading]:
        params = dict(_params(question))
        while True:
            page = await self._connection.read(KeptReadings, "GET", path, params=params)
            for reading in page.readings:
                yield reading
            if page.cursor is None:
                return
            params["cursor"] = page.cursor


class Matching:
    """Cancelled certificates against consumption."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def coverage(self, question: MatchingQuestion) -> MatchingReply:
        """What an account consumed, against what was cancelled for it, by zone and interval."""
        return await self._connection.read(MatchingReply, "GET", "/matching", params=_params(question))

    async def residual_mix(self, question: ResidualQuestion) -> ResidualMixReply:
        """What of a zone's energy nobody may claim."""
        return await self._connection.read(ResidualMixReply, "GET", "/residual_mix", params=_params(question))

    async def statement(self, question: StatementQuestion) -> CancellationStatement:
        """The statement of what was cancelled."""
        return await self._connection.read(
            CancellationStatement, "GET", "/statements/cancellation", params=_params(question)
        )

    async def statement_page(self, question: StatementQuestion) -> str:
        """The statement as a page (HTML) to print."""
        return await self._connection.text(_STATEMENT, _params(question), "text/html")
