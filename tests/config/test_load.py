"""Settings: where they come from, which place wins, and how faults are told."""

import json
from pathlib import Path

import pytest

from config.errors import ErrorCode
from config.load import SettingsInvalid, load_settings
from config.names import GRIDTOKENX_VARIABLES, SECONDS_VARIABLES, SHORT_VARIABLES, fields, variable

NO_ENVIRONMENT: dict[str, str] = {}
SECRET = "hunter2-and-nothing-but"


def write_toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "metawatt.toml"
    path.write_text(text)
    return path


def problems(*args, **kwargs) -> str:
    with pytest.raises(SettingsInvalid) as raised:
        load_settings(*args, **kwargs)
    assert raised.value.code is ErrorCode.SETTINGS_INVALID
    return raised.value.message


def test_defaults_start_a_dev_node():
    settings = load_settings(environ=NO_ENVIRONMENT)
    assert (settings.node.network, settings.node.port, settings.storage.uri) == ("dev", 8080, None)


def test_command_line_beats_environment_beats_file_beats_default(tmp_path):
    file = write_toml(tmp_path, '[node]\nport = 1\nhost = "10.0.0.1"\nname = "file"\n')
    environ = {"METAWATT_NODE__PORT": "2", "METAWATT_NODE__HOST": "10.0.0.2"}
    settings = load_settings(file, {"node.port": 3}, environ)
    node = settings.node
    assert (node.port, node.host, node.name, node.network) == (3, "10.0.0.2", "file", "dev")


def test_an_override_of_none_is_no_override():
    assert load_settings(None, {"node.port": None}, {"METAWATT_PORT": "9"}).node.port == 9


def test_the_environment_may_name_the_file(tmp_path):
    file = write_toml(tmp_path, '[log]\nlevel = "debug"\n')
    assert load_settings(environ={"METAWATT_CONFIG": str(file)}).log.level == "debug"


def test_the_file_of_the_command_line_beats_that_of_the_environment(tmp_path):
    file = write_toml(tmp_path, "[node]\nport = 4\n")
    assert load_settings(file, environ={"METAWATT_CONFIG": "/nowhere.toml"}).node.port == 4


@pytest.mark.parametrize(("short", "name"), SHORT_VARIABLES.items())
def test_short_variables_stand_for_full_ones(short, name):
    value = {"node.port": "81", "node.network": "dev", "storage.uri": "sqlite:///x.db"}.get(name, "some")
    short_way = load_settings(environ={short: value})
    assert short_way == load_settings(environ={variable(name): value})
    assert short_way != load_settings(environ=NO_ENVIRONMENT) or name == "node.network"


def test_a_full_variable_beats_its_short_one():
    environ = {"METAWATT_PORT": "1", "METAWATT_NODE__PORT": "2"}
    assert load_settings(environ=environ).node.port == 2


@pytest.mark.parametrize(("alias", "name"), GRIDTOKENX_VARIABLES.items())
def test_the_environment_of_gridtokenx_can_be_taken_over(alias, name):
    value = {
        "tokenization.auto_mint_enabled": "false",
        "tokenization.retry_enabled": "false",
        "solana.rpc_url": "https://rpc.example",
        "solana.ws_url": "wss://rpc.example",
        "solana.registry_program_id": "SysvarC1ock11111111111111111111111111111111",
        "solana.energy_token_program_id": "SysvarC1ock11111111111111111111111111111111",
    }.get(name, "7" if alias not in SECONDS_VARIABLES else "420")
    taken_over = load_settings(environ={alias: value})
    assert taken_over == load_settings(environ={variable(name): "7" if value == "420" else value})
    default = load_settings(environ=NO_ENVIRONMENT)
    assert taken_over != default or name == "tokenization.reading_max_age_days"


def test_a_delay_may_be_told_in_seconds_or_in_minutes():
    def delay(**environ):
        return load_settings(environ=environ).tokenization.initial_retry_delay_minutes

    assert delay(TOKENIZATION_INITIAL_RETRY_DELAY_SECS="90") == 1.5
    assert delay(TOKENIZATION_INITIAL_RETRY_DELAY_SECS="90", TOKENIZATION_INITIAL_RETRY_DELAY_MINUTES="3") == 3
    assert delay(TOKENIZATION_INITIAL_RETRY_DELAY_SECS="90", METAWATT_TOKENIZATION__RETRY_ENABLED="false") == 1.5


