"""History of addresses and blocks, over what is in memory and what is only in the store; and pruning."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.cluster import Cluster
from bridge.cluster.packing import packed, unpacked
from config.errors import BadRequest
from tests.bridge.cluster_kit import SOL, Bench, TokenBench, keypair, memo, opened, pay

_TARGET = keypair("target").pubkey()
_SLOTS = 90
_PER_SLOT = 3


async def _filled(cluster: Cluster) -> list[Signature]:
    """Payments to one address in blocks enough that the first are only in the store; oldest first."""
    bench = Bench(cluster)
    await bench.fund()
    sent = list[Signature]()
    for slot in range(_SLOTS):
        payment = pay(bench.payer, _TARGET, SOL // 100)
        sent += [await bench.send([payment, memo(f"{slot}.{number}")]) for number in range(_PER_SLOT)]
        await cluster.advance()
    return sent


async def _paged(cluster: Cluster, address: Pubkey, limit: int, until: Signature | None = None) -> list[Signature]:
    found: list[Signature] = []
    while True:
        before = found[-1] if found else None
        page = await cluster.signatures_for(
            address, before=before, until=until, limit=limit, commitment="processed"
        )
        if not page:
            return found
        found += [each.signature for each in page]


@pytest.mark.parametrize("is_reopened", [False, True])
async def test_history_is_whole_and_ordered_at_any_page_size(tmp_path: Path, is_reopened: bool) -> None:
    async with opened(tmp_path) as cluster:
        sent = await _filled(cluster)
        if not is_reopened:
            await _check_history(cluster, sent)
    if is_reopened:
        async with opened(tmp_path) as cluster:
            await _check_history(cluster, sent)


async def _check_history(cluster: Cluster, sent: list[Signature]) -> None:
    for limit in (7, 250, 1000):
        assert await _paged(cluster, _TARGET, limit) == sent[::-1]
    for until in (0, 4, 130, len(sent) - 1):
        assert await _paged(cluster, _TARGET, 50, sent[until]) == sent[:until:-1]
    assert await cluster.signatures_for(_TARGET, before=sent[0], commitment="processed") == []
    unknown = Signature.default()
    assert await cluster.signatures_for(_TARGET, before=unknown, commitment="processed") == []
    (newest,) = await cluster.signatures_for(_TARGET, until=unknown, limit=1, commitment="processed")
    assert (newest.signature, newest.memo) == (sent[-1], f"[4] {_SLOTS - 1}.{_PER_SLOT - 1}")
    final = await cluster.signatures_for(_TARGET)
    assert final[0].slot <= cluster.slot("finalized") < newest.slot
    for bad in (0, 1001):
        with pytest.raises(BadRequest):
            await cluster.signatures_for(_TARGET, limit=bad)


async def test_blocks_are_told_from_memory_and_from_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        sent = await _filled(cluster)
        early, late = 2, _SLOTS - 35
        for slot in (early, late):
            block = await cluster.block(slot)
            assert block is not None
            at = (slot - 1) * _PER_SLOT
            assert [each.signature for each in block.transactions] == sent[at : at + _PER_SLOT]
            assert [each.index for each in block.transactions] == list(range(_PER_SLOT))
        first = await cluster.executed(sent[3])
        assert first is not None
        assert first == (await cluster.block(early)).transactions[0]
        statuses = await cluster.statuses([sent[0], sent[-1]], history=True)
        assert [each.commitment for each in statuses] == ["finalized", "confirmed"]


async def test_old_statuses_need_the_history(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        signature = await bench.send([memo("old")])
        await cluster.advance(160)
        assert await cluster.statuses([signature], history=False) == [None]
        (status,) = await cluster.statuses([signature], history=True)
        assert status is not None
        assert status.commitment == "finalized"


async def test_pruned_history_is_told_as_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        sent = await _filled(cluster)
        await cluster.advance(111)
        assert cluster.first_available == 0
        assert await cluster.prune(11) == 11
        assert await cluster.prune(5) == 11
    for _ in range(2):
        async with opened(tmp_path) as cluster:
            assert cluster.first_available == 11
            assert await _paged(cluster, _TARGET, 100) == sent[: _PER_SLOT * 10 - 1 : -1]
            assert await cluster.executed(sent[0]) is None
            assert await cluster.statuses(sent[:1], history=True) == [None]
            assert await cluster.block(10) is None
            assert (await cluster.block(11)).slot == 11
            assert cluster.blocks(0, 15, "finalized") == [11, 12, 13, 14, 15]
            assert cluster.account(_TARGET, "processed").lamports == SOL // 100 * len(sent)


async def test_what_could_be_sent_again_is_not_pruned(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        await cluster.advance(231)
        assert await cluster.prune(51) == 51
        with pytest.raises(BadRequest):
            await cluster.prune(52)


async def test_a_record_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        token = await TokenBench.made(bench)
        payer = bench.payer.pubkey()
        for done in (
            await bench.must([token.create(payer), token.mint_to(payer, 2**63), memo("é")]),
            await bench.done([token.mint_to(payer, 2**63)]),
        ):
            assert unpacked(packed(done)) == done
