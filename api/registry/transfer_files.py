"""`/certificates/import` and `/certificates/export`: certificates from and to other registries, as files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from api.fields import demand_media, read_model
from api.limits import Bodies, Gate
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of, unfinished
from api.replies import COMMON, OWN_ID, REQUEST_ID, json_reply
from api.route import Access, Content, Parameter, Route, Tag, json_content
from config.errors import BadRequest, ErrorCode, MetawattError
from energytag.access import acting_user, demand, demand_member
from energytag.actions import Action, Kind
from energytag.bundle_table import rows
from energytag.exports import Form, chunks, form_for
from energytag.imports import prepare
from energytag.models.answers import ActionRead
from energytag.models.certificates import GranularCertificateQuery
from energytag.models.common import read
from energytag.models.imports import CertificateImport, CertificateImportResponse

_CSV: Final = "text/csv"
_ROWS_A_TURN: Final = 200
_CONCURRENT, _WAITING = 2, 16


class TransferFilesHandler:
    """Few files at once, each larger than other bodies may be."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies
        self._large = bodies.larger(node.settings.registry.import_bytes)
        self._imports = Gate("imports", _CONCURRENT, _WAITING)
        self._exports = Gate("exports", _CONCURRENT, _WAITING)
        self._stall_secs = node.settings.limits.body_timeout_secs

    # Import

    async def bring_in(self, request: web.Request) -> web.Response:
        registry = registry_of(self._node)
        caller = await caller_of(request, self._node)
        demand(caller, Kind.IMPORT)
        async with self._imports:
            body = await self._body(request)
            prepared = await prepare(registry.ground, body)
            outcome = await registry.act(
                Kind.IMPORT, prepared, user_id=caller.user_id, account_id=prepared["account_id"]
            )
        return unfinished(outcome.action) or json_reply(_told(outcome.action), 201)

    async def _body(self, request: web.Request) -> CertificateImport:
        if request.content_type != _CSV:
            demand_media(request, "application/json")
            content = await self._large.read(request)
            try:
                return read(CertificateImport, orjson.loads(content))
            except orjson.JSONDecodeError as error:
                raise BadRequest(f"The body is not JSON: {error}", ErrorCode.BAD_JSON) from None
            finally:
                self._large.release(len(content))
        return await self._table(request)

    async def _table(self, request: web.Request) -> CertificateImport:
        """A CSV body; what is no row stands in the query."""
        content = await self._large.read(request)
        try:
            bundles: list[dict[str, Any]] = []
            for bundle in rows(_text(content)):
                bundles.append(bundle)
                if len(bundles) % _ROWS_A_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._large.release(len(content))
        named = {name: request.query[name] for name in ("source_registry", "account_id") if name in request.query}
        return read(CertificateImport, {**named, "bundles": bundles})

    # Export

    async def export(self, request: web.Request) -> web.StreamResponse:
        registry = registry_of(self._node)
        caller = await caller_of(request, self._node)
        asked = await read_model(request, self._bodies, GranularCertificateQuery)
        acting_user(caller, asked.source_user_id)
        await demand_member(self._node.store, caller, asked.source_account_id)
        form = form_for(request.headers.get("Accept"))
        async with self._exports:
            return await self._stream(request, chunks(registry.ground, asked, form), form)

    async def _stream(self, request: web.Request, pieces: AsyncIterator[bytes], form: Form) -> web.StreamResponse:
        """Send at the reader's pace. What goes wrong before the first piece is an answer; later on the
        connection is cut, so that nobody takes half an export for a whole one."""
        first = await anext(pieces)
        response = web.StreamResponse(headers=dict(COMMON))
        response.content_type, response.charset = form.value, "utf-8"
        response.headers[REQUEST_ID] = request[OWN_ID]
        response.headers["Content-Disposition"] = f'attachment; filename="certificates{_SUFFIX[form]}"'
        await response.prepare(request)
        try:
            await self._write(response, first)
            async for piece in pieces:
                await self._write(response, piece)
        except (TimeoutError, MetawattError) as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError(f"an export was cut off: {error or 'nobody reads it'}") from None
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        async with asyncio.timeout(self._stall_secs):
            await response.write(piece)

    def routes(self) -> tuple[Route, ...]:
        """Neither of them is EnergyTag's."""
        return (
            Route(
                "POST",
                "/certificates/import",
                "importCertificates",
                Tag.CERTIFICATES,
                "Issue here what was given up in another registry",
                self.bring_in,
                description=_IMPORT,
                parameters=_IN_QUERY,
                body=Content("Bundles.", {"application/json": CertificateImport, _CSV: {"type": "string"}}),
                replies={
                    201: json_content("All bundles are issued.", CertificateImportResponse),
                    202: json_content("The action takes longer: ask for it by its id.", ActionRead),
                },
                errors=(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
                access=Access.CALLER,
                when_ready=True,
                extension=True,
            ),
            Route(
                "POST",
                "/certificates/export",
                "exportCertificates",
                Tag.CERTIFICATES,
                "All bundles that a query finds, as a file",
                self.export,
                description=_EXPORT,
                body=json_content("As in a query.", GranularCertificateQuery),
                replies={200: Content("The bundles.", {form.value: {"type": "string"} for form in Form})},
                errors=(400, 401, 403, 404, 408, 413, 415, 422, 503),
                access=Access.CALLER,
                when_ready=True,
                extension=True,
            ),
        )


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start)
        raise BadRequest(f"row {row}: the text is not UTF-8", ErrorCode.IMPORT_INVALID) from None


def _told(action: Action) -> dict[str, Any]:
    return {
        "action_id": action.action_id,
        "action_state": action.state.value,
        "tx_ids": list(action.txids),
        **action.result,
    }


_SUFFIX: Final[Mapping[Form, str]] = {Form.CSV: ".csv", Form.JSON_LINES: ".jsonl"}
_IN_QUERY: Final = (
    Parameter("source_registry", "query", "With CSV: where the bundles come from.", {"type": "string"}),
    Parameter("account_id", "query", "With CSV: the account they go to.", {"type": "string", "format": "uuid"}),
)
_IMPORT: Final = """\
All bundles are issued, or none; `ERR_IMPORT_INVALID` names the row that stands in the way (from 1, without the
line of names). With a `proof` each bundle must be shown to have been cancelled, or finally reserved, in favour of
this registry: its beneficiary, or target registry, is this node's identity key, its public URL, or its issuing
body's name. Without one the bundles are marked as unproven for good."""
_EXPORT: Final = """\
`Accept: text/csv` gives a table with EnergyTag's columns and the timestamp proof, which can be imported again;
anything else one JSON object a line, as a query answers them. `limit` is not read."""
