"""`/measurements` and `/consumption`: readings as JSON and as files of CSV, and what is kept of them.

A file is taken in pieces of as many rows as one action may have. Each piece is taken whole or not at all, and a
row that was taken before is no fault: a file that failed in its middle is mended and sent again as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from api.fields import demand_media, read_model
from api.limits import Bodies, Gate
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Tag, json_content
from config.errors import MetawattError
from energytag.access import Caller, demand, demand_on
from energytag.actions import Action, Kind, State
from energytag.consumption import CONSUMPTION, consumption_digest
from energytag.csv_rows import read_rows
from energytag.devices import device
from energytag.measurements import MEASUREMENTS, device_digest, not_issued
from energytag.models.common import InvalidFields, written
from energytag.models.measurements import (
    MOST_READINGS,
    ConsumptionQuestion,
    ConsumptionReadings,
    ConsumptionRow,
    DeviceReadings,
    FileOptions,
    IntervalReading,
    Issued,
    KeptReadings,
    ProductionQuestion,
    ProductionRow,
    ReadingsQuestion,
    ReadingsTaken,
    csv_request,
)
from energytag.readings import kept, page, reading_key
from energytag.records import DEVICES
from energytag.sight import Sight
from store.port import Collection, Find

CSV: Final = "text/csv"
_CONCURRENT, _WAITING = 2, 16


@dataclass(slots=True)
class _Taken:
    """What came of the actions of one call, added up."""

    action_ids: list[str] = field(default_factory=list)
    accepted: int = 0
    repeated: int = 0
    energy_wh: int = 0

    def add(self, action: Action) -> None:
        self.action_ids.append(action.action_id)
        self.accepted += action.result["accepted"]
        self.repeated += action.result["repeated"]
        self.energy_wh += action.result["energy_wh"]

    def reply(self, issuance: Sequence[Issued] | None, pending: Action | None = None) -> web.Response:
        """The answer; `pending` is an action that is still under way."""
        ids = self.action_ids if pending is None else [*self.action_ids, pending.action_id]
        taken = ReadingsTaken(
            action_ids=ids,
            action_state=State.RESOLVED if pending is None else pending.state,
            accepted=self.accepted,
            repeated=self.repeated,
            energy_wh=self.energy_wh,
            issuance=None if issuance is None else list(issuance),
        )
        return json_reply(written(taken), 201 if pending is None else 202)


class MeasurementsHandler:
    """Few files at once, each larger than other bodies may be."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        registry = node.settings.registry
        self._node = node
        self._bodies = bodies
        self._large = bodies.larger(registry.import_bytes)
        self._files = Gate("files of measurements", _CONCURRENT, _WAITING)
        self._most_rows = min(registry.bundles_per_action, MOST_READINGS)

    # Production

    async def produce(self, request: web.Request) -> web.Response:
        caller = await self._caller(request, Kind.MEASUREMENTS)
        body = await read_model(request, self._bodies, DeviceReadings, self._node.settings.limits.body_bytes)
        options = FileOptions(issue=body.issue, face_value=body.face_value)
        _demand_issuer(caller, options)
        account_id = (await device(self._node.store, body.device_id))["account_id"]
        series = written(body)
        request_body = {"series": [{name: series[name] for name in ("device_id", "readings")}]}
        return await self._take(caller, Kind.MEASUREMENTS, [request_body], options, account_id)

    async def produce_file(self, request: web.Request) -> web.Response:
        caller = await self._caller(request, Kind.MEASUREMENTS)
        options = question_of(request, FileOptions)
        _demand_issuer(caller, options)
        return await self._file(request, caller, Kind.MEASUREMENTS, ProductionRow, options)

    async def produced(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        asked = question_of(request, ProductionQuestion)
        document = await device(self._node.store, asked.device_id)
        await Sight(self._node.store, caller).demand_device(document)
        return await self._page(MEASUREMENTS, _series_find(device_digest(asked.device_id), asked), asked.cursor)

    # Consumption

    async def consume(self, request: web.Request) -> web.Response:
        caller = await self._caller(request, Kind.CONSUMPTION)
        body = await read_model(request, self._bodies, ConsumptionReadings, self._node.settings.limits.body_bytes)
        await demand_on(self._node.store, caller, Kind.CONSUMPTION, body.account_id)
        request_body = {"series": [written(body)]}
        return await self._take(caller, Kind.CONSUMPTION, [request_body], FileOptions(), body.account_id)

    async def consume_file(self, request: web.Request) -> web.Response:
        caller = await self._caller(request, Kind.CONSUMPTION)
        return await self._file(request, caller, Kind.CONSUMPTION, ConsumptionRow, FileOptions())

    async def consumed(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        asked = question_of(request, ConsumptionQuestion)
        await demand_on(self._node.store, caller, Kind.CONSUMPTION, asked.account_id)
        if asked.zone is None:
            find = Find("account", {"account_id": asked.account_id}, *asked.bounds, limit=asked.limit)
        else:
            find = _series_find(consumption_digest(asked.account_id, asked.zone), asked)
        return await self._page(CONSUMPTION, find, asked.cursor)

    # Parts

    async def _caller(self, request: web.Request, kind: Kind) -> Caller:
        caller = await caller_of(request, self._node)
        demand(caller, kind)
        return caller

    async def _page(self, collection: Collection, find: Find, cursor: str | None) -> web.Response:
        documents, after = await page(self._node.store, collection, find, cursor)
        return json_reply(written(KeptReadings(readings=[kept(each) for each in documents], cursor=after)))

    async def _file(
        self, request: web.Request, caller: Caller, kind: Kind, row: type[BaseModel], options: FileOptions
    ) -> web.Response:
        demand_media(request, CSV)
        async with self._files:
            body = await self._large.read(request)
            try:
                return await self._take(caller, kind, _requests(body, row, self._most_rows), options)
            finally:
                self._large.release(len(body))

    async def _take(
        self,
        caller: Caller,
        kind: Kind,
        requests: Iterable[Mapping[str, Any]],
        options: FileOptions,
        account_id: str | None = None,
    ) -> web.Response:
        """One action after another, then the issuances; nothing is issued of readings that were not taken."""
        taken, metered, left = _Taken(), list[Mapping[str, Any]](), iter(requests)
        # Reading a large file takes a while, and others are served meanwhile.
        while (body := await asyncio.to_thread(next, left, None)) is not None:
            if kind is Kind.CONSUMPTION:
                await self._demand_accounts(caller, body["series"])
            outcome = await registry_of(self._node).act(kind, body, user_id=caller.user_id, account_id=account_id)
            if outcome.action.state is not State.RESOLVED:
                return _stopped(taken, outcome.action)
            taken.add(outcome.action)
            metered += body["series"] if options.issue else ()
        issuance = await self._issue_all(caller, metered, options.face_value) if options.issue else None
        return taken.reply(issuance)

    async def _demand_accounts(self, caller: Caller, series: Iterable[Mapping[str, Any]]) -> None:
        for account_id in dict.fromkeys(each["account_id"] for each in series):
            await demand_on(self._node.store, caller, Kind.CONSUMPTION, account_id)

    async def _issue_all(
        self, caller: Caller, series: Sequence[Mapping[str, Any]], face_value: int
    ) -> list[Issued]:
        """An action for each series, as many at once as the queue plans together."""
        at_once = self._node.settings.registry.actions_per_round
        issued: list[Issued] = []
        for first in range(0, len(series), at_once):
            group = series[first : first + at_once]
            issued += await asyncio.gather(*(self._issue(caller, each, face_value) for each in group))
        return issued

    async def _issue(self, caller: Caller, series: Mapping[str, Any], face_value: int) -> Issued:
        store, device_id = self._node.store, series["device_id"]
        readings = await not_issued(store, device_id, series["readings"])
        known = sum(1 for each in series["readings"] if each["energy_wh"]) - len(readings)
        if not readings:
            return Issued(device_id=device_id, bundles=0, already_issued=known)
        document = await store.get(DEVICES, device_id)
        request = {"device_id": device_id, "readings": readings, "face_value": face_value}
        outcome = await registry_of(self._node).act(
            Kind.CREATE_MANY,
            request,
            user_id=caller.user_id,
            account_id=None if document is None else document["account_id"],
        )
        action = outcome.action
        return Issued(
            device_id=device_id,
            bundles=0 if action.state is State.REJECTED else len(readings),
            already_issued=known,
            action_id=action.action_id,
            action_state=action.state.value,
            tx_ids=list(action.txids),
            error=None if action.error is None else dict(action.error),
        )

    def routes(self) -> tuple[Route, ...]:
        """None of them is EnergyTag's."""
        return (
            _post("measurements", "submitMeasurements", "Readings of a device", self.produce, DeviceReadings),
            _post_file(
                "measurements",
                "submitMeasurementsFile",
                "Readings of devices, as CSV",
                self.produce_file,
                ProductionRow,
                parameters_of(FileOptions),
            ),
            _get("measurements", "readMeasurements", "A device's readings", self.produced, ProductionQuestion),
            _post(
                "consumption", "submitConsumption", "An account's consumption", self.consume, ConsumptionReadings
            ),
            _post_file(
                "consumption",
                "submitConsumptionFile",
                "Consumption of accounts, as CSV",
                self.consume_file,
                ConsumptionRow,
            ),
            _get("consumption", "readConsumption", "An account's consumption", self.consumed, ConsumptionQuestion),
        )


def _demand_issuer(caller: Caller, options: FileOptions) -> None:
    if options.issue:
        demand(caller, Kind.CREATE_MANY)


def _requests(body: bytes, row: type[BaseModel], most_rows: int) -> Iterator[dict[str, Any]]:
    """A file as the requests of actions; `InvalidFields` for a file without rows."""
    subject = tuple(name for name in row.model_fields if name not in IntervalReading.model_fields)
    rows = ((line, each.model_dump()) for line, each in read_rows(body, row, ("energy_wh",)))
    some = False
    while chunk := list(islice(rows, most_rows)):
        some = True
        yield csv_request(chunk, subject)
    if not some:
        raise InvalidFields([{"loc": ["body"], "msg": "the file has no rows", "type": "csv"}])


def _stopped(taken: _Taken, action: Action) -> web.Response:
    """The refusal of an action, raised; or the answer while it is under way."""
    refusal = action.refusal()
    if refusal is None:
        return taken.reply(None, action)
    if taken.action_ids:
        before = "; what stands before it was taken: mend the file and send all of it again"
        raise MetawattError(refusal.message + before, refusal.code)
    raise refusal


def _series_find(digest: bytes, asked: ReadingsQuestion) -> Find:
    """A walk along one series."""
    start, end = asked.bounds
    return Find(lower=reading_key(digest, start), upper=reading_key(digest, end), limit=asked.limit)


_TAKEN: Final = json_content("The readings are kept.", ReadingsTaken)
_LATER: Final = json_content("The last of these actions takes longer: ask for it by its id.", ReadingsTaken)
_RULES: Final = """\
Intervals are UTC, above zero and at most an hour, over by now, on whole seconds, and do not overlap. A reading that
comes again is taken once; with another value it is refused (`ERR_MEASUREMENT_INVALID`). Zero is a reading."""
_FILE: Final = """\
The first line names the columns: {columns}. A file is taken in pieces of at most as many rows as an action may
have; each is taken whole or not at all, and the first that is refused ends the work. The message names the row
(the first line is 1). Rows that were taken before are no fault: mend the file and send all of it again."""


def _post(noun: str, operation: str, summary: str, handler: Handler, body: type[BaseModel]) -> Route:
    return _route("POST", f"/{noun}", operation, summary, handler, _RULES, body=json_content("Readings.", body))


def _post_file(
    noun: str,
    operation: str,
    summary: str,
    handler: Handler,
    row: type[BaseModel],
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    text = _FILE.format(columns=", ".join(f"`{name}`" for name in row.model_fields))
    body = Content("Rows.", {CSV: {"type": "string"}})
    described = f"{text}\n\n{_RULES}"
    return _route("POST", f"/{noun}/csv", operation, summary, handler, described, body=body, parameters=parameters)


def _get(noun: str, operation: str, summary: str, handler: Handler, question: type[BaseModel]) -> Route:
    return Route(
        "GET",
        f"/{noun}",
        operation,
        Tag.MEASUREMENTS,
        summary,
        handler,
        parameters=parameters_of(question),
        replies={200: json_content("In the order of time.", KeptReadings)},
        errors=(400, 401, 403, 404, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


def _route(
    method: str,
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    description: str,
    *,
    body: Content,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    return Route(
        method,
        path,
        operation,
        Tag.MEASUREMENTS,
        summary,
        handler,
        description=description,
        parameters=parameters,
        body=body,
        replies={201: _TAKEN, 202: _LATER},
        errors=(400, 401, 403, 404, 408, 413, 415, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )
