"""Has users' own wallets sign what the registry has prepared, where the account allows it.

What a wallet has signed is judged like anybody's completion. A wallet that refuses is not asked again, one that
does not answer a few times more; meanwhile and afterwards the action waits for its user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import structlog

from basket.outbound import check_url, outbound_session
from basket.remote import RemoteWallet, WalletRefused
from config.errors import BadRequest, MetawattError, NotFound
from config.settings import Network, WalletSettings
from energytag.records import ACCOUNTS
from energytag.registry import Registry
from energytag.signature_requests import REQUESTS, may_ask
from energytag.signing import Prepared
from energytag.wallet_exchange import Exchange
from store.port import Conflict, Delete, Document, Find, Patch

MOST_ATTEMPTS: Final = 5
_FIRST_PAUSE_MS: Final = 2_000
_BATCH: Final = 100
_WALLETS_AT_ONCE: Final = 32
_BEHIND_MS: Final = 5_000
_LEASE_SLACK_MS: Final = 60_000

log = structlog.get_logger("metawatt.registry")


def pause_ms(attempts: int) -> int | None:
    """How long to wait after a wallet did not answer so many times; None to leave it to the user."""
    return None if attempts >= MOST_ATTEMPTS else _FIRST_PAUSE_MS * 4 ** (attempts - 1)


class WalletSigning:
    """Asks the wallets that are due; `work` in the background, in one process or several. One thing at a time of
    each account, so that no wallet that is slow holds up those of others."""

    def __init__(self, registry: Registry, settings: WalletSettings, network: Network) -> None:
        self._registry = registry
        self._store = registry.ground.store
        self._now_ms = registry.ground.now_ms
        self._settings = settings
        self._network = network
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """What is under way is asked again when its lease is over."""
        for task in self._under_way.values():
            task.cancel()
        await self.finished()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def work(self) -> int:
        """Begin with what is due now; how many requests that is."""
        page = await self._store.find(REQUESTS, Find("due", upper=self._now_ms() + 1, limit=_BATCH))
        begun = 0
        for row in page.documents:
            if len(self._under_way) >= _WALLETS_AT_ONCE:
                break
            begun += await self._begin(row)
        return begun

    async def finished(self) -> None:
        """Wait until nothing is under way."""
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    async def _begin(self, row: Document) -> bool:
        """False for what waits behind another request of its account, or was taken up by another process."""
        account_id = row["account_id"]
        if account_id in self._under_way:
            await self._change(row, {"due_ms": self._now_ms() + _BEHIND_MS})
            return False
        lease_ms = int(2000 * self._settings.signing_timeout_secs) + _LEASE_SLACK_MS
        changes = {"due_ms": self._now_ms() + lease_ms, "attempts": row["attempts"] + 1}
        if not await self._change(row, changes):
            return False
        task = asyncio.create_task(self._deal_with(row | changes), name=f"wallet of {account_id}")
        self._under_way[account_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(account_id, None))
        return True

    async def _change(self, row: Document, changes: Mapping[str, Any] | None) -> bool:
        """Change a request, or end it; False when another process has taken it up."""
        expect = {"attempts": row["attempts"]}
        key = row["_id"]
        write = Delete(REQUESTS, key, expect) if changes is None else Patch(REQUESTS, key, changes, expect)
        try:
            await self._store.commit([write])
        except Conflict:
            return False
        return True

    async def _deal_with(self, row: Document) -> None:
        pause = None
        try:
            await self._ask(row)
        except (WalletRefused, BadRequest, NotFound) as error:
            log.info("a wallet does not sign", action_id=row["_id"], reason=error.message)
        except (MetawattError, TimeoutError) as error:
            pause = pause_ms(row["attempts"])
            reason = str(error) or "it takes too long"
            log.warning("a wallet could not be asked", action_id=row["_id"], pause_ms=pause, reason=reason)
        except Exception:
            log.exception("asking a wallet failed", action_id=row["_id"])
        await self._change(row, None if pause is None else {"due_ms": self._now_ms() + pause})

    async def _ask(self, row: Document) -> None:
        """Have one action's transaction signed, and complete it; nothing when it does not wait any longer, or the
        account has thought better of it."""
        action = await self._registry.action(row["_id"])
        account = await self._store.get(ACCOUNTS, row["account_id"])
        if not action.awaits_signature or action.memo is None or account is None or not may_ask(account):
            return
        limits = self._registry.ground.engine.limits.envelope
        wallet = self._wallet(account["wallet_url"])
        exchange = Exchange(self._store, wallet, Prepared.from_json(action.memo["prepared"]), limits)
        try:
            async with asyncio.timeout(self._settings.signing_timeout_secs):
                await exchange.demand_identity(account["identity_key"])
                beef = await exchange.signed()
            outcome = await self._registry.complete(action.action_id, beef)
        except (MetawattError, TimeoutError):
            await exchange.forget()
            raise
        await exchange.share(outcome.action.txids[-1])

    def _wallet(self, url: str) -> RemoteWallet:
        check_url(url, self._network)
        timeout_secs = self._settings.signing_timeout_secs
        if self._session is None:
            self._session = outbound_session(self._network, timeout_secs)
        return RemoteWallet(url, self._settings.remote_originator, timeout_secs, self._session)
