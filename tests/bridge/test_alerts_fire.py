"""Alerts by the real thing: an embedded cluster is stopped, and the rules of ops/ see what is told then."""

from __future__ import annotations

import json
import operator
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.bridge.figures import BridgeCounts, BridgeSizes
from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.hub import Hub
from bridge.measure import Measuring
from bridge.pulse import Pulse
from bridge.watching.follower import Role, Watched
from bridge.watching.processor import EventProcessor
from config.errors import Unavailable
from config.settings import LiveSettings, SolanaSettings, TokenizationSettings
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, Mint

RULES = Path(__file__).parents[2] / "ops" / "prometheus-rules.yml"
DASHBOARD = RULES.with_name("grafana-dashboard.json")
GROUPS = ("metawatt-minting", "metawatt-solana")
OPERATORS = {">": operator.gt, "<": operator.lt, "==": operator.eq}
_TERM = r"(metawatt_[a-z0-9_]+) (>|<|==) ([0-9.]+)"
_CONDITION = re.compile(rf"{_TERM}(?: (and on \(instance\)|or) {_TERM})?")
Samples = dict[str, float]


class Outpost:
    """A minter and what measures it, before an embedded cluster that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.cluster: Cluster
        self.server: SolanaServer
        self.mint: Mint
        self._port = 0
        self._is_up = False

    async def start_cluster(self) -> None:
        store = SqliteStore(self.folder / "solana.db", cache_mib=4)
        self.cluster = Cluster(store, network="dev", slot_ms=0, now_ms=self.clock)
        await self.cluster.open()
        self.server = SolanaServer(self.cluster, "127.0.0.1", self._port)
        await self.server.start()
        self._port = int(self.server.rpc_url.rpartition(":")[2])
        self._is_up = True

    async def stop_cluster(self) -> None:
        self._is_up = False
        await self.server.stop()
        await self.cluster.close()

    async def open(self) -> None:
        await self.start_cluster()
        self.mint = await Mint.open(
            self.cluster, self.server.rpc_url, SqliteStore(self.folder / "node.db", cache_mib=4)
        )
        self.mint.clock = self.clock
        mint = self.mint
        self.minter = mint.minter(batch_size=1000)
        self.pulse = Pulse(mint.rpc, mint.signer.public)
        watched = Watched("mint", mint.mode.mint, Role.MINT)
        self.watching = EventProcessor(
            mint.store, mint.rpc, None, [watched], self.clock, self.minter.wake, self.minter.confirmations
        )
        self.metering = SimpleNamespace(
            hub=Hub(LiveSettings()),
            is_connected=True,
            minting=self.minter,
            watching=self.watching,
            pulse=self.pulse,
        )

    async def close(self) -> None:
        await self.mint.close()
        if self._is_up:
            await self.stop_cluster()

    async def mint_all(self) -> None:
        self.mint.cluster = self.cluster
        await self.mint.until_minted(self.minter)

    async def try_to_mint(self) -> None:
        """A round, which may find no cluster."""
        with suppress(Unavailable):
            await self.minter.round()

    async def scrape(self) -> str:
        """What is told now, in Prometheus' own text."""
        await self.pulse.ask()
        if self.pulse.is_up:
            await self.watching.catch_up()
        registry = CollectorRegistry(auto_describe=False)
        counts: Any = self.metering
        registry.register(BridgeCounts(counts, SolanaSettings().payer_low_lamports))
        figures = await Measuring(self.mint.store, TokenizationSettings(), self.clock).figures()
        registry.register(BridgeSizes(figures))
        return generate_latest(registry).decode()

    async def samples(self) -> Samples:
        """Those without labels."""
        families = text_string_to_metric_families(await self.scrape())
        return {each.name: each.value for family in families for each in family.samples if not each.labels}


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Outpost]:
    outpost = Outpost(tmp_path)
    await outpost.open()
    yield outpost
    await outpost.close()


