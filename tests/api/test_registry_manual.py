"""docs/REGISTRY.md says what the code does: its tables, its examples, what it names."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from api.app import ROUTES, create_app
from certificates.lifecycle import Status
from config.errors import ErrorCode
from config.settings import Settings
from energytag.access import MAY, Role
from energytag.actions import State
from energytag.pushing import signature
from tests.api.meters import Meters, meters, reading
from tests.energytag.test_lifecycle_table import ALLOWED

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "REGISTRY.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return re.split(r"^#+ ", MANUAL.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def example(title: str) -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)
    return str(found)


# Tables


def test_its_roles_are_those_that_are_asked_for() -> None:
    head = next(line for line in section("Roles").splitlines() if line.startswith("|"))
    roles = [Role(cell.strip()) for cell in head.strip("|").split("|")[1:]]
    told = {
        name: {role for role, mark in zip(roles, marks, strict=True) if mark}
        for operations, *marks in rows("Roles")
        for name in names(operations)
    }
    assert told == {kind.value: set(allowed) for kind, allowed in MAY.items()}


def test_its_lifecycle_is_the_one_that_is_tested() -> None:
    told = {status: set(names(can)) for status, can in rows("Lifecycle")}
    assert told == {status: {kind.value for kind in kinds} for status, kinds in ALLOWED.items()}
    assert set(Status) <= set(told)


def test_its_states_are_those_of_actions() -> None:
    assert {names(state)[0] for state, _ in rows("Actions")} == {state.value for state in State}


# What it names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_pages_name_is_there(page: Path, settings_of: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`(ERR_[A-Z_]+)`", text)) <= {code.value for code in ErrorCode}
    for group, name in re.findall(r"`(registry|wallet|topics|access|dev|chain)\.([a-z_]+)`", text):
        assert name in Settings.model_fields[group].annotation.model_fields, f"{group}.{name}"  # type: ignore[union-attr]


async def test_its_routes_are_served(launch: Any) -> None:
    app = create_app((await launch(ready=False)).node)
    served = {(route.method, _plain(path)) for route in app[ROUTES] for path in route.paths}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        told = re.findall(r"`(GET|POST|PATCH|PUT|DELETE) (/[^`?]*)", text)
        assert {(method, _plain(path)) for method, path in told} <= served, page.name


def _plain(path: str) -> str:
    """A path whatever its parameters are called."""
    return re.sub(r"\{[^/]+\}(\.\{[^/]+\})?", "{}", path)


# Examples


async def run(program: str, given: str) -> str:
    """What a program prints that is handed something, in a place of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    return (out + err).decode()


async def proven(town: Meters) -> dict[str, Any]:
    """A bundle that was mined."""
    body = {"device_id": town.device_id, "readings": [reading(0)], "issue": True}
    await town.done("both", "POST", "/measurements", 201, json=body)
    query = {"source_account_id": town.account_id, "source_user_id": town.users["holder"]}
    async with asyncio.timeout(30):
        while True:
            # Until it was broadcast, no block has it.
            await town.done("admin", "POST", "/dev/mine", json={"blocks": 1})
            told = await town.done("holder", "POST", "/certificates/query", 202, json=query)
            (bundle,) = told["filtered_certificate_bundles"]
            if bundle["timestamp_proof"]["status"] == "proven":
                return dict(bundle)
            await asyncio.sleep(0.5)


async def test_its_example_checks_a_timestamp(running: Any) -> None:
    program, bundle = example("Timestamp proofs"), await proven(await meters(running))
    proof = bundle["timestamp_proof"]
    printed = await run(program, json.dumps(bundle))
    assert printed == f"{proof['block_hash']} {proof['block_time'].replace('T', ' ').replace('Z', '+00:00')}\n"
    other = {**bundle, "tx_id": "00" * 32}
    assert "Error" in await run(program, json.dumps(other))
    header = bytes.fromhex(proof["block_header"])
    lazy = {**bundle, "timestamp_proof": {**proof, "block_header": (header[:75] + b"\x03" + header[76:]).hex()}}
    assert "no proof of work" in await run(program, json.dumps(lazy))


def test_its_example_checks_a_push() -> None:
    place: dict[str, Any] = {}
    exec(example("To users' wallets"), place)
    is_sealed, secret, body = place["is_sealed"], bytes(range(32)), b"{}"
    sealed = signature(secret, 1_700_000_000_000, body)
    assert is_sealed(secret.hex(), sealed, body)
    assert not is_sealed(secret.hex(), sealed, body + b" ")
    assert not is_sealed(secret.hex(), sealed.replace("t=1", "t=2"), body)
    assert not is_sealed(bytes(32).hex(), sealed, body)
