"""`metawatt demo`: the node's main job, played over real HTTP by a process of its own."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

METAWATT = Path(sys.executable).with_name("metawatt")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")} | {
    "COLUMNS": "120",
    "NO_COLOR": "1",
}


def test_the_play_ends_well(tmp_path):
    done = subprocess.run(
        [METAWATT, "demo", "--once", "--port", "0"],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},
    )
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
