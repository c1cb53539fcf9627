"""What the operator should know of the minter: it stands still, or cannot pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bridge.minting.config import ConfigShelf
from bridge.minting.funds import Funds
from bridge.records import ATTEMPTS, READINGS
from overlay.clock import NowMs
from store.port import Find, Reader

_STUCK_MS: Final = 120_000
_LATE_MS: Final = 10 * _STUCK_MS


@dataclass(frozen=True, slots=True)
class MintingFinding:
    """What was found; the message is for people, and names nothing secret."""

    status: Literal["ok", "degraded", "error"] = "ok"
    message: str | None = None


class MintingHealth:
    """`turned_ms` is when the last round ended, set by the minter."""

    def __init__(self, reader: Reader, funds: Funds, shelf: ConfigShelf, now_ms: NowMs) -> None:
        self._reader = reader
        self._funds = funds
        self._shelf = shelf
        self._now_ms = now_ms
        self.is_started = False
        self.turned_ms = now_ms()

    async def check_funds(self) -> MintingFinding:
        """Whether the minting key can pay for what is to come."""
        if self._funds.is_low:
            return MintingFinding("degraded", "little SOL is left on the minting key: send some to it")
        return MintingFinding()

    async def check_work(self) -> MintingFinding:
        """Whether rounds are made, and nothing stands still: neither the oldest reading that is due, while polls
        are to be made, nor the oldest transaction, which is final or expired after minutes where the cluster tells
        all that it is asked."""
        now_ms = self._now_ms()
        if self.is_started and now_ms - self.turned_ms > _STUCK_MS:
            return MintingFinding("error", "the minter has stood still: see the log, and restart the node")
        config = await self._shelf.get()
        late_ms = max(_LATE_MS, round(2 * config.polling_interval_secs * 1000))
        due_ms = await self._longest_due_ms(now_ms) if config.auto_mint_enabled else 0
        if due_ms > late_ms:
            secs = due_ms // 1000
            return MintingFinding("degraded", f"a reading has been due for {secs} seconds; the log says for what")
        if (way_ms := await self._longest_on_its_way_ms(now_ms)) > _LATE_MS:
            secs = way_ms // 1000
            return MintingFinding(
                "degraded",
                f"a transaction has been on its way for {secs} seconds: the cluster tells too little of it",
            )
        return MintingFinding()

    async def _longest_due_ms(self, now_ms: int) -> int:
        """Of readings that no person asked for: those are due before all others."""
        page = await self._reader.find(READINGS, Find("due", lower=1, upper=now_ms + 1, limit=1))
        return max((now_ms - row["due_ms"] for row in page.documents), default=0)

    async def _longest_on_its_way_ms(self, now_ms: int) -> int:
        page = await self._reader.find(ATTEMPTS, Find("open", limit=1))
        return max((now_ms - attempt["open_ms"] for attempt in page.documents), default=0)
