"""`metawatt solana` as a person meets it: addresses to point a client at, a chain that stays, plain errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

METAWATT = Path(sys.executable).with_name("metawatt")
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
LAMPORTS = 5_000_000
STOP_SECS = 20


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
    return own | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


@contextmanager
def running(*arguments: object) -> Iterator[dict[str, str]]:
    """What the command tells, by the first word of a line; ended by SIGTERM, and then with exit status 0."""
    process = subprocess.Popen(
        [METAWATT, "solana", "--port", "0", "--slot-ms", "10", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        told: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            told[line.split()[0]] = line.split()[-1]
            if "Kept" in told:
                break
        try:
            yield told
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=STOP_SECS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors


def ask(url: str, method: str, *params: Any) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    with urlopen(Request(url, body), timeout=10) as reply:
        return json.loads(reply.read())["result"]


def test_the_chain_stays_where_its_folder_does(tmp_path: Path) -> None:
    somebody = str(Keypair().pubkey())
    with running("--data-dir", tmp_path / "chain") as first:
        port = int(first["JSON-RPC"].rpartition(":")[2])
        assert first["WebSocket"].endswith(f":{port + 1}")
        assert ask(first["JSON-RPC"], "getGenesisHash") == first["Genesis"]
        ask(first["JSON-RPC"], "requestAirdrop", somebody, LAMPORTS)
    with running("--data-dir", tmp_path / "chain") as second:
        assert second["Genesis"] == first["Genesis"]
        told = ask(second["JSON-RPC"], "getBalance", somebody, {"commitment": "confirmed"})
        assert told["value"] == LAMPORTS


def test_without_a_folder_nothing_stays() -> None:
    with running() as told:
        folder = Path(told["Kept"])
        assert folder.is_dir()
    assert not folder.exists()


def test_a_program_is_loaded_under_its_address(tmp_path: Path) -> None:
    """The memo program's own ELF, under another address."""
    account = LiteSVM().get_account(Pubkey.from_string(MEMO))
    assert account is not None
    (tmp_path / "memo.so").write_bytes(account.data)
    program = str(Keypair().pubkey())
    with running("--program", f"{program}={tmp_path / 'memo.so'}") as told:
        found = ask(told["JSON-RPC"], "getAccountInfo", program, {"commitment": "processed", "encoding": "base64"})
        assert found["value"]["executable"]


def refused(*arguments: object) -> str:
    done = subprocess.run(
        [METAWATT, "solana", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("program", ["nobody=memo.so", "memo.so", f"{MEMO}=/nowhere/memo.so"])
def test_a_program_that_cannot_be_had(program: str) -> None:
    assert program in refused("--program", program)


def test_a_program_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "junk.so").write_text("junk")
    assert "--program" in refused("--port", 0, "--program", f"{MEMO}={tmp_path / 'junk.so'}")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused("--port", port)
        assert "cannot listen" in refused("--port", port - 1)


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--data-dir" in refused("--data-dir", tmp_path / "file")
