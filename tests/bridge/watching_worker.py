"""A process that applies a mint's history: `python -m tests.bridge.watching_worker STORE RPC_URL MINT`.

It says "ready", waits for a line, catches up, says "done", and waits to be ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from solders.pubkey import Pubkey

from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from store.port import Write
from store.sqlite import SqliteStore


async def nothing(_: SeenTransaction) -> Sequence[Write]:
    return ()


async def run(folder: Path, rpc_url: str, mint: Pubkey) -> None:
    store, rpc = SqliteStore(folder), ClusterClient(rpc_url)
    await store.open(BRIDGE_COLLECTIONS)
    processor = EventProcessor(store, rpc, None, [Watched("mint", mint)], lambda: 0, lambda: None, nothing)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await processor.catch_up()
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await rpc.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], Pubkey.from_string(sys.argv[3])))
