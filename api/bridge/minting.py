"""`/api/admin/meters`: how readings become tokens, watched over and steered by the operator."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from api.bridge.part import metering_of
from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Tag, json_content
from bridge.meters.looking import Paged, reading_key_of
from bridge.minting.desk import Desk
from bridge.minting.minting import Minting
from bridge.minting.showing import (
    BackfillAsked,
    ConfigChange,
    ConfigShown,
    JobShown,
    JobStarted,
    PollShown,
    ReadingAsked,
    StatusShown,
    TokenAccountShown,
    WaitingShown,
    WalletAsked,
    account_shown,
    job_shown,
    plain,
    status_shown,
    waiting_shown,
)

_BASE: Final = "/api/admin/meters"
_ID: Final = Parameter("reading_id", "path", "The reading's id.", {"type": "string", "format": "uuid"}, True)
_JOB: Final = Parameter("job", "path", "The job's id.", {"type": "string", "format": "uuid"}, True)


class MintingHandler:
    """Every answer is the store's; whichever process mints finds there what is asked here."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    @property
    def _desk(self) -> Desk:
        return metering_of(self._node).desk

    @property
    def _minting(self) -> Minting:
        """What has to wait for the cluster; `Unavailable` until it has answered."""
        return metering_of(self._node).minting

    # Steering

    async def config(self, _request: web.Request) -> web.Response:
        return json_reply(plain(await self._desk.config()))

    async def set_config(self, request: web.Request) -> web.Response:
        change = await read_model(request, self._bodies, ConfigChange)
        return json_reply(plain(await self._desk.set_config(**change.model_dump())))

    async def trigger(self, _request: web.Request) -> web.Response:
        result = await self._minting.poll_now()
        return json_reply(plain(result), 200 if result.is_finished else 202)

    async def mint_reading(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, ReadingAsked)
        status = await self._minting.mint_reading(reading_key_of(asked.reading_id))
        return json_reply(status_shown(status))

    async def requeue(self, request: web.Request) -> web.Response:
        return json_reply(status_shown(await self._desk.requeue(_key(request))))

    async def backfill(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, BackfillAsked)
        job_id = await self._desk.backfill(_ms(asked.from_), _ms(asked.to), meter=asked.meter, wallet=asked.wallet)
        return json_reply({"job_id": job_id}, 202)

    async def make_account(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, WalletAsked)
        account = await self._minting.initialize_token_account(asked.wallet)
        return json_reply(account_shown(asked.wallet, account))

    # Watching

    async def unminted(self, request: web.Request) -> web.Response:
        asked = question_of(request, Paged)
        page = await self._desk.unminted(asked.limit, asked.cursor)
        return json_reply({"readings": list(map(waiting_shown, page.documents)), "cursor": page.cursor})

    async def retries(self, request: web.Request) -> web.Response:
        asked = question_of(request, Paged)
        page = await self._desk.retries(asked.limit, asked.cursor)
        return json_reply({"readings": list(map(waiting_shown, page.documents)), "cursor": page.cursor})

    async def status(self, request: web.Request) -> web.Response:
        return json_reply(status_shown(await self._desk.status(_key(request))))

    async def backfill_status(self, request: web.Request) -> web.Response:
        return json_reply(job_shown(await self._desk.backfill_status(request.match_info["job"])))

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (*self._steering(), *self._asking(), *self._watching())

    def _steering(self) -> tuple[Route, ...]:
        return (
            _route(
                "GET", "/auto-mint-config", "readAutoMintConfig", "How minting is set", self.config, ConfigShown
            ),
            _route(
                "PUT",
                "/auto-mint-config",
                "writeAutoMintConfig",
                "Switch auto-mint, or change the poll's interval and the batch's size; it outlives a restart",
                self.set_config,
                ConfigShown,
                body=ConfigChange,
            ),
            _trigger_route(self.trigger),
        )

    def _asking(self) -> tuple[Route, ...]:
        return (
            _route(
                "POST",
                "/mint-from-reading",
                "mintFromReading",
                "Mint one reading, with auto-mint off, too; answers once it is final, or after 30 seconds",
                self.mint_reading,
                StatusShown,
                body=ReadingAsked,
            ),
            _route(
                "POST",
                "/retry-queue/{reading_id}/requeue",
                "requeueReading",
                "Take a reading of the retry queue again now; a dead one begins to count anew",
                self.requeue,
                StatusShown,
                parameters=(_ID,),
                errors=(401, 403, 404, 409, 503),
            ),
            _route(
                "POST",
                "/backfill-mint",
                "backfillMint",
                "Make old readings due that are not minted, dead ones too",
                self.backfill,
                JobStarted,
                body=BackfillAsked,
                status=202,
            ),
            _route(
                "POST",
                "/initialize-token-account",
                "initializeTokenAccount",
                "Make a wallet's token account",
                self.make_account,
                TokenAccountShown,
                body=WalletAsked,
            ),
        )

    def _watching(self) -> tuple[Route, ...]:
        return (
            _page_route("/unminted", "listUnminted", "Readings that are not minted, oldest first", self.unminted),
            _page_route(
                "/retry-queue",
                "listRetryQueue",
                "Readings that failed, by when each is taken next; dead ones last",
                self.retries,
            ),
            _route(
                "GET",
                "/minting-status/{reading_id}",
                "readMintingStatus",
                "How far a reading's token is",
                self.status,
                StatusShown,
                parameters=(_ID,),
                errors=(401, 403, 404, 503),
            ),
            _route(
                "GET",
                "/backfill-status/{job}",
                "readBackfillStatus",
                "How far a backfill is",
                self.backfill_status,
                JobShown,
                parameters=(_JOB,),
                errors=(401, 403, 404, 503),
            ),
        )


def _key(request: web.Request) -> bytes:
    return reading_key_of(request.match_info["reading_id"])


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _trigger_route(handler: Handler) -> Route:
    replies = {
        200: json_content("What it did.", PollShown),
        202: json_content("It is not done yet.", PollShown),
    }
    summary = "Mint now what is due, with auto-mint off, too"
    return _plain_route("POST", "/auto-mint-trigger", "triggerAutoMint", summary, handler, replies)


def _page_route(tail: str, operation: str, summary: str, handler: Handler) -> Route:
    replies = {200: json_content("A page.", WaitingShown)}
    errors = (400, 401, 403, 422, 503)
    return _plain_route("GET", tail, operation, summary, handler, replies, parameters_of(Paged), errors)


def _route(
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    reply: type[BaseModel],
    *,
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[int, ...] | None = None,
    status: int = 200,
) -> Route:
    replies: dict[int, Content] = {status: json_content("JSON.", reply)}
    if errors is None:
        errors = (401, 403, 503) if body is None else (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
    return _plain_route(method, tail, operation, summary, handler, replies, parameters, errors, body)


def _plain_route(
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    replies: dict[int, Any],
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[int, ...] = (401, 403, 503),
    body: type[BaseModel] | None = None,
) -> Route:
    return Route(
        method,
        f"{_BASE}{tail}",
        operation,
        Tag.METERS,
        summary,
        handler,
        parameters=parameters,
        body=None if body is None else json_content("JSON.", body),
        replies=replies,
        errors=errors,
        access=Access.ADMIN,
        when_ready=True,
    )
