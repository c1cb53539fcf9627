"""`metawatt serve` as a process: it answers, stops in order, and says in one line why it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.occupied import alone_in, occupying

METAWATT = Path(sys.executable).with_name("metawatt")


def command(*arguments: object) -> list[str]:
    return [str(METAWATT), "serve", *map(str, arguments)]


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
    return own | {"METAWATT_LOG__FORMAT": "json"}


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A node that is ready, and its port."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, env=environment())
    try:
        yield process, ready_port(process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ready_port(process: subprocess.Popen[str]) -> int:
    seen = []
    for line in process.stderr:
        seen.append(line)
        if (event := json.loads(line))["event"] == "ready":
            return event["port"]
    raise AssertionError("".join(seen))


def refused(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, timeout=60, env=environment()
    )


def health(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as reply:
        return json.load(reply)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_stops_in_order(tmp_path, number):
    with running("--port", 0, "--data-dir", tmp_path) as (process, port):
        assert health(port)["ready"] is True
        process.send_signal(number)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
    made = {path.name for path in tmp_path.iterdir()}
    assert {"node.db", "node.key", "admin.token"} <= made
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_it_starts_again_on_what_it_kept(tmp_path):
    for _ in range(2):
        with running("--port", 0, "--data-dir", tmp_path) as (process, port):
            assert health(port)["ready"] is True
            process.terminate()
            assert process.wait(30) == 0


def test_check_and_reindex_work_on_what_it_kept(tmp_path):
    with running("--port", 0, "--data-dir", tmp_path) as (process, _):
        live = subprocess.run(
            [METAWATT, "check", "--data-dir", tmp_path], env=environment(), timeout=60, check=False
        )
        assert live.returncode == 0
        told = subprocess.run(
            [METAWATT, "reindex", "--data-dir", tmp_path],
            env=environment(),
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
        )
        assert (told.returncode, "stop it first" in told.stderr) == (3, True), told.stderr
        process.terminate()
        assert process.wait(30) == 0
    for name in ("check", "reindex"):
        done = subprocess.run([METAWATT, name, "--data-dir", tmp_path], env=environment(), timeout=60, check=False)
        assert done.returncode == 0


def test_a_node_does_not_start_while_a_command_has_its_data_alone(tmp_path):
    with alone_in(tmp_path) as is_alone:
        assert is_alone
        done = refused("--port", 0, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "`metawatt reindex` is at work there" in done.stderr
    with alone_in(tmp_path) as is_alone:
        assert is_alone


def test_two_nodes_may_share_a_folder(tmp_path):
    with occupying(tmp_path) as first, occupying(tmp_path) as second, alone_in(tmp_path) as alone:
        assert (first, second, alone) == (True, True, False)


def test_nobody_runs_on_a_folder_that_is_not_there(tmp_path):
    with alone_in(tmp_path / "none") as alone:
        assert alone
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_told_in_one_line(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = refused("--port", port, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "data").write_text("")
    done = refused("--port", 0, "--data-dir", tmp_path / "data")
    assert done.returncode == 2
    assert "node.data_dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_open_to_others(tmp_path):
    (tmp_path / "node.key").write_text("11" * 32 + "\n")
    (tmp_path / "node.key").chmod(0o644)
    done = refused("--port", 0, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "chmod 600" in done.stderr
    assert "1111" not in done.stderr


def test_a_database_that_is_damaged(tmp_path):
    (tmp_path / "node.db").write_bytes(b"not a database at all, whatever its name may say" * 200)
    done = refused("--port", 0, "--data-dir", tmp_path)
    assert done.returncode == 3
    assert "ERR_STORAGE_UNAVAILABLE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_network_without_services(tmp_path):
    done = refused("--network", "main", "--port", 0, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "chain.headers_url: required on the main network" in done.stderr
    assert "chain.arc_url: required on the main network" in done.stderr
