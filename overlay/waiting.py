"""The waiting room: verified submissions whose coins are not here yet (children before their parents).

Only what a topic manager says it would admit with more coins gets in, within bounds of number and size; the
oldest give way. When a coin that somebody waits for is admitted, they are ready to be offered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overlay.clock import NowMs
from overlay.envelope import Envelope
from overlay.records import OUTPUTS, WAITING
from overlay.wire import write_beef
from store.port import Delete, Document, Find, Insert, Store


class WaitingRoom:
    """Kept in the store; `_awaited` is its index in memory, by the outpoint that is waited for."""

    def __init__(
        self,
        store: Store,
        now_ms: NowMs,
        *,
        most: int = 2000,
        most_bytes: int = 100_000,
        max_age_ms: int = 86_400_000,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._most = most
        self._most_bytes = most_bytes
        self._max_age_ms = max_age_ms
        self._awaited: dict[bytes, set[bytes]] = {}
        self._ready: set[bytes] = set()
        self.occupied = 0

    async def keep(self, envelope: Envelope, topics: Sequence[str], off_chain_values: bytes | None) -> None:
        """Let a submission wait. One above the bound of size is not kept: its sender must come again."""
        members = envelope.ancestry()
        beef = write_beef([(m.transaction, m.bump.raw if m.bump else None) for m in members])
        if len(beef) > self._most_bytes:
            return
        if self.occupied >= self._most:
            oldest = await self._store.find(WAITING, Find(index="by_age", limit=1))
            await self.leave([document["_id"] for document in oldest.documents])
        document = {
            "_id": envelope.subject.txid,
            "seen_ms": self._now_ms(),
            "beef": beef,
            "topics": list(topics),
            "awaits": [spend.outpoint for spend in envelope.subject.inputs],
            "off_chain_values": off_chain_values,
        }
        await self._store.commit([Insert(WAITING, document, keep=True)])
        self._remember(document)

    def _remember(self, document: Document) -> None:
        for spent in document["awaits"]:
            self._awaited.setdefault(spent, set()).add(document["_id"])
        self.occupied = len(set().union(*self._awaited.values()))

    def admitted(self, outpoints: Iterable[bytes]) -> None:
        """Note that these outputs were admitted."""
        if self._awaited:
            for spent in outpoints:
                self._ready |= self._awaited.get(spent, set())

    async def ready(self) -> list[Document]:
        """Those whose coins have come since they were last asked for."""
        txids, self._ready = list(self._ready), set()
        return list((await self._store.get_many(WAITING, txids)).values()) if txids else []

    async def sweep(self) -> None:
        """Look through the whole room: dismiss who is too old, and note whose coins have come by another
        process or before this one started."""
        self._awaited.clear()
        self.occupied = 0
        after = None
        while True:
            page = await self._store.find(WAITING, Find(index="by_age", limit=100, after=after))
            for document in page.documents:
                if document["seen_ms"] < self._now_ms() - self._max_age_ms:
                    await self.leave([document["_id"]])
                    continue
                self._remember(document)
                self.admitted(
                    key for key in await self._store.get_many(OUTPUTS, document["awaits"]) if isinstance(key, bytes)
                )
            after = page.last
            if after is None:
                return

    async def leave(self, txids: Sequence[bytes]) -> None:
        """Dismiss submissions: settled, refused, or too old."""
        await self._store.commit([Delete(WAITING, txid) for txid in txids])
        for waiters in self._awaited.values():
            waiters.difference_update(txids)
        self._awaited = {spent: waiters for spent, waiters in self._awaited.items() if waiters}
        self.occupied = len(set().union(*self._awaited.values()))
