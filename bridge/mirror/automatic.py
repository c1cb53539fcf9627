"""Whether this node's settings let meters be mirrored."""

from __future__ import annotations

from solders.pubkey import Pubkey

from bridge.meters.mirroring import NOT_MIRRORING, Mirroring
from config.mirroring import against_mirroring
from config.settings import Settings


def mirroring(settings: Settings, wallet: Pubkey) -> Mirroring:
    """`wallet` has custody. What others' programs mint goes where these say, and what is burned lies nowhere."""
    if not settings.mirrors:
        return NOT_MIRRORING
    if settings.bridge.mode == "burn":
        return Mirroring(None, "bridge.mode is burn, and automatic mirroring needs custody")
    if settings.solana.mint_mode != "own":
        return Mirroring(None, "solana.mint_mode is not own")
    if reason := against_mirroring(settings):
        return Mirroring(None, reason)
    return Mirroring(str(wallet))
