"""Bodies about wallets: what is delivered to users' own, what they sign, and the node's coins."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from energytag.delivery import MOST_ACKNOWLEDGED
from energytag.models.common import Model, Reply, Uuid

_MOST_VOUTS: Final = 1000


def _is_base64(value: str) -> str:
    try:
        b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("must be base64") from None
    return value


OutpointText = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\.(0|[1-9][0-9]{0,8})$", description="`txid.vout`.")]
Base64 = Annotated[str, Field(min_length=4, pattern="^[A-Za-z0-9+/]+={0,2}$"), AfterValidator(_is_base64)]
Octet = Annotated[int, Field(ge=0, le=255)]
Vout = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class OutputsAcknowledge(Model):
    """Outputs that an account's wallet has taken in."""

    account_id: Uuid
    outpoints: Annotated[list[OutpointText], Field(min_length=1, max_length=MOST_ACKNOWLEDGED)]


class OutputsAcknowledged(Reply):
    acknowledged: int = Field(description="How many of them had been waited for.")


class InternalizableOutput(Reply):
    """One output, as BRC-100's internalizeAction takes it."""

    outputIndex: int  # noqa: N815 - BRC-100's name
    protocol: str
    insertionRemittance: dict[str, Any]  # noqa: N815 - BRC-100's name


class WalletParcel(Reply):
    """Outputs of one transaction: arguments of BRC-100's internalizeAction, `tx` being Atomic BEEF, and the
    outpoints to acknowledge."""

    tx: list[Octet]
    outputs: list[InternalizableOutput]
    description: str
    outpoints: list[OutpointText]


class WalletOutputs(Reply):
    """What waits for an account's wallet, oldest first; `cursor` leads to the next page, if there is one."""

    parcels: list[WalletParcel]
    cursor: str | None = None


class WebhookRead(Reply):
    """Where an account's certificates are pushed to, and the secret (hex) that pushes are sealed with."""

    account_id: Uuid
    webhook_url: str | None = None
    wallet_url: str | None = None
    secret: str


class ToSign(Reply):
    """Arguments of BRC-100's createAction, and for each of its inputs how it is unlocked: protocol, key ID and
    counterparty; null where only the wallet knows."""

    action_id: Uuid
    createAction: dict[str, Any]  # noqa: N815 - BRC-100's name
    unlock: list[dict[str, Any] | None]


class Deposit(Model):
    """A transaction that pays to the node's deposit address: its BEEF, and which outputs are meant, all that pay
    there when left out."""

    beef: Base64
    vouts: Annotated[list[Vout], Field(min_length=1, max_length=_MOST_VOUTS)] | None = None


class WalletCoin(Reply):
    outpoint: OutpointText
    satoshis: int


class WalletRead(Reply):
    """The node's coins for fees: all that are kept and not spent, and the largest of them."""

    deposit_address: str
    satoshis: int
    coins: int
    is_low: bool
    largest: list[WalletCoin]
