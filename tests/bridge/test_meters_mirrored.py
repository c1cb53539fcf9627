"""Meters that are mirrored: who may be, what their readings keep, and where these are minted to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bridge.meters.checking import message_of
from bridge.meters.directory import MeterDirectory
from bridge.meters.intake import Intake
from bridge.meters.meter import Status
from bridge.meters.mirroring import NOT_MIRRORING, Mirroring
from bridge.meters.registration import Decision, Ownership
from bridge.meters.showing import MeterShown, ReadingShown, meter_shown, reading_shown
from bridge.minting.orders import order_of
from bridge.mirror.automatic import mirroring
from bridge.records import METERS, READINGS
from config.errors import ErrorCode, MetawattError
from config.settings import BridgeSettings, NodeSettings, Settings, SolanaSettings, TokenizationSettings
from energytag.models.common import InvalidFields
from energytag.records import ACCOUNTS, DEVICES
from store.port import Put
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter
from tests.energytag.kit import ACCOUNT, DEVICE, account_row, device_row

CUSTODY = Keypair.from_seed(bytes(31) + b"\x09").pubkey()
ON = Mirroring(str(CUSTODY))
LINKED = {"account_id": ACCOUNT, "device_id": DEVICE}
METER = SimpleMeter()


@dataclass
class MirroringGateway(Gateway):
    """A gateway of a node that is a bridge, until it is told otherwise."""

    def __post_init__(self) -> None:
        self.become(ON)

    def become(self, mirroring: Mirroring) -> None:
        """As after a start with other settings."""
        now = lambda: self.now_ms  # noqa: E731
        self.directory = MeterDirectory(self.store, self.settings.meters, now, mirroring)
        self.intake = Intake(self.store, self.directory, self.settings, now, self.told.append, mirroring)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[MirroringGateway]:
    made = MirroringGateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    rows = [Put(ACCOUNTS, account_row(ACCOUNT)), Put(DEVICES, device_row(DEVICE))]
    await made.store.commit(rows)
    yield made
    await made.store.close()


# Whether there may be any


def settings(**sections: Any) -> Settings:
    return Settings(node=NodeSettings(network="dev"), **sections)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (settings(), ""),
        (settings(bridge=BridgeSettings(enabled=False)), "no bridge"),
        (Settings(node=NodeSettings(network="test")), "no bridge"),
        (settings(bridge=BridgeSettings(mode="burn")), "bridge.mode is burn"),
        (settings(solana=SolanaSettings(mint_mode="generation")), "solana.mint_mode"),
        (settings(tokenization=TokenizationSettings(decimals=6)), "decimals"),
    ],
)
def test_what_settings_allow(given: Settings, said: str) -> None:
    found = mirroring(given, CUSTODY)
    assert found.wallet == (None if said else str(CUSTODY))
    assert said in found.reason


async def refusal(gateway: Gateway, **more: Any) -> str:
    with pytest.raises(InvalidFields) as caught:
        await gateway.register(METER, **more)
    assert caught.value.code is ErrorCode.INVALID_FIELD
    return caught.value.message


@pytest.mark.parametrize("links", [{}, {"account_id": ACCOUNT}])
async def test_a_mirrored_meter_is_a_device_of_an_account(gateway: MirroringGateway, links: dict[str, str]) -> None:
    assert "needs account_id and device_id" in await refusal(gateway, mirror=True, **links)
    assert await gateway.store.get(METERS, METER.serial) is None


async def test_where_nothing_is_mirrored_no_meter_is(gateway: MirroringGateway) -> None:
    gateway.become(Mirroring(None, "bridge.mode is burn"))
    assert "bridge.mode is burn" in await refusal(gateway, mirror=True, **LINKED)
    assert (await gateway.register(METER, **LINKED))["mirror"] is False


async def test_a_registration_anew_begins_and_ends_it(gateway: MirroringGateway) -> None:
    await gateway.register(METER, **LINKED)
    owner = {"wallet": METER.wallet, "public_key": METER.registration().public_key, **LINKED}
    for mirror in (True, False):
        changed = await gateway.directory.replace(
            METER.serial, Ownership.model_validate(owner | {"mirror": mirror})
        )
        assert changed["mirror"] is mirror
        assert changed["status"] == Status.PENDING


# Their readings


async def test_its_reading_is_minted_to_custody_and_signed_for_the_owner(gateway: MirroringGateway) -> None:
    await gateway.register(METER, mirror=True, **LINKED)
    reading = (await gateway.take(METER)).document
    assert (reading["wallet"], reading["mint_to"]) == (METER.wallet, str(CUSTODY))
    assert message_of(reading).decode().endswith(f"wallet: {METER.wallet}")
    assert order_of(reading).wallet == CUSTODY
    assert (await gateway.take(METER)).is_new is False


async def test_another_meters_reading_is_minted_to_its_owner(gateway: MirroringGateway) -> None:
    await gateway.register(METER, **LINKED)
    reading = (await gateway.take(METER)).document
    assert reading["mint_to"] is None
    assert order_of(reading).wallet == Pubkey.from_string(METER.wallet)


@pytest.mark.parametrize(
    ("kwh", "is_taken"),
    [
        ("1.500000", True),
        ("1.5", True),
        ("0.001", True),
        ("1.500001", False),
        ("0.0005", False),
        ("0.000999", False),
    ],
)
async def test_of_a_mirrored_meter_whole_wh_are_taken(gateway: MirroringGateway, kwh: str, is_taken: bool) -> None:
    await gateway.register(METER, mirror=True, **LINKED)
    if is_taken:
        assert (await gateway.take(METER, kwh=kwh)).document["units"] % 10**6 == 0
        return
    with pytest.raises(MetawattError) as caught:
        await gateway.take(METER, kwh=kwh)
    assert caught.value.code is ErrorCode.AMOUNT_INVALID


async def test_of_another_meter_a_fraction_is_taken(gateway: MirroringGateway) -> None:
    await gateway.register(METER, **LINKED)
    assert (await gateway.take(METER, kwh="0.0005")).document["units"] == 500_000


async def test_once_the_bridge_is_off_the_owner_has_the_tokens(gateway: MirroringGateway) -> None:
    await gateway.register(METER, mirror=True, **LINKED)
    before = (await gateway.take(METER)).document
    gateway.become(NOT_MIRRORING)
    after = (await gateway.take(METER, NOW_MS - 300_000, "1.000001")).document
    assert order_of(after).wallet == Pubkey.from_string(METER.wallet)
    stored = await gateway.store.get(READINGS, before["_id"])
    assert stored is not None
    assert order_of(stored).wallet == CUSTODY, "what was taken stays as it was taken"


async def test_a_second_reading_that_is_taken_goes_where_it_was_to_go(gateway: MirroringGateway) -> None:
    await gateway.register(METER, mirror=True, **LINKED)
    first = (await gateway.take(METER)).document
    with pytest.raises(MetawattError):
        await gateway.take(METER, kwh="2.000000")
    taken = await gateway.intake.conflicts.decide(first["_id"], Decision.TAKE)
    assert (taken["kwh"], taken["mint_to"]) == ("2.000000", str(CUSTODY))


# As they are shown, and were before


async def test_they_are_shown(gateway: MirroringGateway) -> None:
    meter = await gateway.register(METER, mirror=True, **LINKED)
    assert MeterShown.model_validate(meter_shown(meter)).mirror is True
    reading = (await gateway.take(METER)).document
    assert ReadingShown.model_validate(reading_shown(reading)).mint_to == str(CUSTODY)


async def test_meters_and_readings_from_before_there_was_a_mirror(gateway: MirroringGateway) -> None:
    meter = await gateway.register(METER, **LINKED)
    reading = (await gateway.take(METER)).document
    old_meter = {name: value for name, value in meter.items() if name != "mirror"}
    old_reading = {name: value for name, value in reading.items() if name != "mint_to"}
    await gateway.store.commit([Put(METERS, old_meter), Put(READINGS, old_reading)])
    assert meter_shown(old_meter)["mirror"] is False
    assert reading_shown(old_reading)["mint_to"] is None
    assert order_of(old_reading).wallet == Pubkey.from_string(METER.wallet)
    assert (await gateway.take(METER, NOW_MS - 300_000)).document["mint_to"] is None
