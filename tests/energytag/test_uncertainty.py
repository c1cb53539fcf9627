"""Failures that leave the queue in doubt: commits that came about and seemed to fail, coins that were evicted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from basket.coins import FUND_COINS
from config.errors import Unavailable
from energytag.actions import Kind
from energytag.audit import check_registry
from energytag.records import ACTIONS
from lookup.records import CERTIFICATES
from store.pages import every
from store.port import Find, Patch, Write
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, readings
from tests.energytag.storage_kit import body
from tests.overlay.kit import Chain, Clock


class UncertainStore(SqliteStore):
    """A store whose answers get lost: so many of the next commits that change an action seem to fail."""

    lost = 0

    async def commit(self, writes: Sequence[Write]) -> None:
        await super().commit(writes)
        if self.lost and any(isinstance(each, Patch) and each.collection is ACTIONS for each in writes):
            self.lost -= 1
            raise Unavailable("the answer is lost")


@pytest.fixture
async def uncertain(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[RegistryNode]:
    made = RegistryNode(chain, UncertainStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open()
    await made.populate()
    yield made
    await made.close()


@pytest.mark.parametrize("count", [1, 250])
@pytest.mark.parametrize("lost", [1, 2])
async def test_what_was_committed_without_an_answer_is_not_done_again(
    uncertain: RegistryNode, count: int, lost: int
) -> None:
    assert isinstance(uncertain.store, UncertainStore)
    uncertain.store.lost = lost
    await uncertain.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, count)})
    uncertain.store.lost = lost
    await uncertain.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400))
    found = await every(uncertain.store, CERTIFICATES, Find())
    energies = dict.fromkeys((ACCOUNT, OTHER_ACCOUNT), 0)
    for row in found:
        if row["live"]:
            energies[row["account_id"]] += row["range_end"] - row["range_start"] + 1
    assert energies == {ACCOUNT: 1000 * count - 400, OTHER_ACCOUNT: 400}
    assert await check_registry(uncertain.store, uncertain.keyring) == []


async def test_coins_that_were_evicted_reject_nothing(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    coins = await every(registry.store, FUND_COINS, Find("live"))
    for txid in {coin["_id"][:32] for coin in coins}:
        await registry.node.engine.evictor.evict(txid, "the network refused it", even_proven=True)
    issuing = asyncio.create_task(registry.issue(1, 1))
    await asyncio.sleep(0.2)
    assert not issuing.done()
    await registry.treasury.tend()
    await issuing
