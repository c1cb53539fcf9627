"""`metawatt audit`, `metawatt parity` and `metawatt check` on what a bridge left behind."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from rich.console import Console
from typer.testing import CliRunner

from bridge.minting.lease import TERM_MS
from bridge.mirror.mirror import LEASE
from bridge.mirror.records import LOTS, MIRROR, MIRROR_COLLECTIONS
from bridge.records import BRIDGE_COLLECTIONS, LEASES
from cli.app import app
from cli.parity import asked, show
from config.errors import MetawattError, Unavailable
from overlay.clock import system_now_ms
from store.pages import every
from store.port import Find, Patch, Put
from store.sqlite import SqliteStore
from tests.bridge.receipts_kit import ISSUER, Played, edited, play

NO_KEY = "02" + "00" * 32


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A bridge's folder, as a node that was stopped leaves it; made once."""
    folder = tmp_path_factory.mktemp("left")
    made = asyncio.run(play(folder))
    (folder / "node.key").write_text(ISSUER.secret.hex())
    (folder / "node.key").chmod(0o600)
    for name, receipt in made.receipts.items():
        (folder / f"{name}.json").write_bytes(receipt)
    (folder / "headers.json").write_bytes(made.headers)
    (folder / "headers.bin").write_bytes(made.chain)
    return made


