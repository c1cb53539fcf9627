"""Readings are stored once: told again, told at once, told in batches, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from bridge.meters.body import ReadingBody, read_reading
from bridge.meters.checking import message_of
from bridge.meters.conflicts import ReadingConflicts
from bridge.meters.intake import Taken
from bridge.meters.keys import is_signed, public_key_bytes, signature_bytes
from bridge.meters.rate import MeterRates
from bridge.meters.showing import ReadingShown, reading_shown
from bridge.notices import NoticeKind
from bridge.records import CONFLICTS, READINGS, ReadingState, reading_key
from config.errors import Busy, ErrorCode, MetawattError
from config.settings import MeterSettings, Settings
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter, moment, public_of

METER = SimpleMeter()
FIVE_MINUTES_MS = 300_000


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    await made.register(METER)
    yield made
    await made.store.close()


async def test_what_is_stored(gateway: Gateway) -> None:
    at_ms = NOW_MS - 61_000
    taken = await gateway.intake.submit(replace(METER.body(at_ms), measured={"voltage": "230.1"}))
    stored = await gateway.store.get(READINGS, taken.document["_id"])
    assert taken.is_new
    assert stored == taken.document
    assert stored["_id"] == reading_key("METER-001", NOW_MS - FIVE_MINUTES_MS)
    expected = {
        "meter": "METER-001",
        "wallet": METER.wallet,
        "interval_start_ms": NOW_MS - FIVE_MINUTES_MS,
        "interval_secs": 300,
        "submitted_ms": NOW_MS,
        "open_ms": NOW_MS,
        "due_ms": NOW_MS,
        "retry_ms": None,
        "minted_ms": None,
        "state": "accepted",
        "kwh": "1.500000",
        "timestamp": moment(at_ms),
        "timestamp_ms": at_ms,
        "units": 1_500_000_000,
        "public_key": public_of(METER.key),
        "format": "gridtokenx",
        "attempt": None,
        "attempts": 0,
        "error": None,
        "measured": {"voltage": "230.1"},
    }
    assert {name: stored[name] for name in expected} == expected


async def test_what_is_stored_can_be_verified_again(gateway: Gateway) -> None:
    stored = (await gateway.take(METER)).document
    signature = signature_bytes(stored["signature"])
    assert signature is not None
    assert is_signed(message_of(stored), signature, public_key_bytes(stored["public_key"]))


async def test_what_is_shown(gateway: Gateway) -> None:
    shown = reading_shown((await gateway.take(METER)).document)
    ReadingShown.model_validate_json(orjson.dumps(shown), strict=True)
    assert ReadingShown.model_fields.keys() == shown.keys()
    assert UUID(shown["id"]).version == 8
    assert (shown["minted"], shown["mint_tx_signature"], shown["state"]) == (False, None, "accepted")


async def test_the_same_message_again_is_answered_as_it_stands(gateway: Gateway) -> None:
    first = await gateway.take(METER)
    gateway.now_ms += 30_000
    again = await gateway.take(METER)
    assert not again.is_new
    assert again.document == first.document
    assert [notice.kind for notice in gateway.told] == [NoticeKind.RECEIVED]


async def test_fifty_at_once_are_one(gateway: Gateway) -> None:
    body = METER.body()
    taken = await asyncio.gather(*(gateway.intake.submit(body) for _ in range(50)))
    assert sum(each.is_new for each in taken) == 1
    assert len({each.document["_id"] for each in taken}) == 1
    assert await gateway.store.count(READINGS) == 1
    assert await gateway.store.count(CONFLICTS) == 0


async def test_fifty_that_differ_leave_one_held_and_no_more_kept_than_are_bound(gateway: Gateway) -> None:
    bodies = [METER.body(kwh=f"{number}.5") for number in range(50)]
    outcomes = await asyncio.gather(*map(gateway.intake.submit, bodies), return_exceptions=True)
    taken = [each for each in outcomes if isinstance(each, Taken)]
    refused = [each for each in outcomes if isinstance(each, ReadingConflicts)]
    assert (len(taken), len(refused)) == (1, 49)
    stored = await gateway.store.get(READINGS, taken[0].document["_id"])
    assert stored is not None
    assert (stored["state"], stored["due_ms"], stored["conflicts"]) == (ReadingState.HELD, None, 8)
    assert await gateway.store.count(CONFLICTS, Find("open")) == 8


async def test_two_processes_share_the_rule(gateway: Gateway) -> None:
    other = Gateway(SqliteStore(gateway.store.path, cache_mib=4))  # type: ignore[attr-defined]
    await other.open()
    body = METER.body()
    both = [each.intake.submit(body) for _ in range(20) for each in (gateway, other)]
    assert sum(each.is_new for each in await asyncio.gather(*both)) == 1
    await other.store.close()


async def test_after_a_restart_it_is_known(gateway: Gateway) -> None:
    await gateway.take(METER)
    await gateway.store.close()
    reopened = Gateway(SqliteStore(gateway.store.path, cache_mib=4))  # type: ignore[attr-defined]
    await reopened.open()
    assert not (await reopened.take(METER)).is_new
    with pytest.raises(ReadingConflicts):
        await reopened.take(METER, kwh="2")
    await reopened.store.close()
    await gateway.store.open([])


@pytest.mark.parametrize(("interval_secs", "starts"), [(300, 4), (900, 2), (3600, 1), (1, 4)])
async def test_intervals(gateway: Gateway, interval_secs: int, starts: int) -> None:
    meter = SimpleMeter(f"METER-{interval_secs}")
    await gateway.register(meter, interval_secs=interval_secs)
    taken = set()
    for minutes in (59, 54, 49, 44):
        try:
            taken.add((await gateway.take(meter, NOW_MS - minutes * 60_000)).document["interval_start_ms"])
        except ReadingConflicts:
            continue
    assert len(taken) == starts
    assert all(start % (interval_secs * 1000) == 0 for start in taken)


async def test_a_batch_tells_of_each(gateway: Gateway) -> None:
    await gateway.take(METER, NOW_MS - FIVE_MINUTES_MS)
    entries: list[ReadingBody | MetawattError] = [
        METER.body(),
        METER.body(NOW_MS - FIVE_MINUTES_MS),
        METER.body(),
        METER.body(kwh="9"),
        replace(METER.body(NOW_MS - 2 * FIVE_MINUTES_MS), meter_signature=None),
        SimpleMeter("METER-404").body(),
        unreadable(),
        METER.body(NOW_MS - 3 * FIVE_MINUTES_MS),
    ]
    outcomes = await gateway.intake.submit_many(entries)
    told = [each.is_new if isinstance(each, Taken) else each.code for each in outcomes]
    assert told == [
        True,
        False,
        False,
        ErrorCode.READING_CONFLICTS,
        ErrorCode.SIGNATURE_INVALID,
        ErrorCode.METER_UNKNOWN,
        ErrorCode.INVALID_FIELD,
        True,
    ]
    kinds = [notice.kind for notice in gateway.told]
    assert kinds.count(NoticeKind.RECEIVED) == 3
    assert kinds.count(NoticeKind.REFUSED) == 2


def unreadable() -> MetawattError:
    with pytest.raises(MetawattError) as refused:
        read_reading(b"{}")
    return refused.value


async def test_batches_that_overlap_store_each_once(gateway: Gateway) -> None:
    bodies = [METER.body(NOW_MS - number * FIVE_MINUTES_MS) for number in range(40)]
    batches = [gateway.intake.submit_many(bodies[start : start + 25]) for start in (0, 5, 10, 15, 0)]
    outcomes = [each for batch in await asyncio.gather(*batches) for each in batch]
    assert all(isinstance(each, Taken) for each in outcomes)
    assert sum(each.is_new for each in outcomes if isinstance(each, Taken)) == 40
    assert await gateway.store.count(READINGS) == 40


async def test_notices_have_the_gateways_fields(gateway: Gateway) -> None:
    await gateway.intake.submit(replace(METER.body(), measured={"voltage": "230.1"}))
    with pytest.raises(MetawattError):
        await gateway.intake.submit(replace(METER.body(), kwh_amount="7"))
    received, refused = gateway.told
    assert (received.kind, received.wallet, received.meter) == ("meter_reading_received", METER.wallet, "METER-001")
    assert received.body == {
        "reading_id": str(UUID(bytes=reading_key("METER-001", NOW_MS))),
        "user_id": None,
        "wallet_address": METER.wallet,
        "meter_serial": "METER-001",
        "kwh_amount": "1.500000",
        "voltage": "230.1",
        "timestamp": "2026-06-01T12:00:00Z",
    }
    assert (refused.kind, refused.wallet) == ("meter_reading_validation_failed", METER.wallet)
    assert refused.body["kwh_amount"] == "7"
    assert refused.body["error_code"] == "ERR_SIGNATURE_INVALID"
    assert refused.body["error_reason"]


async def test_nobody_hears_of_meters_that_there_are_not(gateway: Gateway) -> None:
    with pytest.raises(MetawattError):
        await gateway.intake.submit(SimpleMeter("METER-404").body())
    assert gateway.told == []


def test_buckets_fill_again_and_are_bounded_in_memory() -> None:
    rates = MeterRates(MeterSettings(readings_per_minute=6, burst_readings=2), meters=2)
    rates.take("a", 0)
    rates.take("a", 0)
    with pytest.raises(Busy) as refused:
        rates.take("a", 4_000)
    assert refused.value.retry_after_secs == 6
    rates.take("a", 10_000)
    rates.give_back("a")
    rates.take("a", 10_000)
    for serial in ("b", "c"):
        rates.take(serial, 10_000)
    rates.take("a", 10_000)
    rates.give_back("unseen")


def test_without_a_bound_there_are_no_buckets() -> None:
    rates = MeterRates(MeterSettings(readings_per_minute=0, burst_readings=1))
    for _ in range(100):
        rates.take("a", 0)


async def test_a_ratio_of_the_settings_holds(tmp_path: Path) -> None:
    made = Gateway(SqliteStore(tmp_path / "other.db"), Settings.model_validate({"tokenization": {"decimals": 6}}))
    await made.open()
    await made.register(METER)
    assert (await made.take(METER, kwh="0.000001")).document["units"] == 1
    await made.store.close()
