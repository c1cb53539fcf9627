"""What the lookup index costs: the writes of one admission, and a filtered query at two sizes.

    python -m bench.lookup_index [--records 10000 200000]

Made are certificates of 400 devices in five countries from three sources, hour after hour, as a node would
admit them; signatures are left out, since the index does not look at them. The admission figure is the time to
turn one event into writes, with the script read anew (`cold`) or remembered from its judgement (`warm`).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from certificates.issuance import issue
from certificates.ranges import Range
from certificates.token import Token, encode_fields
from config.settings import Settings
from lookup.metawatt import MetawattLookup
from overlay.lookup_service import OutputAdmitted, OutputRef, Question
from overlay.pushdrop import lock
from overlay.transaction import Input, Output, Transaction
from store.sqlite import SqliteStore
from topics.certificates import read_script

COUNTRIES = ("DE", "DK", "FR", "GB", "NL")
SOURCES = ("solar_pv", "wind", "hydro")
DEVICES = 400
BATCH = 1000
QUERIES = 300
ADMISSIONS = 200
"""Fewer than the scripts that topics remember."""
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER = b"\x02" + bytes(range(32))
ATTRIBUTES: dict[str, Any] = {
    "account_id": "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d",
    "connected_grid_identification": "10YDE-EON------1",
    "device_capacity": 75000,
    "device_location": [48.1351, 11.582],
    "device_production_start_date": "2021-04-01",
    "device_technology_type": "solar_pv",
    "device_type": "production",
    "energy_carrier": "electricity",
    "expiry_datestamp": "2028-06-01",
    "face_value": 1,
    "issuance_datestamp": "2026-06-01",
    "issuance_post_energy_carrier_conversion": False,
    "issue_market_zone": "DE-LU",
    "issuing_body": "Example Issuing Body",
    "registry_configuration": 1,
}
QUESTIONS: dict[str, Any] = {
    "source and country": {"energy_source": "wind", "country": "DK", "status": "Active", "limit": 20},
    "three countries": {"country": ["DE", "FR", "NL"], "energy_source": "hydro", "limit": 20},
    "newest": {"limit": 20},
    "device": {"device_id": "00000000-0000-4000-8000-000000000007", "limit": 20},
    "period": {
        "country": "DE",
        "energy_source": "solar_pv",
        "period_start": "2026-01-01T05:00:00Z",
        "period_end": "2026-01-01T09:00:00Z",
        "limit": 20,
    },
}


def make_token(number: int, spends: bytes) -> Token:
    device, hour = number % DEVICES, BEGIN + timedelta(hours=number // DEVICES)
    return issue(
        {
            **ATTRIBUTES,
            "country_of_issuance": COUNTRIES[device % len(COUNTRIES)],
            "energy_source": SOURCES[device % len(SOURCES)],
            "device_id": f"00000000-0000-4000-8000-{device:012}",
            "device_name": f"Device {device}",
            "production_starting_interval": f"{hour:%Y-%m-%dT%H:%M:%SZ}",
            "production_ending_interval": f"{hour + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        },
        Range(1, 52_500),
        spends=spends,
        output_index=0,
        issuer_key=ISSUER,
        locking_key=b"\x03" + sha256(b"owner" + spends).digest(),
    ).with_signature(b"\x30" + bytes(70))


def make_events(start: int, count: int) -> Iterator[OutputAdmitted]:
    for number in range(start, start + count):
        source = Input(sha256(number.to_bytes(8, "big")).digest(), 0, b"", 0xFFFFFFFF)
        token = make_token(number, source.outpoint)
        output = Output(1, lock(token.locking_key, encode_fields(token)))
        txid = sha256(b"tx" + number.to_bytes(8, "big")).digest()
        transaction = Transaction(txid, b"", 1, (source,), (output,), 0)
        topics = ("tm_metawatt_gc",)
        ref = OutputRef(topics[0], txid, 0, number + 1)
        yield OutputAdmitted(ref, 1, output.script, topics, first=True, transaction=transaction)


async def measure_admission(service: MetawattLookup, store: SqliteStore) -> None:
    events = list(make_events(10**9, ADMISSIONS))
    read_script.cache_clear()
    cold = await _admissions_us(service, store, events)
    warm = await _admissions_us(service, store, events)
    print(f"writes of an admission: {warm:.1f} us warm, {cold:.1f} us cold")


async def _admissions_us(service: MetawattLookup, store: SqliteStore, events: list[OutputAdmitted]) -> float:
    taken = []
    for event in events:
        begin = time.perf_counter_ns()
        await service.writes_for(event, store)
        taken.append((time.perf_counter_ns() - begin) / 1000)
    return median(taken)


async def fill(service: MetawattLookup, store: SqliteStore, have: int, want: int) -> None:
    """Commit records up to `want`, and say what the commits alone took, of `BATCH` admissions each."""
    wall, cpu = 0.0, 0.0
    for start in range(have, want, BATCH):
        events = make_events(start, min(BATCH, want - start))
        writes = [each for event in events for each in await service.writes_for(event, store)]
        wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
        await store.commit(writes)
        wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
    wall_us, cpu_us = (spent / (want - have) * 1e6 for spent in (wall, cpu))
    size = await store.size_bytes() / want
    print(f"{want} records: committed in {wall_us:.1f} us each, {cpu_us:.1f} us of CPU; {size:.0f} bytes each")


async def measure_queries(service: MetawattLookup, store: SqliteStore) -> None:
    for name, query in QUESTIONS.items():
        taken = []
        for _ in range(QUERIES):
            begin = time.perf_counter_ns()
            answer = await service.lookup(Question(service.name, query, 1_780_315_200_000), store)
            taken.append((time.perf_counter_ns() - begin) / 1000)
        found = len(answer.found)  # type: ignore[union-attr]
        print(f"  {name}: {found} found, {median(taken):.0f} us, p99 {quantiles(taken, n=100)[-1]:.0f} us")


async def main(sizes: list[int]) -> None:
    service = MetawattLookup(Settings())
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "lookup.db")
        await store.open(service.collections)
        await measure_admission(service, store)
        have = 0
        for want in sorted(sizes):
            await fill(service, store, have, want)
            await measure_queries(service, store)
            have = want
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 200_000])
    asyncio.run(main(parser.parse_args().records))
