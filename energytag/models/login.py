"""Bodies of logins."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from energytag.models.common import Model, Moment, Reply, Uuid
from energytag.models.directory import IdentityKey
from energytag.tokens import MOST_HOURS

_MAX_CHALLENGE: Final = 512
_MAX_SIGNATURE: Final = 160
_MAX_KEY_ID: Final = 800

Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$")]


class TokenRequest(Model):
    user_id: Uuid
    hours: float | None = Field(None, gt=0, le=MOST_HOURS, strict=True, description="How long it is to be good.")


class TokenReply(Reply):
    token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind of token, not one
    user_id: Uuid
    expires: Moment


class ChallengeRequest(Model):
    identity_key: IdentityKey


class ChallengeReply(Reply):
    challenge: str = Field(description="Sign these bytes, written here in hex.")
    key_id: str
    protocol: list[int | str] = Field(description="Security level and name, as BRC-43 has them.")
    counterparty: str = Field(description="The node's identity key, hex.")
    expires: Moment


class LoginRequest(Model):
    challenge: Hex = Field(max_length=_MAX_CHALLENGE)
    signature: Hex = Field(max_length=_MAX_SIGNATURE, description="DER, in hex.")
    key_id: str | None = Field(
        None,
        min_length=1,
        max_length=_MAX_KEY_ID,
        description="That it was signed with; the challenge's own if none.",
    )
