"""What became of the treasury's coins: mined, mined no longer, or gone with an evicted transaction."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import structlog

from basket.coins import FUND_COINS, buried, read_coin, revived
from basket.purse import Purse, PurseCoin
from overlay.clock import NowMs
from overlay.engine import Engine
from overlay.headers import HeaderChain
from overlay.records import EVICTIONS, TRANSACTIONS, applied, outpoint_range
from store.pages import pages
from store.port import Conflict, Delete, Document, Find, Store, Write

_TXIDS_AT_ONCE: Final = 256
_LOOK_MS: Final = 30_000
_OVERLAP_MS: Final = 60_000
_DAY_MS: Final = 86_400_000

log = structlog.get_logger(__name__)


class Upkeep:
    """Keeps a purse in step with what the engine knows of its coins' transactions."""

    def __init__(self, store: Store, engine: Engine, headers: HeaderChain, purse: Purse, now_ms: NowMs) -> None:
        self._store = store
        self._engine = engine
        self._headers = headers
        self._purse = purse
        self._now_ms = now_ms
        # A spent coin comes back when its spender is evicted, which happens within the engine's set age.
        self._kept_ms = engine.limits.unproven_max_age_ms + _DAY_MS
        self._evictions_from_ms = now_ms() - self._kept_ms
        self._seen: tuple[int, int] = (-1, -1)
        self._looked_ms = 0
        self._generation = headers.generation

    async def load(self) -> None:
        """Fill the purse with what is kept and live."""
        await self.learn_evictions()
        async for documents in pages(self._store, FUND_COINS, Find("live")):
            for coin in await self.judged([read_coin(document) for document in documents]):
                self._purse.add(coin)

    async def round(self) -> None:
        """Learn what is new; forget coins whose spending is past doubt."""
        await self.learn_evictions()
        await self._learn_arrivals()
        self._learn_reorganisation()
        await self._learn_proofs()
        await self._forget()

    # Proofs

    async def judged(self, coins: Iterable[PurseCoin]) -> list[PurseCoin]:
        """The coins as their transactions stand now; those of evicted ones are buried and left out."""
        coins = list(coins)
        stored = await self._store.get_many(TRANSACTIONS, list({coin.txid for coin in coins}))
        alive = []
        for coin in coins:
            document = stored.get(coin.txid)
            if document is None:
                await self._bury(coin.txid)
            elif document.get("height") is not None:
                alive.append(coin.proven(document["height"], document["block_hash"] or b""))
            else:
                alive.append(coin)
                await self._give_up(document)
        return alive

    async def _give_up(self, document: Document) -> None:
        """A transaction of the treasury's own that was never mined goes, and with it what stands on it."""
        if document.get("pending_ms") is None and not applied(document):
            await self._engine.evictor.evict(document["_id"], "no proof within the set age")

    async def _learn_proofs(self) -> None:
        """Look at unproven coins when there is news of proofs or blocks, else now and then."""
        seen = (self._engine.measures.events["proof"], self._headers.generation)
        if seen == self._seen and self._now_ms() - self._looked_ms < _LOOK_MS:
            return
        self._seen, self._looked_ms = seen, self._now_ms()
        txids = dict.fromkeys(coin.txid for coin in self._purse if coin.block is None)
        for txid_page in _chunks(list(txids), _TXIDS_AT_ONCE):
            wanted = set(txid_page)
            coins = [coin for coin in self._purse if coin.block is None and coin.txid in wanted]
            for coin in await self.judged(coins):
                if coin.outpoint in self._purse:
                    self._purse.add(coin)

    def _learn_reorganisation(self) -> None:
        if self._generation == self._headers.generation:
            return
        self._generation = self._headers.generation
        for coin in list(self._purse):
            if coin.block is not None and coin.block[1]:
                known = self._headers.hash_at(coin.block[0])
                if known is not None and known != coin.block[1]:
                    self._purse.add(coin.unproven())

    # Evictions

    async def learn_evictions(self) -> None:
        """Bury the coins of evicted transactions, and give back those that such had spent."""
        lower, self._evictions_from_ms = self._evictions_from_ms, self._now_ms() - _OVERLAP_MS
        async for documents in pages(self._store, EVICTIONS, Find("by_age", lower=lower)):
            if documents:
                await self._learn_evicted([document["_id"] for document in documents])

    async def _learn_evicted(self, txids: list[bytes]) -> None:
        back = await self._store.get_many(TRANSACTIONS, list(txids))
        gone = [txid for txid in txids if txid not in back]
        for txid in gone:
            await self._bury(txid)
        for txid in gone:
            async for documents in pages(self._store, FUND_COINS, Find("spender", {"spender": txid})):
                await self._revive(documents)

    async def _revive(self, documents: list[Document]) -> None:
        for document in documents:
            try:
                await self._store.commit([revived(document)])
            except Conflict:
                log.debug("a coin changed while it was revived", txid=document["_id"][:32][::-1].hex())
                continue
            for coin in await self.judged([read_coin(document)]):
                self._purse.add(coin)
                log.info("a coin is live again", txid=coin.txid[::-1].hex(), satoshis=coin.satoshis)

    async def _bury(self, txid: bytes) -> None:
        lower, upper = outpoint_range(txid)
        async for documents in pages(self._store, FUND_COINS, Find(lower=lower, upper=upper)):
            await self._store.commit([buried(document) for document in documents])
            for document in documents:
                self._purse.drop(document["_id"])
                log.warning("a coin is gone", txid=txid[::-1].hex(), satoshis=document["satoshis"])

    # Coins from outside, and old ones

    async def _learn_arrivals(self) -> None:
        """Coins that came in through another process on this database."""
        lower = self._now_ms() - _OVERLAP_MS
        async for documents in pages(self._store, FUND_COINS, Find("arrived", lower=lower)):
            await self.admit([document["_id"] for document in documents])

    async def admit(self, outpoints: Iterable[bytes]) -> None:
        """Put kept coins into the purse that are live and not in it yet."""
        wanted = [outpoint for outpoint in outpoints if outpoint not in self._purse]
        rows = await self._store.get_many(FUND_COINS, list(wanted))
        live = [read_coin(row) for row in rows.values() if row["live"] is not None]
        for coin in await self.judged(live):
            if coin.outpoint not in self._purse:
                self._purse.add(coin)

    async def _forget(self) -> None:
        find = Find("spent", upper=self._now_ms() - self._kept_ms)
        async for documents in pages(self._store, FUND_COINS, find):
            writes: list[Write] = [
                Delete(FUND_COINS, document["_id"], expect={"live": None}) for document in documents
            ]
            await self._store.commit(writes)


def _chunks(items: list[bytes], size: int) -> Iterable[list[bytes]]:
    walk = iter(items)
    while chunk := list(islice(walk, size)):
        yield chunk
