"""A processor that is killed at any moment: what it had applied it had applied with its cursor."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

from bridge.records import BRIDGE_COLLECTIONS, CURSORS, MOVEMENTS
from bridge.watching.applying import CHUNK
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import TokenBench, keypair
from tests.bridge.watching_kit import posted

ROOT = Path(__file__).parents[2]
TRANSACTIONS = 5 * CHUNK


async def killed_after(secs: float | None, store: Path, rpc_url: str, mint: str) -> None:
    """A worker, killed so long after it began; None is when it is done."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bridge.watching_worker", str(store), rpc_url, mint),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        assert await worker.stdout.readline() == b"ready\n"
        worker.stdin.write(b"go\n")
        if secs is None:
            assert await worker.stdout.readline() == b"done\n"
        else:
            await asyncio.sleep(secs)
    finally:
        worker.kill()
        assert await worker.wait() == -signal.SIGKILL


async def stored(path: Path) -> tuple[Counter[str], bytes | None]:
    """How often each signature has a row, and the cursor's."""
    store = SqliteStore(path)
    await store.open(BRIDGE_COLLECTIONS)
    try:
        page = await store.find(MOVEMENTS, Find(limit=100_000))
        cursors = (await store.find(CURSORS, Find())).documents
    finally:
        await store.close()
    rows = Counter(row["signature"] for row in page.documents)
    return rows, cursors[0]["signature"] if cursors else None


async def test_rows_and_cursor_survive_kill_9_together(tmp_path: Path) -> None:
    path, alice = tmp_path / "worker.db", keypair("alice").pubkey()
    async with posted(tmp_path) as post:
        token = await TokenBench.made(post.bench)
        await post.bench.must([token.create(alice)])
        await post.cluster.advance()
        sent = []
        for units in range(1, TRANSACTIONS + 1):
            sent.append(await post.bench.send([token.mint_to(alice, units)]))
            if units % 20 == 0:
                await post.cluster.advance()
        await post.finalize()
        counts = []
        for secs in (0.05, 0.2, 0.3, 0.3, None):
            await killed_after(secs, path, post.server.rpc_url, str(token.mint.pubkey()))
            rows, cursor = await stored(path)
            counts.append(len(rows))
            applied = [str(signature) for signature in sent[: len(rows)]]
            assert rows == Counter(applied), "rows are a prefix of the history, each once"
            if rows:
                assert cursor == bytes(sent[len(rows) - 1])
            if len(rows) == TRANSACTIONS:
                break
    assert counts[-1] == TRANSACTIONS
    assert len(counts) > 1, "it was killed in the middle"
