"""Who calls the registry: the user of a token, or the bearer of the node's admin token."""

from __future__ import annotations

from aiohttp import web

from api.access import bearer_token, same_secret
from api.ports import Node
from config.errors import Unauthorized
from energytag.access import OPERATOR, Caller
from energytag.draft import is_there
from energytag.records import USERS
from energytag.users import caller_as


async def caller_of(request: web.Request, node: Node) -> Caller:
    """The caller, with the roles that the directory has now; `Unauthorized` without a token that is good."""
    token = bearer_token(request)
    if token is None:
        raise Unauthorized("log in first: this call needs a Bearer token")
    if same_secret(token, node.admin_token):
        return OPERATOR
    claims = node.tokens.check(token)
    user = await node.store.get(USERS, claims.user_id)
    if user is None or not is_there(user):
        raise Unauthorized("The user of this token is no longer registered")
    if claims.issued_secs <= user["tokens_since"]:
        raise Unauthorized("This token was revoked: log in again")
    return caller_as(user)
