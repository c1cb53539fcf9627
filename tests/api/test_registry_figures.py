"""Figures, health and alerts of the registry, on a whole node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.registration import Registration
from energytag.actions import Kind, State
from energytag.records import ACCOUNTS, ACTIONS, DEVICES
from store.port import Patch, Put
from tests.energytag.kit import ACCOUNT, DEVICE, account_row, device_row, readings

RULES = Path(__file__).parents[2] / "ops" / "prometheus-rules.yml"
GROUPS = ("metawatt-registry", "metawatt-chain")
_NAME = re.compile(r"\bmetawatt_[a-z_]+")

Labels = tuple[tuple[str, str], ...]


async def populate(running: Any) -> None:
    await running.node.store.commit([Put(ACCOUNTS, account_row(ACCOUNT)), Put(DEVICES, device_row(DEVICE))])


async def issue(running: Any, first: int, count: int) -> Any:
    request = {"device_id": DEVICE, "readings": readings(first, count)}
    return await running.node.registry.act(Kind.CREATE_MANY, request, user_id=None, account_id=ACCOUNT)


async def samples(running: Any) -> dict[tuple[str, Labels], float]:
    text = (await running.get("/metrics")).body.decode()
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for one in families for each in one.samples}


async def finding(running: Any, name: str) -> dict[str, Any]:
    report = (await running.get("/health")).json()
    assert report["ready"] is True
    return next(check for check in report["checks"] if check["name"] == name)


async def test_actions_are_counted_with_what_came_of_them(running: Any) -> None:
    await populate(running)
    assert (await issue(running, 0, 5)).action.state is State.RESOLVED
    assert (await issue(running, 0, 1)).action.state is State.REJECTED
    told = await samples(running)
    kind = ("kind", "create_many")
    assert told["metawatt_registry_actions_total", (kind, ("state", "resolved"))] == 1
    assert told["metawatt_registry_actions_total", (kind, ("state", "rejected"))] == 1
    assert told["metawatt_registry_action_seconds_count", ()] == 2
    assert told["metawatt_registry_action_seconds_bucket", (("le", "+Inf"),)] == 2
    assert told["metawatt_registry_transactions_total", ()] == 1
    assert told["metawatt_registry_bundles_issued_total", ()] == 5
    assert told["metawatt_registry_actions_set_aside_total", ()] == 0
    assert told["metawatt_registry_queue_actions", ()] == 0
    assert told["metawatt_registry_queue_age_seconds", ()] == 0


async def test_the_wallet_tells_of_its_coins(running: Any) -> None:
    await populate(running)
    await issue(running, 0, 1)
    told = await samples(running)
    balance = running.node.registry.treasury.balance()
    assert told["metawatt_wallet_satoshis", ()] == balance.satoshis > 0
    assert 0 < told["metawatt_wallet_proven_satoshis", ()] <= balance.satoshis
    assert told["metawatt_wallet_coins_ready", ()] == balance.ready > 0
    assert told["metawatt_wallet_low", ()] == 0


async def test_what_waits_is_told_with_its_age(running: Any) -> None:
    await populate(running)
    outcome = await issue(running, 0, 1)
    await running.node.registry.stop()
    minutes_ago = outcome.action.requested_ms - 600_000
    changes = {"queued": 1, "state": "received", "requested_ms": minutes_ago}
    await running.node.store.commit([Patch(ACTIONS, outcome.action.action_id, changes)])
    told = await samples(running)
    assert told["metawatt_registry_queue_actions", ()] == 1
    assert told["metawatt_registry_queue_age_seconds", ()] >= 600


async def test_the_registry_is_among_the_health_checks(running: Any) -> None:
    for name in ("wallet", "registry queue"):
        assert (await finding(running, name))["status"] == "ok"


async def test_a_stopped_queue_is_an_error_that_leaves_the_node_ready(running: Any) -> None:
    await running.node.registry.stop()
    told = await finding(running, "registry queue")
    assert (told["status"], told["critical"]) == ("error", False)
    assert (await running.get("/health")).json()["status"] == "degraded"


@pytest.mark.parametrize(("age_ms", "status"), [(1_000, "ok"), (600_000, "degraded")])
async def test_an_action_that_waits_too_long_degrades(running: Any, age_ms: int, status: str) -> None:
    await populate(running)
    outcome = await issue(running, 0, 1)
    # One that the worker cannot finish: its topic would not take the certificate twice.
    changes = {"queued": 1, "requested_ms": running.node.registry.ground.now_ms() - age_ms}
    await running.node.store.commit([Patch(ACTIONS, outcome.action.action_id, changes)])
    registration: Registration = running.node._registration
    assert (await registration._check_queue()).status == status


async def test_a_low_balance_degrades(launch: Any) -> None:
    running = await launch()
    treasury = running.node.registry.treasury
    treasury._fund = None  # as on a real network, where nobody pays in by himself
    told = await finding(running, "wallet")
    assert told["status"] == "degraded"
    assert "/admin/wallet" in told["message"]
    assert (await samples(running))["metawatt_wallet_low", ()] == 1


def rules() -> list[dict[str, Any]]:
    """Those of the registry and the chain; the bridge's are looked at in tests/bridge/test_alerts_fire.py."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups if group["name"] in GROUPS for rule in group["rules"]]


async def test_alerts_are_about_metrics_that_a_node_tells(running: Any) -> None:
    names = {name for name, _ in await samples(running)}
    asked = {name for rule in rules() for name in _NAME.findall(rule["expr"])}
    assert len(asked) >= 9
    assert asked <= names


def test_every_alert_says_what_is_the_matter() -> None:
    alerts = rules()
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")
