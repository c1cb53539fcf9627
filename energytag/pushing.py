"""Pushing certificates to users: to an account's webhook, or straight into the user's wallet.

What cannot be delivered is tried again, ever more rarely, and in the end only waits to be pulled.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import aiohttp
import orjson
import structlog

from basket.keyring import Keyring
from basket.outbound import check_url, outbound_session
from basket.remote import RemoteWallet
from config.errors import BadRequest, ErrorCode, Unavailable
from config.settings import Network, WalletSettings
from energytag.delivery import DELIVERIES, Parcel, parcels_of, settle
from energytag.records import ACCOUNTS
from overlay.clock import NowMs
from store.port import Conflict, Document, Find, Patch, Store

SIGNATURE_HEADER: Final = "X-Metawatt-Signature"
MOST_ATTEMPTS: Final = 16
_BATCH: Final = 100
_CONCURRENCY: Final = 8
_FIRST_PAUSE_MS: Final = 2_000
_LONGEST_PAUSE_MS: Final = 3_600_000
_LEASE_MS: Final = 120_000

log = structlog.get_logger(__name__)


def pause_ms(attempts: int) -> int | None:
    """How long to wait after so many tries: doubling, up to an hour; None to give up."""
    if attempts >= MOST_ATTEMPTS:
        return None
    return min(_FIRST_PAUSE_MS << min(attempts - 1, 20), _LONGEST_PAUSE_MS)


def signature(secret: bytes, at_ms: int, body: bytes) -> str:
    """The value of `SIGNATURE_HEADER`: when, and the HMAC-SHA256 (hex) of that time, a dot, and the body."""
    digest = hmac.digest(secret, f"{at_ms}.".encode() + body, sha256)
    return f"t={at_ms},v1={digest.hex()}"


class Pusher:
    """Delivers what is due; `work` in the background, in one process or several."""

    def __init__(
        self, store: Store, keyring: Keyring, settings: WalletSettings, network: Network, now_ms: NowMs
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._settings = settings
        self._network = network
        self._now_ms = now_ms
        self._gate = asyncio.Semaphore(_CONCURRENCY)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def work(self) -> int:
        """Deliver what is due now; how many outputs were dealt with."""
        page = await self._store.find(DELIVERIES, Find("due", upper=self._now_ms() + 1, limit=_BATCH))
        rows = await self._lease(page.documents)
        accounts = await self._store.get_many(ACCOUNTS, list({row["account_id"] for row in rows}))
        reachable = [row for row in rows if _address(accounts.get(row["account_id"])) is not None]
        await self._put_off([row for row in rows if row not in reachable], None)
        parcels = await parcels_of(self._store, reachable)
        await asyncio.gather(*(self._push(each, accounts[each.account_id]) for each in parcels))
        return len(rows)

    async def _lease(self, rows: Sequence[Document]) -> list[Document]:
        """Those rows that no other process has taken up."""
        taken = []
        for row in rows:
            changes = {"due_ms": self._now_ms() + _LEASE_MS, "attempts": row["attempts"] + 1}
            try:
                await self._store.commit([Patch(DELIVERIES, row["_id"], changes, {"attempts": row["attempts"]})])
            except Conflict:
                continue
            taken.append(row | changes)
        return taken

    async def _put_off(self, rows: Sequence[Document], due_ms: int | None) -> None:
        patches = [Patch(DELIVERIES, row["_id"], {"due_ms": due_ms}, {"attempts": row["attempts"]}) for row in rows]
        if patches:
            await self._store.commit(patches)

    async def _push(self, parcel: Parcel, account: Document) -> None:
        async with self._gate:
            try:
                if account.get("wallet_url"):
                    await self._internalize(parcel, account["wallet_url"])
                else:
                    await self._post(parcel, account["webhook_url"])
            except (Unavailable, BadRequest) as error:
                await self._failed(parcel, error.message)
                return
        await settle(self._store, parcel.outpoints)

    async def _failed(self, parcel: Parcel, reason: str) -> None:
        attempts = max(row["attempts"] for row in parcel.rows)
        pause = pause_ms(attempts)
        log.warning("not delivered", account_id=parcel.account_id, attempts=attempts, pause_ms=pause, reason=reason)
        await self._put_off(parcel.rows, None if pause is None else self._now_ms() + pause)

    async def _internalize(self, parcel: Parcel, url: str) -> None:
        check_url(url, self._network)
        settings = self._settings
        wallet = RemoteWallet(url, settings.remote_originator, settings.webhook_timeout_secs, self._open())
        await wallet.internalize_action(parcel.as_json())

    async def _post(self, parcel: Parcel, url: str) -> None:
        """Any answer of 200 to 299 will do; redirects are not followed, and what is answered is not read."""
        target = check_url(url, self._network)
        body = orjson.dumps({"account_id": parcel.account_id, **parcel.as_json()})
        sealed = signature(self._keyring.webhook_secret(parcel.account_id), self._now_ms(), body)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sealed}
        try:
            async with self._open().post(target, data=body, headers=headers, allow_redirects=False) as reply:
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"the webhook does not answer: {reason}", ErrorCode.WALLET_UNAVAILABLE) from error
        if not 200 <= status < 300:
            raise Unavailable(f"the webhook answers {status}", ErrorCode.WALLET_UNAVAILABLE)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = outbound_session(self._network, self._settings.webhook_timeout_secs)
        return self._session


def _address(account: Document | None) -> str | None:
    """Where an account's certificates are pushed to."""
    if account is None or account.get("deleted") is not None:
        return None
    return account.get("wallet_url") or account.get("webhook_url")