def rules() -> dict[str, str]:
    """The expressions of the bridge's alerts."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups if group["name"] in GROUPS for rule in group["rules"]}


def holds(expression: str, samples: Samples) -> bool:
    """Whether an alert's condition holds, its `for` aside. A comparison with a value of a day ago holds when the
    one before it does: a day ago there was none."""
    condition = _CONDITION.fullmatch(expression.partition(" unless ")[0])
    assert condition is not None, expression
    first, joined, second = condition.groups()[:3], condition[4], condition.groups()[4:]
    if joined is None:
        return compared(*first, samples)
    both = compared(*first, samples), compared(*second, samples)
    return any(both) if joined == "or" else all(both)


def compared(name: str, sign: str, bound: str, samples: Samples) -> bool:
    return bool(OPERATORS[sign](samples[name], float(bound)))


def firing(samples: Samples) -> set[str]:
    return {alert for alert, expression in rules().items() if holds(expression, samples)}


async def test_alerts_fire_when_the_embedded_cluster_stops_and_cease_when_it_is_back(outpost: Outpost) -> None:
    await outpost.mint.accept(60)
    await outpost.mint_all()
    outpost.clock.now_ms += 300_000
    healthy = await outpost.samples()
    assert firing(healthy) == set()
    assert healthy["metawatt_minting_success_ratio"] == 1
    assert healthy["metawatt_events_lag_slots"] == 0

    await outpost.stop_cluster()
    await outpost.mint.accept(150)
    outpost.clock.now_ms += 10_000
    await outpost.try_to_mint()
    early = await outpost.samples()
    assert firing(early) == {"MetawattSolanaUnreachable"}
    assert (early["metawatt_readings_unminted"], early["metawatt_readings_overdue"]) == (150, 0)

    outpost.clock.now_ms += 300_000
    await outpost.try_to_mint()
    stopped = await outpost.samples()
    assert firing(stopped) == {"MetawattSolanaUnreachable", "MetawattUnmintedBacklog", "MetawattMintingSuccessLow"}
    confirmed_by_promtool(stopped, outpost.folder)

    await outpost.start_cluster()
    await outpost.mint_all()
    recovered = await outpost.samples()
    assert recovered["metawatt_readings_unminted"] == 0
    assert firing(recovered) == {"MetawattMintingSlow"}
    confirmed_by_promtool(recovered, outpost.folder)

    outpost.clock.now_ms += 2 * 3_600_000
    assert firing(await outpost.samples()) == set()
    await outpost.mint.check()


async def test_a_long_retry_queue_and_dead_readings_fire(outpost: Outpost) -> None:
    keys = await outpost.mint.accept(52)
    for number, key in enumerate(keys):
        state = "dead" if number == 0 else "retry"
        await outpost.mint.change(key, state=state, attempts=1 + number % 3, retry_ms=outpost.clock.now_ms)
    told = await outpost.samples()
    assert (told["metawatt_minting_retry_readings"], told["metawatt_minting_retry_attempts_max"]) == (51, 3)
    assert firing(told) == {"MetawattRetryQueueLong", "MetawattReadingsDead"}
    confirmed_by_promtool(told, outpost.folder)


async def test_every_rule_can_be_read_here(outpost: Outpost) -> None:
    told = await outpost.samples()
    for expression in rules().values():
        assert set(re.findall(r"metawatt_[a-z0-9_]+", expression)) <= set(told)
        holds(expression, told)


async def test_the_dashboard_shows_what_is_told(outpost: Outpost) -> None:
    told = set(re.findall(r"^# TYPE (\S+)", await outpost.scrape(), re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel.get("targets", ())
        for name in re.findall(r"metawatt_(?!bridge_)[a-z0-9_]+", target["expr"])
    }
    assert len(panels) >= 12
    assert asked <= told


def confirmed_by_promtool(samples: Samples, folder: Path) -> None:
    """Have Prometheus' own tool evaluate the rules over these very samples, where it is at hand."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    series = [
        {"series": f'{name}{{instance="node"}}', "values": " ".join([f"{value:.17g}".replace("nan", "NaN")] * 40)}
        for name, value in samples.items()
    ]
    severities = {
        rule["alert"]: rule["labels"]["severity"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }
    expected = [
        {
            "labels": f'ALERTS{{alertname="{alert}", alertstate="firing", instance="node", '
            f'severity="{severities[alert]}"}}',
            "value": 1,
        }
        for alert in sorted(firing(samples))
    ]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "15m", "exp_samples": expected}
                ],
            }
        ],
    }
    file = folder / "alerts.yml"
    file.write_text(yaml.safe_dump(test))
    command = [promtool, "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
