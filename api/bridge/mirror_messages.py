"""`/api/bridge/messages`: crossings and their receipts, for anybody."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aiohttp import web

from api.bridge.mirror_part import (
    MESSAGE_ID,
    PUBLIC_BASE,
    MessageUnknown,
    bridge_route,
    message_id_of,
    mirror_of,
    outpoint_bytes,
    signature_bytes,
    txid_bytes,
)
from api.bridge.mirror_schemas import FoundShown, MessageShown, MessagesQuestion, MessagesShown, SearchQuestion
from api.bridge.mirror_search import MOST_FOUND, Search
from api.bridge.mirror_showing import message_shown
from api.ports import Node
from api.registry.answers import registry_of
from api.registry.asking import parameters_of, question_of
from api.replies import json_bytes, json_reply
from api.route import Route, json_content
from bridge.meters.paging import Listed, listed
from bridge.mirror.message import Message
from bridge.mirror.receipts.writing import whole_receipt
from bridge.mirror.records import MESSAGES
from config.errors import BadRequest, ErrorCode
from store.port import Document, Find, Reader

_ROUNDS: Final = 4
_RECEIPT: Final = {
    "type": "object",
    "description": "As docs/BRIDGE.md describes it; the bytes are those that are stored.",
}


class MessagesHandler:
    """Every answer is the store's, in whichever process it is asked."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._search: Search | None = None

    async def messages(self, request: web.Request) -> web.Response:
        question = question_of(request, MessagesQuestion)
        page = await newest(mirror_of(self._node).store, question)
        shown = [message_shown(Message.read(row)) for row in page.documents]
        return json_reply({"messages": shown, "cursor": page.cursor})

    async def message(self, request: web.Request) -> web.Response:
        store = mirror_of(self._node).store
        return json_reply(message_shown(await message_of(store, request.match_info["message_id"])))

    async def receipt(self, request: web.Request) -> web.Response:
        store = mirror_of(self._node).store
        message = await message_of(store, request.match_info["message_id"])
        data = await whole_receipt(registry_of(self._node).ground, message.id)
        if data is None:
            raise BadRequest(
                f"The message is {message.state}: a receipt is written when it ends", ErrorCode.STATUS_FORBIDS
            )
        return json_bytes(data)

    async def search(self, request: web.Request) -> web.Response:
        asked = question_of(request, SearchQuestion)
        if self._search is None:
            self._search = Search(mirror_of(self._node))
        if asked.signature is not None:
            found = await self._search.by_signature(signature_bytes(asked.signature))
        elif asked.txid is not None:
            found = await self._search.by_txid(txid_bytes(asked.txid))
        else:
            found = await self._search.by_outpoint(*outpoint_bytes(asked.outpoint or ""))
        shown = [message_shown(each) for each in found[:MOST_FOUND]]
        return json_reply({"messages": shown, "is_complete": len(found) <= MOST_FOUND})

    def routes(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/messages",
                "listBridgeMessages",
                "Crossings, the newest first",
                self.messages,
                MessagesShown,
                parameters=parameters_of(MessagesQuestion),
            ),
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/messages/{{message_id}}",
                "readBridgeMessage",
                "Where a crossing is",
                self.message,
                MessageShown,
                parameters=(MESSAGE_ID,),
            ),
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/messages/{{message_id}}/receipt",
                "readBridgeReceipt",
                "The proof of a crossing that ended, for `metawatt audit`",
                self.receipt,
                {200: json_content("The receipt, canonical JSON (RFC 8785).", _RECEIPT)},
                parameters=(MESSAGE_ID,),
                errors=(409,),
            ),
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/search",
                "searchBridge",
                "Crossings by a transaction or an output that they came of, or became",
                self.search,
                FoundShown,
                parameters=parameters_of(SearchQuestion),
                errors=(429,),
            ),
        )


async def message_of(reader: Reader, text: str) -> Message:
    """The message with this id, in hex; `MessageUnknown`."""
    row = await reader.get(MESSAGES, message_id_of(text))
    if row is None:
        raise MessageUnknown(f"There is no message {text}")
    return Message.read(row)


async def newest(reader: Reader, question: MessagesQuestion) -> Listed:
    """A page. Of one direction it is sifted from pages of both, so many at most: then it is short, and its cursor
    leads on."""
    find = Find("seq", descending=True, limit=question.limit)
    if question.state is not None:
        find = Find("state", {"state": question.state.value}, descending=True, limit=question.limit)
    found: list[Document] = []
    page = Listed([], question.cursor)
    for _ in range(_ROUNDS):
        page = await listed(reader, MESSAGES, replace(find, limit=question.limit - len(found)), page.cursor)
        found += [row for row in page.documents if question.direction in (None, row["direction"])]
        if page.cursor is None or len(found) == question.limit:
            break
    return Listed(found, page.cursor)
