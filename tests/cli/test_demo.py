"""`metawatt demo`: the node's main job, played over real HTTP by a process of its own."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

METAWATT = Path(sys.executable).with_name("metawatt")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")} | {
    "COLUMNS": "120",
    "NO_COLOR": "1",
}


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [METAWATT, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=ENVIRONMENT | environ,
    )


def test_the_play_ends_well(tmp_path):
    done = run("demo", "--once", "--port", 0, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for told in (
        "Solarpark Lausitz",
        "Vindpark Vesterhav",
        "outputsToAdmit",
        "issuer's signature verifies",
        "Cancelled",
        "GRIDTOKENX_METER_READING",
        "The same message again: 200",
        "401 ERR_SIGNATURE_INVALID",
        "Its memo names the readings, in base58: gwx1:reading:",
        "4,500,000,000 base units expected, 4,500,000,000 held: 4.5 tokens",
        "receipt-in.json: 1.500 kWh from Solana to BSV",
        "receipt-out.json: 0.600 kWh from BSV to Solana",
        "With 1 Wh more written into receipt-in.json, ",
        "metawatt audit receipt-in.json receipt-out.json --headers headers.json",
        "Exact: 900 Wh are on both sides.",
    ):
        assert told in done.stdout
    assert list(tmp_path.iterdir()) == [], "the temporary folder is removed"


def test_a_play_that_is_told_to_stop_leaves_nothing_behind(tmp_path):
    command = [METAWATT, "demo", "--once", "--port", "0"]
    environ = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ) as play:
        while "A METAWATT node runs at" not in play.stdout.readline():
            pass
        play.send_signal(signal.SIGTERM)
        _, errors = play.communicate(timeout=30)
    assert (play.returncode, errors) == (128 + signal.SIGTERM, "")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_none_is_refused_before_the_play():
    done = run("demo", "--once", "--port", 99999)
    assert done.returncode == 2
    assert "65535" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_play_left_is_checked_reindexed_and_found_damaged(tmp_path):
    assert run("demo", "--once", "--port", 0, "--data-dir", tmp_path).returncode == 0
    checked = run("check", "--data-dir", tmp_path)
    assert (checked.returncode, "every invariant holds" in checked.stdout) == (0, True), checked.stdout
    assert "ls_metawatt: 15 outputs indexed" in run("reindex", "--data-dir", tmp_path).stdout
    damage(tmp_path, "DELETE FROM bridge_attempts", "UPDATE bridge_readings SET open_ms = 5")
    assert found_by_check(tmp_path) == {"✗ I6"}
    damage(
        tmp_path,
        "DELETE FROM outputs WHERE _id = (SELECT _id FROM outputs LIMIT 1)",
        "DELETE FROM transactions WHERE _id IN (SELECT substr(_id, 1, 32) FROM outputs)",
    )
    assert {"✗ I2", "✗ I4"} <= found_by_check(tmp_path)


def damage(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "node.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def found_by_check(folder: Path) -> set[str]:
    """The invariants that do not hold."""
    done = run("check", "--data-dir", folder)
    assert done.returncode == 1
    return {line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("✗")}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines to try are curl's")
def test_the_node_stays_up_for_the_lines_to_try(tmp_path):
    for _ in range(2):  # the second time on what the first one kept
        process = subprocess.Popen(
            [METAWATT, "demo", "--port", "0", "--data-dir", tmp_path],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        try:
            lines = until_the_last_line(process)
            url = re.search(r"http://127\.0\.0\.1:\d+", "".join(lines))[0]
            with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
                assert reply.status == 200
            curls = [line for line in lines if line.startswith("curl ")]
            assert len(curls) >= 7
            reading, balance = [answer(line) for line in curls if "/api/meters/" in line or "/dev/solana" in line]
            assert reading["minted"] is True
            assert balance["result"]["value"]["amount"] == "4500000000"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def answer(line: str) -> dict[str, Any]:
    """What a line to try prints."""
    done = subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=20)
    return json.loads(done.stdout)


def until_the_last_line(process: subprocess.Popen[str]) -> list[str]:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "/admin/stats" in line:
            return lines
    raise AssertionError("".join(lines))
