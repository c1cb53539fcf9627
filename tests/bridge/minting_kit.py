"""A minter on a real store and the embedded cluster over HTTP, with a clock and slots that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import base58
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from spl.token.constants import TOKEN_PROGRAM_ID

from bridge.audit import check_readings
from bridge.cluster.cluster import Cluster
from bridge.minting.lease import Lease
from bridge.minting.minting import Minting
from bridge.notices import Notice, NoticeKind
from bridge.programs.keys import FileSigner
from bridge.programs.mode import MintMode, Order
from bridge.programs.own import OwnMint
from bridge.programs.setup import create_mint
from bridge.records import ATTEMPTS, BRIDGE_COLLECTIONS, READINGS, ReadingState, reading_key
from bridge.solana.client import ClusterClient
from config.settings import SolanaSettings, TokenizationSettings
from store.pages import every
from store.port import Document, Find, Insert, Patch, Store, Write
from store.sqlite import SqliteStore

INTERVAL_MS = 300_000
FINAL_SLOTS = 33
SOL = 10**9
RATIO = 10**9


class Clock:
    """A clock that the test turns."""

    def __init__(self, now_ms: int = 1_780_315_200_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts what a minter asks of store and cluster; dies at one of them, as `kill -9` does."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.taken = 0

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.crash_at:
            raise Crash


class Stepping:
    """A store or a cluster's client, with a step before each call and one after it."""

    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            self._steps.step()
            answer = await method(*arguments, **named)
            self._steps.step()
            return answer

        return call


