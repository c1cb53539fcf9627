"""Readings over HTTP: handed in by meters, looked at by their owners, and decided upon by the operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from aiohttp import web

from api.bridge.meter_schemas import READING, SHORT_READING, batch_of
from api.bridge.part import metering_caller, metering_of
from api.bridge.sight import demand_sight, seen
from api.fields import JSON_BYTES, demand_media, read_model
from api.limits import Bodies, Gate
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Schema, Tag, json_content
from bridge.meters.body import ReadingBody, read_list, read_reading, read_short_reading
from bridge.meters.intake import Entry, Outcome, Taken
from bridge.meters.looking import Paged, ReadingsQuestion, reading_key_of, reading_of, readings_listed
from bridge.meters.registration import Judgement
from bridge.meters.showing import (
    ConflictsShown,
    OutcomesShown,
    ReadingShown,
    ReadingsShown,
    conflict_shown,
    reading_shown,
)
from bridge.records import READINGS
from config.errors import MetawattError

T = TypeVar("T")
Read: TypeAlias = Callable[[Any], ReadingBody]

_READING_BYTES: Final = 16 * 1024
_ENTRY_BYTES: Final = 2048
_BATCHES, _WAITING_BATCHES = 4, 256
_ID: Final = Parameter("reading_id", "path", "The reading's id.", {"type": "string", "format": "uuid"}, True)
_SERIAL: Final = Parameter("serial", "path", "The meter's serial.", {"type": "string"}, True)
_REFUSALS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_TAKEN: Final = {
    201: json_content("Taken; durable.", ReadingShown),
    200: json_content("It was here already, as this says.", ReadingShown),
}
_OUTCOMES: Final = {200: json_content("What became of each.", OutcomesShown)}


class ReadingsHandler:
    """A meter's signature is its credential: whoever hands its readings in needs no other."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies
        self._most = node.settings.meters.batch_readings
        self._batch_bytes = max(JSON_BYTES, self._most * _ENTRY_BYTES)
        self._large = bodies.larger(self._batch_bytes)
        self._batches = Gate("batches of readings", _BATCHES, _WAITING_BATCHES)

    # Handing in

    async def submit(self, request: web.Request) -> web.Response:
        return await self._take(await self._read(request, read_reading))

    async def submit_short(self, request: web.Request) -> web.Response:
        serial = request.match_info["serial"]
        return await self._take(await self._read(request, partial(read_short_reading, serial=serial)))

    async def submit_many(self, request: web.Request) -> web.Response:
        return await self._take_many(request, read_reading)

    async def submit_many_short(self, request: web.Request) -> web.Response:
        return await self._take_many(request, read_short_reading)

    async def _take(self, body: ReadingBody) -> web.Response:
        taken = await metering_of(self._node).intake.submit(body)
        return json_reply(reading_shown(taken.document), 201 if taken.is_new else 200)

    async def _take_many(self, request: web.Request, read: Read) -> web.Response:
        intake = metering_of(self._node).intake
        demand_media(request, "application/json")
        body = await self._large.read(request, self._batch_bytes)
        try:
            # Not before the body is here: whoever is slow to send one keeps nobody else's place.
            async with self._batches:
                entries = self._entries(body, read)
                return json_reply(_outcomes(await intake.submit_many(entries)))
        finally:
            self._large.release(len(body))

    async def _read(self, request: web.Request, read: Read) -> ReadingBody:
        demand_media(request, "application/json")
        body = await self._bodies.read(request, _READING_BYTES)
        try:
            return read(body)
        finally:
            self._bodies.release(len(body))

    def _entries(self, body: bytes, read: Read) -> list[Entry]:
        """Those of a batch; one that cannot be read as what is wrong with it."""
        return [_entry(raw, read) for raw in read_list(body, self._most)]

    # Looking

    async def reading(self, request: web.Request) -> web.Response:
        caller = await metering_caller(request, self._node)
        found = await reading_of(self._node.store, reading_key_of(request.match_info["reading_id"]))
        await demand_sight(self._node.store, caller, found)
        return json_reply(reading_shown(found))

    async def readings(self, request: web.Request) -> web.Response:
        caller = await metering_caller(request, self._node)
        page = await readings_listed(self._node.store, question_of(request, ReadingsQuestion))
        found = await seen(self._node.store, caller, page.documents)
        return json_reply({"readings": [reading_shown(each) for each in found], "cursor": page.cursor})

    # Conflicts

    async def conflicts(self, request: web.Request) -> web.Response:
        asked = question_of(request, Paged)
        page = await metering_of(self._node).intake.conflicts.listed(asked.limit, asked.cursor)
        firsts = await self._node.store.get_many(READINGS, [each["reading"]["_id"] for each in page.documents])
        shown = [conflict_shown(each, firsts[each["reading"]["_id"]]) for each in page.documents]
        return json_reply({"conflicts": shown, "cursor": page.cursor})

    async def decide(self, request: web.Request) -> web.Response:
        key = reading_key_of(request.match_info["reading_id"])
        asked = await read_model(request, self._bodies, Judgement)
        chosen = None if asked.conflict_id is None else bytes.fromhex(asked.conflict_id)
        decided = await metering_of(self._node).intake.conflicts.decide(key, asked.decision, chosen)
        return json_reply(reading_shown(decided))

    def routes(self) -> tuple[Route, ...]:
        return (*self._submissions(), *self._questions(), *self._decisions())

    def _submissions(self) -> tuple[Route, ...]:
        return (
            _post("/api/meters/submit-reading", "submitReading", "A meter's signed reading", self.submit, READING),
            _post_many("/api/meters/submit-readings", "submitReadings", self.submit_many, READING),
            _post(
                "/api/v1/meters/{serial}/readings",
                "submitMeterReading",
                "A signed reading in the short shape of GridTokenX's v1",
                self.submit_short,
                SHORT_READING,
                (_SERIAL,),
            ),
            _post_many("/api/v1/meters/batch/readings", "submitBatch", self.submit_many_short, SHORT_READING),
        )

    def _questions(self) -> tuple[Route, ...]:
        return (
            _route(
                "GET",
                "/api/meters/readings",
                "listReadings",
                "Readings of a meter, or of a wallet, that the caller may see",
                self.readings,
                {200: json_content("A page; it may be short before the end.", ReadingsShown)},
                (400, 401, 403, 422, 503),
                parameters=parameters_of(ReadingsQuestion),
                access=Access.CALLER,
            ),
            _route(
                "GET",
                "/api/meters/readings/{reading_id}",
                "readReading",
                "A reading, and how far its token is",
                self.reading,
                {200: json_content("The reading.", ReadingShown)},
                (401, 403, 404, 503),
                parameters=(_ID,),
                access=Access.CALLER,
            ),
        )

    def _decisions(self) -> tuple[Route, ...]:
        return (
            _route(
                "GET",
                "/api/admin/meters/conflicts",
                "listReadingConflicts",
                "Second readings of an interval that wait for a decision",
                self.conflicts,
                {200: json_content("A page, oldest first.", ConflictsShown)},
                (400, 401, 403, 422, 503),
                parameters=parameters_of(Paged),
                access=Access.ADMIN,
            ),
            _route(
                "POST",
                "/api/admin/meters/readings/{reading_id}/decide",
                "decideReadingConflict",
                "Keep the first reading, take a second one in its place, or reject them all",
                self.decide,
                {200: json_content("The reading as it is now.", ReadingShown)},
                _REFUSALS,
                parameters=(_ID,),
                body=json_content("The decision.", Judgement),
                access=Access.ADMIN,
            ),
        )