def test_seconds_may_come_from_a_file(tmp_path):
    (tmp_path / "secs").write_text("300\n")
    environ = {"TOKENIZATION_MAX_RETRY_DELAY_SECS_FILE": str(tmp_path / "secs")}
    assert load_settings(environ=environ).tokenization.max_retry_delay_minutes == 5


@pytest.mark.parametrize("value", ["soon", "0", "-5", "nan"])
def test_seconds_that_are_none_are_told_under_their_own_name(value):
    name = "TOKENIZATION_INITIAL_RETRY_DELAY_SECS"
    assert f"{name}: Input should be" in problems(environ={name: value})


def test_lists_and_tables_are_json_in_the_environment():
    issuer = {"identity_key": "02" * 33, "name": "Body", "regions": ["DE"]}
    settings = load_settings(
        environ={
            "METAWATT_TOPICS__SOURCES": '["wind"]',
            "METAWATT_TOPICS__ISSUERS": json.dumps([issuer]),
            "METAWATT_TOPICS__TECHNOLOGY_MARGINS": '{"wind": 1.2}',
        }
    )
    assert settings.topics.sources == ("wind",)
    assert settings.topics.issuers[0].regions == ("DE",)
    assert settings.topics.technology_margins == {"wind": 1.2}


def test_an_empty_variable_is_not_given():
    assert load_settings(environ={"METAWATT_PORT": "", "METAWATT_NODE__NAME": ""}).node.port == 8080


def test_a_value_may_be_the_content_of_a_file(tmp_path):
    file = tmp_path / "uri"
    file.write_text("mongodb://u:p@127.0.0.1/metawatt\n")
    assert load_settings(environ={"METAWATT_STORAGE_FILE": str(file)}).storage.uri == file.read_text().strip()
    assert load_settings(environ={"METAWATT_STORAGE__URI_FILE": str(file)}).storage.uri is not None


def test_private_key_file_is_a_setting_of_its_own():
    settings = load_settings(environ={"METAWATT_NODE__PRIVATE_KEY_FILE": "/run/secrets/key"})
    assert settings.node.private_key_file == Path("/run/secrets/key")


def test_variables_of_tests_and_of_others_are_left_alone():
    load_settings(environ={"METAWATT_TEST_MONGODB_URI": "x", "METAWATTAGE": "y", "PATH": "z"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("METAWATT_NODE__PROT", "METAWATT_NODE__PORT"),
        ("METAWATT_PROT", "METAWATT_PORT"),
        ("METAWATT_ARC_URL", "METAWATT_CHAIN__ARC_URL"),
        ("METAWATT_LIMITS__BODY_BYTE", "METAWATT_LIMITS__BODY_BYTES"),
        ("METAWATT_NODE__ARC_URL", "METAWATT_CHAIN__ARC_URL"),
        ("METAWATT_STORAGE_URI", "METAWATT_STORAGE__URI"),
        ("TOKENIZATION_POLING_INTERVAL_SECS", "TOKENIZATION_POLLING_INTERVAL_SECS"),
        ("TOKENIZATION_MINT_ENABLED", "TOKENIZATION_AUTO_MINT_ENABLED"),
        ("TOKENIZATION_BATCHSIZE_FILE", "TOKENIZATION_BATCH_SIZE"),
    ],
)
def test_an_unknown_variable_is_answered_with_the_nearest(name, meant):
    assert f"{name}: no such setting; did you mean {meant}?" in problems(environ={name: "1"})


@pytest.mark.parametrize("name", ["METAWATT_XYZZY", "TOKENIZATION_XYZZY"])
def test_a_hopelessly_unknown_variable_is_still_refused(name):
    assert f"{name}: no such setting" in problems(environ={name: "1"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TOKENIZATION_RETRY_BACKOFF_MULTIPLIER", "the pause always doubles"),
        ("TOKENIZATION_TRANSACTION_TIMEOUT_SECS", "until its blockhash has expired"),
    ],
)
def test_what_gridtokenx_can_be_told_and_this_node_cannot(name, reason):
    told = problems(environ={name: "2"})
    assert f"{name}: no such setting" in told
    assert reason in told


