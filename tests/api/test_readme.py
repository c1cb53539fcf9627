"""What the README promises a newcomer, tried: its example, its curl lines, its links and other pages' links."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_STEPS = README.partition("## The EnergyTag registry\n")[0]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "bench/README.md", "bench/RESULTS.md", "ops/README.md")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
]


async def test_the_example_issues_and_finds_a_certificate(running: Any) -> None:
    command = [
        sys.executable,
        "examples/first_certificate.py",
        running.url,
        str(running.node.settings.node.data_dir),
    ]
    script = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await script.communicate()
    assert script.returncode == 0
    beef = (running.node.settings.node.data_dir / "certificate.beef").read_bytes()
    assert b"'tm_metawatt_gc_solar_pv_de': {'outputsToAdmit': [0]" in out
    assert b"Solar power from Germany: 1 found" in out
    topics = '["tm_metawatt_gc","tm_metawatt_gc_solar_pv_de"]'
    again = (await running.submit(beef, topics)).json()
    assert [admitted["outputsToAdmit"] for admitted in again.values()] == [[0], [0]]


async def test_its_curl_lines_are_answered(running: Any) -> None:
    lines = [
        shlex.split(line.replace("\\\n", " "))
        for line in re.findall(r"^curl (?:.*\\\n)*.*", FIRST_STEPS, re.MULTILINE)
    ]
    assert len(lines) == 4
    async with aiohttp.ClientSession() as session:
        for words in lines:
            url = next(word for word in words if word.startswith("http")).replace(
                "http://127.0.0.1:8080", running.url
            )
            headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
            if "--data-binary" in words:
                assert words[words.index("--data-binary") + 1] == "@data/certificate.beef"
                continue  # the example leaves it there
            body = words[words.index("-d") + 1] if "-d" in words else None
            async with session.request("POST" if body else "GET", url, data=body, headers=headers) as reply:
                assert reply.status == 200, (url, await reply.text())
                json.loads(await reply.text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked to by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
