"""The doctor on the registry: its coins, its remote wallet, its issuing body, the secret of its tokens."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from basket.address import p2pkh_address
from basket.coins import FUND_COINS
from basket.keyring import Keyring
from cli.doctor import examine
from cli.finding import Finding, Verdict
from cli.registry_checks import check_registry
from config.load import load_settings
from config.secrets import node_key_hex
from config.settings import Settings
from overlay.keys import PrivateKey
from store.port import Insert
from store.sqlite import SqliteStore
from tests.basket.brc100 import Wallet
from tests.cli.test_commands import metawatt


def settings_of(folder: Path, **overrides: Any) -> Settings:
    services = {"chain.headers_url": "http://127.0.0.1:1", "chain.arc_url": "http://127.0.0.1:1"}
    values = {"node.data_dir": folder, "node.network": "main", **services}
    values |= {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings(None, values, {})


async def found(folder: Path, **overrides: Any) -> dict[str, Finding]:
    findings = await check_registry(settings_of(folder, **overrides))
    return {finding.subject: finding for finding in findings}


async def with_coins(folder: Path, *satoshis: int) -> Keyring:
    """A data folder of a node that has coins; its keys."""
    key = PrivateKey.from_hex(node_key_hex(settings_of(folder)).get_secret_value())
    store = SqliteStore(folder / "node.db", cache_mib=4)
    await store.open([FUND_COINS])
    rows = [
        {"_id": bytes([number]) * 36, "live": each, "spender": None, "spent_ms": None, "arrived_ms": None}
        for number, each in enumerate(satoshis, 1)
    ]
    spent = {"_id": b"\0" * 36, "live": None, "spender": None, "spent_ms": 1, "arrived_ms": None}
    await store.commit([Insert(FUND_COINS, row) for row in [*rows, spent]])
    await store.close()
    return Keyring(key)


async def test_a_wallet_with_coins_is_well(tmp_path: Path) -> None:
    await with_coins(tmp_path, 40_000, 40_000)
    wallet = (await found(tmp_path))["wallet"]
    assert (wallet.verdict, wallet.seen) == (Verdict.OK, "80000 satoshis in 2 coins")


@pytest.mark.parametrize("network", ["main", "test"])
async def test_an_empty_wallet_tells_where_to_pay(tmp_path: Path, network: str) -> None:
    keyring = await with_coins(tmp_path, 10)
    wallet = (await found(tmp_path, node__network=network))["wallet"]
    assert wallet.verdict is Verdict.WARNING
    assert wallet.seen.startswith("10 satoshis in 1 coins, below")
    address = p2pkh_address(keyring.funds_key("deposit").public, network)
    assert address in wallet.cure and "/admin/wallet/deposit" in wallet.cure


async def test_a_node_that_never_started_has_no_address_yet(tmp_path: Path) -> None:
    wallet = (await found(tmp_path / "data"))["wallet"]
    assert wallet.verdict is Verdict.WARNING
    assert "Start the node" in wallet.cure
    assert not (tmp_path / "data").exists(), "looking makes no key"


async def test_a_node_with_a_key_and_no_database_is_told_where_to_pay(tmp_path: Path) -> None:
    node_key_hex(settings_of(tmp_path))
    assert "Pay to 1" in (await found(tmp_path))["wallet"].cure
    assert not (tmp_path / "node.db").exists()


async def test_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    node_key_hex(settings_of(tmp_path))
    (tmp_path / "node.key").chmod(0o644)
    assert (await found(tmp_path))["wallet"].verdict is Verdict.BROKEN


def test_no_password_is_shown(tmp_path: Path) -> None:
    node_key_hex(settings_of(tmp_path))
    told = metawatt(
        "doctor",
        "--network=main",
        "--data-dir",
        tmp_path,
        METAWATT_STORAGE="mongodb://user:hunter2@127.0.0.1:1/metawatt",
        METAWATT_STORAGE__MONGODB_TIMEOUT_SECS="0.3",
        METAWATT_CHAIN__HEADERS_URL="http://127.0.0.1:1",
        METAWATT_CHAIN__ARC_URL="http://127.0.0.1:1",
    )
    assert "Mend the node's key and the storage first" in told.stdout
    assert "hunter2" not in told.stdout + told.stderr


async def test_the_dev_network_needs_nothing(tmp_path: Path) -> None:
    findings = await found(tmp_path, node__network="dev")
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}


async def test_a_registry_that_is_switched_off(tmp_path: Path) -> None:
    assert list(await found(tmp_path, registry__enabled=False)) == ["registry"]


# The remote wallet


@pytest.fixture
async def remote() -> AsyncIterator[Wallet]:
    wallet = Wallet(PrivateKey.from_int(777))
    runner = await wallet.serve()
    yield wallet
    await runner.cleanup()


async def test_a_remote_wallet_that_answers(tmp_path: Path, remote: Wallet) -> None:
    assert (await found(tmp_path, wallet__remote_url=remote.url))["remote wallet"].verdict is Verdict.OK


async def test_a_remote_wallet_that_does_not_answer(tmp_path: Path, remote: Wallet) -> None:
    remote.is_down = True
    finding = (await found(tmp_path, wallet__remote_url=remote.url))["remote wallet"]
    assert finding.verdict is Verdict.BROKEN
    assert "wallet.remote_url" in finding.cure


async def test_a_remote_wallet_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    finding = (await found(tmp_path, wallet__remote_url=url))["remote wallet"]
    assert finding.verdict is Verdict.BROKEN


# Names and secrets


@pytest.mark.parametrize(
    ("network", "name", "verdict"),
    [
        ("main", "METAWATT", Verdict.WARNING),
        ("main", "Stadtwerke", Verdict.OK),
        ("test", "METAWATT", Verdict.OK),
    ],
)
async def test_an_issuing_body_has_a_name(tmp_path: Path, network: str, name: str, verdict: Verdict) -> None:
    finding = (await found(tmp_path, node__network=network, registry__issuing_body=name))["issuing body"]
    assert finding.verdict is verdict


@pytest.mark.parametrize(
    ("text", "mode", "verdict"),
    [
        ("x" * 32, 0o600, Verdict.OK),
        ("x" * 32, 0o640, Verdict.BROKEN),
        ("x" * 31, 0o600, Verdict.BROKEN),
        (None, 0o600, Verdict.BROKEN),
    ],
)
async def test_the_secret_of_tokens(tmp_path: Path, text: str | None, mode: int, verdict: Verdict) -> None:
    path = tmp_path / "jwt.secret"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    finding = (await found(tmp_path, access__jwt_secret_file=path))["token secret"]
    assert finding.verdict is verdict
    assert (finding.cure != "") == (verdict is Verdict.BROKEN)


async def test_the_doctor_looks_at_the_registry(tmp_path: Path) -> None:
    findings = await examine(lambda: settings_of(tmp_path, node__port=0), time.time)
    assert {"wallet", "issuing body", "token secret"} <= {finding.subject for finding in findings}
