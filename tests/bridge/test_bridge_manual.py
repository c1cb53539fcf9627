"""docs/BRIDGE.md is held to the code: the drawing, every reason, every alarm, every state, and every rehearsal."""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from pathlib import Path

import pytest

from bridge.mirror.alarms import Alarm
from bridge.mirror.states import Hold, State, drawing

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "BRIDGE.md").read_text("utf-8")
RUNBOOK = MANUAL.partition("## The operator's runbook")[2]
PROCEDURES = {part.partition("\n")[0]: part for part in RUNBOOK.split("\n### ")[1:]}
REHEARSED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_the_drawing_is_the_codes() -> None:
    (drawn,) = re.findall(r"^```mermaid\n(.*?)^```$", MANUAL, re.DOTALL | re.MULTILINE)
    assert drawn == drawing()


@pytest.mark.parametrize(
    ("chapter", "listed", "columns"),
    [("## Why a message is held", Hold, 3), ("## Alarms", Alarm, 3), ("## The life of a message", State, 2)],
)
def test_each_has_its_row(chapter: str, listed: type[StrEnum], columns: int) -> None:
    """What it means, and what to do."""
    text = MANUAL.partition(f"\n{chapter}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"
    ]
    names = [name for cells in rows for name in re.findall(r"^`.*`$", cells[0])]
    told = [name for each in names for name in re.findall(r"`(\w+)`", each)]
    assert sorted(told) == sorted(each.value for each in listed)
    assert all(len(cells) == columns and all(cells) for cells in rows)


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_each_procedure_is_rehearsed(procedure: str) -> None:
    rehearsals = REHEARSED.findall(PROCEDURES[procedure].partition("\nRehearsed: ")[2])
    assert rehearsals, "no test is named"
    for path, name in rehearsals:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_link_leads_somewhere() -> None:
    headings = {_anchor(line.lstrip("# ")) for line in MANUAL.splitlines() if line.startswith("#")}
    inner = re.findall(r"\]\(#([^)]+)\)", MANUAL)
    assert inner
    assert set(inner) <= headings
    for name, anchor in re.findall(r"\]\(([A-Z]+\.md)#([^)]+)\)", MANUAL):
        other = (ROOT / "docs" / name).read_text("utf-8")
        assert anchor in {_anchor(line.lstrip("# ")) for line in other.splitlines() if line.startswith("#")}, anchor


def _anchor(heading: str) -> str:
    """As the forge makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
