"""What `/health` and `/metrics` say of a bridge to who runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.health import FRESH_SECS
from api.mirror_health import MirrorHealth
from bridge.mirror.alarms import Alarm, alarm_key
from bridge.mirror.from_solana.source import SolanaSource
from bridge.mirror.parity.parity import figures_key
from bridge.mirror.records import MIRROR
from overlay.clock import system_now_ms
from store.port import Put
from tests.api.mirror_face import EXACT

SOL = 10**9
HALF_AN_HOUR_MS = 1_800_000


@pytest.fixture
async def bridge(launch: Any) -> Any:
    running = await launch(solana={"embedded_slot_ms": 10}, bridge={"parity_secs": 600, "poll_secs": 0.05})
    await until(lambda: running.node.mirror.asset is not None and running.node.metering.is_connected)
    return running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.05)


async def told(running: Any, now_ms: int = 0) -> dict[str, tuple[str, str | None]]:
    """Status and message of each check, at a moment of the test's choice."""
    node = running.node
    health = MirrorHealth(node.mirror, node.metering.pulse, lambda: now_ms or system_now_ms())
    found = {check.name: await check.probe() for check in health.checks}
    return {name: (each.status, each.message) for name, each in found.items()}


async def test_a_bridge_that_is_well_says_so(bridge: Any) -> None:
    await asyncio.sleep(FRESH_SECS)  # what was found while it was not connected is told no longer
    checks = {each["name"]: each for each in (await bridge.get("/health")).json()["checks"]}
    for name in ("bridge", "bridge parity", "bridge key"):
        assert (checks[name]["status"], checks[name]["critical"]) == ("ok", False)


async def test_a_pause_is_told_and_its_reason_is_not(bridge: Any) -> None:
    order = {"direction": "out", "by": "Ada", "reason": "a key may be stolen"}
    assert (await bridge.admin("POST", "/api/admin/bridge/pause", json=order)).status == 200
    assert (await told(bridge))["bridge"] == ("degraded", "direction out is paused")


async def test_a_witness_that_does_not_answer_is_told(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SolanaSource, "silent", ["witness 1"])
    assert (await told(bridge))["bridge"] == ("degraded", "witness 1 does not answer, and deposits wait")


async def test_alarms_are_told(bridge: Any) -> None:
    row = {"alarm": "source_lost", "subject": "ab", "text": "t", "at_ms": 1}
    await bridge.node.store.commit([Put(MIRROR, {"_id": alarm_key(Alarm.SOURCE_LOST, "ab"), **row})])
    assert (await told(bridge))["bridge"] == ("degraded", "alarm: source_lost")


async def test_parity_that_is_breached_or_not_known_is_told(bridge: Any) -> None:
    key, now_ms = figures_key(bridge.node.mirror.asset.name), system_now_ms()
    figures = EXACT.document() | {"_id": key, "at_ms": now_ms, "custody": EXACT.custody + 1}
    await bridge.node.store.commit([Put(MIRROR, figures)])
    status, message = (await told(bridge))["bridge parity"]
    assert status == "error"
    assert message is not None
    await bridge.node.store.commit([Put(MIRROR, figures | {"custody": EXACT.custody})])
    health = MirrorHealth(bridge.node.mirror, None, lambda: now_ms)
    assert (await parity_of(health)).status == "ok"
    now_ms += HALF_AN_HOUR_MS
    late = await parity_of(health)
    assert (late.status, late.message) == ("degraded", "not found out for 1800 seconds; the log says why")


async def parity_of(health: MirrorHealth) -> Any:
    return await next(check for check in health.checks if check.name == "bridge parity").probe()


async def test_a_key_that_cannot_pay_is_told(bridge: Any) -> None:
    pulse = bridge.node.metering.pulse
    await pulse.ask()
    assert pulse.bridge_lamports >= 99 * SOL
    assert "metawatt_bridge_payer_low 0.0" in (await bridge.get("/metrics")).body.decode()
    pulse.bridge_lamports = 1
    assert (await told(bridge))["bridge key"] == ("ok", None)  # the faucet pays
    settings = bridge.node.mirror.settings
    node = settings.node.model_copy(update={"network": "test"})
    bridge.node.mirror.settings = settings.model_copy(update={"node": node})
    assert (await told(bridge))["bridge key"] == (
        "degraded",
        f"little SOL is left on the bridge's key: send some to {bridge.node.mirror.payer}",
    )
    assert "metawatt_bridge_payer_low 1.0" in (await bridge.get("/metrics")).body.decode()


async def test_what_the_settings_forbid_is_told(launch: Any) -> None:
    running = await launch(solana={"embedded_slot_ms": 10}, tokenization={"decimals": 6})
    await until(lambda: running.node.metering.is_connected)
    status, message = (await told(running))["bridge"]
    assert status == "degraded"
    assert message is not None
    assert message.startswith("nothing crosses: a mirrored token is one kWh, with 9 decimals")
