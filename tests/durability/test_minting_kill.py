"""kill -9 of real minting processes, two at once and without a lease, on a cluster that goes wrong in every way.

Short versions of `python -m bench.mint_campaign`, whose long runs are in bench/RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.mint_campaign import Plan, campaign, run
from bench.mint_worker import Kind, Step


async def test_a_death_at_every_step_mints_each_reading_once(tmp_path: Path) -> None:
    async with campaign(Plan(Kind.REAL, seed=4, readings=48, folder=tmp_path, slot_ms=10)) as made:
        waves = made.meters.waves(48, len(Step))
        for number, step in enumerate(Step):
            worker = made.workers[number % 2]
            await made.meters.submit(waves[number])
            await worker.start(f"{step}:1")
            await worker.die(step, 20)
        assert {step: sum(each.deaths[step] for each in made.workers) for step in Step} == dict.fromkeys(Step, 1)
        await made.rest()
        assert (await made.judged()).faults == []


@pytest.mark.timeout(180)
async def test_faults_and_deaths_at_once_mint_each_reading_once(tmp_path: Path) -> None:
    result = await run(Plan(Kind.REAL, seed=5, readings=150, folder=tmp_path, storm_secs=15))
    assert result.verdict.faults == []
    assert result.deaths.total() > 2
    assert all(result.weather[name] for name in ("dropped", "late", "lost", "denied", "forks"))
