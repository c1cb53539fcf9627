"""`metawatt simulate` as a person meets it: options, faults, exit codes, and the whole way to a token balance."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.core import RPCException
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.instructions import get_associated_token_address

METAWATT = Path(sys.executable).with_name("metawatt")


def environment():
    own = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
    return own | {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


def simulate(*arguments, timeout=60):
    return subprocess.run(
        [METAWATT, "simulate", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )


def test_help_has_the_options_that_it_should():
    text = simulate("--help").stdout
    for option in (
        "--meters",
        "--url",
        "--interval",
        "--count",
        "--config",
        "--seed",
        "--batch",
        "--wait",
        "--rpc",
    ):
        assert option in text
    for secret in ("--key ", "--password", "--secret", "--admin"):
        assert secret not in text


@pytest.mark.parametrize(
    "arguments",
    [("--interval", 7), ("--meters", 0), ("--kind", "coal"), ("--config", "nowhere.yaml"), ("--first", "../x")],
)
def test_wrong_use_exits_with_2_and_a_sentence(tmp_path, arguments):
    done = simulate("--data-dir", tmp_path, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_readings_that_nobody_takes_are_told(tmp_path):
    arguments = ("--kind", "wind", "--seed", 3, "--meters", 4, "--interval", 1, "--count", 1, "--wait", 1)
    done = simulate("--data-dir", tmp_path, "--url", "http://127.0.0.1:9", *arguments)
    assert done.returncode == 1
    assert "never handed in" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_example_configuration_is_read(tmp_path):
    example = (Path(__file__).parents[2] / "examples" / "simulator.yaml").read_text()
    config = tmp_path / "simulator.yaml"
    config.write_text(example.replace("localhost:8080", "127.0.0.1:9").replace("300  #", "1  #"))
    done = simulate("--config", config, "--count", 1, "--wait", 0, "--data-dir", tmp_path)
    assert "1 meter read every 1 s, for http://127.0.0.1:9" in done.stdout
    Keypair.from_json((tmp_path / "keys" / "meter_private_key.json").read_text())


@contextmanager
def serving(folder):
    """A dev node that polls often; its URL."""
    settings = {
        "METAWATT_TOKENIZATION__POLLING_INTERVAL_SECS": "1",
        "METAWATT_SOLANA__EMBEDDED_SLOT_MS": "20",
        "METAWATT_LOG__FORMAT": "json",
    }
    told = (folder / "out").open("w+")
    process = subprocess.Popen(
        [METAWATT, "serve", "--network", "dev", "--data-dir", folder / "data", "--port", "0"],
        stdout=told,
        stderr=subprocess.STDOUT,
        env=environment() | settings,
    )
    try:
        yield _url_of(process, folder / "out")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        told.close()


def _url_of(process, out):
    for _ in range(300):
        if found := re.search(r'^(?=.*"listening").*"port": ?(\d+)', out.read_text(), re.MULTILINE):
            return f"http://127.0.0.1:{found.group(1)}"
        assert process.poll() is None, out.read_text()
        time.sleep(0.1)
    raise AssertionError(out.read_text())


async def balance_of(rpc_url, mint, wallet):
    """Read with solana-py, as a new user would."""
    async with AsyncClient(rpc_url) as client:
        account = get_associated_token_address(Pubkey.from_string(wallet), Pubkey.from_string(mint))
        return int((await client.get_token_account_balance(account)).value.amount)


def test_three_terminals(tmp_path):
    """serve, simulate, and a balance read with solana-py."""
    with serving(tmp_path) as url:
        arguments = ("--url", url, "--data-dir", tmp_path / "data", "--meters", 50, "--interval", 1, "--count", 3)
        for more in ((), ("--batch", "--format", "gridtokenx")):
            done = simulate(*arguments, *more)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Equal: all 50 wallets hold to the base unit what was accepted" in done.stdout
        mint = re.search(r"of\s+mint\s+(\w+)", done.stdout).group(1)
        total = int(re.search(r"([\d,]+) expected, \1 held", done.stdout).group(1).replace(",", ""))
        keys = sorted((tmp_path / "data" / "simulator").glob("*.wallet.json"))
        wallets = [str(Keypair.from_json(file.read_text()).pubkey()) for file in keys]
        assert len(wallets) == 50
        held = 0
        for wallet in wallets:
            try:
                held += asyncio.run(balance_of(url + "/dev/solana", mint, wallet))
            except RPCException:  # a household that never had anything to give has no account
                continue
        assert held == total > 0
