"""Simulated meters: serials, keys, clocks, and what they sign."""

import json
import os
import stat

import base58
import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from solders.keypair import Keypair

from bridge.meters.formats import Format
from bridge.simulator.clock import MeterClock
from bridge.simulator.config_file import SimulatorConfig, SimulatorConfigInvalid, read_config
from bridge.simulator.message import Measured, signed_reading
from bridge.simulator.meter import serials
from bridge.simulator.plan import Plan, planned
from bridge.simulator.site import Energy, SiteKind
from config.secrets import SecretUnusable

NOON_MS = 1_780_315_200_000  # 2026-06-01T12:00:00Z
WALLET = "So11111111111111111111111111111111111111112"
SEEDS_CONFIG = """
api_gateway:
  url: http://localhost:8080
  endpoint: /api/meters/submit-reading

meter:
  id: METER-001
  wallet_address: So11111111111111111111111111111111111111112
  reading_interval_seconds: 300  # 5 minutes

signing:
  private_key_path: ./keys/meter_private_key.json
"""


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [
        ("METER-001", 3, ["METER-001", "METER-002", "METER-003"]),
        ("METER-099", 2, ["METER-099", "METER-100"]),
        ("7", 2, ["7", "8"]),
        ("roof", 3, ["roof", "roof-2", "roof-3"]),
        ("roof", 1, ["roof"]),
    ],
)
def test_serials_are_counted_on(first, count, expected):
    assert serials(first, count) == expected


@pytest.mark.parametrize(
    ("form", "timestamp", "text"),
    [
        (
            Format.GRIDTOKENX,
            "2026-06-01T12:00:00Z",
            "GRIDTOKENX_METER_READING\nmeter_serial: METER-001\ntimestamp: 2026-06-01T12:00:00Z\n"
            f"kwh_amount: 0.000150\nwallet: {WALLET}",
        ),
        (Format.COLON, "2026-06-01T12:00:00Z", f"METER-001:0.000150:2026-06-01T12:00:00Z:{WALLET}"),
        (Format.DEVICE, "1780315200000", "METER-001:0.000150:1780315200000"),
    ],
)
def test_what_is_signed_holds_for_another_implementation(form, timestamp, text):
    key = Keypair.from_seed(bytes(range(32)))
    body = signed_reading(Measured("METER-001", WALLET, NOON_MS, Energy(250, 100)), form, key)
    assert body["kwh_amount"] == body["surplus_energy"] == "0.000150"
    assert (body["energy_generated"], body["energy_consumed"]) == ("0.000250", "0.000100")
    assert body["reading_timestamp"] == timestamp
    signature = base58.b58decode(body["meter_signature"])
    verifier = VerifyKey(bytes(key.pubkey()))
    verifier.verify(text.encode(), signature)
    with pytest.raises(BadSignatureError):
        verifier.verify(text.encode() + b"\n", signature)
    assert not any(isinstance(value, float) for value in body.values())


def test_a_clock_that_is_ahead_reads_early():
    ahead, behind = MeterClock(lambda: 10_000, 1500), MeterClock(lambda: 10_000, -1500)
    assert (ahead.read(), behind.read()) == (11_500, 8_500)
    assert (ahead.secs_until(15_000), behind.secs_until(15_000)) == (3.5, 6.5)
    assert ahead.secs_until(11_000) == 0


def test_a_second_run_is_the_same_meters(tmp_path):
    plan = Plan(meters=12, keys=tmp_path / "keys", seed=3)
    first, second = plan.fleet(lambda: NOON_MS), plan.fleet(lambda: NOON_MS)
    assert [meter.registration() for meter in first] == [meter.registration() for meter in second]
    assert len({meter.wallet for meter in first}) == len({str(meter.key.pubkey()) for meter in first}) == 12
    assert {meter.site.kind for meter in first} == set(SiteKind)
    assert len({meter.clock.skew_ms for meter in first}) > 6
    assert all(abs(meter.clock.skew_ms) <= 2000 for meter in first)
    start_ms = first[0].current_start_ms()
    assert [meter.measured(start_ms) for meter in first] == [meter.measured(start_ms) for meter in second]


def test_keys_are_their_owners_and_as_solana_keygen_has_them(tmp_path):
    (meter,) = Plan(keys=tmp_path / "keys").fleet(lambda: NOON_MS)
    file = tmp_path / "keys" / "METER-001.meter.json"
    assert Keypair.from_json(file.read_text()) == meter.key
    wallet = Keypair.from_json((tmp_path / "keys" / "METER-001.wallet.json").read_text())
    assert str(wallet.pubkey()) == meter.wallet
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_spoiled_key_is_told_and_never_shown(tmp_path):
    file = tmp_path / "METER-001.meter.json"
    file.write_text(json.dumps([7] * 63))
    file.chmod(0o600)
    with pytest.raises(SecretUnusable) as raised:
        Plan(keys=tmp_path).fleet(lambda: NOON_MS)
    assert "7, 7" not in str(raised.value)


def test_the_configuration_of_gridtokenx_is_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(SEEDS_CONFIG)
    plan = planned(read_config(file), keys=tmp_path / "keys")
    assert (plan.url, plan.endpoint) == ("http://localhost:8080", "/api/meters/submit-reading")
    assert (plan.first_serial, plan.interval_secs, plan.wallet) == ("METER-001", 300, WALLET)
    (meter,) = plan.fleet(lambda: NOON_MS)
    assert (meter.serial, meter.wallet) == ("METER-001", WALLET)
    assert Keypair.from_json((tmp_path / "keys" / "meter_private_key.json").read_text()) == meter.key


def test_options_hold_over_the_configuration(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(SEEDS_CONFIG)
    plan = planned(read_config(file), url="http://elsewhere", interval_secs=None, meters=2)
    assert (plan.url, plan.interval_secs, plan.meters) == ("http://elsewhere", 300, 2)


def test_without_a_configuration_there_are_defaults():
    assert planned(SimulatorConfig()) == Plan()


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "meter: 7",
        "meter: {reading_interval_seconds: 0}",
        "api_gateway: {endpoint: nowhere}",
        "a: [",
        "\0",
    ],
)
def test_a_configuration_that_cannot_be_used_is_told_with_its_file(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SimulatorConfigInvalid, match=r"config\.yaml"):
        read_config(file)


@pytest.mark.parametrize(
    "wrong", [{"interval_secs": 7}, {"wallet": "nobody"}, {"first_serial": "../../etc"}, {"first_serial": "a:b"}]
)
def test_a_plan_that_cannot_be_is_refused_before_any_key_is_made(tmp_path, wrong):
    with pytest.raises(SimulatorConfigInvalid):
        Plan(keys=tmp_path / "keys", **wrong).fleet(lambda: NOON_MS)
    assert not (tmp_path / "keys").exists()
