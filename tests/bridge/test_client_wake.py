"""How long the line to the cluster rests after it broke."""

from __future__ import annotations

import asyncio

import pytest
from solders.pubkey import Pubkey
from structlog.testing import capture_logs

from bridge.solana.wake import Wake, pause_secs


@pytest.mark.parametrize(("failures", "secs"), [(1, 0.5), (2, 1), (3, 2), (7, 30), (1000, 30)])
def test_pauses_double_up_to_a_bound(failures: int, secs: float) -> None:
    assert pause_secs(failures) == secs


async def test_nobody_listens_and_it_ends_when_told() -> None:
    woken: list[None] = []
    line = Wake("ws://127.0.0.1:1", [Pubkey.new_unique()], [], lambda: woken.append(None))
    line.start()
    await asyncio.sleep(0.1)
    assert (line.is_connected, line.connects, woken) == (False, 0, [])
    await line.stop()
    await line.stop()


@pytest.mark.parametrize(
    "url", ["wss//rpc.example/?api-key=hidden", "ftp://127.0.0.1:1/hidden", "ws://hidden:pw@:x/"]
)
async def test_the_url_is_not_logged(url: str) -> None:
    """It may hold an API key."""
    line = Wake(url, [Pubkey.new_unique()], [], lambda: None)
    with capture_logs() as logs:
        line.start()
        await asyncio.sleep(0.1)
        await line.stop()
    assert [entry["event"] for entry in logs] == ["no notices from the Solana cluster"]
    assert "hidden" not in str(logs)
