"""The registry's part of the README, tried: its shell lines, its Python, and what a newcomer gets wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.meters import meters, reading

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## The EnergyTag registry\n")[2].partition("\n## ")[0]


def blocks(kind: str) -> list[str]:
    """The section's code of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


async def shell(script: str, folder: Path) -> str:
    """What a script prints that must not fail."""
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-eu",
        "-c",
        script,
        cwd=folder,
        env={**os.environ, **path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()
    assert err == b""
    return out.decode()


def answers(printed: str) -> list[dict[str, Any]]:
    """The JSON objects in what was printed, one after the other."""
    found, decoder, at = [], json.JSONDecoder(), printed.find("{")
    while at >= 0:
        value, end = decoder.raw_decode(printed, at)
        found.append(value)
        at = printed.find("{", end)
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's lines are curl's")
async def test_its_lines_lead_from_the_registration_to_the_statement(running: Any, tmp_path: Path) -> None:
    folder = tmp_path / "newcomer"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "data").symlink_to(running.node.settings.node.data_dir)
    (python,) = blocks("python")
    (folder / "more.py").write_text(python.replace("http://127.0.0.1:8080", running.url))
    *walk, month = blocks("sh")
    script = "\n".join(walk).replace("http://127.0.0.1:8080", running.url)
    printed = await shell(script.replace(".venv/bin/python", sys.executable), folder)
    readings, _, found, split, transfer, cancel, claim, statement = answers(printed)
    assert readings["issuance"][0]["bundles"] == 2
    (bundle,) = found["filtered_certificate_bundles"]
    assert bundle["timestamp_proof"]["status"] == "proven"
    assert {each["action_state"] for each in (split, transfer, cancel, claim)} == {"resolved"}
    assert (statement["statement"]["energy_wh"], statement["claimed_wh"]) == (40_000, 40_000)
    assert "Cancellation statement" in (folder / "statement.html").read_text(encoding="utf-8")
    assert re.search(r"^\d{4}-\d\d-\d\dT12:00:00Z 52500 Wh proven$", printed, re.MULTILINE)
    assert "10000 Wh were cancelled in" in printed
    assert month.startswith("metawatt import examples/")


async def test_what_it_imports_is_there(running: Any) -> None:
    """The command itself is tried in tests/cli; here its files and its options."""
    (line,) = [block for block in blocks("sh") if block.startswith("metawatt import")]
    names = [word for word in line.split() if word.startswith("examples/")]
    assert len(names) == 2
    assert all((ROOT / name).exists() for name in names)


# What a newcomer gets wrong


async def test_a_device_without_a_place_is_not_issued_for(running: Any) -> None:
    town = await meters(running)
    body = {
        "account_id": town.account_id,
        "device_name": "Roof 2",
        "grid": "10YNL----------L",
        "energy_source": "solar_pv",
        "technology_type": "solar_pv",
        "operational_date": "2021-04-01",
        "capacity": 1000,
        "peak_demand": 0,
        "zone": "NL",
    }
    device = await town.done("admin", "POST", "/devices", json=body)
    asked = {"device_id": device["device_id"], "readings": [reading(0, 500)], "issue": True}
    told = await town.done("both", "POST", "/measurements", 201, json=asked)
    message = told["issuance"][0]["error"]["message"]
    assert message == "the device is registered without country, location: update it first"


async def test_a_refusal_says_what_is_wrong_and_no_more(running: Any) -> None:
    town = await meters(running)
    path = f"/statements/cancellation?account_id={town.account_id}"
    assert (await town.refused("holder", "GET", path))[2] == "give start and end, or issuance_id"
    told = await town.refused("holder", "GET", f"{path}&start=2026-01-01&end=2026-02-01")
    assert told[2].startswith("start: must name its zone: end it in Z for UTC; end: must")


async def test_a_node_without_bridges_says_so(launch: Any) -> None:
    town = await meters(await launch(bridge={"enabled": False}))
    body = {"source_account_id": town.account_id, "source_user_id": town.users["holder"]}
    body["exit"] = {"chain": "solana", "address": "9xQe"}  # type: ignore[assignment]
    told = await town.done("holder", "POST", "/certificates/lock", 202, json=body)
    assert told["error"]["message"] == "this node knows no bridge"
