"""Logging in with a wallet: the registry's challenge, signed by the user's own key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from energytag.client.connection import Connection
from energytag.models.login import ChallengeReply, ChallengeRequest, LoginRequest, TokenReply, TokenRequest

Signer: TypeAlias = Callable[[ChallengeReply], Awaitable[bytes]]
"""Signs the bytes of `challenge` (hex) as BRC-100's `createSignature` does, with the challenge's protocol, key id
and counterparty; the signature is DER."""


async def wallet_login(connection: Connection, identity_key: str, sign: Signer) -> TokenReply:
    """Log the user of a wallet in; the connection goes on with the token."""
    challenge = await connection.read(
        ChallengeReply, "POST", "/auth/challenge", ChallengeRequest(identity_key=identity_key)
    )
    signature = await sign(challenge)
    body = LoginRequest(challenge=challenge.challenge, signature=signature.hex())
    reply = await connection.read(TokenReply, "POST", "/auth/login", body)
    connection.token = reply.token
    return reply


async def token_for(connection: Connection, user_id: str, hours: float | None = None) -> TokenReply:
    """A token for any user, which only the administrator gets."""
    body = TokenRequest(user_id=user_id) if hours is None else TokenRequest(user_id=user_id, hours=hours)
    return await connection.read(TokenReply, "POST", "/auth/token", body)
