"""The package of docs/WRITING_A_TOPIC.md: installed as it stands there, found by its entry points, and tested."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from config.settings import Settings
from lookup.hosted import hosted_lookup_services
from overlay.keys import PrivateKey
from topics.hosted import hosted_topics

GUIDE = Path(__file__).parents[2] / "docs" / "WRITING_A_TOPIC.md"
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE))
MODULES = ("meter_seals", "meter_seals.seal", "meter_seals.topic", "meter_seals.lookup", "test_meter_seals")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The guide's files, and the metadata that an installer would write."""
    for name, text in {**FILES, "meter_seals/__init__.py": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    metadata = tmp_path / "meter_seals-1.0.0.dist-info"
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    metadata.joinpath("entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in MODULES:
        sys.modules.pop(module, None)


def test_the_guide_has_the_files_that_it_lists() -> None:
    assert {"pyproject.toml", "test_meter_seals.py"} <= FILES.keys()
    assert {f"meter_seals/{name}.py" for name in ("seal", "topic", "lookup")} <= FILES.keys()


def test_the_node_finds_the_package(package: Path) -> None:
    topics = hosted_topics(Settings(), PrivateKey.from_int(7).public)
    services = hosted_lookup_services(Settings())
    assert "tm_meter_seals" in {topic.name for topic in topics}
    assert "ls_meter_seals" in {service.name for service in services}


async def test_the_packages_own_tests(package: Path) -> None:
    tests: ModuleType = importlib.import_module("test_meter_seals")
    await tests.test_judge()
    await tests.test_lookup(package)
