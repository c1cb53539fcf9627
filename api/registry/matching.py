"""`/matching`, `/residual_mix` and `/statements/cancellation`. None of them is EnergyTag's."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from api.limits import Gate
from api.pages import page_reply
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of
from api.registry.asking import parameters_of, question_of
from api.registry.statement_page import StatementPage
from api.replies import json_reply
from api.route import Access, Content, Handler, Route, Tag, json_content
from energytag.access import demand_member
from energytag.matching import match_account
from energytag.models.matching import (
    CancellationStatement,
    Matching,
    MatchingQuestion,
    ResidualMixReply,
    ResidualQuestion,
    StatementQuestion,
)
from energytag.residual import residual_mix
from energytag.statements import account_asked, state_cancellations

HTML: Final = "text/html"
# Each looks at many records; a few at once leave the rest of the node its share.
_CONCURRENT, _WAITING = 4, 64


class MatchingHandler:
    """Questions about what was cancelled."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._gate = Gate("questions about cancellations", _CONCURRENT, _WAITING)
        self._page = StatementPage(node.settings.node.name, node.settings.node.network)

    async def matching(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        asked = question_of(request, MatchingQuestion)
        await demand_member(self._node.store, caller, asked.account_id)
        async with self._gate:
            return _told(await match_account(registry_of(self._node).ground, asked))

    async def residual(self, request: web.Request) -> web.Response:
        await caller_of(request, self._node)
        asked = question_of(request, ResidualQuestion)
        async with self._gate:
            return _told(await residual_mix(registry_of(self._node).ground, asked))

    async def statement(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        asked = question_of(request, StatementQuestion)
        await demand_member(self._node.store, caller, await account_asked(self._node.store, asked))
        async with self._gate:
            statement = await state_cancellations(registry_of(self._node).ground, asked)
            if not _wants_page(request):
                return _told(statement)
            # A long statement takes a while to write, and others are served meanwhile.
            return page_reply(await asyncio.to_thread(self._page.render, statement))

    def routes(self) -> tuple[Route, ...]:
        return (
            _route(
                "/matching",
                "matching",
                "An account's consumption against what was cancelled for it",
                self.matching,
                MatchingQuestion,
                json_content("Zone by zone.", Matching),
                _MATCHING,
            ),
            _route(
                "/residual_mix",
                "residualMix",
                "What of a zone's energy nobody may claim",
                self.residual,
                ResidualQuestion,
                json_content("By source.", ResidualMixReply),
                _RESIDUAL,
            ),
            _route(
                "/statements/cancellation",
                "cancellationStatement",
                "A statement of cancellations, to keep or to print",
                self.statement,
                StatementQuestion,
                Content("The statement.", {"application/json": CancellationStatement, HTML: {"type": "string"}}),
                _STATEMENT,
            ),
        )


def _told(answer: BaseModel) -> web.Response:
    """Null is said, where it means something: there is no coverage without consumption."""
    return json_reply(answer.model_dump(mode="json"))


def _wants_page(request: web.Request) -> bool:
    """Whether a page is named, and JSON is not."""
    accepted = request.headers.get("Accept", "").lower()
    return HTML in accepted and "application/json" not in accepted


def _route(
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    question: type[BaseModel],
    reply: Content,
    description: str,
) -> Route:
    return Route(
        "GET",
        path,
        operation,
        Tag.MATCHING,
        summary,
        handler,
        description=description,
        parameters=parameters_of(question),
        replies={200: reply},
        errors=(400, 401, 403, 404, 413, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


_MATCHING: Final = """\
Within a zone and a period what is matched is the lesser of what was consumed and what was cancelled for the
account, by whomever; what it cancelled for others counts for them. An interval that is not an hour is spread over
the hours it overlaps, by time. At coarser granularity both sides are summed over the period first (UTC; weeks are
ISO's), so that coverage can only rise from the hour to the year. Periods without any energy are left out; where
nothing was consumed there is no coverage, and it is null."""
_RESIDUAL: Final = """\
By source: production − cancelled − exported. Production is, per device and clock hour, the greater of what was
measured and what was issued. Cancelled are certificates Cancelled or Claimed, exported those that live on in
another registry. What expired or was lost falls to the residual, and so does what is still held, which makes the
mix provisional (`is_final`). What was withdrawn counts as never issued. With `total_consumption_wh`, consumption
beyond the known production is `untracked`. Energy counts in the hour in which its interval begins."""
_STATEMENT: Final = """\
Ask by account and production period, by account and issuance, or by action. `Accept: text/html` gives a page that
prints on A4, loads nothing and needs no scripts. The same cancellations have the same `statement_id`: it is the
SHA-256 of the canonical JSON (RFC 8785) of `statement`."""
