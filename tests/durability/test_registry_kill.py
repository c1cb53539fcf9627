"""kill -9 in the middle of batches and of recurring actions: nothing acknowledged is lost, nothing happens twice,
and registry, index, wallet and chain agree after the restart."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

KILLS = 8
ROOT = Path(__file__).parents[2]


async def process(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.durability.registry_process",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def killed_at_work(folder: Path, seed: int, secs: float) -> list[str]:
    """The actions that were acknowledged before the process was killed."""
    worker = await process("work", str(folder), str(seed))
    assert worker.stdout is not None
    lines = [await worker.stdout.readline()]
    assert lines[0], (await worker.stderr.read()).decode() if worker.stderr else ""
    await asyncio.sleep(secs)
    os.kill(worker.pid, signal.SIGKILL)
    lines += (await worker.stdout.read()).splitlines()
    assert await worker.wait() == -signal.SIGKILL
    return [json.loads(line)[0] for line in lines if line.endswith((b"]", b"]\n"))]


@pytest.mark.timeout(300)
async def test_registry_survives_kill_after_kill(tmp_path: Path) -> None:
    number = random.Random(5)
    acknowledged: list[str] = []
    for seed in range(KILLS):
        acknowledged += await killed_at_work(tmp_path, seed, number.uniform(0.05, 0.8))
    checker = await process("check", str(tmp_path))
    out, err = await checker.communicate()
    assert checker.returncode == 0, err.decode()
    found = json.loads(out.splitlines()[-1])
    assert found["faults"] == []
    assert len(acknowledged) > KILLS
    assert found["occurrences"] > KILLS // 2
    assert set(acknowledged) <= set(found["resolved"])
