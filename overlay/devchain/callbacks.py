"""Callbacks, as ARC makes them: a change of status is posted to the URL that the submission named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import aiohttp
import structlog

from overlay.devchain.records import TRANSACTIONS, read_report
from overlay.devchain.wire import callback_body
from store.pages import pages
from store.port import Document, Find, Patch, Store

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
RETRY_SECS: Final = (0.2, 1.0, 3.0, 10.0, 30.0)
_WORKERS: Final = 4
_TIMEOUT_SECS: Final = 5


class Callbacks:
    """Delivers what is due, some at a time, and tries again a few times. What is still due at the end of a
    process is taken up by the next."""

    def __init__(
        self, store: Store, retry_secs: Sequence[float] = RETRY_SECS, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._store = store
        self._retry_secs = tuple(retry_secs)
        self._sleep = sleep
        self._due: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECS))
        async for documents in pages(self._store, TRANSACTIONS, Find("callbacks")):
            for document in documents:
                self.put(document["_id"])
        for _ in range(_WORKERS):
            _keep(self._tasks, self._work())

    async def close(self) -> None:
        """Finish what is on its way; the rest stays due."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._deliveries, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def put(self, txid: bytes, attempt: int = 0) -> None:
        """Tell of a transaction's present status."""
        self._due.put_nowait((txid, attempt))

    async def _work(self) -> None:
        while True:
            txid, attempt = await self._due.get()
            # Shielded: what has arrived must be noted as told, or the next start tells it again.
            await asyncio.shield(_keep(self._deliveries, self._deliver(txid, attempt)))

    async def _deliver(self, txid: bytes, attempt: int) -> None:
        document = await self._store.get(TRANSACTIONS, txid)
        if document is None or not document.get("callback_url"):
            return
        if await self._post(document) or attempt >= len(self._retry_secs):
            await self._store.commit([Patch(TRANSACTIONS, txid, {"callback_due": None}, must_exist=False)])
        else:
            _keep(self._tasks, self._later(txid, attempt))

    async def _later(self, txid: bytes, attempt: int) -> None:
        await self._sleep(self._retry_secs[attempt])
        self.put(txid, attempt + 1)

    async def _post(self, document: Document) -> bool:
        """Whether it arrived. A redirect is not followed: it could lead off this machine."""
        assert self._session is not None
        report, url, token = read_report(document), document["callback_url"], document["callback_token"]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._session.post(
                url, json=callback_body(report), headers=headers, allow_redirects=False
            ) as reply:
                arrived = reply.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info("callback failed", txid=report.txid[::-1].hex(), error=str(error))
            return False
        if not arrived:
            log.info("callback refused", txid=report.txid[::-1].hex(), status=reply.status)
        return arrived


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task that is held until it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
