"""I8 by construction: neither the domain nor the topics can see a clock, chance, storage or a network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"time", "random", "secrets", "os", "socket", "sqlite3", "aiohttp", "pymongo", "store", "io"}
CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4", "get_running_loop", "call_later"}
MODULES = sorted([*(ROOT / "certificates").glob("*.py"), *(ROOT / "topics").glob("*.py")])


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_outside_world(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not {name.split(".")[0] for name in imports(tree)} & FORBIDDEN
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & CLOCKS
    calls = {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "input", "print"}


@pytest.mark.parametrize("path", sorted((ROOT / "certificates").glob("*.py")), ids=lambda path: path.name)
def test_the_domain_imports_only_settings_beside_itself(path: Path) -> None:
    rooms = {"asyncio", "store", "overlay", "topics", "lookup", "api", "cli", "bsv", "_bsv_native"}
    assert not {name.split(".")[0] for name in imports(ast.parse(path.read_text("utf-8")))} & rooms
