"""An event processor before an embedded cluster, over real HTTP, and what it left in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.programs.idl import Idl
from bridge.records import BRIDGE_COLLECTIONS, CURSORS, MOVEMENTS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction
from bridge.watching.follower import Role, Watched
from bridge.watching.processor import EventProcessor
from store.port import Document, Find, Write
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import Bench, TokenBench, keypair, opened

FINAL_SLOTS = 32
"""So many slots later everything that landed is final."""
LONG_FINAL_SLOTS = 300
"""So many slots later it may be forgotten."""
ALICE = keypair("alice").pubkey()


@dataclass
class Post:
    """A cluster advanced by hand, a funded bench, and a store for the node."""

    cluster: Cluster
    server: SolanaServer
    rpc: ClusterClient
    store: SqliteStore
    bench: Bench
    told: list[SeenTransaction] = field(default_factory=list)
    woken: int = 0

    def processor(self, *watched: Watched, ws: bool = False, **options: Any) -> EventProcessor:
        """A new process's processor, on the same store."""
        url = self.server.ws_url if ws else None
        return EventProcessor(
            self.store, self.rpc, url, watched, lambda: 1_700_000_000_000, self._wake, self._on_final, **options
        )

    def _wake(self) -> None:
        self.woken += 1

    async def _on_final(self, seen: SeenTransaction) -> Sequence[Write]:
        self.told.append(seen)
        return ()

    async def finalize(self) -> None:
        await self.cluster.advance(FINAL_SLOTS)

    async def rows(self, kind: str | None = None) -> list[Document]:
        page = await self.store.find(MOVEMENTS, Find(limit=100_000))
        return [row for row in page.documents if kind in (None, row["kind"])]

    async def moved(self) -> list[tuple[str, str, int]]:
        """Kind, account and units of every row but events, in the chain's order."""
        return [(row["kind"], row["account"], row["units"]) for row in await self.rows() if row["kind"] != "event"]

    async def cursor(self, address: Pubkey) -> Document | None:
        return await self.store.get(CURSORS, str(address))


@asynccontextmanager
async def posted(folder: Path, programs: Mapping[Pubkey, bytes] | None = None) -> AsyncIterator[Post]:
    """Everything but a processor; closed at the end."""
    store = SqliteStore(folder / "node.db", cache_mib=4)
    async with opened(folder / "cluster", programs=programs) as cluster:
        await store.open(BRIDGE_COLLECTIONS)
        server = SolanaServer(cluster, "127.0.0.1", 0)
        await server.start()
        rpc = ClusterClient(server.rpc_url)
        bench = Bench(cluster)
        await bench.fund()
        try:
            yield Post(cluster, server, rpc, store, bench)
        finally:
            await rpc.close()
            await server.stop()
            await store.close()


def watched_mint(token: TokenBench) -> Watched:
    return Watched("mint", token.mint.pubkey())


def watched_custody(address: Pubkey) -> Watched:
    return Watched("custody", address, Role.CUSTODY)


def at(program: Pubkey, idl: Idl) -> tuple[Watched, dict[Pubkey, Idl]]:
    """A program to watch, and where its IDL is deployed."""
    return Watched(idl.name, program, Role.PROGRAM), {program: idl}


async def mint(post: Post, token: TokenBench, *units: int, final: bool = True) -> list[Signature]:
    """One transaction for each, in slots of their own."""
    signatures = []
    for each in units:
        signatures.append((await post.bench.must([token.mint_to(ALICE, each)])).signature)
        await post.cluster.advance()
    if final:
        await post.finalize()
    return signatures


async def minted(post: Post) -> list[int]:
    return [row["units"] for row in await post.rows("mint")]


async def forget(post: Post) -> int:
    """The cluster forgets everything up to now; where its history begins."""
    slot = post.cluster.slot("finalized") + 1
    await post.cluster.advance(LONG_FINAL_SLOTS)
    return await post.cluster.prune(slot)
