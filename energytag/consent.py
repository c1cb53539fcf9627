"""Consent to have an account's own wallet sign without its user at hand (`wallet_signs`).

It is the wallet's user who gives it, nobody in his stead, and for one wallet at one address only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.errors import BadRequest, ErrorCode, Forbidden
from energytag.actions import Action
from energytag.users import user
from store.port import Reader

_ABOUT: Final = ("identity_key", "wallet_url")


async def consent(reader: Reader, action: Action, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the wallet may be asked from now on; `new` has the account's links as they are to be.

    `Forbidden` when another than the wallet's user gives consent; `BadRequest(INVALID_FIELD)` when there is no
    wallet that could be asked.
    """
    asked = action.request.get("wallet_signs")
    if asked is None:
        return bool(old.get("wallet_signs")) and all(old[name] == new[name] for name in _ABOUT)
    if asked:
        _demand_wallet(new)
        await _demand_wallets_user(reader, action, new["identity_key"])
    return bool(asked)


def _demand_wallet(links: Mapping[str, Any]) -> None:
    if any(links[name] is None for name in _ABOUT):
        message = "wallet_signs needs identity_key and wallet_url: the wallet that is to sign"
        raise BadRequest(message, ErrorCode.INVALID_FIELD)


async def _demand_wallets_user(reader: Reader, action: Action, identity_key: bytes) -> None:
    if action.user_id is None or (await user(reader, action.user_id))["identity_key"] != identity_key:
        raise Forbidden("wallet_signs is set by the user whose identity_key the account has, and nobody else")
