"""kill -9 of a real server at random moments under load (I1, I2). `python -m bench.kill_loop` does hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kill_loop import kill_again_and_again

KILLS = 25


@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_and_nothing_applied_twice(tmp_path: Path) -> None:
    kills, acknowledged = await kill_again_and_again(tmp_path, KILLS, seed=2)
    assert kills == KILLS
    assert acknowledged > 4 * KILLS
