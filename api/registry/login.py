"""`/auth`: how a user comes by a token."""

from __future__ import annotations

from aiohttp import web

from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.replies import json_reply
from api.route import Access, Handler, Route, Shape, Tag, json_content
from energytag.logins import LOGIN_PROTOCOL
from energytag.models.common import moment_of_ms, written
from energytag.models.login import ChallengeReply, ChallengeRequest, LoginRequest, TokenReply, TokenRequest
from energytag.users import user

_SIGNING = (
    "The wallet signs the challenge's bytes by BRC-3 `createSignature` with the `protocol`, `key_id` and "
    "`counterparty` that are told. A challenge is good once."
)


class LoginHandler:
    """Tokens from the administrator, and for users who log in with their wallets."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    async def token(self, request: web.Request) -> web.Response:
        body = await read_model(request, self._bodies, TokenRequest)
        document = await user(self._node.store, body.user_id)
        return self._token_for(document["_id"], body.hours)

    async def challenge(self, request: web.Request) -> web.Response:
        body = await read_model(request, self._bodies, ChallengeRequest)
        challenge = self._node.logins.challenge(bytes.fromhex(body.identity_key))
        reply = ChallengeReply(
            challenge=challenge.raw.hex(),
            key_id=challenge.key_id,
            protocol=[*LOGIN_PROTOCOL],
            counterparty=self._node.identity.hex(),
            expires=moment_of_ms(challenge.expires_ms),
        )
        return json_reply(written(reply))

    async def login(self, request: web.Request) -> web.Response:
        body = await read_model(request, self._bodies, LoginRequest)
        raw, signature = bytes.fromhex(body.challenge), bytes.fromhex(body.signature)
        document = await self._node.logins.login(self._node.store, raw, signature, body.key_id)
        return self._token_for(document["_id"])

    def _token_for(self, user_id: str, hours: float | None = None) -> web.Response:
        issued = self._node.tokens.issue(user_id, hours)
        expires = moment_of_ms(issued.expires_secs * 1000)
        reply = TokenReply(token=issued.token, user_id=user_id, expires=expires)
        return json_reply(written(reply))

    def routes(self) -> tuple[Route, ...]:
        return (
            _route(
                "token",
                "A token for any user, from the administrator",
                self.token,
                TokenRequest,
                TokenReply,
                access=Access.ADMIN,
                errors=(403, 404),
            ),
            _route("challenge", "Begin a login with a wallet", self.challenge, ChallengeRequest, ChallengeReply),
            _route("login", "Log in with the wallet's signature", self.login, LoginRequest, TokenReply),
        )


def _route(
    name: str,
    summary: str,
    handler: Handler,
    body: Shape,
    reply: Shape,
    *,
    access: Access = Access.PUBLIC,
    errors: tuple[int, ...] = (),
) -> Route:
    return Route(
        "POST",
        f"/auth/{name}",
        f"auth{name.capitalize()}",
        Tag.LOGIN,
        summary,
        handler,
        description="" if access is Access.ADMIN else _SIGNING,
        body=json_content("JSON.", body),
        replies={200: json_content("Done.", reply)},
        errors=(400, 401, *errors, 408, 413, 415, 422, 503),
        access=access,
        when_ready=True,
        extension=True,
    )
