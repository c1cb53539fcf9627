"""Whether settings let tokens and certificates mirror each other."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from config.settings import Settings

MIRRORED_DECIMALS: Final = 9


def against_mirroring(settings: Settings) -> str | None:
    """Why these settings cannot mirror, and what to set; None when they can."""
    return next(_obstacles(settings), None)


def _obstacles(settings: Settings) -> Iterator[str]:
    tokens, bridge, solana = settings.tokenization, settings.bridge, settings.solana
    if not settings.registry.enabled:
        yield "a bridge issues certificates by the registry: set registry.enabled to true"
    if not settings.takes_readings:
        yield "a bridge is reached by way of the meters: set solana.rpc_url, and meters.enabled to true"
    if settings.node.network != "dev" and solana.rpc_url is None:
        yield "a bridge needs a Solana cluster: set solana.rpc_url"
    if tokens.kwh_to_token_ratio != Decimal(1) or tokens.decimals != MIRRORED_DECIMALS:
        yield "a mirrored token is one kWh, with 9 decimals: tokenization.kwh_to_token_ratio 1, decimals 9"
    if bridge.mode == "burn" and solana.mint_mode != "own":
        yield "only the node's own mint can be burned and minted again: bridge.mode lock, or solana.mint_mode own"
    if len({*bridge.witness_rpc_urls, solana.rpc_url}) <= len(bridge.witness_rpc_urls):
        yield "each of bridge.witness_rpc_urls must be another endpoint than solana.rpc_url, and than each other"