def _entry(raw: Any, read: Read) -> Entry:
    try:
        return read(raw)
    except MetawattError as error:
        return error


def _outcomes(outcomes: list[Outcome]) -> dict[str, Any]:
    results = [_outcome(each) for each in outcomes]
    kinds = [each["outcome"] for each in results]
    return {kind: kinds.count(kind) for kind in ("accepted", "repeated", "refused")} | {"results": results}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Taken):
        told = "accepted" if outcome.is_new else "repeated"
        return {"outcome": told, **reading_shown(outcome.document)}
    return {"outcome": "refused", "code": outcome.code, "message": outcome.message}


def _post(
    path: str, operation: str, summary: str, handler: Handler, body: Schema, parameters: tuple[Parameter, ...] = ()
) -> Route:
    content = json_content("The reading.", body)
    return _route("POST", path, operation, summary, handler, _TAKEN, _REFUSALS, parameters=parameters, body=content)


def _post_many(path: str, operation: str, handler: Handler, body: Schema) -> Route:
    content = json_content("The readings, as a list or as `readings`.", batch_of(dict(body)))
    summary = "Many signed readings; each is taken or refused by itself"
    return _route(
        "POST", path, operation, summary, handler, _OUTCOMES, (400, 408, 413, 415, 422, 503), body=content
    )


def _route(
    method: str,
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    replies: dict[int, Content],
    errors: tuple[int, ...],
    *,
    parameters: tuple[Parameter, ...] = (),
    body: Content | None = None,
    access: Access = Access.PUBLIC,
) -> Route:
    return Route(
        method,
        path,
        operation,
        Tag.METERS,
        summary,
        handler,
        parameters=parameters,
        body=body,
        replies=replies,
        errors=errors,
        access=access,
        when_ready=True,
    )
