"""A WebSocket to the cluster that only wakes: something happened to a watched address, go and look.

Nothing is read out of its notices. What it misses, while it is away or because too much came at once, is found
by whoever looks anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from solana.rpc.commitment import Commitment
from solana.rpc.websocket_api import OverflowPolicy, SolanaWsClient
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions

_FIRST_PAUSE_SECS: Final = 0.5
_LONGEST_PAUSE_SECS: Final = 30.0
_QUEUED: Final = 1000
_MOST_REASON: Final = 300

log = structlog.get_logger("metawatt.solana")


def pause_secs(failures: int) -> float:
    """How long to wait after so many connections in a row that came to nothing, 1 and more."""
    return float(min(_FIRST_PAUSE_SECS * 2 ** min(failures - 1, 16), _LONGEST_PAUSE_SECS))


class Wake:
    """Calls `wake` at each final transaction that names one of `mentions`, at each change of one of `accounts`,
    and after each connect. `connects` and `is_connected` are for people."""

    def __init__(
        self,
        ws_url: str,
        mentions: Sequence[Pubkey],
        accounts: Sequence[Pubkey],
        wake: Callable[[], None],
        timeout_secs: float = 10,
    ) -> None:
        self._ws_url = ws_url
        self._mentions = mentions
        self._accounts = accounts
        self._wake = wake
        self._timeout_secs = timeout_secs
        self._task: asyncio.Task[None] | None = None
        self.connects = 0
        self.is_connected = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._stay_connected(), name="solana wake")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            connects = self.connects
            # Whatever ends a connection, its notices are only hints, and the next one may do better.
            try:
                await self._listen()
                reason = "closed by the cluster"
            except Exception as error:
                reason = self._reason(error)
            self.is_connected = False
            failures = 1 if self.connects > connects else failures + 1
            log.warning("no notices from the Solana cluster", reason=reason, again_secs=pause_secs(failures))
            await asyncio.sleep(pause_secs(failures))

    def _reason(self, error: Exception) -> str:
        """Without the URL, which may hold an API key, and no longer than a line."""
        return f"{type(error).__name__}: {error}".replace(self._ws_url, "its URL")[:_MOST_REASON]

    async def _listen(self) -> None:
        client = SolanaWsClient(
            self._ws_url,
            request_timeout=self._timeout_secs,
            open_timeout=self._timeout_secs,
            close_timeout=1,
            notification_queue_size=_QUEUED,
            overflow=OverflowPolicy.DROP_NEWEST,
        )
        async with client:
            for address in self._mentions:
                await client.logs_subscribe(
                    filter_=RpcTransactionLogsFilterMentions(address), commitment=Commitment.FINALIZED
                )
            for address in self._accounts:
                await client.account_subscribe(pubkey=address, commitment=Commitment.FINALIZED, encoding="base64")
            self.connects += 1
            self.is_connected = True
            self._wake()
            async for _ in client:
                self._wake()