def metawatt(*arguments: object) -> tuple[int, str]:
    """Exit status and output, of the command line in this process."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"NO_COLOR": "1", "COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


# metawatt audit


def test_receipts_are_proven_with_headers(left: Played) -> None:
    files = [left.folder / f"{name}.json" for name in left.receipts]
    for headers in ("headers.json", "headers.bin"):
        status, told = metawatt("audit", *files, "--headers", left.folder / headers)
        assert status == 0, told
    assert "600000000 base units from BSV to Solana" in told
    assert "given back" in told
    assert f"{len(files)} receipts: all that can be proven is proven" in told
    assert "FAILED" not in told


def test_without_headers_something_is_open(left: Played) -> None:
    status, told = metawatt("audit", left.folder / "exit.json")
    assert status == 3
    assert "undecided  the header of block" in told


def test_a_changed_receipt_is_told_and_ends_with_1(left: Played, tmp_path: Path) -> None:
    changed = tmp_path / "changed.json"
    changed.write_bytes(edited(left.receipts["exit"], ("message", "units"), "1"))
    status, told = metawatt("audit", changed, "--headers", left.folder / "headers.json")
    assert status == 1
    assert "FAILED" in told


def test_one_receipt_twice_is_a_replay(left: Played) -> None:
    receipt = left.folder / "exit.json"
    status, told = metawatt("audit", receipt, receipt, "--headers", left.folder / "headers.json")
    assert status == 1
    assert "is in several receipts" in told


def test_who_is_expected(left: Played) -> None:
    receipt, headers = left.folder / "deposit.json", left.folder / "headers.json"
    own = ISSUER.public.hex()
    assert metawatt("audit", receipt, "--headers", headers, "--issuer", own, "--bridge", own)[0] == 0
    other = "02" + own[2:]  # its mirror image, and a key as well
    for option in ("--issuer", "--bridge"):
        assert metawatt("audit", receipt, "--headers", headers, option, other)[0] == 1


@pytest.mark.parametrize(
    "arguments", [("exit.json", "--headers", "exit.json"), ("exit.json", "--issuer", NO_KEY), ("nothing.json",)]
)
def test_what_cannot_be_used(left: Played, arguments: tuple[str, ...]) -> None:
    named = [left.folder / each if each.endswith(".json") else each for each in arguments]
    with pytest.raises(MetawattError):
        metawatt("audit", *named)


def _no_network(*_: object) -> None:
    raise AssertionError("an audit asks nobody")


def test_an_audit_needs_nothing_but_its_files(
    left: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No setting, however wrong, hinders it; and it leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    monkeypatch.setenv("METAWATT_PROT", "1")
    assert metawatt("audit", left.folder / "exit.json", "--headers", left.folder / "headers.json")[0] == 0
    assert list(tmp_path.iterdir()) == []


# metawatt parity, metawatt check


def _node(left: Played, folder: Path) -> list[str]:
    """The options of a node with a copy of the folder."""
    for name in ("node.db", "solana.db", "node.key"):
        shutil.copy(left.folder / name, folder / name)
    (folder / "metawatt.toml").write_text("[node]\nport = 1\n")
    return [
        "--config",
        str(folder / "metawatt.toml"),
        "--data-dir",
        str(folder),
        "--storage",
        f"sqlite:///{folder / 'node.db'}",
        "--network",
        "dev",
    ]


def test_parity_of_a_node_that_is_stopped(left: Played, tmp_path: Path) -> None:
    status, told = metawatt("parity", *_node(left, tmp_path))
    assert status == 0, told
    assert "Exact: 1600 Wh are on both sides." in told  # 1500 and 700 came, and 600 left


async def _spoil(path: Path) -> None:
    store = SqliteStore(path, cache_mib=4)
    await store.open(MIRROR_COLLECTIONS)
    (ledger,) = [row for row in await every(store, MIRROR, Find()) if row["_id"].startswith("ledger:")]
    await store.commit([Patch(MIRROR, ledger["_id"], {"live": ledger["live"] + 1})])
    lot = (await every(store, LOTS, Find()))[0]
    await store.commit([Patch(LOTS, lot["_id"], {"left": lot["units"] + 1})])
    await store.close()


def test_a_breach_ends_with_1(left: Played, tmp_path: Path) -> None:
    options = _node(left, tmp_path)
    asyncio.run(_spoil(tmp_path / "node.db"))
    status, told = metawatt("parity", *options)
    assert status == 1
    assert "Breached: the ledger differs from the chains" in told
    status, told = metawatt("check", *options)
    assert status == 1
    assert "I6: lot" in told


async def test_a_node_that_runs_has_its_cluster_open(left: Played, tmp_path: Path) -> None:
    options = _node(left, tmp_path)
    runner, url = await _answering({})
    try:
        (tmp_path / "metawatt.toml").write_text(f"[node]\nport = {url.rpartition(':')[2]}\n")
        with pytest.raises(MetawattError, match="a node runs at"):
            await asyncio.to_thread(metawatt, "parity", *options)
    finally:
        await runner.cleanup()


async def _lease(path: Path, until_ms: int) -> None:
    store = SqliteStore(path, cache_mib=4)
    await store.open(BRIDGE_COLLECTIONS)
    await store.commit([Put(LEASES, {"_id": LEASE, "holder": "a node", "fence": 1, "until_ms": until_ms})])
    await store.close()


def test_a_node_that_listens_elsewhere_is_told_by_its_lease(left: Played, tmp_path: Path) -> None:
    options = _node(left, tmp_path)
    asyncio.run(_lease(tmp_path / "node.db", system_now_ms() + TERM_MS))
    with pytest.raises(MetawattError, match="a node has this folder open"):
        metawatt("parity", *options)
    asyncio.run(_lease(tmp_path / "node.db", system_now_ms() - 1))
    status, told = metawatt("parity", *options)
    assert status == 0, told


def test_a_node_that_never_mirrored(tmp_path: Path) -> None:
    with pytest.raises(MetawattError, match="there is no database"):
        metawatt("parity", "--data-dir", tmp_path)


async def _answering(reply: object, status: int = 200) -> tuple[web.AppRunner, str]:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/api/bridge/parity"
        return web.Response(body=orjson.dumps(reply), status=status, content_type="application/json")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


@pytest.mark.parametrize(("reply", "status"), [({"message": "not connected"}, 409), ({}, 200), ([], 200), (1, 503)])
async def test_a_node_that_tells_nothing(reply: object, status: int) -> None:
    runner, url = await _answering(reply, status)
    try:
        with pytest.raises(Unavailable):
            await asked(url)
    finally:
        await runner.cleanup()


async def test_figures_that_cannot_be_read_are_told() -> None:
    runner, url = await _answering({"is_exact": True})
    try:
        with pytest.raises(MetawattError, match="cannot be read"):
            show(await asked(url), Console())
    finally:
        await runner.cleanup()
