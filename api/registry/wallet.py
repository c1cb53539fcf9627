"""`/wallet`: certificates on their way to users' own wallets. `/admin/wallet`: the node's coins for fees."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of
from api.registry.paging import PAGING, paging_of
from api.replies import json_reply
from api.route import Access, Handler, Parameter, Route, Tag, json_content
from basket.treasury import EmbeddedTreasury
from config.errors import BadRequest, ErrorCode, Internal
from energytag.access import demand_member
from energytag.accounts import account
from energytag.delivery import Parcel, acknowledge, pull
from energytag.models.wallet import (
    Deposit,
    OutputsAcknowledge,
    OutputsAcknowledged,
    ToSign,
    WalletOutputs,
    WalletRead,
    WebhookRead,
)
from energytag.signing import Prepared, create_action
from overlay.transaction import read_outpoint, show_outpoint

_UUID: Final = {"type": "string", "format": "uuid"}
_ACCOUNT: Final = Parameter("account_id", "query", "The account.", _UUID, required=True)
_ACTION: Final = Parameter("action_id", "path", "The action.", _UUID)
_READING: Final = (400, 401, 403, 404, 422, 503)
_WRITING: Final = (400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
_SIGNING: Final = (
    "Give `createAction` to the wallet, unlock the inputs by PushDrop as `unlock` says, and hand what `signAction` "
    "returns to `/actions/{action_id}/complete`. The wallet does not send it (`noSend`): the node does, "
    "once it is admitted. Tell the wallet so by `createAction` with `sendWith`, so that it uses its change."
)


class WalletHandler:
    """Deliveries are whom they are for to ask after; the coins are the operator's."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    # Users' wallets

    async def outputs(self, request: web.Request) -> web.Response:
        account_id = await self._own_account(request)
        limit, cursor = paging_of(request)
        parcels, following = await pull(registry_of(self._node).ground.store, account_id, limit, cursor)
        told: dict[str, Any] = {"parcels": [_told(each) for each in parcels]}
        return json_reply(told if following is None else told | {"cursor": following})

    async def acknowledge(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        body = await read_model(request, self._bodies, OutputsAcknowledge)
        store = registry_of(self._node).ground.store
        await demand_member(store, caller, body.account_id)
        count = await acknowledge(store, body.account_id, [read_outpoint(each) for each in body.outpoints])
        return json_reply({"acknowledged": count})

    async def webhook(self, request: web.Request) -> web.Response:
        account_id = await self._own_account(request)
        ground = registry_of(self._node).ground
        document = await account(ground.store, account_id)
        return json_reply(
            {
                "account_id": account_id,
                "webhook_url": document["webhook_url"],
                "wallet_url": document["wallet_url"],
                "secret": ground.keyring.webhook_secret(account_id).hex(),
            }
        )

    async def to_sign(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        registry = registry_of(self._node)
        action = await registry.action(request.match_info["action_id"].lower())
        if action.account_id is not None:
            await demand_member(registry.ground.store, caller, action.account_id)
        if not action.awaits_signature or action.memo is None:
            raise BadRequest("this action does not wait for a signature", ErrorCode.SIGNATURE_AWAITED)
        told = await create_action(registry.ground.store, Prepared.from_json(action.memo["prepared"]))
        return json_reply({"action_id": action.action_id, **told})

    async def _own_account(self, request: web.Request) -> str:
        """The account of the query, for which the caller acts."""
        caller = await caller_of(request, self._node)
        account_id = request.query.get("account_id", "").lower()
        await demand_member(registry_of(self._node).ground.store, caller, account_id)
        return account_id

    # The node's coins

    async def coins(self, _request: web.Request) -> web.Response:
        treasury = self._treasury()
        stock = await treasury.stock()
        return json_reply(
            {
                "deposit_address": treasury.deposit_address,
                "satoshis": stock.satoshis,
                "coins": stock.coins,
                "is_low": treasury.is_below_alarm(stock.satoshis),
                "largest": [
                    {"outpoint": show_outpoint(each.outpoint), "satoshis": each.coin.output.satoshis}
                    for each in stock.largest
                ],
            }
        )

    async def deposit(self, request: web.Request) -> web.Response:
        most_bytes = self._node.settings.limits.body_bytes
        body = await read_model(request, self._bodies, Deposit, most_bytes)
        await self._treasury().deposit(b64decode(body.beef), body.vouts)
        return await self.coins(request)

    def _treasury(self) -> EmbeddedTreasury:
        treasury = registry_of(self._node).treasury
        if not isinstance(treasury, EmbeddedTreasury):
            raise Internal("this node's coins are kept elsewhere")
        return treasury

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (
            replace(
                _route("GET", "/wallet/outputs", "listWalletOutputs", self.outputs, WalletOutputs),
                summary="Certificates that wait for an account's own wallet",
                parameters=(_ACCOUNT, *PAGING),
            ),
            replace(
                _route(
                    "POST",
                    "/wallet/outputs/acknowledge",
                    "acknowledgeWalletOutputs",
                    self.acknowledge,
                    OutputsAcknowledged,
                    OutputsAcknowledge,
                ),
                summary="Tell that a wallet has taken outputs in",
            ),
            replace(
                _route("GET", "/wallet/webhook", "getWalletWebhook", self.webhook, WebhookRead),
                summary="Where an account's certificates are pushed to, and how pushes are sealed",
                parameters=(_ACCOUNT,),
            ),
            replace(
                _route("GET", "/wallet/actions/{action_id}", "getActionToSign", self.to_sign, ToSign),
                summary="What the user's wallet is to sign for an action",
                description=_SIGNING,
                parameters=(_ACTION,),
            ),
            replace(
                _route("GET", "/admin/wallet", "adminWallet", self.coins, WalletRead),
                summary="The node's coins for fees, and where to pay more",
                access=Access.ADMIN,
            ),
            replace(
                _route("POST", "/admin/wallet/deposit", "adminWalletDeposit", self.deposit, WalletRead, Deposit),
                summary="Take in a payment to the node's deposit address",
                access=Access.ADMIN,
            ),
        )


def _route(
    method: str,
    path: str,
    operation: str,
    handler: Handler,
    answer: type[BaseModel],
    body: type[BaseModel] | None = None,
) -> Route:
    """A route without its summary, which is long."""
    return Route(
        method,
        path,
        operation,
        Tag.WALLETS,
        "",
        handler,
        body=None if body is None else json_content("JSON.", body),
        replies={200: json_content("As it is now.", answer)},
        errors=_READING if body is None else _WRITING,
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


def _told(parcel: Parcel) -> dict[str, Any]:
    return {**parcel.as_json(), "outpoints": [show_outpoint(each) for each in parcel.outpoints]}
