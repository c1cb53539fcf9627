"""Minting on the embedded cluster: from due to final, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.notices import NoticeKind
from bridge.records import AttemptState, ReadingState
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Mint


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    made = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    yield made
    await made.close()


async def test_due_readings_are_minted(mint: Mint) -> None:
    keys = await mint.accept(40)
    minter = mint.minter()
    result = await minter.round()
    assert result.readings == 40
    assert set(await mint.states(keys)) == {ReadingState.SIGNED}
    await mint.until_minted(minter)
    await mint.check()
    told = mint.told(NoticeKind.MINTED)
    assert len(told) == 40
    assert told[0].body["commitment"] == "finalized"
    assert sum(notice.body["tokens_minted"] for notice in told) == await mint.supply()
    (batch,) = mint.told(NoticeKind.BATCH_DONE)
    assert batch.body["total_readings"] == batch.body["successful_mints"] == 40
    assert batch.body["failed_mints"] == 0
    assert minter.measures.units == await mint.supply()
    assert all(each["state"] == AttemptState.FINAL for each in await mint.attempts())
