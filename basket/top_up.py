"""Has a remote wallet pay coins to the treasury when its balance is low."""

from __future__ import annotations

from typing import Any, Final

import structlog

from basket.remote import RemoteWallet
from basket.treasury import EmbeddedTreasury
from config.errors import ErrorCode, Unavailable
from config.settings import WalletSettings
from overlay.clock import NowMs

MOST_OUTPUTS: Final = 100
_PAUSE_MS: Final = 60_000

log = structlog.get_logger(__name__)


class TopUp:
    """Asks at most once a minute. All outputs are to the deposit address, so that what was paid while the node
    went down can be handed in by hand."""

    def __init__(
        self, treasury: EmbeddedTreasury, wallet: RemoteWallet, settings: WalletSettings, now_ms: NowMs
    ) -> None:
        self._treasury = treasury
        self._wallet = wallet
        self._settings = settings
        self._now_ms = now_ms
        self._asked_ms: int | None = None

    async def work(self) -> int:
        """Ask if need be; the satoshis that came. `Unavailable(WALLET_UNAVAILABLE)` when the wallet will not."""
        if not self._treasury.is_low or not self._is_due():
            return 0
        self._asked_ms = self._now_ms()
        action = await self._wallet.create_action(self._arguments())
        if action.beef is None:
            raise Unavailable("the wallet wants its own payment signed", ErrorCode.WALLET_UNAVAILABLE)
        coins = await self._treasury.deposit(action.beef)
        satoshis = sum(coin.coin.output.satoshis for coin in coins)
        log.info("topped up", satoshis=satoshis, coins=len(coins))
        return satoshis

    def _is_due(self) -> bool:
        return self._asked_ms is None or self._now_ms() - self._asked_ms >= _PAUSE_MS

    def _arguments(self) -> dict[str, Any]:
        total = self._settings.top_up_satoshis
        count = max(1, min(MOST_OUTPUTS, self._settings.spare_coins, total // self._settings.coin_satoshis))
        output = {
            "lockingScript": self._treasury.deposit_script.hex(),
            "satoshis": total // count,
            "outputDescription": "Coins for the registry's fees",
        }
        return {
            "description": "Top up METAWATT's coins for fees",
            "outputs": [output] * count,
            "labels": ["metawatt"],
        }
