"""The command line as a person meets it: help, errors in one line, exit codes."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.main import exit_code, tell
from config.errors import ErrorCode, MetawattError
from config.load import load_settings
from config.manual import manual

METAWATT = Path(sys.executable).with_name("metawatt")
COMMANDS = (
    "serve",
    "demo",
    "solana",
    "doctor",
    "reindex",
    "check",
    "audit",
    "parity",
    "solana-replay",
    "settings",
    "version",
)


def metawatt(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
    return subprocess.run(
        [METAWATT, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=own | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"} | environ,
    )


def test_help_names_every_command_and_the_exit_codes():
    done = metawatt("--help")
    assert done.returncode == 0
    for word in (*COMMANDS, "Exit status", "metawatt demo"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert len(done.stdout.splitlines()) < 60


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_no_secret(command):
    done = metawatt(command, "--help")
    assert done.returncode == 0
    assert f"metawatt {command}" in done.stdout
    for word in ("--token", "--key", "--password", "--admin", "--secret"):
        assert word not in done.stdout.lower()


def test_serve_has_the_options_that_it_should():
    text = metawatt("serve", "--help").stdout
    for option in ("--data-dir", "--host", "--port", "--network", "--storage", "--config"):
        assert option in text


@pytest.mark.parametrize("arguments", [(), ("nothing",), ("serve", "--nothing"), ("serve", "--network", "moon")])
def test_wrong_use_exits_with_2(arguments):
    assert metawatt(*arguments).returncode == 2


@pytest.mark.parametrize("command", ["serve", "doctor", "settings", "check", "reindex"])
def test_an_unknown_setting_stops_every_command(command):
    done = metawatt(command, METAWATT_PROT="1")
    assert done.returncode == (1 if command == "doctor" else 2)
    told = done.stdout + done.stderr
    assert "METAWATT_PROT: no such setting; did you mean METAWATT_PORT?" in " ".join(told.split())
    assert "Traceback" not in told


def test_settings_are_shown_as_toml_without_secrets(tmp_path):
    file = tmp_path / "metawatt.toml"
    file.write_text('[chain]\narc_api_key = "hunter2"\n[storage]\nuri = "mongodb://u:hunter2@h/n"\n')
    done = metawatt("settings", "--config", file, METAWATT_PORT="81")
    assert "hunter2" not in done.stdout
    shown = tomllib.loads(done.stdout)
    assert shown["node"]["port"] == 81
    assert shown["storage"]["uri"].startswith("mongodb://u:")


def test_the_key_in_the_address_of_a_cluster_is_no_sight_for_others():
    """Who rents an RPC has his key in its path, or in its query."""
    shown = metawatt(
        "settings",
        SOLANA_RPC_URL="https://rpc.example/v2/k3y?api-key=s3cret",
        SOLANA_WS_URL="wss://rpc.example/?api-key=s3cret",
    ).stdout
    assert 'rpc_url = "https://rpc.example/[redacted]?api-key=[redacted]"' in shown
    assert 'ws_url = "wss://rpc.example/?api-key=[redacted]"' in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [("SOLANA_RPC_URL", "wss://rpc.example"), ("SOLANA_WS_URL", "https://rpc.example"), ("SOLANA_RPC_URL", "h:1")],
)
def test_addresses_of_a_cluster_that_are_mixed_up_are_refused(name, value):
    done = metawatt("settings", **{name: value})
    assert done.returncode == 2
    assert name in done.stderr


def test_the_default_settings_as_shown_can_be_read_again(tmp_path):
    file = tmp_path / "metawatt.toml"
    file.write_text(metawatt("settings").stdout)
    assert load_settings(file, environ={}) == load_settings(environ={})


def test_the_manual_is_printed():
    assert metawatt("settings", "--markdown").stdout == manual()


def test_version_tells_what_a_bug_report_needs():
    text = metawatt("version").stdout
    assert text.startswith("metawatt ")
    assert "Python 3." in text
    assert "bsv-sdk 2." in text


@pytest.mark.parametrize("command", ["check", "reindex"])
def test_without_a_database_there_is_nothing_to_work_on(command, tmp_path):
    done = metawatt(command, "--data-dir", tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("metawatt: ERR_STORAGE_UNAVAILABLE: there is no database at ")
    assert list(tmp_path.iterdir()) == []


def test_reindexing_an_unknown_service(tmp_path):
    done = metawatt("reindex", "--service", "ls_nothing", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "hosted: ls_metawatt" in done.stderr


def test_the_doctor_exits_with_1_when_something_is_broken(tmp_path):
    (tmp_path / "data").write_text("")
    done = metawatt("doctor", "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert "→" in done.stdout


def test_the_doctor_shows_no_password(tmp_path):
    uri = "mongodb://user:hunter2@127.0.0.1:1/metawatt"
    done = metawatt(
        "doctor", "--data-dir", tmp_path, METAWATT_STORAGE=uri, METAWATT_STORAGE__MONGODB_TIMEOUT_SECS="0.3"
    )
    assert done.returncode == 1
    assert "Check that MongoDB runs" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.SETTINGS_INVALID, 2),
        (ErrorCode.STORAGE_UNAVAILABLE, 3),
        (ErrorCode.STORAGE_TOO_NEW, 3),
        (ErrorCode.CHAIN_UNAVAILABLE, 3),
        (ErrorCode.SOLANA_UNAVAILABLE, 3),
        (ErrorCode.HISTORY_GAP, 3),
        (ErrorCode.INTERNAL, 1),
    ],
)
def test_exit_codes(code, status, capsys):
    assert exit_code(code) == status
    assert tell(MetawattError("why", code)) == status
    assert capsys.readouterr().err.startswith(f"metawatt: {code}: why\n")
