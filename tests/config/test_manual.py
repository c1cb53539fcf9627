"""docs/SETTINGS.md says what the code says."""

from pathlib import Path

import pytest

from config.manual import manual
from config.names import GRIDTOKENX_VARIABLES, fields, variable

ROOT = Path(__file__).parents[2]
ROOMS = (
    "config",
    "store",
    "certificates",
    "overlay",
    "topics",
    "lookup",
    "basket",
    "energytag",
    "bridge",
    "api",
    "cli",
)


def test_the_manual_is_up_to_date():
    assert (ROOT / "docs" / "SETTINGS.md").read_text() == manual(), "run: make settings"


@pytest.mark.parametrize("name", [name for name, _ in fields()])
def test_every_setting_is_in_the_manual(name):
    assert f"`{variable(name)}`" in manual()


@pytest.mark.parametrize(("alias", "name"), GRIDTOKENX_VARIABLES.items())
def test_every_name_of_gridtokenx_is_in_the_manual(alias, name):
    assert f"| `{alias}` | `{variable(name)}`" in manual()


def test_every_setting_is_used_by_the_code():
    own = {"settings.py", "manual.py", "names.py"}
    code = "\n".join(
        path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name not in own
    )
    assert [name for name, _ in fields() if f".{name.split('.')[1]}" not in code] == []
