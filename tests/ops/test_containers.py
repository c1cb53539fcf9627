"""The image and the compose file: whole, hardened, without secrets, and in step with the settings that exist."""

import json
import re
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from api.metering import minting_key_path
from config.environment import FILE_SUFFIX
from config.load import load_settings
from config.names import variables
from config.settings import NodeSettings, SolanaSettings, TokenizationSettings

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = sorted(COMPOSE["services"])
OWN_NAME = re.compile(r"\b(?:METAWATT|TOKENIZATION|SOLANA)_[A-Z0-9_]+")
TOKENS_OF_ENERGY = re.compile(r"TOKENIZATION_|TOKEN_PROGRAM")  # no secrets


def test_compose_follows_the_specification():
    schema = json.loads((ROOT / "tests/ops/compose-spec/compose-spec.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(COMPOSE, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "ops/README.md"])
def test_every_variable_is_a_setting(file):
    known = variables()
    named = OWN_NAME.findall((ROOT / file).read_text())
    assert named
    assert [name for name in named if name not in known and name.removesuffix(FILE_SUFFIX) not in known] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_hardened(service):
    told = COMPOSE["services"][service]
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert int(told["user"].split(":")[0]) > 0
    assert set(told["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


def test_secrets_come_by_file_and_are_declared():
    for name, service in COMPOSE["services"].items():
        for secret in service.get("secrets", []):
            assert secret in COMPOSE["secrets"], name
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|URI|TOKEN|KEY", TOKENS_OF_ENERGY.sub("", variable)):
                assert variable.endswith("_FILE"), variable
                assert value.startswith("/run/secrets/"), variable
                assert value.removeprefix("/run/secrets/") in service["secrets"]


@pytest.mark.parametrize(
    "file", ["Dockerfile", "docker-compose.yml", "ops/mongodb/initiate.js", "ops/make-secrets"]
)
def test_no_secret_is_inside(file):
    text = (ROOT / file).read_text()
    assert not re.search(r"\b[0-9a-f]{32,}\b|\b[A-Za-z0-9+/]{40,}={0,2}\b", text)
    assert not re.search(r"(?i)(password|token|secret|key)\s*[:=]\s*['\"]?[a-z0-9]{8,}", text)


def test_what_is_not_told_is_left_to_the_defaults():
    """Compose hands over what `.env` does not have as empty, and the minting key's place is the volume."""
    told = COMPOSE["services"]["node"]["environment"]
    environ = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in told.items()}
    del environ["METAWATT_STORAGE__URI_FILE"]
    image = dict(re.findall(r"(METAWATT_\w+)=(\S+)", DOCKERFILE))
    settings = load_settings(environ=image | environ)
    assert settings.solana == SolanaSettings()
    assert settings.tokenization == TokenizationSettings()
    assert str(minting_key_path(settings)) == "/data/solana.json"
    assert COMPOSE["services"]["node"]["volumes"] == ["node-data:/data"]


def test_a_real_cluster_is_named_by_the_environment():
    told = COMPOSE["services"]["node"]["environment"]
    for name in ("SOLANA_RPC_URL", "SOLANA_WS_URL", "METAWATT_SOLANA__MINT", "TOKENIZATION_AUTO_MINT_ENABLED"):
        assert told[name] == f"${{{name}:-}}"
        assert name in (ROOT / "ops/README.md").read_text()


def test_services_volumes_networks_and_files_exist():
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_database_is_a_replica_set_that_is_initiated():
    services = COMPOSE["services"]
    assert "--replSet=rs0" in services["mongodb"]["command"]
    assert "healthcheck" in services["mongodb"]
    assert services["mongodb-initiation"]["restart"] == "no"
    assert services["node"]["depends_on"]["mongodb-initiation"]["condition"] == "service_completed_successfully"
    assert "networks" not in services["mongodb"] or services["mongodb"]["networks"] == ["back"]
    assert COMPOSE["networks"]["back"]["internal"] is True


def test_the_node_has_time_to_drain():
    grace_secs = int(COMPOSE["services"]["node"]["stop_grace_period"].removesuffix("s"))
    assert grace_secs > NodeSettings().shutdown_secs


def test_the_image_is_built_from_what_is_there():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_the_image_holds_every_room():
    rooms = re.findall(r"^include = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    for room in re.findall(r'"(\w+)\*"', rooms):
        assert f"COPY {room} {room}" in DOCKERFILE


@pytest.mark.parametrize(
    "line",
    [
        "--require-hashes",
        "USER 10001:10001",
        "VOLUME /data",
        "STOPSIGNAL SIGTERM",
        "HEALTHCHECK",
        "/health/ready",
        'ENTRYPOINT ["metawatt"]',
    ],
)
def test_the_image_has(line):
    assert line in DOCKERFILE


def test_the_image_runs_nothing_as_root_in_the_end():
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert last_stage.index("USER 10001") < last_stage.index("ENTRYPOINT")
    assert "USER root" not in last_stage


def test_secrets_are_made_once_and_differ(tmp_path):
    script = tmp_path / "ops" / "make-secrets"
    script.parent.mkdir()
    script.write_bytes((ROOT / "ops/make-secrets").read_bytes())
    for _ in range(2):
        subprocess.run(["bash", script], check=True, capture_output=True, timeout=30)
    folder = script.parent / "secrets"
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert re.fullmatch(
        r"mongodb://metawatt:\w{30,}@mongodb:27017/metawatt\?replicaSet=rs0&authSource=admin", made["mongodb_uri"]
    )
    assert made["mongodb_root_password"] not in made["mongodb_uri"]