def test_other_programs_of_solana_are_left_alone():
    load_settings(environ={"SOLANA_CLUSTER": "devnet", "SOLANA_KEYPAIR_PATH": "/key.json"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[node]\nprot = 1", "node.prot: no such setting; did you mean node.port?"),
        ("[node]\narc_url = 'x'", "node.arc_url: no such setting; did you mean chain.arc_url?"),
        ("[nodes]\nport = 1", "nodes: no such setting; did you mean node?"),
        ("port = 1", "port: no such setting; did you mean node.port?"),
        ("netwrok = 'dev'", "netwrok: no such setting; did you mean node.network?"),
        ("[http]\nport = 1", "http: no such setting"),
        ("node = 5", "node: "),
        (f"[[topics.issuers]]\nidentity_key='{'02' * 33}'\nnme='x'", "topics.issuers.0.name?"),
    ],
)
def test_an_unknown_name_in_the_file_is_told_with_the_file(tmp_path, text, told):
    file = write_toml(tmp_path, text)
    message = problems(file, environ=NO_ENVIRONMENT)
    assert str(file) in message
    assert told in message


def test_all_problems_are_told_at_once(tmp_path):
    file = write_toml(tmp_path, "[node]\nport = 'x'\nprot = 1\n[log]\nlevel = 'loud'\n")
    environ = {"METAWATT_NODE__NAM": "1", "METAWATT_TOPICS__SOURCES": "wind"}
    message = problems(file, {"node.network": "moon"}, environ)
    expected = ("node.port", "node.prot", "log.level", "METAWATT_NODE__NAM:", "METAWATT_TOPICS__SOURCES:")
    for part in (*expected, "command line: node.network", "6 problems"):
        assert part in message, part


def test_values_are_never_repeated(tmp_path):
    file = write_toml(tmp_path, f"[node]\nport = '{SECRET}'\n[chain]\narc_api_key = ['{SECRET}']\n")
    environ = {"METAWATT_STORAGE": SECRET, "METAWATT_TOPICS__SOURCES": SECRET, "METAWATT_NOPE": SECRET}
    assert SECRET not in problems(file, {"node.network": SECRET}, environ)


@pytest.mark.parametrize("text", ["[node", "a = 1\na = 2"])
def test_a_file_that_is_no_toml(tmp_path, text):
    assert "not readable as TOML" in problems(write_toml(tmp_path, text), environ=NO_ENVIRONMENT)


def test_a_file_that_is_not_there():
    assert "no such configuration file" in problems(Path("/nowhere.toml"), environ=NO_ENVIRONMENT)


def test_a_secret_file_that_is_not_there():
    told = problems(environ={"METAWATT_NODE__ADMIN_TOKEN_FILE": "/nowhere"})
    assert "METAWATT_NODE__ADMIN_TOKEN_FILE: the file cannot be read" in told


def test_a_real_network_needs_its_services():
    message = problems(None, {"node.network": "main"}, NO_ENVIRONMENT)
    assert "chain.headers_url: required on the main network" in message
    assert "chain.arc_url: required on the main network" in message


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"registry.enabled": False}, "set registry.enabled to true"),
        ({"meters.enabled": False}, "meters.enabled to true"),
        ({"tokenization.decimals": 6}, "decimals 9"),
        ({"tokenization.kwh_to_token_ratio": 2}, "kwh_to_token_ratio 1"),
        ({"bridge.mode": "burn", "solana.mint_mode": "direct"}, "solana.mint_mode own"),
        ({"solana.rpc_url": "http://a", "bridge.witness_rpc_urls": ["http://a"]}, "another endpoint"),
    ],
)
def test_a_bridge_that_is_asked_for_must_be_possible(values, told):
    message = problems(None, values | {"bridge.enabled": True}, NO_ENVIRONMENT)
    assert told in message
    assert "or set bridge.enabled to false" in message
    load_settings(None, values, NO_ENVIRONMENT)  # one that nobody asked for keeps no node from starting


def test_a_bridge_on_a_real_network_needs_a_cluster():
    services = {"chain.headers_url": "http://h", "chain.arc_url": "http://a", "node.network": "main"}
    values = services | {"bridge.enabled": True, "meters.enabled": True}
    assert "set solana.rpc_url" in problems(None, values, NO_ENVIRONMENT)


@pytest.mark.parametrize("uri", ["postgres://x/y", "node.db", "mongodb:/x"])
def test_storage_of_an_unknown_kind(uri):
    assert "storage.uri: starts with none of" in problems(None, {"storage.uri": uri}, NO_ENVIRONMENT)


def test_every_setting_has_a_description():
    assert [name for name, field in fields() if not field.description] == []
