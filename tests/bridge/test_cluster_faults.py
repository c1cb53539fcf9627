"""Each fault, seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cluster.faults import FaultPlan, Faults
from bridge.cluster.refusals import AnswerLost
from config.errors import BadRequest
from tests.bridge.cluster_kit import SOL, Bench, keypair, memo, opened, pay, signature_of


async def test_the_next_ones_are_dropped_and_may_be_sent_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        cluster.faults.set(drop_next=2)
        raws = [bench.build([memo(f"number {number}")]) for number in range(3)]
        signatures = [await cluster.send(raw, preflight_commitment="processed") for raw in raws]
        assert [each is not None for each in await cluster.statuses(signatures, history=True)] == [
            False,
            False,
            True,
        ]
        await cluster.send(raws[0], preflight_commitment="processed")
        assert await cluster.executed(signatures[0], "processed") is not None
        assert cluster.faults.counts.dropped == 2


async def test_a_late_one_lands_by_itself_and_once(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        cluster.faults.set(late_rate=1.0, late_min_slots=3, late_max_slots=3)
        raw = bench.build([pay(bench.payer, target, SOL)])
        signature = await cluster.send(raw, skip_preflight=True)
        cluster.faults.clear()
        await cluster.advance(2)
        assert await cluster.executed(signature, "processed") is None
        await cluster.send(raw, skip_preflight=True)
        await cluster.advance(5)
        assert cluster.account(target, "processed").lamports == SOL


async def test_too_late_is_never(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        cluster.faults.set(late_rate=1.0, late_min_slots=151, late_max_slots=151)
        signature = await bench.send([memo("expired")])
        await cluster.advance(152)
        assert await cluster.statuses([signature], history=True) == [None]


async def test_a_lost_answer_is_of_a_transaction_that_landed(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        cluster.faults.set(lose_next=1)
        raw = bench.build([memo("lost")])
        with pytest.raises(AnswerLost):
            await cluster.send(raw, skip_preflight=True)
        assert await cluster.executed(signature_of(raw), "processed") is not None
        assert await cluster.send(raw, skip_preflight=True) == signature_of(raw)


async def test_what_is_there_is_denied(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        first, second = await bench.send([memo("first")]), await bench.send([memo("second")])
        cluster.faults.deny(first)
        assert [each is None for each in await cluster.statuses([first, second], history=True)] == [True, False]
        assert await cluster.executed(first, "processed") is None
        history = await cluster.signatures_for(bench.payer.pubkey(), commitment="processed")
        assert [each.signature for each in history][:1] == [second]
        assert first not in [each.signature for each in history]
        cluster.faults.set(deny_rate=1.0)
        assert await cluster.statuses([second], history=True) == [None]
        assert await cluster.executed(second, "processed") is None
        assert await cluster.signatures_for(bench.payer.pubkey(), commitment="processed") == []
        cluster.faults.clear()
        assert None not in await cluster.statuses([first, second], history=True)


async def test_reads_lag(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(80)
        signature = await bench.send([pay(bench.payer, target, SOL)])
        slots = {each: cluster.slot(each) for each in ("processed", "confirmed", "finalized")}
        await cluster.advance(32)
        assert cluster.account(target, "finalized") is not None
        cluster.faults.set(lag_slots=32)
        assert {each: cluster.slot(each) for each in slots} == slots
        assert cluster.account(target, "processed").lamports == SOL
        assert cluster.account(target, "confirmed") is None
        assert cluster.account(bench.payer.pubkey(), "finalized").lamports == 100 * SOL
        cluster.faults.set(lag_slots=31)
        (status,) = await cluster.statuses([signature], history=True)
        assert status is not None
        assert status.commitment == "confirmed"
        cluster.faults.set(lag_slots=0)
        assert cluster.account(target, "finalized").lamports == SOL


async def test_faults_repeat_with_their_seed(tmp_path: Path) -> None:
    fates: list[list[bool]] = []
    for name in ("one", "two"):
        async with opened(tmp_path / name) as cluster:
            bench = Bench(cluster)
            await bench.fund()
            cluster.faults.set(seed=7, drop_rate=0.4, late_rate=0.3, late_max_slots=5)
            signatures = [await bench.send([memo(f"number {number}")]) for number in range(60)]
            statuses = await cluster.statuses(signatures, history=True)
            fates.append([each is not None for each in statuses])
    assert fates[0] == fates[1]
    assert 0 < sum(fates[0]) < 60


_RATES = st.floats(-1, 2)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("drop_rate", "late_rate", "lose_rate", "deny_rate"), _RATES))
)
def test_a_plan_is_taken_whole_or_not_at_all(changes: dict[str, float]) -> None:
    faults = Faults()
    if all(0 <= rate <= 1 for rate in changes.values()):
        faults.set(**changes)
        assert faults.plan == FaultPlan(**changes)
    else:
        with pytest.raises(BadRequest):
            faults.set(**changes)
        assert faults.plan == FaultPlan()


@pytest.mark.parametrize(
    "changes",
    [
        {"lag_slots": 33},
        {"lag_slots": -1},
        {"late_min_slots": 0},
        {"late_min_slots": 3, "late_max_slots": 2},
        {"late_max_slots": 1001},
        {"drop_next": -1},
        {"explode": 1},
    ],
)
def test_a_bad_plan_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(BadRequest):
        Faults().set(**changes)
