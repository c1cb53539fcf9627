"""How wallets stand before a run: what they hold, and what of earlier runs is still to be minted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final
from urllib.parse import urlencode

from solders.pubkey import Pubkey

from bridge.records import ReadingState
from bridge.simulator.balances import Token
from bridge.simulator.gateway import Gateway
from bridge.solana.rpc import SolanaRpc
from config.errors import Forbidden, NotFound, Unauthorized, Unavailable

TOKEN: Final = "/api/token"  # noqa: S105 - a path
UNMINTED: Final = "/api/admin/meters/unminted"
_PAGE: Final = 500
_LOOKS: Final = 20
_TO_COME: Final = (ReadingState.ACCEPTED, ReadingState.SIGNED, ReadingState.RETRY)


async def token_of(gateway: Gateway, rpc: SolanaRpc, mint: str | None = None) -> Token | None:
    """The token that readings become: `mint`, else what the node says; None when it does not say.

    Raises `NotFound` when the cluster does not know it, and `NotNow` while the node is not connected.
    """
    try:
        told = await gateway.get(TOKEN)
    except NotFound:
        told = {}
    mint = mint or told.get("mint")
    if mint is None:
        return None
    return await Token.read(rpc, Pubkey.from_string(mint), Fraction(told.get("kwh_to_token_ratio", "1")))


async def opening_of(gateway: Gateway, rpc: SolanaRpc, token: Token, wallets: Sequence[str]) -> dict[str, int]:
    """Base units by wallet.

    What is pending is asked for between two looks at the balances that agree: nothing was minted meanwhile, and so
    nothing is counted twice, or missed. Raises `Unavailable` when the balances never keep still.
    """
    before = await token.held(rpc, wallets)
    for _ in range(_LOOKS):
        pending = await _pending(gateway, set(wallets))
        after = await token.held(rpc, wallets)
        if before == after:
            return {wallet: before[wallet] + token.units(pending[wallet]) for wallet in wallets}
        before = after
    raise Unavailable("earlier readings of these meters are being minted; try again when that is done")


async def _pending(gateway: Gateway, wallets: set[str]) -> Counter[str]:
    """Milliwatt-hours by wallet that are accepted and not minted; none where that is not ours to know."""
    pending: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        asked = {"limit": _PAGE} | ({"cursor": cursor} if cursor else {})
        try:
            page = await gateway.get(f"{UNMINTED}?{urlencode(asked)}")
        except (Unauthorized, Forbidden, NotFound):
            return pending
        for reading in page["readings"]:
            if reading["wallet_address"] in wallets and reading["state"] in _TO_COME:
                pending[reading["wallet_address"]] += int(Decimal(reading["kwh_amount"]) * 1_000_000)
        cursor = page.get("cursor")
        if cursor is None:
            return pending
