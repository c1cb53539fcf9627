"""Prometheus' rules: sound, each tried by promtool's unit tests, and each with words for people."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

OPS = Path(__file__).parents[2] / "ops"
RULES = OPS / "prometheus-rules.yml"
TESTS = OPS / "prometheus-rules-test.yml"
OPERATIONS = OPS.parent / "docs" / "OPERATIONS.md"
PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(
    PROMTOOL is None,
    reason="promtool is not at hand: install Prometheus (Debian: apt install prometheus) to run this",
)
# The seed's alerts: what fires beyond which number.
SEED = {
    "MetawattUnmintedBacklog": "metawatt_readings_overdue > 100",
    "MetawattMintingSuccessLow": "metawatt_minting_success_ratio < 0.95",
    "MetawattMintingSlow": "metawatt_minting_latency_mean_seconds > 120",
    "MetawattRetryQueueLong": "metawatt_minting_retry_readings > 50",
}


def groups() -> dict[str, list[dict[str, Any]]]:
    return {group["name"]: group["rules"] for group in yaml.safe_load(RULES.read_text())["groups"]}


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups().values() for rule in group]


def bridge_rules() -> list[dict[str, Any]]:
    return groups()["metawatt-minting"] + groups()["metawatt-solana"] + groups()["metawatt-bridge"]


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=OPS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_promtool_finds_the_rules_sound() -> None:
    promtool("check", "rules", RULES.name)


@NEEDS_PROMTOOL
def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", TESTS.name)


@NEEDS_PROMTOOL
@pytest.mark.parametrize("alert", SEED)
def test_the_unit_tests_notice_another_bound(tmp_path: Path, alert: str) -> None:
    """A test that would pass over any rule proves nothing."""
    condition = SEED[alert]
    name, sign, bound = condition.split()
    shifted = f"{name} {sign} {float(bound) * (1.1 if sign == '>' else 0.9):g}"
    (tmp_path / RULES.name).write_text(RULES.read_text().replace(condition, shifted))
    shutil.copy(TESTS, tmp_path)
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", TESTS.name], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    # A bound that lets less through must be noticed by the case beyond it.
    assert done.returncode != 0


@pytest.mark.parametrize("alert", SEED)
def test_the_seeds_alerts_have_its_bounds(alert: str) -> None:
    (rule,) = [rule for rule in rules() if rule["alert"] == alert]
    assert rule["expr"].startswith(SEED[alert])


def test_every_alert_of_the_bridge_has_a_unit_test_that_fires() -> None:
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert {rule["alert"] for rule in bridge_rules()} <= fired


def test_every_alert_says_what_is_the_matter() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_manual_tells_what_to_do_about_each_alert_of_the_bridge() -> None:
    text = OPERATIONS.read_text()
    headings = set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    for rule in bridge_rules():
        assert rule["alert"] in text, rule["alert"]
        for heading in re.findall(r"OPERATIONS\.md, '(.+?)'(?!\w)", rule["annotations"].get("description", "")):
            assert heading in headings
