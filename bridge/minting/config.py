"""What the operator switches while the node runs: auto-mint, the poll's interval, the batch's size.

It is stored, so that every process of the node has it, and so that it outlives a restart; until the operator has
changed it for the first time, the settings say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from bridge.records import CONFIG
from config.errors import BadRequest, Busy, ErrorCode
from config.settings import TokenizationSettings
from store.port import Conflict, Document, Insert, Patch, Store, Write

_KEY: Final = "minting"
SHORTEST_POLL_SECS: Final = 0.1
LONGEST_POLL_SECS: Final = 86_400.0
LARGEST_BATCH: Final = 10_000
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class MintingConfig:
    """`polling_interval_secs` from 0.1 to a day, `batch_size` from 1 to 10,000 readings."""

    auto_mint_enabled: bool
    polling_interval_secs: float
    batch_size: int

    def __post_init__(self) -> None:
        if not SHORTEST_POLL_SECS <= self.polling_interval_secs <= LONGEST_POLL_SECS:
            raise _refusal(f"polling_interval_secs must be from {SHORTEST_POLL_SECS} to {LONGEST_POLL_SECS:g}")
        if not 1 <= self.batch_size <= LARGEST_BATCH:
            raise _refusal(f"batch_size must be from 1 to {LARGEST_BATCH}")

    @classmethod
    def initial(cls, settings: TokenizationSettings) -> MintingConfig:
        pause_secs = min(max(settings.polling_interval_secs, SHORTEST_POLL_SECS), LONGEST_POLL_SECS)
        return cls(settings.auto_mint_enabled, pause_secs, settings.batch_size)


class ConfigShelf:
    """Where the configuration is kept."""

    def __init__(self, store: Store, settings: TokenizationSettings) -> None:
        self._store = store
        self._settings = settings

    async def get(self) -> MintingConfig:
        return self._read(await self._store.get(CONFIG, _KEY))

    async def change(
        self,
        *,
        auto_mint_enabled: bool | None = None,
        polling_interval_secs: float | None = None,
        batch_size: int | None = None,
    ) -> MintingConfig:
        """Change what is given, and answer what is in force now. `BadRequest(INVALID_FIELD)` out of bounds."""
        asked = {
            "auto_mint_enabled": auto_mint_enabled,
            "polling_interval_secs": polling_interval_secs,
            "batch_size": batch_size,
        }
        changes = {name: value for name, value in asked.items() if value is not None}
        for _ in range(_TRIES):
            row = await self._store.get(CONFIG, _KEY)
            changed = MintingConfig(**(asdict(self._read(row)) | changes))
            try:
                await self._store.commit([_write(row, changed)])
            except Conflict:
                continue
            return changed
        raise Busy("the configuration is being changed by others")

    def _read(self, row: Document | None) -> MintingConfig:
        if row is None:
            return MintingConfig.initial(self._settings)
        return MintingConfig(row["auto_mint_enabled"], row["polling_interval_secs"], row["batch_size"])


def _write(row: Document | None, changed: MintingConfig) -> Write:
    values: dict[str, Any] = asdict(changed)
    if row is None:
        return Insert(CONFIG, {"_id": _KEY, "revision": 1, **values})
    return Patch(CONFIG, _KEY, {**values, "revision": row["revision"] + 1}, expect={"revision": row["revision"]})


def _refusal(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.INVALID_FIELD)
