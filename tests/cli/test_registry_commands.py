"""The commands that work with a registry, as processes against a node that listens."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.node import Node
from api.server import Server
from cli.registry.importing import chunks
from cli.registry.readings_file import FileInvalid, read_file
from config.settings import Settings
from energytag.access import Role
from energytag.client import RegistryClient
from energytag.models.certificate_actions import GranularCertificateCancellation
from energytag.models.directory import AccountBase, AccountUpdate, OrganisationBase, UserBase

METAWATT = Path(sys.executable).with_name("metawatt")
EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = ("import", "export", "query", "statement", "token")
HOURS = 30
DEVICES = ("Roof 1", "Roof 2")


@dataclass
class Place:
    """A node, an account in it, and a user who acts for the account."""

    folder: Path
    url: str
    admin_token: str
    account_id: str
    user_id: str

    async def run(self, *arguments: object, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command, with the token in the environment."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
        environ = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "METAWATT_CLIENT_URL": self.url}
        environ["METAWATT_CLIENT_TOKEN"] = self.admin_token if token is None else token
        process = await asyncio.create_subprocess_exec(
            METAWATT,
            *map(str, arguments),
            env=own | environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, out.decode(), err.decode())

    def generation(self, hours: int = HOURS) -> Path:
        """Hourly generation of two devices until two days ago."""
        first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2, hours=HOURS)
        file = self.folder / "generation.csv.gz"
        lines = [
            f"{device},{first + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},{0 if hour % 10 == 0 else 1000 + hour}"
            for device in DEVICES
            for hour in range(hours)
        ]
        with gzip.open(file, "wt") as table:
            table.write("\n".join(["device,start,energy_wh", *lines, ""]))
        return file

    def described(self) -> Path:
        template = json.loads((EXAMPLES / "devices.json").read_text())[0]
        file = self.folder / "devices.json"
        file.write_text(json.dumps([template | {"device_name": name} for name in DEVICES]))
        return file


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    data = tmp_path / "data"
    node = Node(Settings(node={"port": 0, "data_dir": data, "shutdown_secs": 5}))
    server = Server(node)
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    async with RegistryClient(url, token=node.admin_token) as registry:
        organisation = await registry.organisations.create(
            OrganisationBase(name="Sunny Fields", business_id=1, primary_contact="x")
        )
        within = {"organisation_id": organisation.organisation_id}
        user = await registry.users.create(
            UserBase(name="Ada", primary_contact="a", role=[Role.ACCOUNT_HOLDER], **within)
        )
        account = await registry.accounts.create(AccountBase(account_name="Sunny Fields", **within))
        await registry.accounts.update(account.account_id, AccountUpdate(user_id=user.user_id, **within))
    yield Place(tmp_path, url, node.admin_token, account.account_id, user.user_id)
    await server.stop()


async def test_import_issues_and_a_repeat_passes_over_what_is_there(place: Place) -> None:
    line = ("import", place.generation(20), "--account", place.account_id, "--chunk", 7)
    done = await place.run(*line)
    assert done.returncode == 1
    assert "the account has no device Roof 1, Roof 2" in done.stderr
    done = await place.run(*line, "--create-devices", place.described())
    assert done.returncode == 0, done.stderr
    assert "36 bundles issued of 40 readings" in done.stdout
    done = await place.run("import", place.generation(), "--account", place.account_id)
    assert done.returncode == 0, done.stderr
    assert "18 bundles issued of 60 readings, 36 had been issued before" in done.stdout


async def test_query_export_and_statement(place: Place) -> None:
    described = place.described()
    done = await place.run(
        "import", place.generation(), "--account", place.account_id, "--create-devices", described
    )
    assert done.returncode == 0, done.stderr
    done = await place.run("query", "--account", place.account_id, "--limit", 3)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["production", "device", "source", "zone", "energy", "Wh", "status", "issuance", "block"]
    assert len(rows) == 3
    assert "There are more" in done.stderr
    told = await place.run("query", "--account", place.account_id, "--limit", 3, "--json")
    assert [
        json.loads(line)["issuance_id"] in row for line, row in zip(told.stdout.splitlines(), rows, strict=True)
    ]
    file = place.folder / "all.csv"
    done = await place.run("export", "--account", place.account_id, "-o", file, "--source", "solar_pv")
    assert done.returncode == 0, done.stderr
    exported = list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))
    assert sum(int(row["bundle_quantity"]) for row in exported) == sum(
        2 * (1000 + hour) for hour in range(HOURS) if hour % 10
    )
    lines = await place.run("export", "--account", place.account_id, "--form", "jsonl", "--status", "Active")
    assert len(lines.stdout.splitlines()) == len(exported) == 54


async def test_a_statement_is_printed_and_written_as_a_page(place: Place) -> None:
    line = ("import", place.generation(), "--account", place.account_id, "--create-devices", place.described())
    assert (await place.run(*line)).returncode == 0
    token = (await place.run("token", place.user_id, "--data-dir", place.folder / "data")).stdout.strip()
    async with RegistryClient(place.url, token=token) as registry:
        acting = {"source_account_id": place.account_id, "source_user_id": place.user_id}
        body = GranularCertificateCancellation(**acting, certificate_quantity=500)
        done = await registry.certificates.cancel(body)
        await registry.actions.wait(str(done.action_id))
    told = await place.run("statement", "--action", done.action_id, token=token)
    assert told.returncode == 0, told.stderr
    assert "500 Wh are cancelled, 0 Wh of them claimed" in told.stdout
    page = place.folder / "statement.html"
    assert (await place.run("statement", "--action", done.action_id, "--page", page, token=token)).returncode == 0
    assert page.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")
    as_json = await place.run("statement", "--action", done.action_id, "--json", token=token)
    assert json.loads(as_json.stdout)["statement"]["energy_wh"] == 500


async def test_who_may_not_is_told_so(place: Place) -> None:
    done = await place.run("query", "--account", place.account_id, token="nonsense")
    assert done.returncode == 1
    assert done.stderr.startswith("metawatt: ERR_UNAUTHORIZED: This token is not valid here")
    done = await place.run("query", "--account", place.account_id, token=" ")
    assert "give --token-file, or set METAWATT_CLIENT_TOKEN" in done.stderr
    file = place.folder / "token"
    file.write_text(place.admin_token + "\n")
    done = await place.run("query", "--account", place.account_id, "--token-file", file, token="nonsense")
    assert done.returncode == 0
    done = await place.run("query", "--account", "nonsense")
    assert done.stderr.startswith("metawatt: ERR_INVALID_FIELD: source_account_id")
    done = await place.run("query", "--account", place.account_id, "--url", "http://127.0.0.1:1")
    assert done.returncode == 3
    assert "ERR_REGISTRY_UNAVAILABLE" in done.stderr


async def test_tokens_are_for_users(place: Place) -> None:
    done = await place.run("token", "nobody", "--data-dir", place.folder / "data")
    assert done.stderr.startswith("metawatt: ERR_INVALID_FIELD: nobody is no user's id")
    done = await place.run("token", place.user_id, "--hours", 0, "--data-dir", place.folder / "data")
    assert done.returncode == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_no_secret(command: str) -> None:
    done = subprocess.run(
        [METAWATT, command, "--help"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"COLUMNS": "100"},
    )
    assert done.returncode == 0
    assert "--token " not in done.stdout
    assert "--key" not in done.stdout


# Files of generation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the first line must name"),
        ("device,start\n", "the first line must name"),
        ("device,start,energy_wh\n", "there are no readings"),
        ("device,start,energy_wh\nA,2026-01-01T00:00:00,1\n", "line 2: .* names no zone"),
        ("device,start,energy_wh\nA,yesterday,1\n", "line 2: "),
        ("device,start,energy_wh\nA,2026-01-01T00:00:00Z,1.5\n", "line 2: "),
        ("device,start,energy_wh\nA,2026-01-01T00:00:00Z,-1\n", "line 2: energy_wh: "),
        ("device,start,energy_wh\nA,2026-01-01T00:00:00Z\n", "line 2: "),
        ('device,start,energy_wh\n"A', "line 1: unexpected end"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "generation.csv"
    file.write_text(text)
    with pytest.raises(FileInvalid, match=words):
        read_file(file)


def test_a_file_that_is_not_there_or_cut_off(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid):
        read_file(tmp_path / "nothing.csv")
    whole = (EXAMPLES / "generation-2025-01.csv.gz").read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(whole[:1000])
    with pytest.raises(FileInvalid):
        read_file(tmp_path / "cut.csv.gz")


def test_moments_of_other_zones_and_ends_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "generation.csv"
    file.write_text("device,start,end,energy_wh\nA,2026-01-01T01:00:00+01:00,2026-01-01T00:15:00Z,7\n")
    (reading,) = read_file(file)["A"]
    assert (reading.start, reading.end) == ("2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z")


def test_the_example_is_a_year_of_every_device() -> None:
    readings = read_file(EXAMPLES / "generation-2025-01.csv.gz")
    described = json.loads((EXAMPLES / "devices.json").read_text())
    assert list(readings) == [each["device_name"] for each in described]
    assert {len(own) for own in readings.values()} == {8760}
    for each in described:
        assert max(reading.energy_wh for reading in readings[each["device_name"]]) <= each["capacity"]


def test_the_example_is_made_by_its_script(tmp_path: Path) -> None:
    script = EXAMPLES / "make_generation.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=60)
    for name in ("generation-2025-01.csv.gz", "devices.json"):
        made, kept = (tmp_path / name).read_bytes(), (EXAMPLES / name).read_bytes()
        assert _unpacked(made) == _unpacked(kept)


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def test_chunks_take_devices_in_turn(tmp_path: Path) -> None:
    file = tmp_path / "generation.csv"
    lines = [f"{name},2026-01-01T{hour:02}:00:00Z,1" for name, most in (("A", 5), ("B", 2)) for hour in range(most)]
    file.write_text("\n".join(["device,start,energy_wh", *lines]))
    cut = [(name, len(part)) for name, part in chunks(read_file(file), 2)]
    assert cut == [("A", 2), ("B", 2), ("A", 2), ("A", 1)]
