"""Token amounts as Solana's JSON shows them."""

from __future__ import annotations

from typing import Any


def decimal_text(units: int, decimals: int) -> str:
    """Base units as a decimal number without needless zeros."""
    if decimals == 0:
        return str(units)
    digits = str(units).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


def ui_amount(units: int, decimals: int) -> dict[str, Any]:
    """UiTokenAmount. Its `uiAmount` is a binary fraction because the interface says so; whoever computes with
    amounts takes the `amount`."""
    text = decimal_text(units, decimals)
    return {
        "amount": str(units),
        "decimals": decimals,
        "uiAmount": float(text),
        "uiAmountString": text,
    }
