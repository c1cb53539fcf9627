"""The doctor: well set-ups, broken ones, and what it says to do about them."""

import os
import socket
import sqlite3
import time
from email.utils import formatdate

import pytest
from aiohttp import web

from cli.doctor import examine
from cli.finding import Finding, Verdict
from config.load import SettingsInvalid, load_settings
from config.secrets import node_key_hex

NOW_SECS = time.time()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class ChainService:
    """A headers service and ARC on one socket, that can be told to misbehave."""

    def __init__(self):
        self.key = None
        self.tip_age_secs = 600
        self.skew_secs = 0
        self.tip_body = None
        self.policy = {"policy": {"miningFee": {"satoshis": 1, "bytes": 1000}}}

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/v1/chain/tip/longest", self.tip)
        app.router.add_get("/v1/policy", self.arc_policy)
        return app

    async def tip(self, request):
        tip = {"height": 900_000, "header": {"creationTimestamp": int(NOW_SECS - self.tip_age_secs)}}
        return await self.reply(request, tip if self.tip_body is None else self.tip_body)

    async def arc_policy(self, request):
        return await self.reply(request, self.policy)

    async def reply(self, request, body):
        headers = {"Date": formatdate(NOW_SECS - self.skew_secs, usegmt=True)}
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({}, status=401, headers=headers)
        if isinstance(body, str):
            return web.Response(text=body, headers=headers)
        return web.json_response(body, headers=headers)


@pytest.fixture
async def service(aiohttp_server):
    """The service, with the settings that point to it."""
    service = ChainService()
    server = await aiohttp_server(service.application())
    service.url = str(server.make_url("")).rstrip("/")
    return service


async def doctor(tmp_path, **overrides) -> dict[str, Finding]:
    values = {"node.data_dir": tmp_path / "data", "node.port": free_port()} | {
        name.replace("__", "."): value for name, value in overrides.items()
    }
    findings = await examine(lambda: load_settings(None, values, {}), lambda: NOW_SECS)
    return {finding.subject: finding for finding in findings}


async def on_chain(tmp_path, service, **overrides) -> dict[str, Finding]:
    return await doctor(
        tmp_path, node__network="main", chain__headers_url=service.url, chain__arc_url=service.url, **overrides
    )


def broken(findings: dict[str, Finding]) -> list[str]:
    return [subject for subject, finding in findings.items() if finding.verdict is Verdict.BROKEN]


async def test_a_new_dev_node_is_well(tmp_path):
    findings = await doctor(tmp_path)
    assert {finding.verdict for finding in findings.values()} <= {Verdict.OK, Verdict.WARNING}
    assert broken(findings) == []
    assert not (tmp_path / "data").exists(), "looking changes nothing"


async def test_a_node_on_a_real_network_is_well(tmp_path, service):
    findings = await on_chain(tmp_path, service)
    assert broken(findings) == []
    assert findings["headers service"].seen == "tip at height 900000, 10 minutes old"
    assert findings["clock"].verdict is Verdict.OK


async def test_every_fault_says_what_to_do(tmp_path, service):
    service.skew_secs = 3600
    service.tip_body = "<html>"
    service.policy = {}
    findings = await on_chain(tmp_path, service, storage__uri="mongodb://127.0.0.1:1/")
    assert set(broken(findings)) == {"headers service", "ARC", "clock", "storage"}
    assert all(finding.cure for finding in findings.values() if finding.verdict is not Verdict.OK)


async def test_wrong_settings_are_told_and_the_rest_is_looked_at():
    def load():
        raise SettingsInvalid(["METAWATT_PROT: no such setting; did you mean METAWATT_PORT?"])

    settings, native = await examine(load, lambda: NOW_SECS)
    assert settings.verdict is Verdict.BROKEN
    assert "METAWATT_PORT" in settings.seen
    assert native.verdict is Verdict.OK


async def test_services_that_do_not_answer(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    findings = await doctor(tmp_path, node__network="main", chain__headers_url=url, chain__arc_url=url)
    assert broken(findings) == ["headers service", "ARC"]
    assert findings["clock"].verdict is Verdict.WARNING


async def test_a_url_that_is_none(tmp_path):
    findings = await doctor(tmp_path, node__network="main", chain__headers_url="nonsense", chain__arc_url="://")
    assert broken(findings) == ["headers service", "ARC"]


async def test_an_api_key_that_is_missing_or_right(tmp_path, service):
    service.key = "k-1"
    findings = await on_chain(tmp_path, service)
    assert "api_key" in findings["headers service"].cure
    assert "api_key" in findings["ARC"].cure
    findings = await on_chain(tmp_path, service, chain__headers_api_key="k-1", chain__arc_api_key="k-1")
    assert broken(findings) == []


@pytest.mark.parametrize(
    ("skew_secs", "verdict"),
    [(0, Verdict.OK), (30, Verdict.WARNING), (-30, Verdict.WARNING), (600, Verdict.BROKEN), (-600, Verdict.BROKEN)],
)
async def test_the_clock_is_compared(tmp_path, service, skew_secs, verdict):
    service.skew_secs = skew_secs
    clock = (await on_chain(tmp_path, service))["clock"]
    assert clock.verdict is verdict
    if skew_secs:
        assert ("ahead" in clock.seen) == (skew_secs > 0)


@pytest.mark.parametrize(("age_secs", "seen"), [(5 * 3600, "300 minutes old"), (-7200, "from the future")])
async def test_a_tip_of_the_wrong_age(tmp_path, service, age_secs, seen):
    service.tip_age_secs = age_secs
    finding = (await on_chain(tmp_path, service))["headers service"]
    assert finding.verdict is Verdict.WARNING
    assert seen in finding.seen


async def test_a_key_open_to_others(tmp_path):
    settings = load_settings(None, {"node.data_dir": tmp_path / "data"}, {})
    node_key_hex(settings)
    (tmp_path / "data" / "node.key").chmod(0o644)
    token = tmp_path / "data" / "admin.token"
    token.write_text("t\n")
    token.chmod(0o640)
    findings = await doctor(tmp_path)
    assert broken(findings) == ["node key", "admin token"]
    assert "chmod 600" in findings["node key"].seen + findings["node key"].cure


async def test_a_key_file_that_is_not_there(tmp_path):
    assert broken(await doctor(tmp_path, node__private_key_file=tmp_path / "none")) == ["node key"]


async def test_a_data_folder_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("")
    findings = await doctor(tmp_path)
    assert "data folder" in broken(findings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_data_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    assert "data folder" in broken(await doctor(tmp_path))


async def test_a_database_that_is_damaged(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "node.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    findings = await doctor(tmp_path)
    assert broken(findings) == ["storage"]
    assert "backup" in findings["storage"].cure


async def test_a_database_of_a_newer_release(tmp_path):
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "node.db") as connection:
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
        connection.execute("INSERT INTO meta VALUES ('version', 999), ('compatible', 999)")
    connection.close()
    findings = await doctor(tmp_path)
    assert broken(findings) == ["storage"]
    assert "release" in findings["storage"].cure


async def test_an_address_that_is_taken(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        findings = await doctor(tmp_path, node__port=listener.getsockname()[1])
    assert findings["address"].verdict is Verdict.WARNING


async def test_an_address_of_another_machine(tmp_path):
    assert broken(await doctor(tmp_path, node__host="192.0.2.1")) == ["address"]
