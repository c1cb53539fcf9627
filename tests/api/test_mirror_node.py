"""The mirror's routes on a node as it is started: a bridge of its own, on both embedded chains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.mirror_face import Stream

REASON = {"by": "Ada", "reason": "a drill"}
KEY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest.fixture
async def bridge(launch: Any) -> Any:
    """A node whose bridge has reached the embedded cluster."""
    running = await launch(solana={"embedded_slot_ms": 10}, bridge={"parity_secs": 0.2, "poll_secs": 0.05})
    async with asyncio.timeout(30):
        while running.node.mirror.asset is None:
            await asyncio.sleep(0.05)
    return running


async def parity_known(bridge: Any) -> None:
    """The worker has found it out for the first time."""
    async with asyncio.timeout(20):
        while await bridge.node.mirror.parity.latest() is None:
            await asyncio.sleep(0.05)


async def test_it_is_a_bridge_by_itself(bridge: Any) -> None:
    told = (await bridge.get("/api/bridge")).json()
    assert (told["is_connected"], told["trouble"]) == (True, None)
    deposit = (await bridge.get(f"/api/bridge/deposit?identity_key={KEY}")).json()
    assert deposit["mint"] == told["mint"]
    assert deposit["custody_wallet"] == str(bridge.node.mirror.custody_wallet)
    await parity_known(bridge)
    parity = (await bridge.get("/api/bridge/parity")).json()
    assert parity["is_exact"], parity
    page = (await bridge.get("/bridge")).body.decode()
    assert deposit["custody_account"] in page
    assert "connected" in page


async def test_orders_reach_the_worker_and_those_who_listen(bridge: Any) -> None:
    async with bridge.client.get(bridge.url + "/bridge/events") as reply:
        stream = Stream(reply)
        done = await bridge.admin("POST", "/api/admin/bridge/pause", json={"direction": "out", **REASON})
        assert (done.status, done.json()["state"]) == (200, "done")
        event = await stream.next()
        assert (event.name, event.data["direction"], event.data["is_paused"]) == ("pause", "out", True)
    log = (await bridge.admin("GET", "/api/admin/bridge/log")).json()
    notes = [note for each in log["entries"] for note in each["entry"].get("notes", ())]
    assert {"pause": "out", **REASON} in notes
    assert "paused since" in (await bridge.get("/bridge")).body.decode()


async def test_it_is_measured(bridge: Any) -> None:
    await parity_known(bridge)
    text = (await bridge.get("/metrics")).body.decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    told = {(each.name, *each.labels.values()): each.value for each in samples}
    assert told["metawatt_bridge_connected",] == 1
    assert told["metawatt_bridge_parity_exact",] == 1
    assert told["metawatt_bridge_parity_age_seconds",] < 10
    assert told["metawatt_bridge_alarms", "parity_breached"] == 0
    assert ("metawatt_bridge_held", "in") in told


async def test_a_listener_does_not_keep_the_node_from_stopping(bridge: Any) -> None:
    async with bridge.client.get(bridge.url + "/bridge/events") as reply:
        stream = Stream(reply)
        async with asyncio.timeout(10):
            stopping = asyncio.create_task(bridge.server.stop())
            with pytest.raises(EOFError):
                await stream.next(9)
            await stopping


async def test_a_node_that_is_no_bridge_has_no_such_routes(launch: Any) -> None:
    running = await launch(bridge={"enabled": False})
    for path in ("/bridge", "/bridge/events", "/api/bridge", "/api/bridge/messages"):
        assert (await running.get(path)).status == 404
    assert "metawatt_bridge" not in (await running.get("/metrics")).body.decode()
