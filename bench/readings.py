"""Meters of the benchmarks, and the load that they make: a process of its own, on the loopback only.

    python -m bench.readings URL --start EPOCH [--first N] [--count N] [--batch B] [--rate R] [--seconds S]

Reading number N is of meter N % METERS and of interval N // METERS after `--start`: all meters tell of an interval
before any tells of the next, as they do in life. The same arguments make the same bytes. Every reading is signed
with its meter's own key, in GridTokenX's format; requests are built before the clock starts (bench/load.py). The
answer is one JSON object, with `rate` in requests a second.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

from solders.keypair import Keypair

from bench.load import MAX_SECONDS, Load, http_request, loopback
from bridge.meters.formats import Format, signed_message

METERS = 1000
INTERVAL_SECS = 300
SINGLE, MANY = "/api/meters/submit-reading", "/api/meters/submit-readings"
_HEADERS = {"Content-Type": "application/json"}


def serial(number: int) -> str:
    return f"BENCH-{number:05}"


@cache
def meter_key(number: int) -> Keypair:
    return Keypair.from_seed(sha256(f"meter {number}".encode()).digest())


@cache
def wallet(number: int) -> str:
    return str(Keypair.from_seed(sha256(f"wallet {number}".encode()).digest()).pubkey())


def registration(number: int) -> dict[str, Any]:
    """The body that registers a meter."""
    return {
        "serial": serial(number),
        "wallet": wallet(number),
        "public_key": str(meter_key(number).pubkey()),
        "format": Format.GRIDTOKENX,
        "interval_secs": INTERVAL_SECS,
        "verified": True,
    }


def kwh(number: int) -> str:
    """Between 0.001 and 5 kWh."""
    micro = 1000 + number * 7919 % 5_000_000
    return f"{micro // 1_000_000}.{micro % 1_000_000:06}"


def reading(start_secs: int, number: int) -> bytes:
    """A reading's body, about 600 bytes."""
    meter, interval = number % METERS, number // METERS
    moment = datetime.fromtimestamp(start_secs + interval * INTERVAL_SECS, UTC)
    timestamp, amount = moment.strftime("%Y-%m-%dT%H:%M:%SZ"), kwh(number)
    message = signed_message(Format.GRIDTOKENX, serial(meter), timestamp, amount, wallet(meter))
    body = {
        "meter_serial": serial(meter),
        "wallet_address": wallet(meter),
        "public_key": str(meter_key(meter).pubkey()),
        "kwh_amount": amount,
        "reading_timestamp": timestamp,
        "meter_signature": str(meter_key(meter).sign_message(message)),
        "energy_generated": amount,
        "energy_consumed": 0.25,
        "surplus_energy": amount,
        "voltage": 230.1 + number % 7 / 10,
        "current": 4.25,
        "power_factor": 0.98,
        "frequency": 50.01,
        "temperature": 21.5,
    }
    return json.dumps(body).encode()


def requests(start_secs: int, first: int, count: int, batch: int) -> Iterator[bytes]:
    """Requests of one reading, or of `batch` readings each."""
    if batch == 1:
        for number in range(first, first + count):
            yield http_request(SINGLE, reading(start_secs, number), _HEADERS)
        return
    for begin in range(first, first + count, batch):
        numbers = range(begin, min(begin + batch, first + count))
        yield http_request(MANY, b"[" + b",".join(reading(start_secs, each) for each in numbers) + b"]", _HEADERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--start", type=int, required=True, help="epoch seconds of the first interval")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=MAX_SECONDS)
    parser.add_argument("--rate", type=float, help="requests a second, whether or not answers come")
    options = parser.parse_args()
    prepared = iter(list(requests(options.start, options.first, options.count, options.batch)))
    load = Load(loopback(options.url), options.connections)
    gc.collect()
    gc.freeze()
    gc.disable()
    seconds = min(options.seconds, MAX_SECONDS)
    outcome = load.open(prepared, seconds, options.rate) if options.rate else load.closed(prepared, seconds)
    print(json.dumps(outcome.to_json()))


if __name__ == "__main__":
    main()
