"""`metawatt demo`: the node's main job, played over real HTTP by a process of its own."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

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
    ):
        assert told in done.stdout
    assert list(tmp_path.iterdir()) == [], "the temporary folder is removed"


def test_what_the_play_left_is_checked_reindexed_and_found_damaged(tmp_path):
    assert run("demo", "--once", "--port", 0, "--data-dir", tmp_path).returncode == 0
    checked = run("check", "--data-dir", tmp_path)
    assert (checked.returncode, "every invariant holds" in checked.stdout) == (0, True), checked.stdout
    assert "ls_metawatt: 11 outputs indexed" in run("reindex", "--data-dir", tmp_path).stdout
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("DELETE FROM outputs WHERE _id = (SELECT _id FROM outputs LIMIT 1)")
        connection.execute("DELETE FROM transactions WHERE _id IN (SELECT substr(_id, 1, 32) FROM outputs)")
    damaged = run("check", "--data-dir", tmp_path)
    assert damaged.returncode == 1
    assert "✗ I" in damaged.stdout


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
            assert sum(line.startswith("curl ") for line in lines) >= 5
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def until_the_last_line(process: subprocess.Popen[str]) -> list[str]:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "/admin/stats" in line:
            return lines
    raise AssertionError("".join(lines))
