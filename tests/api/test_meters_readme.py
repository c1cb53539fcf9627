"""The meters' part of the README, tried: its lines, its Python, and the three terminals side by side."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_registry_readme import ROOT, answers, shell

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Meters become tokens\n")[2].partition("\n## ")[0]
NODE = "http://127.0.0.1:8080"


def blocks(kind: str) -> list[str]:
    """The section's code of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's lines are curl's")
async def test_its_three_terminals_agree_to_the_base_unit(launch: Any, tmp_path: Path) -> None:
    running = await launch(tokenization={"polling_interval_secs": 1}, solana={"embedded_slot_ms": 20})
    folder = tmp_path / "newcomer"
    folder.mkdir()
    (folder / "data").symlink_to(running.node.settings.node.data_dir)
    for name, python in zip(("meter.py", "balance.py"), blocks("python"), strict=True):
        assert f"`{name}`" in SECTION
        (folder / name).write_text(python.replace(NODE, running.url))
    first, *others = blocks("sh")
    assert first == "TOKENIZATION_POLLING_INTERVAL_SECS=5 make serve\n"
    simulated, handed_in, balance = [line.replace(NODE, running.url) for line in others]

    await _connected(running)
    households = asyncio.create_task(shell(_here(simulated) + f" --url {running.url}", folder))
    meter, reading = answers(await shell(_here(handed_in), folder))
    assert meter["status"] == "verified"
    promised = json.loads(blocks("json")[0].replace(", …", "}"))
    assert {name: reading[name] for name in promised} == promised | {"id": reading["id"]}
    told = await shell(_here(balance), folder)
    assert told in SECTION
    assert "Equal: all 50 wallets hold to the base unit what was accepted" in await households


async def test_what_it_says_of_repetitions_and_forgeries(running: Any, tmp_path: Path) -> None:
    folder = tmp_path / "newcomer"
    folder.mkdir()
    (folder / "meter.py").write_text(blocks("python")[0])
    await shell(f"{sys.executable} meter.py", folder)
    meter, reading = (json.loads((folder / f"{name}.json").read_text()) for name in ("meter", "reading"))
    operator = {"Authorization": f"Bearer {running.node.admin_token}"}
    submit = f"{running.url}/api/meters/submit-reading"
    async with running.client.post(f"{running.url}/api/meters", json=meter, headers=operator) as reply:
        assert reply.status == 201
    told = []
    for body in (reading, reading, reading | {"kwh_amount": "9.500000"}):
        async with running.client.post(submit, json=body) as reply:
            told.append((reply.status, await reply.json()))
    assert [status for status, _ in told] == [201, 200, 401]
    assert told[0][1]["id"] == told[1][1]["id"]
    assert told[2][1]["code"] == "ERR_SIGNATURE_INVALID"


def test_the_commands_that_it_lists_are_there() -> None:
    from cli.app import app

    listed = set(re.findall(r"^metawatt ([\w-]+)", README, re.MULTILINE))
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {"serve", "doctor", "check", "reindex", "solana", "simulate", "solana-replay"} <= listed <= known


async def _connected(running: Any) -> None:
    """A node creates its mint at its first start, and is done before a newcomer has pasted two programs."""
    async with asyncio.timeout(60):
        while (await running.get("/api/token")).status != 200:
            await asyncio.sleep(0.05)


def _here(lines: str) -> str:
    """The lines where what they run is on the path."""
    return lines.rstrip().replace(".venv/bin/", "")