class NoLease:
    """Everybody may mint: what holds then is the rows' states and the guards."""

    term = 1

    async def hold(self) -> bool:
        return True

    def guard(self) -> list[Write]:
        return []

    async def demand(self) -> None:
        """Nothing can be lost."""

    async def release(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def slots_passing(cluster: Cluster) -> AsyncIterator[None]:
    """Slots open quickly as long as this lasts."""

    async def tick() -> None:
        while True:
            await cluster.advance()
            await asyncio.sleep(0.002)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


class Mint:
    """A mint of the node's own, readings in a store, and minters."""

    def __init__(
        self, cluster: Cluster, rpc: ClusterClient, store: Store, signer: FileSigner, mode: MintMode
    ) -> None:
        self.cluster, self.rpc, self.store, self.signer, self.mode = cluster, rpc, store, signer, mode
        self.clock = Clock()
        self.notices: list[Notice] = []
        self.settings: dict[str, Any] = {}
        self._number = 0

    @classmethod
    async def open(cls, cluster: Cluster, rpc_url: str, store: SqliteStore, *, lamports: int = 500 * SOL) -> Mint:
        await store.open(BRIDGE_COLLECTIONS)
        rpc, signer = ClusterClient(rpc_url), FileSigner(Keypair())
        await rpc.airdrop(signer.public, lamports)
        await cluster.advance(2)
        async with slots_passing(cluster):
            mint = await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=9)
        await cluster.advance(FINAL_SLOTS)
        mode = OwnMint(await rpc.genesis_hash(), mint, TOKEN_PROGRAM_ID, signer.public, 9)
        return cls(cluster, rpc, store, signer, mode)

    async def close(self) -> None:
        await self.rpc.close()
        await self.store.close()

    def minter(
        self,
        *,
        lease: Lease | None = None,
        steps: Steps | None = None,
        rpc: Any = None,
        mode: MintMode | None = None,
        has_faucet: bool = False,
        **settings: Any,
    ) -> Minting:
        """A minter as a process of its own would have it: nothing in memory."""
        client = rpc or self.rpc
        return Minting(
            self.store if steps is None else Stepping(self.store, steps),  # type: ignore[arg-type]
            client if steps is None else Stepping(client, steps),  # type: ignore[arg-type]
            mode or self.mode,
            self.signer,
            TokenizationSettings(**(self.settings | settings)),
            SolanaSettings(),
            self.clock,
            self.notices.append,
            has_faucet=has_faucet,
            lease=lease,
        )

    # Readings

    async def accept(self, count: int, *, wallets: int = 2, units: int = 1_500_000) -> list[bytes]:
        """Readings as intake leaves them; their keys."""
        rows = [self._row(wallets, units) for _ in range(count)]
        await self.store.commit([Insert(READINGS, row) for row in rows])
        return [row["_id"] for row in rows]

    def _row(self, wallets: int, units: int) -> Document:
        self._number += 1
        number, now_ms = self._number, self.clock.now_ms
        meter, start_ms = f"METER-{number % 7}", INTERVAL_MS * (1_000 + number)
        return {
            "_id": reading_key(meter, start_ms),
            "meter": meter,
            "wallet": str(wallet(number % wallets)),
            "interval_start_ms": start_ms,
            "submitted_ms": now_ms,
            "open_ms": now_ms,
            "due_ms": now_ms,
            "retry_ms": None,
            "minted_ms": None,
            "state": ReadingState.ACCEPTED.value,
            "attempts": 0,
            "interval_secs": 300,
            "kwh": "0.001500",
            "timestamp": "2026-06-01T12:00:00Z",
            "timestamp_ms": now_ms,
            "units": units + number,
            "signature": base58.b58encode(number.to_bytes(64, "big")).decode(),
            "attempt": None,
            "error": None,
            "slot": None,
            "held_for": None,
            "conflicts": 0,
            "public_key": str(wallet(1)),
            "format": "gridtokenx",
            "name": meter,
            "measured": {},
            "user_id": None,
            "account_id": None,
            "device_id": None,
        }

    async def change(self, key: bytes, **changes: Any) -> None:
        await self.store.commit([Patch(READINGS, key, changes)])

    async def rows(self) -> list[Document]:
        return await every(self.store, READINGS, Find())

    async def row(self, key: bytes) -> Document:
        found = await self.store.get(READINGS, key)
        assert found is not None
        return found

    async def attempts(self) -> list[Document]:
        return await every(self.store, ATTEMPTS, Find())

    async def open_attempts(self) -> list[Document]:
        return await every(self.store, ATTEMPTS, Find("open"))

    async def states(self, keys: Iterable[bytes]) -> list[str]:
        return [(await self.row(key))["state"] for key in keys]

    # Time

    async def pass_slots(self, slots: int = FINAL_SLOTS, secs: float = 2.0) -> None:
        await self.cluster.advance(slots)
        self.clock.now_ms += round(secs * 1000)

    async def until_minted(self, *minters: Minting, rounds: int = 60, slots: int = FINAL_SLOTS) -> None:
        """Rounds and slots until nothing is open."""
        for _ in range(rounds):
            for minter in minters:
                await minter.round()
            await self.pass_slots(slots)
            if not await self.store.count(READINGS, Find("open")):
                return
        left = [(row["state"], row["error"]) for row in await self.rows() if row["open_ms"] is not None]
        raise AssertionError(f"still not minted: {left}")

    # The chain

    async def supply(self) -> int:
        from solders.token.state import Mint as MintAccount

        (account,) = await self.rpc.accounts([self.mode.mint])
        assert account is not None
        return MintAccount.from_bytes(account.data[:82]).supply

    async def minted_by_reading(self) -> dict[bytes, list[int]]:
        """What each reading's guard's history minted for it, over all of its transactions."""
        found: dict[bytes, list[int]] = {}
        for row in await self.rows():
            order = order_of(row)
            found[row["_id"]] = []
            for entry in await self.rpc.signatures_for(self.mode.guard(order)):
                seen = await self.rpc.transaction(entry.signature)
                if seen is not None and seen.error is None:
                    found[row["_id"]] += self.mode.minted([order], seen).values()
        return found

    async def check(self) -> None:
        """Every reading is minted once, with its own units, by the transaction that it names; and no token more.
        The audit finds so too."""
        assert await check_readings(self.store) == []
        rows = {row["_id"]: row for row in await self.rows()}
        for key, minted in (await self.minted_by_reading()).items():
            row = rows[key]
            assert minted == [row["units"]], (row["state"], row["error"], minted)
            assert row["state"] == ReadingState.MINTED
            assert row["open_ms"] is row["due_ms"] is row["retry_ms"] is None
            seen = await self.rpc.transaction(Signature.from_bytes(row["attempt"]))
            assert seen is not None and seen.slot == row["slot"]
        assert await self.supply() == sum(row["units"] for row in rows.values())

    def told(self, kind: NoticeKind) -> list[Notice]:
        return [notice for notice in self.notices if notice.kind is kind]


def wallet(number: int) -> Pubkey:
    return Keypair.from_seed((number + 1).to_bytes(32, "big")).pubkey()


def order_of(row: Document) -> Order:
    address = Pubkey.from_string(row["wallet"])
    return Order(row["_id"], row["meter"], row["interval_start_ms"], address, row["units"])


def signatures(rows: Sequence[Document]) -> set[str]:
    return {str(Signature.from_bytes(row["attempt"])) for row in rows}
