"""Entries of a history become rows: each transaction is fetched, decoded, and committed with the cursor.

Transactions that failed leave nothing but the cursor's step. One that the history names and the cluster then
does not tell is asked for again, and stops what comes after it: it is never skipped.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

import structlog
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.programs.idl import Idl
from bridge.records import ATTEMPTS, MOVEMENTS
from bridge.solana.rpc import SeenSignature, SeenTransaction, SolanaRpc
from bridge.watching.rows import UNEXPLAINED, hints_of, rows_of, transaction_key
from config.errors import ErrorCode, Unavailable
from store.port import Delete, Document, Find, Put, Store, Write

CHUNK: Final = 64
_FETCHES_AT_ONCE: Final = 16
_TRIES: Final = 4
_PAUSE_SECS: Final = 0.1
_REMEMBERED: Final = 20_000
_ROWS_OF_ONE: Final = 1000

OnFinal: TypeAlias = Callable[[SeenTransaction], Awaitable[Sequence[Write]]]
"""What a final transaction means for others: their writes join the commit of its rows. Told of a transaction
again after a crash, for each watched address, and by replays."""

log = structlog.get_logger("metawatt.watching")


class Applier:
    """`mints` are those whose movements are kept, `idls` those of the programs whose events are. `counts` by
    applied, failed (on the chain), asked_again, and by kind of row."""

    def __init__(
        self,
        store: Store,
        rpc: SolanaRpc,
        mints: Sequence[Pubkey],
        watched: Collection[Pubkey],
        idls: Mapping[Pubkey, Idl],
        on_final: OnFinal,
        counts: Counter[str],
        turn: asyncio.Lock,
    ) -> None:
        self._store = store
        self._rpc = rpc
        self._mints = mints
        self._watched = watched
        self._idls = idls
        self._on_final = on_final
        self._counts = counts
        self._turn = turn
        self._applied = _Recent()
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def apply(
        self,
        entries: Sequence[SeenSignature],
        moved: Callable[[int], Sequence[Write]],
        *,
        anew: bool = False,
    ) -> int:
        """Apply entries in their order; how many were. It is fewer than given where a transaction is not told.

        `moved(n)` are the writes that go with the first n. `anew` also takes away rows that are not found
        again. A Conflict means that somebody else changed what `on_final` or the cursor builds upon.
        """
        fetched = await self._fetched(entries, anew=anew)
        if not fetched:
            return 0
        seen = [each for each in fetched if each is not None]
        rows = await self._rows(seen)
        async with self._turn:
            writes = await self._writes(seen, rows, anew=anew)
            await self._store.commit([*writes, *moved(len(fetched))])
        self._tell(entries[: len(fetched)], rows)
        return len(fetched)

    async def _fetched(self, entries: Sequence[SeenSignature], *, anew: bool) -> list[SeenTransaction | None]:
        """Up to the first that is not told; None for those of which nothing is to be applied."""
        wanted = [
            entry for entry in entries if entry.error is None and (anew or entry.signature not in self._applied)
        ]
        found = await asyncio.gather(*map(self._fetch, wanted))
        told = {entry.signature: seen for entry, seen in zip(wanted, found, strict=True)}
        fetched: list[SeenTransaction | None] = []
        for entry in entries:
            seen = told.get(entry.signature)
            if seen is None and entry.signature in told:
                break
            fetched.append(seen)
        return fetched

    async def _fetch(self, entry: SeenSignature) -> SeenTransaction | None:
        for attempt in range(_TRIES):
            async with self._fetches:
                seen = await self._rpc.transaction(entry.signature)
            if seen is not None:
                return _demand_same(entry, seen)
            self._counts["asked_again"] += 1
            await asyncio.sleep(_PAUSE_SECS * 2**attempt)
        return None

    async def _rows(self, seen: Sequence[SeenTransaction]) -> list[list[Document]]:
        attempts = await self._store.get_many(ATTEMPTS, [bytes(each.signature) for each in seen])
        return [
            rows_of(each, self._mints, self._watched, _readings(attempts.get(bytes(each.signature))))
            + hints_of(each, self._idls)
            for each in seen
        ]

    async def _writes(
        self, seen: Sequence[SeenTransaction], rows: Sequence[list[Document]], *, anew: bool
    ) -> list[Write]:
        writes: list[Write] = []
        for each, its_rows in zip(seen, rows, strict=True):
            if anew:
                writes += await self._stale(each, its_rows)
            writes += [Put(MOVEMENTS, row) for row in its_rows]
            writes += await self._on_final(each)
        return writes

    async def _stale(self, seen: SeenTransaction, rows: Sequence[Document]) -> list[Write]:
        """Rows that an older decoder, or a cluster that told less, made of a transaction."""
        prefix = transaction_key(seen)
        page = await self._store.find(MOVEMENTS, Find(lower=prefix, upper=prefix + b"\xff" * 7, limit=_ROWS_OF_ONE))
        kept = {row["_id"] for row in rows}
        return [Delete(MOVEMENTS, row["_id"]) for row in page.documents if row["_id"] not in kept]

    def _tell(self, entries: Sequence[SeenSignature], rows: Sequence[Sequence[Document]]) -> None:
        for entry in entries:
            self._counts["applied" if entry.error is None else "failed"] += 1
            self._applied.add(entry.signature)
        for row in (row for its_rows in rows for row in its_rows):
            self._counts[row["kind"]] += 1
            if row["kind"] == UNEXPLAINED:
                log.error("movement unexplained", **_shown(row))


def _readings(attempt: Document | None) -> Sequence[bytes]:
    return () if attempt is None else attempt["readings"]


def _demand_same(entry: SeenSignature, seen: SeenTransaction) -> SeenTransaction:
    if seen.error is not None or seen.slot != entry.slot:
        raise Unavailable(
            f"the cluster contradicts itself about {entry.signature}: slot {entry.slot} or {seen.slot}, "
            f"error {entry.error} or {seen.error}",
            ErrorCode.SOLANA_UNAVAILABLE,
        )
    return seen


def _shown(row: Document) -> dict[str, Any]:
    return {name: row[name] for name in ("signature", "slot", "mint", "units", "problems")}


class _Recent:
    """The last signatures that were applied: a transaction is in the history of each address that it names."""

    def __init__(self) -> None:
        self._signatures: OrderedDict[Signature, None] = OrderedDict()

    def __contains__(self, signature: Signature) -> bool:
        return signature in self._signatures

    def add(self, signature: Signature) -> None:
        self._signatures[signature] = None
        if len(self._signatures) > _REMEMBERED:
            self._signatures.popitem(last=False)
